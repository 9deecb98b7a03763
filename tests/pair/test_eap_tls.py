"""EAP-TLS in IKE_AUTH, and EAP alone, where it proves who both are (RFC 5216, RFC 5998)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from ikeclone.connection import Authby, Password
from ikeclone.crypto.signature import SignaturePolicy
from ikeclone.errors import LocalError
from ikeclone.ike.eap_auth import EapRound
from ikeclone.numbers import AuthMethod, EapType, ExchangeType, NotifyType
from ikeclone.pki.standing import Policy
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Auth, Certificate, Eap, IdR, Notify
from tests.pair.certified import ROOT, SIGNATURES, Host, attempt, is_up, issue, told
from tests.pair.network import EAST_END, NAME, WEST_END, Network
from tests.pair.scenario import assert_nothing_left
from tests.pair.test_revocation import LIST, der, pointing
from tests.unit.pki.authority import root
from tests.unit.pki.test_revocation import crl

TLS = Authby(eap=(EapType.TLS,))
EITHER = Authby(signatures=SignaturePolicy(), eap=(EapType.TLS,))
USER, GATEWAY = issue("west"), issue("east")


def network(
    west: Mapping[str, object] | None = None,
    east: Mapping[str, object] | None = None,
    user: Host | None = None,
    gateway: Host | None = None,
) -> Network:
    """West shows a certificate in EAP-TLS, east proves who it is as the options say: by a signature by default.

    The options are for the end east as each of the two sees it.
    """
    user, gateway = user or Host(USER), gateway or Host(GATEWAY)
    ours, theirs = replace(user.local(WEST_END), auth=TLS), replace(user.remote(WEST_END), auth=TLS)
    net = Network(
        west={"local": ours, "remote": replace(gateway.remote(EAST_END), **(west or {}))},  # type: ignore[arg-type]
        east={"local": replace(gateway.local(EAST_END), **(east or {})), "remote": theirs},  # type: ignore[arg-type]
    )
    for side, host in ((net.west, user), (net.east, gateway)):
        side.credentials = host.credentials()
        side.start()
    return net


def alone(user: Host | None = None, gateway: Host | None = None) -> Network:
    """EAP proves who both are."""
    return network({"auth": TLS}, {"auth": TLS}, user, gateway)


def answered(net: Network) -> Message:
    """The answer to the first IKE_AUTH request, which waits for west."""
    net.hold()
    net.west.up()
    for side in (net.east, net.west, net.east):
        side.take()
    return net.west.read()


@pytest.mark.parametrize("make", [network, alone])
def test_a_certificate_in_eap(make: Callable[..., Network]) -> None:
    net = make()
    assert is_up(attempt(net))
    assert [str(side.endpoint.tunnels[NAME].peer) for side in (net.west, net.east)] == ["@east", "@west"]
    assert net.west.packet(0)


def test_the_responder_proves_itself_by_a_signature_unless_it_is_asked_not_to() -> None:
    first = answered(network())
    assert first.require(Auth).method is AuthMethod.DIGITAL_SIGNATURE
    assert first.first(Certificate) is not None
    first = answered(alone())
    assert (first.first(Auth), first.first(Certificate)) == (None, None)
    assert first.require(IdR).data == b"east"
    assert first.require(Eap).data


def test_only_who_takes_eap_alone_says_so() -> None:
    for net, said in ((network(), False), (alone(), True)):
        net.hold()
        net.west.up()
        net.east.take()
        net.west.take()
        request = net.east.read()
        assert (request.notify(NotifyType.EAP_ONLY_AUTHENTICATION) is not None) is said
        assert request.first(Auth) is None


@pytest.mark.parametrize(("west", "signs"), [(TLS, False), (SIGNATURES, True), (EITHER, False)])
def test_a_responder_that_may_do_either_does_what_it_is_asked_for(west: Authby, signs: bool) -> None:
    net = network({"auth": west}, {"auth": EITHER})
    assert (answered(net).first(Auth) is not None) is signs
    net.release()
    net.run(2)
    assert is_up(net)


def test_an_initiator_that_may_take_either_takes_a_signature() -> None:
    assert is_up(attempt(network({"auth": EITHER}, {"auth": SIGNATURES})))


def test_eap_alone_that_nobody_asks_for() -> None:
    net = attempt(network({"auth": SIGNATURES}, {"auth": TLS}))
    assert "proves itself with EAP alone, and the peer does not ask for that" in told(net.east)
    assert_nothing_left(net)


def test_no_proof_where_a_signature_is_wanted() -> None:
    """A responder that leaves its proof to EAP without being asked is not believed."""
    net = network({"auth": SIGNATURES}, {"auth": TLS})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ikeclone.ike.auth.eap_alone", lambda connection, request: True)
        attempt(net)
    assert "0 Auth payloads in IKE_AUTH" in told(net.west)
    assert not net.west.children


STRANGER = root("C=CA, O=Elsewhere, CN=Root")


@pytest.mark.parametrize("make", [network, alone])
def test_a_user_of_another_authority_is_not_let_in(make: Callable[..., Network]) -> None:
    net = attempt(make(user=Host(issue("west", authority=STRANGER))))
    assert "EAP Failure" in told(net.east)
    assert_nothing_left(net)


@pytest.mark.parametrize("make", [network, alone])
def test_a_user_whose_certificate_is_for_another_name_is_not_let_in(make: Callable[..., Network]) -> None:
    net = attempt(make(user=Host(issue("north"))))
    assert "is not one for @west" in told(net.east)
    assert_nothing_left(net)


@pytest.mark.parametrize("holder", [issue("east", authority=STRANGER), issue("north")])
def test_a_gateway_that_is_another_one_is_not_believed(holder: object) -> None:
    net = attempt(alone(gateway=Host(holder)))  # type: ignore[arg-type]
    assert not net.west.children
    net.run(60)
    assert_nothing_left(net)


def test_revoked_certificates_are_not_taken() -> None:
    gateway = Host(GATEWAY, lists=(crl(ROOT, USER),))
    net = attempt(network(gateway=gateway))
    assert "revoked" in told(net.east)
    assert_nothing_left(net)


@pytest.mark.parametrize("asking", ["west", "east"])
def test_what_a_certificate_depends_on_is_fetched_after_tls(asking: str) -> None:
    """The side that asks has the other wait for the end of its list's journey, and does not take who is on it."""
    papers = {"user": pointing("west"), "gateway": pointing("east")}
    ours, theirs = ("user", "gateway") if asking == "west" else ("gateway", "user")
    for gone in (False, True):
        host = Host(papers[ours], revocation=Policy(crl_interval=3600))
        net = alone(**{ours: host, theirs: Host(papers[theirs])})
        side = getattr(net, asking)
        side.web = {LIST: der(crl(ROOT, papers[theirs]) if gone else crl(ROOT))}
        net.west.up()
        net.run(5)
        assert is_up(net) is not gone
        assert ("was revoked" in told(side)) is gone


def test_loss_and_repetition() -> None:
    for seed in range(4):
        net = alone()
        net.link.loss, net.link.repeat = 0.2, 0.2
        net.random.seed(seed)
        net.west.up()
        net.run(60)
        net.link.loss = 0
        net.run(120)
        assert is_up(net)


def test_another_key_than_that_of_eap_proves_nothing() -> None:
    """The proof fails without a word about preshared keys, of which there are none."""
    net = network().hold()
    net.west.up()
    net.east.take()
    net.west.take()
    respond = EapRound.request

    def forge(self: EapRound, now: float) -> object:
        payloads = respond(self, now)
        return tuple(Auth(each.method, bytes(32)) if isinstance(each, Auth) else each for each in payloads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EapRound, "request", forge)
        net.release()
        net.run(2)
    assert "the peer's proof is wrong: it is not made with the key of EAP" in told(net.east)
    assert "preshared" not in told(net.east)
    assert_nothing_left(net)


def test_the_initiator_tells_that_it_does_not_believe_a_signature() -> None:
    """In the middle of EAP, by INFORMATIONAL, which ends the IKE SA on both sides (RFC 7296 section 2.21.2)."""
    net = attempt(network(gateway=Host(issue("east", authority=STRANGER))))
    assert "the peer rejects our authentication" in told(net.east)
    assert "INVALID_SYNTAX" not in told(net.east)
    assert_nothing_left(net)


def test_other_informational_requests_have_no_place_before_the_end_of_eap() -> None:
    net = network()
    answered(net)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EapRound, "type", ExchangeType.INFORMATIONAL)
        patch.setattr(EapRound, "request", lambda self, now: ())
        net.west.take()
        net.east.take()
    assert [notify.type for notify in net.west.read().all(Notify)] == [NotifyType.INVALID_SYNTAX]


def test_a_gateway_may_offer_both_methods() -> None:
    """Users choose: it starts with the first, and takes the other for who does not have that."""
    net = network()
    conn = net.east.conn
    both = Authby(eap=(EapType.MSCHAPV2, EapType.TLS))
    net.east.conn = replace(conn, remote=replace(conn.remote, auth=both))
    net.east.credentials = replace(net.east.credentials, passwords=(Password("alice", "secret"),))
    net.east.start()
    assert is_up(attempt(net))
    assert str(net.east.endpoint.tunnels[NAME].peer) == "@west"


def test_without_a_certificate_of_ours_it_is_not_even_tried() -> None:
    net = network()
    conn = net.west.conn
    net.west.conn = replace(conn, local=replace(conn.local, certificates=()))
    net.west.start()
    with pytest.raises(LocalError, match="names no certificate of @west, which EAP-TLS needs"):
        net.west.up()


def test_a_gateway_without_a_certificate_says_so() -> None:
    net = attempt(network({"auth": TLS}, {"auth": TLS, "certificates": ()}))
    assert "names no certificate of @east, which EAP-TLS needs" in told(net.east)
    assert "AUTHENTICATION_FAILED" in told(net.west)
    assert_nothing_left(net)
