"""This host gets other addresses: IKE SAs with MOBIKE move, others wait for theirs or are made anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.errors import LocalError
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.selectors import IPAddress

if TYPE_CHECKING:
    from ikeclone.ike.endpoint import Endpoint
    from ikeclone.ike.tunnel import Tunnel


def own_address(tunnel: Tunnel, remote: IPAddress) -> IPAddress | None:
    """The address that a connection has towards its peer now, None if there is none.

    That of the configuration, if it names one; with MOBIKE it need not be there for ever.
    """
    connection, host = tunnel.connection, tunnel.host
    fixed = connection.local.address
    if fixed is not None and (fixed in host.addresses or not connection.mobike):
        return fixed if fixed in host.addresses else None
    return host.address_for(remote)


def way(tunnel: Tunnel) -> Path:
    """Where to ask for an IKE SA: where we were sent or MOBIKE has brought the present one, else from our address to
    the peer's.

    Raises LocalError when one of them is not known, or it is for the peer to ask.
    """
    if tunnel.connection.remote.pools:
        # It asks for its address in IKE_AUTH, and so must be the one to begin (RFC 7296 section 2.19).
        raise LocalError(
            f"{tunnel.connection.name}: its peer gets its address from here: only the peer can bring it up"
        )
    gateway = tunnel.redirects.gateway
    if gateway is None and (present := _brought(tunnel)) is not None:
        return Path(present.local, present.remote)
    name, said = tunnel.connection.name, tunnel.connection
    if (remote := gateway or said.remote.address) is None:
        raise LocalError(f"{name} names no address of its peer: only the peer can bring it up")
    if (local := own_address(tunnel, remote)) is None:
        raise LocalError(
            f"{name}: this host does not have {said.local.address or 'an address'} for packets to {remote}"
        )
    return Path(local, remote)


def is_between(tunnel: Tunnel, path: Path) -> bool:
    """Whether a connection has its ends there: it says so, or MOBIKE has brought it there."""
    said = tunnel.connection
    if said.local.address in (None, path.local) and said.remote.address in (None, path.remote):
        return True
    present = _brought(tunnel)
    return present is not None and (present.local, present.remote) == (path.local, path.remote)


def _brought(tunnel: Tunnel) -> Path | None:
    ike = tunnel.ike
    return None if ike is None or ike.mobike is None else ike.path


def roam(endpoint: Endpoint, former: Iterable[IPAddress], now: float) -> None:
    """This host has other addresses than the former ones."""
    back = set(endpoint.host.addresses).difference(former)
    for sa in list(endpoint.ike_sas()):
        _roam(sa, back, now)
    for tunnel in list(endpoint.tunnels.values()):
        tunnel.roam(now)


def _roam(sa: IkeSa, back: set[IPAddress], now: float) -> None:
    if sa.path.local in back:
        sa.requests.resend(now)
        for tunnel, child in {child.tunnel: child for child in sa.children.values()}.items():
            tunnel.children.reroute(sa, child)
    if sa.mobike is not None and sa.state is State.ESTABLISHED:
        sa.mobike.roam(now)
    elif _is_homeless(sa) and own_address(sa.tunnel, sa.path.remote) is not None:
        sa.lose(now, f"this host has {sa.path.local} no more")


def _is_homeless(sa: IkeSa) -> bool:
    """Whether an IKE SA that we asked for, and can ask for again, has lost its address."""
    ours = sa.initiator and sa.state in (State.AUTHENTICATING, State.ESTABLISHED)
    return ours and sa.path.local not in sa.host.addresses
