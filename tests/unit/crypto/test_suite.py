"""From a chosen proposal to its algorithms."""

import pytest

from ikeclone.backend import EspSuite
from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.crypto.suite import IkeSuite, additional_kes, esp_suite, ke_of
from ikeclone.errors import NoProposalChosen
from ikeclone.numbers import Encr, Integ, KeMethod, Prf, ProtocolId, TransformType
from ikeclone.wire.payloads import Proposal, Transform


def test_ike_suite() -> None:
    (cbc,), (chacha,) = parse_ike("aes256-sha2_256-dh19"), parse_ike("chacha20poly1305-sha2_512-x25519")
    assert IkeSuite.of(cbc) == IkeSuite(Encr.AES_CBC, 256, Integ.HMAC_SHA2_256_128, Prf.HMAC_SHA2_256, KeMethod.ECP_256)
    assert IkeSuite.of(chacha) == IkeSuite(
        Encr.CHACHA20_POLY1305, 256, Integ.NONE, Prf.HMAC_SHA2_512, KeMethod.CURVE25519
    )


@pytest.mark.parametrize("missing", [TransformType.ENCR, TransformType.PRF, TransformType.KE])
def test_ike_suite_needs_cipher_prf_and_key_exchange(missing: TransformType) -> None:
    (proposal,) = parse_ike("aes256-sha2_256-dh19")
    transforms = tuple(transform for transform in proposal.transforms if transform.type != missing)
    with pytest.raises(NoProposalChosen, match=missing.name):
        IkeSuite.of(Proposal(ProtocolId.IKE, transforms))


def test_esp_suite() -> None:
    (plain,), (esn,) = parse_esp("aes128-sha1"), parse_esp("aes_gcm256-esn-dh31")
    assert esp_suite(plain) == EspSuite(Encr.AES_CBC, 128, Integ.HMAC_SHA1_96)
    assert esp_suite(esn) == EspSuite(Encr.AES_GCM_16, 256, Integ.NONE, esn=True)
    assert (ke_of(plain), ke_of(esn)) == (KeMethod.NONE, KeMethod.CURVE25519)


def test_integrity_none_is_the_same_as_none_at_all() -> None:
    cipher = Transform(TransformType.ENCR, Encr.AES_GCM_16, 256)
    none = Transform(TransformType.INTEG, Integ.NONE)
    with_none, without = Proposal(ProtocolId.ESP, (cipher, none)), Proposal(ProtocolId.ESP, (cipher,))
    assert esp_suite(with_none) == esp_suite(without)


def test_additional_key_exchanges_are_in_order_and_none_is_none() -> None:
    (none,), (some,) = parse_ike("aes_gcm256-x25519"), parse_ike("aes_gcm256-x25519-ke3_ecp521-ke2_none-ke1_mlkem768")
    assert additional_kes(none) == ()
    assert additional_kes(some) == (KeMethod.ML_KEM_768, KeMethod.ECP_521)


def test_suites_are_printed() -> None:
    (cbc,), (gcm,) = parse_ike("aes256-sha2_256-dh19"), parse_ike("aes_gcm256-sha2_512-x25519")
    assert str(IkeSuite.of(cbc)) == "AES_CBC_256/HMAC_SHA2_256_128/HMAC_SHA2_256/ECP_256"
    assert str(IkeSuite.of(gcm)) == "AES_GCM_16_256/HMAC_SHA2_512/CURVE25519"
