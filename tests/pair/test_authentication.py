"""The ways to authenticate: which one is taken, each side in its own way, and what is not accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ikeclone.connection import Authby, Identity
from ikeclone.credentials import Credentials
from ikeclone.crypto.keys import IkeKeys
from ikeclone.crypto.schemes import Kind
from ikeclone.crypto.signature import SignaturePolicy
from ikeclone.ike import auth as ike_auth
from ikeclone.ike import init, opening
from ikeclone.ike.authentication import Covered, SharedKey
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import AuthMethod, HashAlgorithm, IdType, NotifyType, Prf
from ikeclone.wire.message import Message, parse_message
from ikeclone.wire.payloads import Auth, Certificate, CertRequest, IdI, IdR
from tests.pair.certified import SIGNATURES, Host, attempt, certified, is_up, issue, told
from tests.pair.network import NAME, SECRET, Network
from tests.pair.scenario import assert_nothing_left
from tests.unit.pki.authority import Holder, new_key

PSK, NULL = Authby(secret=True), Authby(null=True)
EDDSA = Authby(signatures=SignaturePolicy((HashAlgorithm.IDENTITY,), (Kind.ED25519, Kind.ED448)))
PKCS1 = SignaturePolicy((HashAlgorithm.SHA2_256,), (Kind.RSA_PKCS1,))


def both(west: Holder, **same: object) -> Host:
    """A host that sees itself as the other side sees it."""
    return Host(west, shown=same, seen=same)


def messages(net: Network) -> tuple[Message, Message]:
    """IKE_AUTH of the west, and what the east answers; then the network is as before."""
    net.hold()
    net.west.up()
    net.east.take()
    net.west.take()
    request = net.east.read()
    net.east.take()
    answer = net.west.read()
    net.release()
    net.run(2)
    return request, answer


def methods(net: Network) -> tuple[AuthMethod, AuthMethod]:
    request, answer = messages(net)
    assert is_up(net)
    return request.require(Auth).method, answer.require(Auth).method


def test_each_side_in_its_own_way() -> None:
    net = certified(both(issue("west"), auth=PSK), Host(issue("east", "rsa")))
    assert methods(net) == (AuthMethod.SHARED_KEY, AuthMethod.DIGITAL_SIGNATURE)


def test_a_signature_before_a_preshared_key_where_both_may_be() -> None:
    either = replace(SIGNATURES, secret=True)
    assert methods(certified(both(issue("west"), auth=either)))[0] is AuthMethod.DIGITAL_SIGNATURE
    without = Host(issue("west"), shown={"auth": either, "certificates": ()}, seen={"auth": either})
    assert methods(certified(without))[0] is AuthMethod.SHARED_KEY


def test_preshared_keys_announce_no_hashes_and_ask_for_no_certificates() -> None:
    net = Network().established()
    for sent in net.seen[:2]:
        message = parse_message(sent.data)
        assert message.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS) is None
        assert message.first(CertRequest) is None


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("rsa", AuthMethod.RSA_SIGNATURE),
        ("p256", AuthMethod.ECDSA_256),
        ("p384", AuthMethod.ECDSA_384),
        ("p521", AuthMethod.ECDSA_521),
    ],
)
def test_the_older_methods_for_a_peer_that_announces_no_hashes(
    monkeypatch: pytest.MonkeyPatch, kind: str, method: AuthMethod
) -> None:
    monkeypatch.setattr(init, "_hashes", lambda tunnels: ())
    net = certified(Host(issue("west", kind)), Host(issue("east", kind)))
    assert methods(net) == (method, method)


@pytest.mark.parametrize("initiator", ["west", "east"])
def test_a_key_for_which_there_is_no_older_method(monkeypatch: pytest.MonkeyPatch, initiator: str) -> None:
    monkeypatch.setattr(init, "_hashes", lambda tunnels: ())
    net = certified(Host(issue("west", "ed25519")))
    attempt(net, net.west if initiator == "west" else net.east)
    assert "the peer verifies no signature that our key may make" in told(net.west)
    assert_nothing_left(net)


def test_unknown_hashes_are_no_hashes() -> None:
    odd = Authby(signatures=SignaturePolicy((HashAlgorithm(99),)))
    net = attempt(certified(Host(issue("west")), Host(issue("east", "ed25519"), seen={"auth": odd})))
    assert "no signature that our key may make" in told(net.east)
    assert_nothing_left(net)


def test_half_a_hash_is_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "announce_hashes", lambda policy: b"\x00\x02\x00")
    net = attempt(certified())
    assert net.east.endpoint.counters["ike_sa_init refused: invalid_syntax"]
    assert "half a hash algorithm" in told(net.east)
    net.west.down()
    assert_nothing_left(net)


def test_the_policy_of_the_other_side_decides_which_signature() -> None:
    policy = Authby(signatures=PKCS1)
    net = certified(Host(issue("west", "rsa"), seen={"auth": policy}))
    request, _ = messages(net)
    assert not is_up(net)
    assert "RSASSA-PSS" in told(net.east)
    request, _ = messages(certified(both(issue("west", "rsa"), auth=policy)))
    data = request.require(Auth).data
    assert bytes.fromhex("2a864886f70d01010b") in data[: 1 + data[0]]


@pytest.mark.parametrize(
    ("shown", "seen", "why"),
    [
        (PSK, SIGNATURES, "the peer authenticates with SHARED_KEY, not a signature"),
        (SIGNATURES, PSK, "the peer authenticates with ECDSA_256, not a preshared key"),
        (NULL, PSK, "the peer authenticates with NULL, not a preshared key"),
        (SIGNATURES, EDDSA, "the peer signs with ECDSA with SHA2_256, which is not allowed"),
    ],
)
def test_a_way_that_is_not_allowed(shown: Authby, seen: Authby, why: str) -> None:
    for initiator in (0, 1):
        net = certified(Host(issue("west"), shown={"auth": shown}, seen={"auth": seen}))
        attempt(net, net.sides[initiator])
        assert why in told(net.east) + told(net.west)
        assert_nothing_left(net)


@pytest.mark.parametrize("kind", ["rsa", "p384", "ed25519"])
def test_keys_without_certificates(kind: str) -> None:
    west, east = issue("west", kind), issue("east", kind)
    net = certified(
        both(west, public_key=west.key.public_key(), certificates=()),
        both(east, public_key=east.key.public_key(), certificates=()),
    )
    request, answer = messages(net)
    assert is_up(net)
    for message in (request, answer):
        assert message.first(Certificate) is None
        assert message.first(CertRequest) is None


def test_a_key_that_is_not_the_known_one() -> None:
    other = new_key().public_key()
    net = attempt(certified(Host(issue("west"), seen={"public_key": other})))
    assert "is wrong" in told(net.east)
    assert_nothing_left(net)


def test_nobody() -> None:
    """An initiator without a name at a host that has one (RFC 7619 section 2)."""
    nobody: Mapping[str, object] = {"auth": NULL, "identity": None, "certificates": ()}
    net = certified(Host(issue("west"), shown=nobody, seen={**nobody, "from_certificate": True}))
    request, answer = messages(net)
    assert is_up(net)
    assert request.require(IdI) == IdI(IdType.NULL, b"")
    assert request.require(Auth).method is AuthMethod.NULL
    assert request.notify(NotifyType.INITIAL_CONTACT) is None
    assert str(net.east.endpoint.tunnel(NAME).peer) == "%null"
    assert answer.require(Auth).method is AuthMethod.DIGITAL_SIGNATURE


def test_nobody_but_the_one_who_sent_the_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_another(sa: IkeSa, record: opening.InitRecord, identity: IdI, keys: IkeKeys) -> Covered:
        return Covered(sa.suite.prf, b"another", record.nonce_r, keys.sk_pi if sa.initiator else b"", identity.build())

    nobody: Mapping[str, object] = {"auth": NULL, "identity": None, "certificates": ()}
    monkeypatch.setattr(ike_auth, "_initiator", of_another)
    net = attempt(certified(Host(issue("west"), shown=nobody, seen={**nobody, "from_certificate": True})))
    assert "is not the one that sent IKE_SA_INIT" in told(net.east)
    assert_nothing_left(net)


def test_nobody_is_nobody_only_without_authentication() -> None:
    """A peer that has the preshared key of others must still say who it is."""
    nameless: Mapping[str, object] = {"auth": PSK, "identity": Identity(IdType.NULL, b"")}
    net = certified(Host(issue("west"), shown=nameless, seen={"auth": replace(PSK, null=True)}))
    for side in net.sides:
        side.credentials = Credentials((replace(SECRET, identities=()),))
        side.start()
    attempt(net)
    assert "not @west" in told(net.east)
    assert_nothing_left(net)


def test_the_connection_says_that_it_has_nothing_to_prove_itself_with() -> None:
    net = certified(Host(issue("west"), shown={"certificates": ()}))
    attempt(net, net.east)
    assert f"{NAME} names no certificate or key of @west" in told(net.west)
    assert_nothing_left(net)


def test_the_initiator_asks_for_the_one_it_wants() -> None:
    request, answer = messages(certified())
    assert request.require(IdR) == answer.require(IdR) == IdR(IdType.FQDN, b"east")


def test_keys_are_not_printed() -> None:
    covered = Covered(Prf.HMAC_SHA2_256, b"message", b"nonce", b"sk_p of this side", b"identity")
    for shown in (repr(SharedKey(b"a secret")), repr(covered)):
        assert "secret" not in shown
        assert "sk_p of" not in shown
