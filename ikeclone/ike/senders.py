"""Which of a connection's Child SAs sends: for each CPU one, and the fallback for those that have none."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ikeclone.backend import Counters
from ikeclone.ike.actions import ActivateChild, DeactivateChild
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.clones import Clones
from ikeclone.ike.host import Host
from ikeclone.ike.sa import IkeSa


class Senders:
    """When a Child SA starts to send and when it stops. A new one that the peer asked for waits for proof of it."""

    def __init__(self, host: Host, clones: Clones) -> None:
        self._host, self._clones = host, clones
        # Those that send once the peer is known to have our response, and the first request that shows it: the peer's
        # window does not reach so far without the response (RFC 7296 section 2.3).
        self._awaiting: dict[Child, int] = {}

    def activate(self, child: Child) -> None:
        """Send on this SA; what sent for its CPU before only receives."""
        self._awaiting.pop(child, None)
        self._host.timers.cancel(child, "activate")
        if (former := self._clones.outbound(child.cpu)) is not None:
            former.active = False
        child.active = True
        self._host.emit(ActivateChild(child.inbound_spi))

    def leave(self, going: Collection[int]) -> None:
        """The IKE SA with these Child SAs is about to go: send on those of another one, if one stays."""
        left = [child for child in self._clones if child.state is not ChildState.DELETING]
        if any(child.cpu is None and child.inbound_spi not in going for child in left):
            leaving = [child for child in left if child.inbound_spi in going]
            for child in leaving:
                child.enter(ChildState.DELETING)
            for child in leaving:
                self.deactivate(child)

    def deactivate(self, child: Child) -> None:
        """Send on this SA no more, but on another one of its CPU, else on the fallback."""
        if not child.active:
            return
        if (heir := self._clones.successor(child)) is not None:
            self.activate(heir)
        else:
            child.active = False
            self._host.emit(DeactivateChild(child.inbound_spi))

    def serve(self, child: Child) -> None:
        """Send on a new SA, unless its CPU has another clone that does: then it only receives (RFC 9611 section 3)."""
        sender = self._clones.outbound(child.cpu)
        if child.lasts and (sender is None or not sender.lasts or sender.instance == child.instance):
            self.activate(child)

    def serve_on_proof(self, sa: IkeSa, child: Child) -> None:
        """Send on this SA once the peer shows that it has our answer: by a later request or by deleting the old SA."""
        self._awaiting[child] = sa.responses.newest + sa.responses.size

    def serve_later(self, sa: IkeSa, child: Child, now: float) -> None:
        """Send on an SA of the peer's on proof, or when our answer has had time to arrive.

        Until then the fallback carries its CPU's packets; one that was replaced does so until the peer deletes it.
        """
        self.serve_on_proof(sa, child)
        sender = self._clones.outbound(child.cpu)
        if sender is None or sender.lasts:
            self._serve_in_time(child, now)

    def _serve_in_time(self, child: Child, now: float) -> None:
        delay = self._host.settings.activation_delay + 2 * (now - child.created)
        self._host.timers.set(child, "activate", now + delay, lambda _: self._stop_waiting(child))

    def _stop_waiting(self, child: Child) -> None:
        self._host.timers.cancel(child, "activate")
        self._awaiting.pop(child, None)
        self.serve(child)

    def proven(self, sa: IkeSa, message_id: int) -> None:
        """A new request came, which shows which of our answers the peer has."""
        for child in [c for c, first in self._awaiting.items() if first <= message_id and c.inbound_spi in sa.children]:
            self._stop_waiting(child)

    def awaits_proof_of(self, child: Child) -> bool:
        """Whether the peer may not have the answer yet that makes this SA."""
        return child in self._awaiting

    @property
    def waiting(self) -> bool:
        """Whether an SA waits for proof."""
        return bool(self._awaiting)

    def used(self, counters: Mapping[int, Counters]) -> None:
        """What came in on an SA proves that the peer has it."""
        for child in [c for c in self._awaiting if (n := counters.get(c.inbound_spi)) and n.in_packets]:
            self._stop_waiting(child)

    def named(self, child: Child) -> None:
        """The peer rekeys this SA, so it has our answer that made it, and will delete the one before."""
        if not child.active:
            self._stop_waiting(child)

    def doubted(self, sa: IkeSa, now: float) -> None:
        """The peer repeats a request, so an answer of ours was lost: wait longer, as its pauses do."""
        for child in self._awaiting:
            if child.inbound_spi in sa.children and self._host.timers.when(child, "activate") is not None:
                self._serve_in_time(child, now)

    def carried_over(self, new: IkeSa) -> None:
        """The IKE SA was rekeyed; in the new one message IDs begin anew."""
        for child in self._awaiting:
            if child.inbound_spi in new.children:
                self._awaiting[child] = self._host.settings.window - 1

    def forget(self, child: Child, heir: Child | None) -> None:
        """The SA is gone; if it was the one that sent, its heir does now."""
        self._awaiting.pop(child, None)
        if child.active and heir is not None:
            self.activate(heir)
        child.active = False
