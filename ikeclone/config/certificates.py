"""Certificates and revocation lists from files. Every ValueError here says which file, and what is wrong with it."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.x509 import CertificateRevocationList

from ikeclone.config.files import MAX_SIZE
from ikeclone.errors import AuthenticationFailed
from ikeclone.pki.certificate import Certificate, load_certificate
from ikeclone.pki.revocation import load_crl

T = TypeVar("T")

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----")
_SUFFIXES = (".pem", ".crt", ".cer", ".der", ".crl")


def read_certificates(path: Path) -> tuple[Certificate, ...]:
    """The certificates in a file, in PEM one or several, in DER one."""
    return _read(path, (b"CERTIFICATE", b"X509 CERTIFICATE"), load_certificate, "certificate")


def read_lists(path: Path) -> tuple[CertificateRevocationList, ...]:
    """The revocation lists in a file."""
    return _read(path, (b"X509 CRL",), load_crl, "revocation list")


def read_directory(path: Path, read: Callable[[Path], tuple[T, ...]]) -> tuple[T, ...]:
    """What is in the files of a directory that are named as certificates or lists are; in no others."""
    try:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    return tuple(each for file in files for each in read(file))


def read_bytes(path: Path) -> bytes:
    """The octets of a file that is not too large."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_SIZE:
        raise ValueError(f"cannot read {path}: it is larger than {MAX_SIZE} bytes")
    return data


def _read(path: Path, labels: tuple[bytes, ...], load: Callable[[bytes], T], what: str) -> tuple[T, ...]:
    data = read_bytes(path)
    encoded = [b64decode(body) for label, body in _PEM.findall(data) if label in labels]
    if not encoded and (not data or b"-----BEGIN" in data):
        raise ValueError(f"there is no {what} in {path}")
    try:
        return tuple(load(each) for each in encoded or [data])
    except AuthenticationFailed as error:
        raise ValueError(f"{path}: {error}") from None
