"""Which SA an outbound packet takes: its connection's clone on this CPU, else the fallback, wherever that is."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final

from ikeclone.backend import Acquire, Policy
from ikeclone_esp import flows
from ikeclone_esp.associations import OutboundSa
from ikeclone_esp.flows import Flow, Selectors
from ikeclone_esp.meter import Report

_ASK_AGAIN: Final = 1.0  # seconds between two Acquires for a connection on this CPU
_MOST_FLOWS: Final = 4096
_MOST_HELD: Final = 64  # packets of a connection that wait for an SA


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the packets of a flow.

    They go out on `sa`, else to `worker` which has the fallback, else they are held for `connection`; without a
    connection they are dropped. `ask` is the connection that wants a clone (or any SA) for this CPU.
    """

    sa: OutboundSa | None = None
    worker: int | None = None
    connection: str | None = None
    ask: str | None = None


class Routing:
    """The outbound SAs and policies of one worker. Verdicts are kept per flow until anything changes."""

    def __init__(self, cpu: int, worker: int, report: Report) -> None:
        self._cpu, self._worker, self._report = cpu, worker, report
        self._policies: dict[str, Selectors] = {}
        self._clones: defaultdict[str, list[OutboundSa]] = defaultdict(list)
        self._fallbacks: defaultdict[str, list[OutboundSa]] = defaultdict(list)
        self._fallback_workers: dict[str, int] = {}
        self._verdicts: dict[bytes | Flow, Verdict] = {}
        self._asked: dict[str, float] = {}
        self._held: defaultdict[str, deque[bytes]] = defaultdict(deque)

    def route(self, policy: Policy) -> None:
        """Take a connection's traffic. Where policies overlap, the narrower one goes first: for fewer remote addresses,
        for fewer local ones, for fewer protocols and ports.
        """
        self._policies.pop(policy.connection, None)
        self._policies[policy.connection] = Selectors(policy.local, policy.remote)
        self._policies = dict(sorted(self._policies.items(), key=lambda item: item[1].breadth()))
        self._asked.clear()
        self._verdicts.clear()

    def unroute(self, connection: str) -> int:
        """Leave a connection's traffic; returns how many held packets of it are dropped."""
        self._policies.pop(connection, None)
        self._asked.pop(connection, None)
        self._verdicts.clear()
        return len(self._held.pop(connection, ()))

    def activate(self, sa: OutboundSa) -> None:
        """Send on this SA from now on, before older ones of the connection and CPU, which stay as a reserve."""
        role = self._fallbacks if sa.sa.cpu is None else self._clones
        role[sa.sa.connection].append(sa)
        self._verdicts.clear()

    def deactivate(self, sa: OutboundSa) -> None:
        """Send on this SA no more."""
        for role in (self._fallbacks, self._clones):
            active = role[sa.sa.connection]
            if sa in active:
                active.remove(sa)
            if not active:
                del role[sa.sa.connection]
        self._verdicts.clear()

    def set_fallback(self, connection: str, worker: int | None) -> None:
        """Note which worker has the connection's newest fallback; now clones may be asked for."""
        self._asked.pop(connection, None)
        if worker is None or worker == self._worker:
            self._fallback_workers.pop(connection, None)
        else:
            self._fallback_workers[connection] = worker
        self._verdicts.clear()

    def verdict(self, packet: memoryview) -> Verdict:
        """For a packet from the system. Raises ValueError when it is no IP packet."""
        key = flows.key(packet)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= _MOST_FLOWS:
                self._verdicts.clear()
            verdict = self._verdicts[key] = self._decide(flows.parse(packet), own=True)
        if verdict.ask is not None:
            self._ask(verdict.ask, packet)
        return verdict

    def fallback_verdict(self, packet: memoryview) -> Verdict:
        """For a packet that another worker passed on, and asks for itself. Raises ValueError as `verdict` does."""
        return self._decide(flows.parse(packet), own=False)

    def _decide(self, flow: Flow, *, own: bool) -> Verdict:
        connection = next((name for name, policy in self._policies.items() if policy.outbound(flow)), None)
        if connection is None:
            return Verdict()
        if own:
            for sa in reversed(self._clones.get(connection, [])):
                if sa.selectors.outbound(flow):
                    return Verdict(sa=sa, connection=connection)
        worker = self._fallback_workers.get(connection)
        # One of our own is older than the other worker's: the peer may be about to forget it.
        for sa in reversed(self._fallbacks.get(connection, []) if worker is None else []):
            if sa.selectors.outbound(flow):
                return Verdict(sa=sa, connection=connection, ask=connection)
        return Verdict(worker=worker, connection=connection, ask=connection)

    def _ask(self, connection: str, packet: memoryview) -> None:
        now = time.monotonic()
        if now - self._asked.get(connection, -_ASK_AGAIN) >= _ASK_AGAIN:
            self._asked[connection] = now
            self._report(Acquire(connection, self._cpu, flows.parse(packet).selectors()))

    def hold(self, connection: str, frame: bytes) -> int:
        """Keep a frame until the connection has an SA; returns how many older ones had to go (0 or 1)."""
        held = self._held[connection]
        held.append(frame)
        if len(held) <= _MOST_HELD:
            return 0
        held.popleft()
        return 1

    @property
    def waiting(self) -> tuple[str, ...]:
        """The connections that frames are held for."""
        return tuple(self._held)

    def release(self, connection: str) -> deque[bytes]:
        """The frames held for a connection, oldest first; they are the caller's now."""
        return self._held.pop(connection, deque())
