"""MOBIKE: an IKE SA and its Child SAs keep up when an end gets other addresses (RFC 4555).

The end that initiated the first IKE SA decides which pair of addresses is used. Its peer only tells what it has, and
sends nothing but IKE to a new address before that has returned a cookie.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from ikeclone.backend import Path
from ikeclone.connection import Timing
from ikeclone.ike import nat
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.keepalive import keep_alive
from ikeclone.ike.probes import Probe, ReturnRoutability, Tell, UpdateAddresses
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import NotifyType
from ikeclone.selectors import IPAddress
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Notify

MAX_ADDRESSES = 16  # of a peer's that are remembered, and ways that are tried
DOUBTS = 3  # requests sent in vain until a way is in doubt
MAX_CLAIMS = 8  # of one request, repeated from elsewhere each time
PATIENCE = 300.0  # seconds that the peer of the one who decides waits for it (RFC 4555 section 3.11)

_ADDITIONAL = {4: NotifyType.ADDITIONAL_IP4_ADDRESS, 6: NotifyType.ADDITIONAL_IP6_ADDRESS}
_OF_ADDRESSES = (*_ADDITIONAL.values(), NotifyType.NO_ADDITIONAL_ADDRESSES)
_DETECTION = (NotifyType.NAT_DETECTION_SOURCE_IP, NotifyType.NAT_DETECTION_DESTINATION_IP)


@dataclass(frozen=True, slots=True)
class Claim:
    """Where the peer says it is now, and what NAT was found on the way there."""

    message: Message
    path: Path
    nat: nat.Nat


class Mobike:
    """The addresses of both ends of an IKE SA, which `sa` is until it is rekeyed. `decides`: we initiated it."""

    def __init__(self, sa: IkeSa, *, decides: bool) -> None:
        self.sa, self.decides = sa, decides
        self._theirs: tuple[IPAddress, ...] = (sa.path.remote,)
        # How often the path changed: the outcome of an exchange that began before is of no use.
        self.epoch = 0
        self._ways: tuple[Path, ...] = ()
        # Whether requests went out on ways other than the path: nobody knows which one the peer took an update from.
        self._scattered = False
        self._claim: Claim | None = None
        self._claims = 0
        # A claim that nobody has answered in time: perhaps only messages were lost.
        self._doubted: Claim | None = None
        self._mapping: bytes | None = None

    # Sending

    def paths(self, sent: int) -> tuple[Path, ...]:
        """Where a request goes that is sent for the `sent`th time: while a way is searched, each time on one more."""
        if self._doubted is not None:
            return self.sa.path, self._doubted.path
        paths = self._ways[:sent] or (self.sa.path,)
        self._scattered = self._scattered or paths != (self.sa.path,)
        return paths

    def timing(self, timing: Timing) -> Timing:
        """The peer gets the time that it may need to find another way, if that is its task."""
        patient = max(timing.retransmit_timeout, PATIENCE)
        return timing if self.decides else replace(timing, retransmit_timeout=patient)

    def unanswered(self, sent: int) -> None:
        """A request is about to be sent for the `sent`th time: the path may be dead."""
        if sent <= DOUBTS:
            return
        if self.decides:
            self._ways = self._ways or self._possible_ways()
        elif self._claim is not None:
            # Nobody is there: the peer is where it was, until it is heard from there again.
            self._doubted, self._claim = self._claim, None
            self._take(self.sa.esp_path)

    def answered(self, path: Path) -> None:
        """A response came on this path, so it is alive."""
        self._hear(path)
        if path in self._ways:
            self._ways = ()
            if self._scattered or path != self.sa.path or path != self.sa.esp_path:
                self._use(path)

    def additional(self) -> Payloads:
        """The addresses that we have beside the one that we use."""
        mine = [a for a in self.sa.host.addresses if a != self.sa.path.local][:MAX_ADDRESSES]
        return tuple(Notify(_ADDITIONAL[a.version], a.packed) for a in mine)

    def detection(self) -> Payloads:
        """What lets NATs be found, or says that there must be none (RFC 4555 section 3.9)."""
        sa = self.sa
        return self.prohibition() or nat.notifies(
            sa.spi_i, sa.spi_r, sa.path, sa.tunnel.forces_encapsulation, sa.host.random
        )

    def prohibition(self) -> Payloads:
        """With `encapsulation=no`: that no NAT may change the addresses of this request."""
        return () if self.sa.tunnel.detects_nat else (nat.forbid(self.sa.path),)

    def addresses(self) -> Payloads:
        """The addresses that we have beside the one that we use, or that there are none."""
        return self.additional() or (Notify(NotifyType.NO_ADDITIONAL_ADDRESSES),)

    # What we notice, if we decide

    def roam(self, now: float) -> None:
        """This host has other addresses now."""
        sa, lost = self.sa, self.sa.path.local not in self.sa.host.addresses
        if self.decides and lost:
            self._search(now)
            return
        if lost and (local := sa.host.address_for(sa.path.remote)) is not None:
            self._take(replace(sa.path, local=local))
            sa.move_children()
            sa.requests.resend(now)
        sa.enqueue(Tell(sa), now)

    def _search(self, now: float) -> None:
        """Find a way to the peer and use it."""
        sa, ways = self.sa, self._possible_ways()
        if not ways:
            sa.tunnel.note(Kind.PROGRESS, f"no address for a way to {sa.path.remote} now")
        elif len(ways) == 1:
            self._use(ways[0])
        else:
            self._ways = ways
            if not sa.requests.outstanding:
                sa.requests.queue.appendleft(Probe(sa))
        sa.requests.resend(now)
        sa.pump(now)

    def _possible_ways(self) -> tuple[Path, ...]:
        """Every pair of addresses of the same version, the most likely ones first."""
        sa = self.sa
        theirs = sorted(self._theirs, key=lambda address: address != sa.path.remote)
        mine = sorted(sa.host.addresses, key=lambda address: address != sa.path.local)
        pairs = [(m, t) for t in theirs for m in mine if m.version == t.version]
        return tuple(self._path(m, t) for m, t in pairs[:MAX_ADDRESSES])

    def _path(self, local: IPAddress, remote: IPAddress) -> Path:
        known = remote == self.sa.path.remote
        port = self.sa.path.remote_port if known or not self.sa.abilities.nat.supported else nat.PORT
        return Path(local, remote, self.sa.path.local_port, port)

    def _take(self, path: Path) -> None:
        self.sa.path = path
        self.epoch += 1

    def _use(self, path: Path) -> None:
        """Take a path and tell the peer, before anything else that is waiting.

        Child SAs take it at once if it leads to where the peer has been seen (RFC 4555 section 3.5).
        """
        self._ways, self._scattered = (), False
        self._take(path)
        if path.remote == self.sa.esp_path.remote:
            self._move_children(self.sa.abilities.nat)
        self.sa.requests.queue.appendleft(UpdateAddresses(self.sa))
        self.sa.tunnel.note(Kind.PROGRESS, f"#{self.sa.serial}: moving to {path}")

    def accepted(self, message: Message, now: float) -> None:
        """The peer has agreed to the path: the Child SAs take it too."""
        sa = self.sa
        if self._scattered:
            return  # the end of the search is another one (section 3.6)
        forced = sa.tunnel.forces_encapsulation
        found = nat.detect(message, sa.path, forced) if sa.tunnel.detects_nat else sa.abilities.nat
        self._mapping = _mapping(message)
        self._moved(found, now)

    def refused(self, path: Path, reason: str, now: float) -> None:
        """The peer does not take this path: try the others."""
        self.sa.tunnel.note(Kind.FAILED, f"the peer does not take {path}: {reason}")
        self._ways = tuple(way for way in self._possible_ways() if way != path)
        if self._ways and not self.sa.requests.outstanding:
            self.sa.enqueue(Probe(self.sa), now)

    def mapped(self, message: Message) -> None:
        """A NAT before us that gives us another address or port shows in what the peer sees (RFC 4555 section 3.8)."""
        seen = _mapping(message)
        if seen is None or not self.decides:
            return
        if self._mapping not in (None, seen) and self.sa.abilities.nat.local:
            self._use(self.sa.path)
        self._mapping = seen

    # What the peer says

    def heed(self, message: Message) -> Payloads:
        """The answer to an INFORMATIONAL request, as far as it is about addresses."""
        nat.check_prohibition(message, self.sa.heard_on)
        self._learn(message)
        if not self.decides and message.notify(NotifyType.UPDATE_SA_ADDRESSES) is not None:
            self._claims = 0
            self._claim_path(message, self.sa.heard_on)
        else:
            self._hear(self.sa.heard_on)
        cookies = tuple(n for n in message.all(Notify) if n.type is NotifyType.COOKIE2)
        asked = any(n.type in _DETECTION for n in message.all(Notify))
        return (*cookies, *(self._seen() if asked else ()))

    def _seen(self) -> Payloads:
        sa = self.sa
        return nat.notifies(sa.spi_i, sa.spi_r, sa.heard_on, sa.tunnel.forces_encapsulation, sa.host.random)

    def _learn(self, message: Message) -> None:
        notifies = message.all(Notify)
        if not any(n.type in _OF_ADDRESSES for n in notifies):
            return
        self.remember(notifies)
        if self.decides and self.sa.path.remote not in self._theirs:
            self._ways = self._possible_ways()
            self.sa.requests.queue.appendleft(Probe(self.sa))

    def remember(self, notifies: Iterable[Notify]) -> None:
        """The peer has these addresses, and the one that it says so from (RFC 4555 section 3.6)."""
        found = [ip_address(n.data) for n in notifies if n.type in _ADDITIONAL.values() and len(n.data) in (4, 16)]
        self._theirs = tuple(dict.fromkeys((self.sa.heard_on.remote, *found[:MAX_ADDRESSES])))

    def _claim_path(self, message: Message, path: Path) -> None:
        """The peer is elsewhere, it says; what it shows with a cookie is believed."""
        sa = self.sa
        found = nat.detect(message, path, sa.tunnel.forces_encapsulation) if sa.tunnel.detects_nat else nat.Nat()
        self._claim, self._doubted = Claim(message, path, found), None
        self._take(path)
        sa.requests.queue.appendleft(ReturnRoutability(sa))

    def repeated(self, message_id: int, path: Path) -> None:
        """A request was sent again. If it is the one that has moved the peer, somebody may have changed its source."""
        claim = self._claim
        if claim is not None and claim.message.header.message_id == message_id and claim.path != path:
            self._claim_again(claim, path)

    def _hear(self, path: Path) -> None:
        """The peer sends from here: a claim that was doubted is as good as new."""
        if self._doubted is not None and self._doubted.path == path:
            self._claim_again(self._doubted, path)

    def _claim_again(self, claim: Claim, path: Path) -> None:
        self._claims += 1
        if self._claims <= MAX_CLAIMS:
            self._claim_path(claim.message, path)

    @property
    def is_claimed(self) -> bool:
        """Whether the peer says that it is where it has not been seen yet."""
        return self._claim is not None

    def returned(self, now: float) -> None:
        """The peer is where it says: the Child SAs go there."""
        if self._claim is not None:
            found, self._claim = self._claim.nat, None
            self._moved(found, now)

    def _moved(self, found: nat.Nat, now: float) -> None:
        self._move_children(found)
        keep_alive(self.sa, now)
        self.sa.tunnel.note(Kind.MOVED, f"#{self.sa.serial}: moved to {self.sa.path}")

    def _move_children(self, found: nat.Nat) -> None:
        """Let Child SAs take the way that IKE takes, with UDP or without as the NAT on it wants, unless they do."""
        sa = self.sa
        former, sa.abilities = sa.abilities.nat, replace(sa.abilities, nat=found)
        if (sa.path, found.encapsulate) != (sa.esp_path, former.encapsulate):
            sa.move_children()


def announce(sa: IkeSa) -> Payloads:
    """What the first request of IKE_AUTH says of it."""
    if not sa.tunnel.connection.mobike:
        return ()
    mobike = Mobike(sa, decides=True)
    return (Notify(NotifyType.MOBIKE_SUPPORTED), *mobike.additional(), *mobike.prohibition())


def agree(sa: IkeSa, message: Message, *, decides: bool) -> None:
    """Use MOBIKE if both ends want it; raises UnexpectedNatDetected."""
    if sa.tunnel.connection.mobike and message.notify(NotifyType.MOBIKE_SUPPORTED) is not None:
        nat.check_prohibition(message, sa.heard_on)
        sa.mobike = Mobike(sa, decides=decides)
        sa.mobike.remember(message.all(Notify))


def answer(sa: IkeSa) -> Payloads:
    """What the responder of IKE_AUTH says of it once both ends are known to want it."""
    return () if sa.mobike is None else (Notify(NotifyType.MOBIKE_SUPPORTED), *sa.mobike.additional())


def heed(sa: IkeSa, message: Message) -> Payloads:
    """Answer what an INFORMATIONAL request says of addresses; nothing without MOBIKE or once the SA is replaced."""
    return sa.mobike.heed(message) if sa.mobike is not None and sa.mobike.sa is sa else ()


def _mapping(message: Message) -> bytes | None:
    seen = message.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    return None if seen is None else seen.data
