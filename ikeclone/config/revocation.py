"""Keywords of `config setup` about certificates that were revoked."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from cryptography.x509 import CertificateRevocationList
from pydantic import PlainValidator, model_validator

from ikeclone.config import values
from ikeclone.config.keyworded import Keyworded
from ikeclone.pki.certificate import Certificate
from ikeclone.pki.standing import Policy

_DAY = 86400.0
_POLICY = Policy()


def responder(text: str) -> str:
    """The address of an OCSP responder."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be an address such as http://ocsp.example.com:2560/")
    return text


YesNo = Annotated[bool, PlainValidator(values.yes_no)]
_Wait = Annotated[float, PlainValidator(values.duration(60))]
_Age = Annotated[float, PlainValidator(values.duration(30 * _DAY, zero=True))]


class RevocationKeywords(Keyworded):
    """`crls` is a directory of lists; with `crl_strict` something must speak for each of a peer's certificates, with
    `ocsp_strict` a responder for its own. `crlcheckinterval` 0 fetches no lists.
    """

    crls: str | None = None
    crl_strict: YesNo = _POLICY.crl_strict
    crlcheckinterval: Annotated[float, PlainValidator(values.duration(30 * _DAY, zero=True))] = _POLICY.crl_interval
    crl_timeout: _Wait = _POLICY.crl_timeout
    ocsp_enable: YesNo = _POLICY.ocsp
    ocsp_strict: YesNo = _POLICY.ocsp_strict
    ocsp_timeout: _Wait = _POLICY.ocsp_timeout
    ocsp_uri: Annotated[str | None, PlainValidator(responder)] = None
    ocsp_trustname: str | None = None
    ocsp_method: Annotated[bool, PlainValidator(values.one_of({"get": False, "post": True}))] = _POLICY.ocsp_post
    ocsp_cache_size: Annotated[int, PlainValidator(values.integer(1, 1_000_000))] = _POLICY.ocsp_cache_size
    ocsp_cache_min_age: _Age = _POLICY.ocsp_least_age
    ocsp_cache_max_age: _Age = _POLICY.ocsp_most_age

    @model_validator(mode="after")
    def _check_ocsp(self) -> RevocationKeywords:
        if self.ocsp_strict and not self.ocsp_enable:
            raise ValueError("ocsp-strict=yes is for ocsp-enable=yes: without, no responder is asked")
        if self.ocsp_cache_min_age > self.ocsp_cache_max_age:
            raise ValueError("ocsp-cache-min-age is above ocsp-cache-max-age")
        return self

    def policy(self, lists: tuple[CertificateRevocationList, ...], signer: Certificate | None) -> Policy:
        """All of them together, with the lists and the certificate that the files hold."""
        return Policy(
            lists=lists,
            crl_strict=self.crl_strict,
            crl_interval=self.crlcheckinterval,
            crl_timeout=self.crl_timeout,
            ocsp=self.ocsp_enable,
            ocsp_strict=self.ocsp_strict,
            ocsp_uri=self.ocsp_uri,
            ocsp_signer=signer,
            ocsp_timeout=self.ocsp_timeout,
            ocsp_post=self.ocsp_method,
            ocsp_cache_size=self.ocsp_cache_size,
            ocsp_least_age=self.ocsp_cache_min_age,
            ocsp_most_age=self.ocsp_cache_max_age,
        )
