"""EAP-TLS in both versions: fragments, the key, and all that may go wrong (RFC 5216, RFC 9190)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from OpenSSL import SSL

from ikeclone.eap import tls
from ikeclone.eap.packet import Packet
from ikeclone.eap.peer import EapPeer
from ikeclone.eap.server import EapServer, Failure, Success
from ikeclone.eap.tls import Chain, Papers, TlsPeer, TlsServer
from ikeclone.eap.tls_fragments import ACKNOWLEDGMENT, FRAGMENT_SIZE, MOST_OCTETS, Fragments
from ikeclone.errors import AuthenticationFailed, InvalidSyntax
from ikeclone.numbers import EapCode, EapType
from tests.unit.pki.authority import new_key, root

ROOT = root()
USER, GATEWAY = (ROOT.issue(f"C=CA, O=Test, CN={name}", key=new_key("p256")) for name in ("user", "gateway"))
VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both sides have this version of TLS only."""
    context = tls._context

    def limited(papers: Papers) -> SSL.Context:
        made = context(papers)
        made.set_min_proto_version(VERSIONS[request.param])
        made.set_max_proto_version(VERSIONS[request.param])
        return made

    monkeypatch.setattr(tls, "_context", limited)
    return str(request.param)


class Sides:
    """A server and a peer, and what they have shown each other."""

    def __init__(
        self,
        peer_check: Callable[[Chain], None] = lambda chain: None,
        server_check: Callable[[Chain], None] = lambda chain: None,
        more: Chain = (),
    ) -> None:
        self.peer_method = TlsPeer(Papers((USER.certificate, *more), USER.key, peer_check))
        self.server_method = TlsServer(Papers((GATEWAY.certificate, *more), GATEWAY.key, server_check))
        self.peer, self.server = EapPeer(b"user", (self.peer_method,)), EapServer((self.server_method,), 1)
        self.packets: list[bytes] = []

    def run(self) -> Success | Failure:
        asked = self.server.start()
        while True:
            answer = self.peer.respond(asked)
            assert answer is not None
            following = self.server.receive(answer)
            if isinstance(following, Success | Failure):
                return following
            self.packets += [answer, following]
            asked = following


def refuse(chain: Chain) -> None:
    raise AuthenticationFailed("these are not the right ones")


def test_both_have_the_same_key_and_have_seen_each_others_certificates(version: str) -> None:
    seen: list[Chain] = []
    sides = Sides(seen.append, seen.append)
    success = sides.run()
    assert isinstance(success, Success)
    assert sides.peer.respond(success.packet) is None
    assert len(success.msk) == 64
    assert success.msk == sides.peer.msk
    assert (success.method, success.user) == (EapType.TLS, b"")
    assert sorted(chain[0] == GATEWAY.certificate for chain in seen) == [False, True]
    assert sides.server_method._tls._connection.get_protocol_version_name() == f"TLSv{version}"


def test_certificates_of_any_length_come_in_fragments(version: str) -> None:
    sides = Sides(more=(ROOT.certificate,) * 8)
    assert isinstance(sides.run(), Success)
    assert max(map(len, sides.packets)) <= FRAGMENT_SIZE + 10
    data = [Packet.parse(packet).data for packet in sides.packets if Packet.parse(packet).type is EapType.TLS]
    first = [part for part in data if part[0] == 0xC0]
    assert len(first) >= 2
    assert all(int.from_bytes(part[1:5]) > FRAGMENT_SIZE for part in first)
    assert sum(part == ACKNOWLEDGMENT for part in data) >= 4


def test_a_server_that_is_not_believed_does_not_get_our_key(version: str) -> None:
    sides = Sides(peer_check=refuse)
    with pytest.raises(AuthenticationFailed, match="not the right ones"):
        sides.run()
    assert sides.peer.msk is None


def test_a_peer_that_is_not_believed_is_not_let_in(version: str) -> None:
    sides = Sides(server_check=refuse)
    failure = sides.run()
    assert isinstance(failure, Failure)
    assert failure.reason == "these are not the right ones"
    assert sides.server_method.msk is None


def test_in_tls_1_3_the_server_has_to_say_that_it_is_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9190 section 2.1.1: EAP-Success alone is not believed."""
    monkeypatch.setattr("ikeclone.eap.tls._Tls.commit", lambda self: None)
    sides = Sides()
    success = sides.run()
    assert isinstance(success, Success)
    with pytest.raises(AuthenticationFailed, match="without having proven itself"):
        sides.peer.respond(success.packet)


def test_versions_without_anything_in_common_end_with_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    context = tls._context
    most = iter(VERSIONS.values())

    def limited(papers: Papers) -> SSL.Context:
        made, only = context(papers), next(most)
        made.set_min_proto_version(only)
        made.set_max_proto_version(only)
        return made

    monkeypatch.setattr(tls, "_context", limited)
    sides = Sides()
    failure = sides.run()
    assert isinstance(failure, Failure)
    assert "EAP-TLS has failed" in failure.reason
    with pytest.raises(AuthenticationFailed, match=r"EAP-TLS has failed: .*version"):
        sides.peer.respond(failure.packet)


def test_a_peer_without_a_certificate_is_not_let_in(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = Sides()
    whole = tls._context

    def bare(papers: Papers) -> SSL.Context:
        whole(papers)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(VERSIONS[version])
        return context

    monkeypatch.setattr(tls, "_context", bare)
    failure = sides.run()
    assert isinstance(failure, Failure)
    assert "certificate" in failure.reason


def test_what_is_no_tls_ends_it(version: str) -> None:
    sides = Sides()
    asked = sides.server.start()
    asked = sides.server.receive(sides.peer.respond(asked) or b"")  # type: ignore[assignment]
    start = Packet.parse(asked)
    answer = start.answer(EapType.TLS, b"\0GET / HTTP/1.1\r\n\r\n").build()
    following = sides.server.receive(answer)
    while not isinstance(following, Failure):
        assert isinstance(following, bytes)
        following = sides.server.receive(Packet.parse(following).answer(EapType.TLS, ACKNOWLEDGMENT).build())
    assert "EAP-TLS has failed" in following.reason


def test_an_acknowledgment_out_of_turn() -> None:
    sides = Sides()
    asked = sides.server.receive(sides.peer.respond(sides.server.start()) or b"")
    assert isinstance(asked, bytes)
    with pytest.raises(InvalidSyntax, match="out of turn"):
        sides.server.receive(Packet.parse(asked).answer(EapType.TLS, ACKNOWLEDGMENT).build())


def test_data_while_ours_is_on_its_way() -> None:
    peer = TlsPeer(Papers((USER.certificate,), USER.key, refuse))
    peer._fragments.put(bytes(2 * FRAGMENT_SIZE))
    peer._fragments.take()
    with pytest.raises(InvalidSyntax, match="before all of ours was taken"):
        peer.respond(b"\0data")
    server = TlsServer(Papers((USER.certificate,), USER.key, refuse))
    server._fragments.put(b"data")
    with pytest.raises(InvalidSyntax, match="before all of ours was taken"):
        server.proceed(b"\0data")


def test_fragments_are_put_together() -> None:
    sender, receiver = Fragments(), Fragments()
    flight = bytes(range(256)) * 13
    sender.put(flight)
    packets = []
    while sender.waiting:
        packets.append(sender.take())
    assert [len(packet) for packet in packets] == [1024 + 5, 1024 + 1, 1024 + 1, 256 + 1]
    assert [receiver.receive(packet) for packet in packets] == [None, None, None, flight]
    assert sender.take() == ACKNOWLEDGMENT
    assert receiver.receive(ACKNOWLEDGMENT) == b""


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\0\0", b"\x40", b"\xc0\0\0\0\5", b"\xc0" + (MOST_OCTETS + 1).to_bytes(4) + b"x"],
)
def test_fragments_out_of_shape(data: bytes) -> None:
    with pytest.raises(InvalidSyntax):
        Fragments().receive(data)


def test_fragments_without_end() -> None:
    fragments = Fragments()
    for _ in range(MOST_OCTETS // 1024):
        assert fragments.receive(b"\x40" + bytes(1024)) is None
    with pytest.raises(InvalidSyntax, match="octets of TLS at a time"):
        fragments.receive(b"\x40" + bytes(1024))


def test_the_first_request_is_the_start() -> None:
    sides = Sides()
    asked = sides.server.receive(sides.peer.respond(sides.server.start()) or b"")
    assert isinstance(asked, bytes)
    assert Packet.parse(asked) == Packet(EapCode.REQUEST, 3, EapType.TLS, b"\x20")
