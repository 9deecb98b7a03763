"""CERTREQ payloads, and what is sent of a chain."""

import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ikeclone.errors import InvalidSyntax
from ikeclone.pki.certificate import key_hash
from ikeclone.pki.store import Store
from tests.unit.pki.authority import Holder, root

ROOT, OTHER = root(), root("CN=Other")
FIRST = ROOT.authority("CN=First")
SECOND = FIRST.authority("CN=Second")
LEAF = SECOND.issue("CN=east")
STORE = Store((ROOT.certificate, OTHER.certificate), (SECOND.certificate, FIRST.certificate))


def hashed(holder: Holder) -> bytes:
    spki = holder.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha1(spki, usedforsecurity=False).digest()


def test_a_request_names_the_anchors_keys() -> None:
    assert STORE.request() == hashed(ROOT) + hashed(OTHER)
    assert Store((ROOT.certificate, ROOT.certificate)).request() == hashed(ROOT)
    assert Store(()).request() == b""
    assert key_hash(LEAF.certificate) == hashed(LEAF)


def test_the_chain_leaves_the_anchor_out() -> None:
    assert STORE.chain(LEAF.certificate) == (LEAF.certificate, SECOND.certificate, FIRST.certificate)
    assert STORE.chain(ROOT.issue("CN=west").certificate)[1:] == ()
    assert STORE.chain(ROOT.certificate) == (ROOT.certificate,)
    assert Store((), (SECOND.certificate,)).chain(LEAF.certificate) == (LEAF.certificate, SECOND.certificate)


def test_a_chain_in_a_circle_ends() -> None:
    one, two = root("CN=One"), root("CN=Two")
    crossed = one.authority("CN=Two", key=two.key).certificate, two.authority("CN=One", key=one.key).certificate
    assert len(Store((), crossed).chain(one.issue("CN=east").certificate)) == 8


@pytest.mark.parametrize(
    ("request_", "answered"),
    [
        (b"", True),
        (hashed(ROOT), True),
        (b"x" * 20 + hashed(FIRST), True),
        (hashed(SECOND), True),
        (hashed(OTHER), False),
        (hashed(LEAF), False),
    ],
)
def test_a_request_is_answered_with_what_it_trusts(request_: bytes, answered: bool) -> None:
    assert STORE.answers(LEAF.certificate, request_) is answered


def test_half_a_hash_is_out_of_shape() -> None:
    with pytest.raises(InvalidSyntax, match="21 octets"):
        STORE.answers(LEAF.certificate, bytes(21))
