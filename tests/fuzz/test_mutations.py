"""Mutated messages: seeded, so that every run is the same, and short, so that it runs with all other tests.

`python -m tests.fuzz.test_mutations ROUNDS SEED` runs it for longer.
"""

import contextlib
import random
import sys
from ipaddress import ip_network

from ikeclone.crypto.cipher import IkeCipher, IntegrityError
from ikeclone.crypto.registry import DEFAULT_ESP, DEFAULT_IKE
from ikeclone.errors import PeerError
from ikeclone.numbers import (
    AuthMethod,
    CertEncoding,
    CfgType,
    Encr,
    ExchangeType,
    IdType,
    Integ,
    KeMethod,
    NotifyType,
    PayloadType,
    ProtocolId,
)
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.message import HEADER_SIZE, Header, build_message, parse_message, parse_payloads
from ikeclone.wire.payloads import (
    Auth,
    Certificate,
    CertRequest,
    CfgAttribute,
    Configuration,
    Delete,
    Eap,
    Encrypted,
    EncryptedFragment,
    IdI,
    IdR,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    Sa,
    TsI,
    TsR,
    VendorId,
)

ROUNDS = 10_000
INTERESTING = (0, 1, 2, 3, 4, 7, 8, 0x7F, 0x80, 0xFF)
SELECTORS = tuple(TrafficSelector.of(ip_network(net)) for net in ("192.0.1.0/24", "2001:db8::/32"))
MESSAGES: tuple[tuple[ExchangeType, list[Payload]], ...] = (
    (
        ExchangeType.IKE_SA_INIT,
        [Sa(DEFAULT_IKE), KeyExchange(KeMethod.CURVE25519, bytes(32)), Nonce(bytes(32)),
         Notify(NotifyType.NAT_DETECTION_SOURCE_IP, bytes(20)), VendorId(b"vendor")],
    ),
    (
        ExchangeType.IKE_AUTH,
        [IdI(IdType.FQDN, b"west"), IdR(IdType.FQDN, b"east"), Certificate(CertEncoding.X509_SIGNATURE, bytes(9)),
         CertRequest(CertEncoding.X509_SIGNATURE, bytes(20)), Auth(AuthMethod.SHARED_KEY, bytes(32)),
         Configuration(CfgType.REQUEST, (CfgAttribute(1), CfgAttribute(8, bytes(17)))), Sa(DEFAULT_ESP),
         TsI(SELECTORS), TsR(SELECTORS), Eap(bytes.fromhex("0102000501"))],
    ),
    (
        ExchangeType.INFORMATIONAL,
        [Delete(ProtocolId.ESP, (b"abcd", b"efgh")), Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"abcd")],
    ),
    (ExchangeType.IKE_AUTH, [Encrypted(PayloadType.IDI, bytes(60))]),
    (ExchangeType.IKE_AUTH, [EncryptedFragment(PayloadType.IDI, 1, 2, bytes(60))]),
)  # fmt: skip


def corpus() -> list[bytes]:
    return [
        build_message(Header(b"i" * 8, b"r" * 8, exchange, 1, initiator=True, response=False), payloads)
        for exchange, payloads in MESSAGES
    ]


def mutate(source: random.Random, data: bytes, other: bytes) -> bytes:
    """One to four small wounds; the header's length is then mended more often than not, to get past it."""
    octets = bytearray(data)
    for _ in range(source.randint(1, 4)):
        at, size = source.randrange(len(octets)), source.randint(1, 8)
        match source.randrange(5):
            case 0:
                octets[at] ^= 1 << source.randrange(8)
            case 1:
                octets[at] = source.choice(INTERESTING)
            case 2:
                del octets[max(at, 1) : at + size]
            case 3:
                octets[at:at] = octets[at : at + size]
            case 4:
                octets[at : at + size] = other[at : at + source.randint(0, 64)]
    if source.random() < 0.8 and len(octets) >= HEADER_SIZE:
        octets[24:28] = len(octets).to_bytes(4)
    return bytes(octets)


def fuzz(rounds: int, seed: int) -> tuple[int, int]:
    """How many mutated messages were taken and refused; every other outcome is an exception that gets out."""
    source, messages, taken = random.Random(seed), corpus(), 0
    for _ in range(rounds):
        data = mutate(source, source.choice(messages), source.choice(messages))
        with contextlib.suppress(PeerError):
            parse_message(data)
            taken += 1
        with contextlib.suppress(PeerError):
            parse_payloads(PayloadType(source.randrange(33, 54)), data[HEADER_SIZE:])
    return taken, rounds - taken


def test_mutated_messages_are_taken_or_refused() -> None:
    taken, refused = fuzz(ROUNDS, seed=7296)
    # Were one of them near zero, the mutations would be too gentle or too rough to find anything.
    assert min(taken, refused) > ROUNDS // 20


def test_mutated_ciphertexts_are_refused() -> None:
    source = random.Random(7296)
    for encryption, integrity, key in (
        (Encr.AES_GCM_16, Integ.NONE, bytes(36)),
        (Encr.CHACHA20_POLY1305, Integ.NONE, bytes(36)),
        (Encr.AES_CBC, Integ.HMAC_SHA2_256_128, bytes(32)),
    ):
        cipher = IkeCipher(encryption, 256, integrity, key, bytes(32) if integrity else b"")
        body = cipher.seal(bytes(100), b"header", bytes(cipher.iv_size))
        for _ in range(300):
            forged = mutate(source, body, source.randbytes(200))
            with contextlib.suppress(IntegrityError):
                assert cipher.open(forged, b"header") == bytes(100)
                assert forged == body


if __name__ == "__main__":
    print(*fuzz(int(sys.argv[1]), int(sys.argv[2])))  # noqa: T201
