"""Certificates: whom the sides believe, and whom they do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ikeclone.backend import Path
from ikeclone.connection import Authby, Identity, SendCert
from ikeclone.errors import LocalError
from ikeclone.ike.proofs import Proofs
from ikeclone.numbers import CertEncoding
from ikeclone.wire.message import Message, parse_message
from ikeclone.wire.payloads import Certificate, CertRequest, IdR
from tests.pair.certified import ROOT, Forger, Host, attempt, certified, is_up, issue, told
from tests.pair.network import EAST, NAME, SECRET, WEST, Network
from tests.pair.scenario import assert_nothing_left
from tests.unit.pki.authority import DAY, NOW, Holder, alternative, new_key, root
from tests.unit.pki.test_revocation import crl

KINDS = ["rsa", "p256", "p384", "p521", "ed25519", "ed448"]
OTHER = root("C=CA, O=Other, CN=Root")
MIDDLE = ROOT.authority("C=CA, O=Test, CN=Middle")


def requests(net: Network) -> tuple[Message, Message]:
    """IKE_AUTH of the west, and what the east answers."""
    net.hold()
    net.west.up()
    net.east.take()
    net.west.take()
    request = net.east.read()
    net.east.take()
    return request, net.west.read()


def refused(net: Network, by: str, why: str) -> None:
    """Either side initiates: one says why not, the other that it is refused, and nothing is left."""
    refusing = net.west if by == "west" else net.east
    for initiator in net.sides:
        attempt(net, initiator)
        assert why in told(refusing)
        assert any(word in told(net.peer(refusing)) for word in ("AUTHENTICATION_FAILED", "rejects our authentication"))
        assert_nothing_left(net)
        for side in net.sides:
            side.reports.clear()


@pytest.mark.parametrize("initiator", ["west", "east"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_in_both_roles(kind: str, initiator: str) -> None:
    net = certified(Host(issue("west", kind)))
    assert is_up(attempt(net, net.west if initiator == "west" else net.east))


@pytest.mark.parametrize("identity", ["C=CA, O=Test, CN=west", "192.1.2.45", "west@example.org", "@west"])
def test_a_certificate_may_be_for_several_identities(identity: str) -> None:
    names = x509.IPAddress(WEST), x509.RFC822Name("west@example.org"), x509.DNSName("west")
    holder = ROOT.issue("C=CA, O=Test, CN=west", alternative(*names))
    same: dict[str, object] = {"identity": Identity.parse(identity)}
    assert is_up(attempt(certified(Host(holder, shown=same, seen=same))))


def test_fromcert_takes_whoever_the_certificate_is_for() -> None:
    anyone: dict[str, object] = {"identity": None, "from_certificate": True}
    net = certified(Host(issue("west"), seen=anyone), Host(issue("east"), seen=anyone))
    for side in net.sides:
        assert is_up(attempt(net, side))
        side.down()
        net.run(2)
    assert [str(side.endpoint.tunnels[NAME].peer) for side in net.sides] == ["@east", "@west"]


def test_a_pattern_takes_several_subjects_and_asks_for_none_by_name() -> None:
    pattern = {"identity": Identity.parse("C=CA, O=Test, CN=*")}
    subject = {"identity": Identity.parse("C=CA, O=Test, CN=east")}
    net = certified(east=Host(issue("east"), shown=subject, seen=pattern))
    request, _ = requests(net)
    assert request.first(IdR) is None
    net.release()
    net.run(2)
    assert is_up(net)
    pattern = {"identity": Identity.parse("C=CA, O=Other, CN=*")}
    net = attempt(certified(east=Host(issue("east"), shown=subject, seen=pattern)))
    assert "the peer is C=CA, O=Test, CN=east, not C=CA, O=Other, CN=*" in told(net.west)


def test_an_authority_that_is_not_trusted() -> None:
    refused(certified(Host(issue("west", authority=OTHER))), "east", "no authority is known")


def test_an_authority_that_only_has_the_name_of_a_trusted_one() -> None:
    refused(certified(Host(issue("west", authority=root()))), "east", "is not signed by")


def test_an_authority_that_is_trusted_for_other_connections() -> None:
    host = Host(issue("west"), seen={"anchors": (OTHER.certificate,)})
    refused(certified(host), "east", "no authority is known")


@pytest.mark.parametrize("validity", [(NOW - 2 * DAY, NOW - DAY), (NOW + DAY, NOW + 2 * DAY)])
def test_a_certificate_out_of_its_time(validity: tuple[datetime, datetime]) -> None:
    holder = ROOT.issue("CN=west", alternative(x509.DNSName("west")), validity=validity)
    refused(certified(Host(holder)), "east", "is valid from")


def test_a_certificate_expires_while_the_daemon_runs() -> None:
    ends = NOW + timedelta(hours=2)
    holder = ROOT.issue("CN=west", alternative(x509.DNSName("west")), validity=(NOW - DAY, ends))
    net = certified(Host(holder))
    assert is_up(attempt(net))
    net.west.down()
    net.run(2 * 3600)
    refused(net, "east", "is valid from")


def test_a_certificate_of_somebody_else() -> None:
    refused(certified(Host(issue("north"))), "east", "is not one for @west")


def test_an_identity_that_no_connection_is_for() -> None:
    net = certified(Host(issue("north"), shown={"identity": Identity.parse("@north")}))
    attempt(net)
    assert "no connection from @north" in told(net.east)
    assert_nothing_left(net)


def test_a_revoked_certificate() -> None:
    bad = issue("west")
    refused(certified(Host(bad), Host(issue("east"), lists=(crl(ROOT, bad),))), "east", "was revoked")


def test_a_list_that_the_peer_sends_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = issue("west")
    own, revoked = Proofs.certificates, crl(ROOT, bad)
    sent = Certificate(CertEncoding.CRL, revoked.public_bytes(Encoding.DER))
    monkeypatch.setattr(Proofs, "certificates", lambda *arguments: (*own(*arguments), sent))
    net = attempt(certified(Host(bad)))
    assert "was revoked" in told(net.east)


def test_strict_wants_a_current_list() -> None:
    bad = issue("north")
    for lists, up in (((), False), ((crl(ROOT, bad, ends=NOW - DAY / 2),), False), ((crl(ROOT, bad),), True)):
        net = attempt(certified(east=Host(issue("east"), lists=lists, strict=True)))
        assert is_up(net) is up
        assert ("may have been revoked" in told(net.east)) is not up


def test_intermediates_are_sent() -> None:
    net = certified(Host(issue("west", authority=MIDDLE), chain=(MIDDLE.certificate,)))
    request, answer = requests(net)
    assert [len(message.all(Certificate)) for message in (request, answer)] == [2, 1]
    net.release()
    net.run(2)
    assert is_up(net)


def test_intermediates_that_the_other_side_knows_need_not_be_sent() -> None:
    east = Host(issue("east"), intermediates=(MIDDLE.certificate,))
    assert is_up(attempt(certified(Host(issue("west", authority=MIDDLE)), east)))


def test_missing_intermediates() -> None:
    refused(certified(Host(issue("west", authority=MIDDLE))), "east", "no authority is known")


def test_large_messages_are_fragmented() -> None:
    middle = ROOT.authority("C=CA, O=Test, CN=Middle", key=new_key("rsa"))
    west, east = (Host(issue(name, "rsa", middle), chain=(middle.certificate,)) for name in ("west", "east"))
    net = attempt(certified(west, east))
    assert is_up(net)
    assert len(net.seen) > 4
    assert max(len(datagram.data) for datagram in net.seen) <= 1228


def test_authorities_are_asked_for_in_both_directions() -> None:
    net = certified(east=Host(issue("east"), anchors=(ROOT.certificate, OTHER.certificate)))
    request, _ = requests(net)
    (asked,) = request.all(CertRequest)
    assert (asked.encoding, len(asked.data)) == (CertEncoding.X509_SIGNATURE, 20)
    init = parse_message(net.seen[1].data)
    (asked,) = init.all(CertRequest)
    assert len(asked.data) == 40


@pytest.mark.parametrize(
    ("when", "anchors", "sent"),
    [
        (SendCert.ALWAYS, (OTHER,), 1),
        (SendCert.IF_ASKED, (ROOT,), 1),
        (SendCert.IF_ASKED, (OTHER,), 0),
        (SendCert.NEVER, (ROOT,), 0),
    ],
)
def test_when_certificates_are_sent(when: SendCert, anchors: tuple[Holder, ...], sent: int) -> None:
    known = tuple(holder.certificate for holder in anchors)
    west, east = issue("west"), issue("east")
    net = certified(Host(west, shown={"send_certificate": when}), Host(east, anchors=known))
    request, _ = requests(net)
    assert len(request.all(Certificate)) == sent


def test_a_known_certificate_needs_no_authority_and_need_not_be_sent() -> None:
    west, east = issue("west", authority=OTHER), issue("east", authority=OTHER)
    never = {"send_certificate": SendCert.NEVER}
    net = certified(
        Host(west, shown=never, seen={"certificates": (west.certificate,)}, anchors=()),
        Host(east, shown=never, seen={"certificates": (east.certificate,)}, anchors=()),
    )
    assert is_up(attempt(net))
    another = issue("west", authority=ROOT)
    refused(certified(Host(another, seen={"certificates": (west.certificate,)})), "east", "no authority is known")


def test_no_certificate_at_all() -> None:
    refused(certified(Host(issue("west"), shown={"send_certificate": SendCert.NEVER})), "east", "sent no certificate")


def test_a_certificate_without_its_key() -> None:
    net = certified()
    net.east.credentials = replace(net.east.credentials, keys=())
    net.east.start()
    attempt(net)
    assert "no private key for @east" in told(net.east)
    assert_nothing_left(net)
    with pytest.raises(LocalError, match="no private key for @east"):
        net.east.up()


def test_a_signature_with_another_key() -> None:
    net = certified()
    net.west.credentials = Forger((SECRET,), (), net.west.credentials.store)
    net.west.start()
    refused(net, "east", "is wrong")


def test_a_certificate_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = Certificate(CertEncoding.X509_SIGNATURE, b"\x30\x03\x02\x01")
    monkeypatch.setattr(Proofs, "certificates", lambda *_: (garbage,))
    net = attempt(certified())
    assert "a certificate that cannot be read" in told(net.east)
    assert_nothing_left(net)


def test_a_responder_that_asks_in_an_unreadable_way(monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = CertRequest(CertEncoding.X509_SIGNATURE, b"short")
    monkeypatch.setattr(Proofs, "requests", lambda *_: (garbage,))
    net = attempt(certified(Host(issue("west"), shown={"send_certificate": SendCert.IF_ASKED})))
    assert "a request for certificates of 5 octets" in told(net.west)
    assert_nothing_left(net)


def test_of_two_connections_the_one_that_fits_the_way_of_the_peer() -> None:
    net = certified()
    plain = replace(net.east.conn, name="plain", remote=replace(net.east.conn.remote, auth=Authby(secret=True)))
    both, net.east.conn = net.east.conn, plain
    net.east.start()
    net.east.endpoint.add(both, net.now)
    assert is_up(attempt(net))
    assert net.east.endpoint.tunnels["plain"].ike is None


def test_private_keys_are_not_printed() -> None:
    net = certified()
    proofs = net.west.endpoint.tunnel(NAME).proofs(Path(WEST, EAST))
    for shown in (repr(net.west.credentials), repr(proofs), repr(proofs.prover(None))):
        assert "PrivateKey" not in shown
