"""Keywords about certificates that were revoked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ikeclone.config import load
from ikeclone.pki.standing import Policy
from tests.unit.pki.authority import root

Write = Callable[..., Path]
Mistakes = Callable[[str], list[str]]
ADDRESS = "must be an address such as http://ocsp.example.com:2560/"


@pytest.mark.parametrize(
    ("lines", "policy"),
    [
        ((), Policy()),
        (("crl-strict=yes", "crlcheckinterval=1h"), Policy(crl_strict=True, crl_interval=3600)),
        (("crl-timeout=9s",), Policy(crl_timeout=9)),
        (("ocsp-enable=yes", "ocsp-strict=yes"), Policy(ocsp=True, ocsp_strict=True)),
        (("ocsp-uri=http://[2001:db8::1]:2560/a",), Policy(ocsp_uri="http://[2001:db8::1]:2560/a")),
        (("ocsp-timeout=500ms", "ocsp-method=post"), Policy(ocsp_timeout=0.5, ocsp_post=True)),
        (
            ("ocsp-cache-size=10", "ocsp-cache-min-age=60", "ocsp-cache-max-age=2d"),
            Policy(ocsp_cache_size=10, ocsp_least_age=60, ocsp_most_age=172800),
        ),
    ],
)
def test_keywords(write: Write, lines: tuple[str, ...], policy: Policy) -> None:
    assert load(write("config setup\n\t" + "\n\t".join(lines) + "\n")).revocation == policy


@pytest.mark.parametrize("keyword", ["ocsp-trustname", "ocsp-trust-name"])
def test_the_holder_of_a_certificate_may_sign_answers(write: Write, keyword: str) -> None:
    signer = root("CN=Responder").certificate
    write(signer.public_bytes(Encoding.PEM).decode(), "signer.pem")
    config = load(write(f"config setup\n\t{keyword}=signer.pem\n"))
    assert config.revocation == replace(Policy(), ocsp_signer=signer)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ocsp-uri=https://ocsp.example.com/", f"ocsp-uri=https://ocsp.example.com/: {ADDRESS}"),
        ("ocsp-uri=http://", f"ocsp-uri=http://: {ADDRESS}"),
        ("ocsp-uri=http://a:b/", f"ocsp-uri=http://a:b/: {ADDRESS}"),
        ("ocsp-strict=yes", "ocsp-strict=yes is for ocsp-enable=yes: without, no responder is asked"),
        ("ocsp-cache-min-age=2d", "ocsp-cache-min-age is above ocsp-cache-max-age"),
        ("ocsp-cache-size=0", "ocsp-cache-size=0: must be a number from 1 to 1000000"),
        ("ocsp-timeout=2m", "ocsp-timeout=2m: must be above 0 to 60 seconds"),
        ("ocsp-method=head", "ocsp-method=head: must be one of get, post"),
        ("ocsp-trustname=none.pem", "ocsp-trustname=none.pem: cannot read none.pem: No such file or directory"),
    ],
)
def test_mistakes(mistakes: Mistakes, line: str, message: str) -> None:
    (said,) = mistakes(f"config setup\n\t{line}\n")
    assert said.endswith(message)
