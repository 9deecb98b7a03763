"""The words of ike= and esp=."""

import pytest

from ikeclone.crypto.algorithms import CIPHERS, INTEGRITIES, PRFS
from ikeclone.crypto.kex import supported
from ikeclone.crypto.registry import DEFAULT_ESP, DEFAULT_IKE, ESP_WORDS, IKE_WORDS, describe, parse_esp, parse_ike
from ikeclone.numbers import Encr, Esn, Integ, KeMethod, Prf, ProtocolId, TransformType
from ikeclone.wire.payloads import Proposal, Transform

KNOWN = {transform for words in (IKE_WORDS, ESP_WORDS) for meaning in words.values() for transform in meaning}
DEFAULT_PRFS = "HMAC_SHA2_512+HMAC_SHA2_384+HMAC_SHA2_256"
DEFAULT_KES = "CURVE25519+ECP_256+ECP_384+ECP_521+MODP_4096+MODP_3072+MODP_2048"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aes_gcm256-sha2_512-dh19", "AES_GCM_16_256-HMAC_SHA2_512-ECP_256"),
        ("aes_gcm_c_256-sha2_512;dh19", "AES_GCM_16_256-HMAC_SHA2_512-ECP_256"),
        ("AES_GCM_16_128-SHA2_256-MODP2048", "AES_GCM_16_128-HMAC_SHA2_256-MODP_2048"),
        ("aes_gcm_8_256-sha2-dh14", "AES_GCM_8_256-HMAC_SHA2_256-MODP_2048"),
        ("aes128gcm16-prfsha256-x25519", "AES_GCM_16_128-HMAC_SHA2_256-CURVE25519"),
        ("aes256gcm128-prfsha384-ecp384", "AES_GCM_16_256-HMAC_SHA2_384-ECP_384"),
        ("chacha20poly1305-prfsha512-curve448", "CHACHA20_POLY1305-HMAC_SHA2_512-CURVE448"),
        ("aes256-sha2_256;modp2048", "AES_CBC_256-HMAC_SHA2_256-HMAC_SHA2_256_128-MODP_2048"),
        ("aes192-sha1-modp3072", "AES_CBC_192-HMAC_SHA1-HMAC_SHA1_96-MODP_3072"),
        ("aes256-sha2_256_128-prfsha384-ecp256", "AES_CBC_256-HMAC_SHA2_384-HMAC_SHA2_256_128-ECP_256"),
        ("aes256-sha256-prfsha384-ecp256", "AES_CBC_256-HMAC_SHA2_384-HMAC_SHA2_256_128-ECP_256"),
        ("hmac_sha2_512-dh20+dh21-aes_ctr", "AES_CTR_256+AES_CTR_128-HMAC_SHA2_512-HMAC_SHA2_512_256-ECP_384+ECP_521"),
        ("aes_gcm_c_256-null", f"AES_GCM_16_256-{DEFAULT_PRFS}-{DEFAULT_KES}"),
        ("aes_ccm_c_256-sha2_512-dh28", "AES_CCM_16_256-HMAC_SHA2_512-BRAINPOOL_P256"),
        ("aes128ccm8-prfaesxcbc-ecp384bp", "AES_CCM_8_128-AES128_XCBC-BRAINPOOL_P384"),
        ("aes_ccm_12_192-aes_cmac-ecp512bp", "AES_CCM_12_192-AES128_CMAC-BRAINPOOL_P512"),
        ("aes128-aes_xcbc-mlkem768", "AES_CBC_128-AES128_XCBC-AES_XCBC_96-ML_KEM_768"),
        ("aes256gcm16-prfsha1-x25519-ke1_mlkem768-ke2_none", "AES_GCM_16_256-HMAC_SHA1-CURVE25519-KE1_ML_KEM_768"),
        ("aes_gcm256-sha2_512;dh31;addke1=ml_kem_768+ml_kem_1024;addke7=dh21",
         "AES_GCM_16_256-HMAC_SHA2_512-CURVE25519-KE1_ML_KEM_768+KE1_ML_KEM_1024-KE7_ECP_521"),
        ("aes128+aes256+aes128-sha1;dh14", "AES_CBC_128+AES_CBC_256-HMAC_SHA1-HMAC_SHA1_96-MODP_2048"),
    ],
)  # fmt: skip
def test_ike_words(text: str, expected: str) -> None:
    (proposal,) = parse_ike(text)
    assert describe(proposal) == expected
    assert proposal.protocol == ProtocolId.IKE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aes_gcm256", "AES_GCM_16_256"),
        ("aes_gcm", "AES_GCM_16_256+AES_GCM_16_128"),
        ("aes_gcm_c_256-null", "AES_GCM_16_256"),
        ("aes_gcm_16_128-none", "AES_GCM_16_128"),
        ("aes256-sha2_512;dh19", "AES_CBC_256-HMAC_SHA2_512_256-ECP_256"),
        ("aes128", "AES_CBC_128-HMAC_SHA2_512_256+HMAC_SHA2_256_128"),
        ("null-sha2_256", "NULL-HMAC_SHA2_256_128"),
        ("aes128gcm16-x25519-esn", "AES_GCM_16_128-CURVE25519-ESN"),
        ("aes_gcm256;sn=yes", "AES_GCM_16_256-ESN"),
        ("aes128-aes_xcbc", "AES_CBC_128-AES_XCBC_96"),
        ("aes128-aes_cmac_96;dh31;addke1=ml_kem_768", "AES_CBC_128-AES_CMAC_96-CURVE25519-KE1_ML_KEM_768"),
    ],
)
def test_esp_words(text: str, expected: str) -> None:
    (proposal,) = parse_esp(text)
    assert describe(proposal) == expected
    assert proposal.protocol == ProtocolId.ESP
    assert proposal.of_type(TransformType.ESN)


def test_long_sequence_numbers_only_where_named() -> None:
    (plain,), (named,) = parse_esp("aes_gcm256"), parse_esp("aes_gcm256-esn")
    assert [transform.id for transform in plain.of_type(TransformType.ESN)] == [Esn.NO]
    assert [transform.id for transform in named.of_type(TransformType.ESN)] == [Esn.YES, Esn.NO]


def test_proposals_are_numbered_in_order() -> None:
    proposals = parse_ike("aes_gcm256-sha2_512-dh19, aes256-sha2_256;modp2048")
    assert [proposal.number for proposal in proposals] == [1, 2]
    assert [describe(proposal).split("-")[0] for proposal in proposals] == ["AES_GCM_16_256", "AES_CBC_256"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aes256-sha3", "unknown algorithm 'sha3' in 'aes256-sha3'; known are .*aes256.*modp2048"),
        ("aes256-sha1-", "unknown algorithm ''"),
        ("", "unknown algorithm ''"),
        ("aes256,,aes128", "unknown algorithm ''"),
        ("sha2_256-dh19", "no cipher in 'sha2_256-dh19'"),
        ("aes256+aes_gcm256", "put a comma between them"),
        ("aes256-none", "no integrity in 'aes256-none'"),
        ("aes256-ke1_mlkem768-ke3_mlkem768", "additional key exchanges of one method in 'aes256-ke1_mlkem768-ke3_"),
        ("null-sha1", "unknown algorithm 'null'"),
        ("aes256;addke1=ml_kem_512", "unknown algorithm 'addke1=ml_kem_512'"),
        ("aes256;addke8=ml_kem_768", "unknown algorithm 'addke8=ml_kem_768'"),
        ("aes256-ke1_", "unknown algorithm 'ke1_'"),
        ("3des-sha1-modp1024", "unknown algorithm '3des'"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_ike(text)


@pytest.mark.parametrize("text", ["aes_gcm256-prfsha256", "null-null", "null-none", "esn"])
def test_what_esp_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.rpartition("-")[2]):
        parse_esp(text)


def test_defaults_prefer_aeads_and_elliptic_curves() -> None:
    assert describe(DEFAULT_IKE[0]) == (
        f"AES_GCM_16_256+CHACHA20_POLY1305+AES_GCM_16_128-{DEFAULT_PRFS}-{DEFAULT_KES}-KE1_ML_KEM_768"
    )
    assert [describe(proposal) for proposal in DEFAULT_ESP] == [
        "AES_GCM_16_256+CHACHA20_POLY1305+AES_GCM_16_128",
        "AES_CBC_256+AES_CBC_128-HMAC_SHA2_512_256+HMAC_SHA2_256_128",
    ]


def test_whatever_can_be_written_is_implemented() -> None:
    for transform in KNOWN:
        match transform.type:
            case TransformType.ENCR:
                assert Encr(transform.id) in CIPHERS
            case TransformType.PRF:
                assert Prf(transform.id) in PRFS
            case TransformType.INTEG:
                assert transform.id == Integ.NONE or Integ(transform.id) in INTEGRITIES
            case TransformType.KE:
                assert supported(KeMethod(transform.id))


def test_what_rfc_8247_forbids_cannot_be_written() -> None:
    forbidden = {
        (TransformType.ENCR, Encr.DES),
        (TransformType.ENCR, Encr.DES_IV64),
        (TransformType.PRF, Prf.HMAC_MD5),
        (TransformType.INTEG, Integ.HMAC_MD5_96),
        (TransformType.INTEG, Integ.DES_MAC),
        (TransformType.INTEG, Integ.KPDK_MD5),
        (TransformType.KE, KeMethod.MODP_768),
        (TransformType.KE, KeMethod.MODP_1024_160),
    }
    assert not {(transform.type, transform.id) for transform in KNOWN} & forbidden


def test_defaults_offer_no_sha1() -> None:
    offered = {describe(proposal) for proposal in (*DEFAULT_IKE, *DEFAULT_ESP)}
    assert not any("SHA1" in proposal for proposal in offered)


def test_unknown_transforms_of_a_peer_can_be_described() -> None:
    transforms = (Transform(TransformType.ENCR, 999), Transform(TransformType(77), 3))
    assert describe(Proposal(ProtocolId.ESP, transforms)) == "UNKNOWN_999-UNKNOWN_77_3"


def test_what_says_that_there_is_none_is_not_described() -> None:
    cipher = Transform(TransformType.ENCR, Encr.AES_GCM_16, 256)
    none = Transform(TransformType.INTEG, Integ.NONE), Transform(TransformType.KE, KeMethod.NONE)
    assert describe(Proposal(ProtocolId.ESP, (cipher, *none))) == "AES_GCM_16_256"
