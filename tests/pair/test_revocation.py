"""Peers whose certificates are asked about on the network: authentication waits for the answer, but not for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as wire

from ikeclone.ike.proofs import Proofs
from ikeclone.ike.state import State
from ikeclone.numbers import CertEncoding
from ikeclone.pki.standing import Policy
from ikeclone.pki.store import Store
from ikeclone.wire.payloads import Certificate
from tests.pair.certified import ROOT, Forger, Host, attempt, certified, is_up, told
from tests.pair.network import Network
from tests.unit.pki.authority import Holder, alternative, points, responders
from tests.unit.pki.test_revocation import answer, crl

LIST, RESPONDER = "http://pki.example/root.crl", "http://pki.example/ocsp"
LISTS = Policy(crl_interval=3600)
OCSP = Policy(ocsp=True)
GOOD, REVOKED = wire.OCSPCertStatus.GOOD, wire.OCSPCertStatus.REVOKED


def pointing(name: str) -> Holder:
    """A certificate that says where to ask about it."""
    names = alternative(x509.DNSName(name))
    return ROOT.issue(f"C=CA, O=Test, CN={name}", names, points(LIST), responders(RESPONDER))


WEST, EAST = pointing("west"), pointing("east")


def der(found: object) -> bytes:
    octets: bytes = found.public_bytes(Encoding.DER)  # type: ignore[attr-defined]
    return octets


def responder(policy: Policy, web: dict[str, bytes | None]) -> Network:
    """East, which answers, asks about west's certificate."""
    net = certified(Host(WEST), Host(EAST, revocation=policy))
    net.east.web = web
    return net


def initiator(policy: Policy, web: dict[str, bytes | None]) -> Network:
    """West, which asks for the IKE SA, asks about east's certificate."""
    net = certified(Host(WEST, revocation=policy), Host(EAST))
    net.west.web = web
    return net


@pytest.mark.parametrize(
    ("policy", "good", "bad"),
    [
        (LISTS, {LIST: der(crl(ROOT))}, {LIST: der(crl(ROOT, WEST, EAST))}),
        (OCSP, {RESPONDER: der(answer(WEST, ROOT))}, {RESPONDER: der(answer(WEST, ROOT, REVOKED))}),
    ],
)
def test_a_responder_waits_for_the_answer(
    policy: Policy, good: dict[str, bytes | None], bad: dict[str, bytes | None]
) -> None:
    net = responder(policy, good)
    net.west.up()
    net.run(0.2)
    assert not net.east.children
    net.run(1)
    assert is_up(net)
    net = attempt(responder(policy, bad))
    assert "was revoked" in told(net.east)
    assert not list(net.west.endpoint.ike_sas())


@pytest.mark.parametrize(
    ("policy", "good", "bad"),
    [
        (LISTS, {LIST: der(crl(ROOT))}, {LIST: der(crl(ROOT, WEST, EAST))}),
        (OCSP, {RESPONDER: der(answer(EAST, ROOT))}, {RESPONDER: der(answer(EAST, ROOT, REVOKED))}),
    ],
)
def test_an_initiator_waits_for_the_answer(
    policy: Policy, good: dict[str, bytes | None], bad: dict[str, bytes | None]
) -> None:
    assert is_up(attempt(initiator(policy, good)))
    net = attempt(initiator(policy, bad))
    assert "was revoked" in told(net.west)
    net.run(60)
    assert [list(side.endpoint.ike_sas()) for side in net.sides] == [[], []]


@pytest.mark.parametrize("web", [{}, {LIST: None, RESPONDER: None}, {LIST: b"forged", RESPONDER: b"forged"}])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("policy", [LISTS, OCSP])
def test_when_no_answer_is_to_be_had_strictness_decides(
    policy: Policy, strict: bool, web: dict[str, bytes | None]
) -> None:
    for make in (responder, initiator):
        net = make(replace(policy, crl_strict=strict, ocsp_strict=strict), web)
        net.west.up()
        net.run(8)
        assert is_up(net) is not strict
        net.run(60)
        assert is_up(net) is not strict


def test_repeated_requests_do_not_disturb_the_wait() -> None:
    net = responder(replace(LISTS, crl_timeout=20), {LIST: der(crl(ROOT))})
    net.east.web_delay = 12
    net.west.up()
    net.run(10)
    assert not net.east.children
    assert net.east.endpoint.counters["request outside the window"] >= 3
    net.run(5)
    assert is_up(net)
    assert len(net.east.fetched) == 1


def test_an_initiator_that_gives_up_leaves_nothing() -> None:
    net = responder(replace(LISTS, crl_timeout=40), {LIST: der(crl(ROOT))})
    net.east.web_delay = 35
    net.west.up()
    net.run(33)
    assert not net.east.children
    net.run(300)
    assert all(sa.state is not State.HALF_OPEN for sa in net.east.endpoint.ike_sas())
    net.assert_consistent()


def test_what_was_fetched_serves_the_next_time() -> None:
    net = attempt(responder(OCSP, {RESPONDER: der(answer(WEST, ROOT))}))
    net.west.down()
    net.run(5)
    attempt(net)
    assert is_up(net)
    assert len(net.east.fetched) == 1


def test_lists_are_fetched_in_advance_and_again_in_time() -> None:
    net = responder(LISTS, {LIST: der(crl(ROOT))})
    net.run(1)
    assert [order.url for order in net.east.fetched] == [LIST]
    attempt(net)
    assert is_up(net)
    net.run(3600)
    assert [order.url for order in net.east.fetched] == [LIST, LIST]


@pytest.mark.parametrize("revoked", [False, True])
def test_each_certificate_of_a_chain_is_asked_about(revoked: bool) -> None:
    """The list of the authority between arrives first, and is not enough."""
    second = "http://pki.example/middle.crl"
    middle = ROOT.authority("C=CA, O=Test, CN=middle", points(LIST))
    user = middle.issue("C=CA, O=Test, CN=west", alternative(x509.DNSName("west")), points(second))
    net = certified(Host(user, chain=(middle.certificate,)), Host(EAST, revocation=LISTS))
    net.east.web = {LIST: der(crl(ROOT)), second: der(crl(middle, *([user] if revoked else [])))}
    attempt(net)
    assert {order.query.address for order in net.east.fetched} == {LIST, second}
    assert is_up(net) is not revoked
    assert ("was revoked" in told(net.east)) is revoked


def test_a_forger_makes_us_ask_nobody() -> None:
    """Only who has the key of a certificate makes us ask about it."""
    net = responder(OCSP, {RESPONDER: der(answer(WEST, ROOT))})
    net.west.credentials = Forger(store=Store((ROOT.certificate,)))
    net.west.start()
    attempt(net)
    assert "signature" in told(net.east)
    assert net.east.fetched == []


def test_an_answer_that_the_peer_sends_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Proofs.certificates
    sent = Certificate(CertEncoding.OCSP_CONTENT, der(answer(WEST, ROOT, REVOKED)))
    monkeypatch.setattr(Proofs, "certificates", lambda *arguments: (*own(*arguments), sent))
    assert "was revoked" in told(attempt(certified(Host(WEST), Host(EAST))).east)
