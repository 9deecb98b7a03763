"""What the control socket reports of the daemon: views of the state machine and of the data plane's counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ikeclone.backend import Counters
from ikeclone.connection import Connection, End
from ikeclone.control.models import (
    ChildRow,
    CloneRow,
    ClonesReport,
    ConnectionRow,
    IkeSaRow,
    PoolRow,
    TrafficReport,
    TrafficRow,
)
from ikeclone.errors import LocalError
from ikeclone.ike.child import Child
from ikeclone.ike.endpoint import Endpoint
from ikeclone.ike.narrowing import of_end
from ikeclone.ike.proofs import local_identity, remote_identity
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.ike.tunnel import Tunnel

NOTHING = Counters()


class View:
    """The state at one moment: `now` on the clock of the endpoint and the counters, `wall` in seconds since 1970."""

    def __init__(self, endpoint: Endpoint, counters: Mapping[int, Counters], now: float, wall: float) -> None:
        self._endpoint, self._counters, self._now, self._wall = endpoint, counters, now, wall

    def traffic(self, name: str | None) -> TrafficReport:
        """Every Child SA, or those of one connection; raises LocalError when there is no such connection."""
        tunnels = self._endpoint.named(name) if name else self._endpoint.tunnels.values()
        each = dict.fromkeys(t for tunnel in tunnels for t in tunnel.parts.under(tunnel))
        return TrafficReport(rows=[self._traffic_row(t, child) for t in each for child in _in_order(t)])

    def clones(self, name: str) -> ClonesReport:
        """The fallback and every CPU of a connection; raises LocalError when there is no such connection."""
        tunnel = self._only(name)
        cpus = tunnel.host.resources.cpus()
        over = self._over_fallback(tunnel)
        rows = [self._clone_row(tunnel, child, over) for child in _in_order(tunnel)]
        served = {child.cpu for child in tunnel.clones}
        rows += [
            CloneRow(name="", cpu=cpu, state=_unserved(tunnel, cpu), over_fallback=over[cpu])
            for cpu in sorted(cpus - served)
        ]
        wait = tunnel.clones.refused_until - self._now
        return ClonesReport(
            connection=tunnel.connection.name,
            limit=tunnel.clones.limit(cpus),
            rows=sorted(rows, key=lambda row: (-1 if row.cpu is None else row.cpu, row.name)),
            refused=wait > 0,
            retry_in=max(wait, 0.0) or None,
            refusal=tunnel.clones.refusal,
            refusals=tunnel.clones.refusals,
        )

    def _only(self, name: str) -> Tunnel:
        """The connection, or the instance that it has; raises LocalError when it has several."""
        tunnels = self._endpoint.named(name)
        if len(tunnels) > 1:
            raise LocalError(f"{name} has {len(tunnels)} peers: name one of them, {tunnels[0].connection.name} say")
        return tunnels[0]

    def _over_fallback(self, tunnel: Tunnel) -> Counter[int]:
        """How many packets of each CPU the connection's unbound SAs have carried."""
        over: Counter[int] = Counter()
        for child in tunnel.clones:
            over.update(self._counted(child).out_by_cpu)
        return over

    def connections(self) -> list[ConnectionRow]:
        """Every connection, as it was loaded, each followed by its instances, and these by their parts."""
        wholes = (each for tunnel in self._endpoint.configured for each in (tunnel, *tunnel.instances))
        return [self._connection_row(each) for whole in wholes for each in whole.parts.family]

    def ike_sas(self) -> list[IkeSaRow]:
        """Every IKE SA that is not only kept to repeat its last answer, the oldest first."""
        living = [sa for sa in self._endpoint.ike_sas() if sa.state is not State.DEAD]
        return [self._ike_row(sa) for sa in sorted(living, key=lambda sa: sa.serial)]

    def pools(self) -> list[PoolRow]:
        """Every address pool that a connection names."""
        named = dict.fromkeys(pool for t in self._endpoint.tunnels.values() for pool in t.connection.remote.pools)
        held = {pool: self._endpoint.host.pools[pool].held for pool in named}
        leases = {pool: {str(address): str(peer) for address, peer in held[pool].items()} for pool in named}
        return [PoolRow(pool=str(pool), size=pool.size, leases=leases[pool]) for pool in named]

    def _counted(self, child: Child) -> Counters:
        return self._counters.get(child.inbound_spi, NOTHING)

    def _traffic_row(self, tunnel: Tunnel, child: Child) -> TrafficRow:
        counted = self._counted(child)
        return TrafficRow(
            serial=child.serial,
            name=child.name,
            connection=child.connection,
            instance=child.instance,
            add_time=int(self._wall - (self._now - child.created)),
            in_bytes=counted.in_bytes,
            out_bytes=counted.out_bytes,
            in_packets=counted.in_packets,
            out_packets=counted.out_packets,
            id=str(tunnel.peer),
            peer=str(child.path.remote) if tunnel.template else None,
            cpu=child.cpu,
        )

    def _clone_row(self, tunnel: Tunnel, child: Child, over: Counter[int]) -> CloneRow:
        counted = self._counted(child)
        used = max(counted.in_last, counted.out_last)
        return CloneRow(
            name=child.name,
            cpu=child.cpu,
            state=child.state.value if child.active else f"{child.state.value}, receives only",
            inbound_spi=f"{child.inbound_spi:08x}",
            outbound_spi=f"{child.outbound_spi:08x}",
            in_bytes=counted.in_bytes,
            out_bytes=counted.out_bytes,
            in_packets=counted.in_packets,
            out_packets=counted.out_packets,
            age=self._now - child.created,
            last_used=self._now - used if used else None,
            next_rekey=self._until(child, "rekey"),
            opened_by="us" if child.opened_by_us else "peer",
            over_fallback=over[child.cpu] if child.cpu is not None else 0,
        )

    def _connection_row(self, tunnel: Tunnel) -> ConnectionRow:
        connection = tunnel.connection
        return ConnectionRow(
            name=connection.name,
            auto=connection.auto.value,
            local=_end(connection.local, "%defaultroute"),
            remote=_end(connection.remote),
            local_selectors=_selectors(connection.local),
            remote_selectors=_agreed(tunnel) or _selectors(connection.remote),
            state=_state(tunnel),
            clones=connection.clones,
            addresses=[str(address) for address in tunnel.irac.addresses],
            dns=[str(server) for server in tunnel.irac.dns],
            domains=list(tunnel.irac.domains),
        )

    def _ike_row(self, sa: IkeSa) -> IkeSaRow:
        connection = sa.tunnel.connection
        return IkeSaRow(
            serial=sa.serial,
            connection=connection.name,
            state=sa.state.value,
            local_id=str(local_identity(connection, sa.path.local)),
            remote_id=str(sa.tunnel.peer or remote_identity(connection, sa.path.remote) or "%any"),
            path=str(sa.path),
            suite=str(sa.suite),
            spi_i=sa.spi_i.hex(),
            spi_r=sa.spi_r.hex(),
            age=self._now - sa.created,
            rekey_in=self._until(sa, "rekey") or self._until(sa.tunnel, "reauth"),
            children=[self._child_row(child) for child in sa.children.values()],
        )

    def _child_row(self, child: Child) -> ChildRow:
        return ChildRow(
            serial=child.serial,
            name=child.name,
            cpu=child.cpu,
            state=child.state.value,
            suite=str(child.agreement.suite),
            inbound_spi=f"{child.inbound_spi:08x}",
            outbound_spi=f"{child.outbound_spi:08x}",
            age=self._now - child.created,
            rekey_in=self._until(child, "rekey"),
        )

    def _until(self, owner: object, timer: str) -> float | None:
        when = self._endpoint.host.timers.when(owner, timer)
        return None if when is None else when - self._now


def describe(connection: Connection) -> str:
    """One line of a connection for the log."""
    return f"{_end(connection.local, '%defaultroute')} === {_end(connection.remote)}"


def _in_order(tunnel: Tunnel) -> list[Child]:
    return sorted(tunnel.clones, key=lambda child: (child.instance, child.serial))


def _unserved(tunnel: Tunnel, cpu: int) -> str:
    if cpu in tunnel.clones.queued:
        return "waiting for the peer's window"
    return "negotiating" if cpu in tunnel.clones.asked else "fallback"


def _state(tunnel: Tunnel) -> str:
    if tunnel.instances:
        return f"{len(tunnel.instances)} peers"
    if any(each.clones.fallback is not None for each in tunnel.parts.under(tunnel)):
        return "up"
    if tunnel.approach.connecting or any(sa.tunnel is tunnel for sa in tunnel.endpoint.ike_sas()):
        return "connecting"
    return "down"


def _agreed(tunnel: Tunnel) -> list[str]:
    """What an instance's peer has of what the template allows."""
    child = tunnel.clones.fallback if tunnel.template else None
    return [str(selector) for selector in child.agreement.remote] if child else []


def _end(end: End, otherwise: str = "%any") -> str:
    return f"{end.address or otherwise}[{end.identity or '%any'}]"


def _selectors(end: End) -> list[str]:
    selectors = of_end(end, end.address) if end.address is not None else end.selectors
    return [str(selector) for selector in selectors]
