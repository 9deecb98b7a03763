"""A Child SA as the kernel's two states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ikeclone.backend import BackendError, ChildSa, Handling, IPAddress, Limits, Mark, Mode, TrafficSelector, Volume
from ikeclone_xfrm import algorithms
from ikeclone_xfrm.numbers import INFINITE, IPPROTO_ESP, UDP_ENCAP_ESPINUDP, Direction, StateFlag
from ikeclone_xfrm.selectors import selectors
from ikeclone_xfrm.structs import ReplayEsn, family, packed

MODES: Final = {Mode.TRANSPORT: 0, Mode.TUNNEL: 1}
_LEGACY_WINDOW: Final = 32  # the bitmap that a state has without the attribute for larger ones
_LARGEST_WINDOW: Final = 4096  # XFRMA_REPLAY_ESN_MAX
_MAPPING_PAUSE: Final = 1  # seconds between two notes of a peer's new address

Fields = dict[str, Any]
Attributes = list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Kernel:
    """What this kernel's states can have, a direction of their own (6.10), a CPU of their own (6.13), and whether they
    can go on between other addresses (7.2).
    """

    directions: bool
    per_cpu: bool
    migrates: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What NEWSA wants to know. It holds keys: never printed. `name` are the attributes without which GETSA and DELSA
    do not find the state.
    """

    fields: Fields
    attributes: Attributes
    name: Attributes = field(default_factory=list)

    def __repr__(self) -> str:
        return f"State({self.fields['id']})"


def inbound(sa: ChildSa, reqid: int, kernel: Kernel) -> State:
    """The state that receives."""
    path = sa.path
    attributes: Attributes = [*algorithms.attributes(sa.suite, sa.inbound_keys)]
    fields = _fields(sa, reqid, path.remote, path.local, sa.inbound_spi, sa.remote, sa.local)
    fields["lft"] = lifetime(sa.limits)
    _receive_window(fields, attributes, sa)
    if sa.udp_encapsulation:
        attributes.append(_encapsulation(path.remote_port, path.local_port))
        if kernel.directions:
            attributes.append(("MTIMER_THRESH", _MAPPING_PAUSE))
    name = marking(sa.handling.mark_in)
    return State(fields, attributes + _place(sa.cpu, Direction.IN, kernel) + name + belonging(sa.handling), name)


def outbound(sa: ChildSa, reqid: int, kernel: Kernel) -> State:
    """The state that sends."""
    path = sa.path
    attributes: Attributes = [*algorithms.attributes(sa.suite, sa.outbound_keys)]
    fields = _fields(sa, reqid, path.local, path.remote, sa.outbound_spi, sa.local, sa.remote)
    # At a soft limit a state is "dying", and loses against any that is not: a clone would send no more on its CPU. So
    # the backend itself watches what clones have carried, and leaves no more than the hard limits to the kernel.
    fields["lft"] = lifetime(sa.limits if sa.cpu is None else replace(sa.limits, soft=Volume()))
    if not kernel.directions:
        _receive_window(fields, attributes, sa)  # a state without a direction has to have one
    elif sa.suite.esn:
        attributes.append(("REPLAY_ESN_VAL", ReplayEsn.pack({})))
    if sa.udp_encapsulation:
        attributes.append(_encapsulation(path.local_port, path.remote_port))
    name = marking(sa.handling.mark_out)
    return State(fields, attributes + _place(sa.cpu, Direction.OUT, kernel) + name + belonging(sa.handling), name)


def lifetime(limits: Limits) -> Fields:
    """A struct xfrm_lifetime_cfg without times: these are the daemon's."""
    values = {
        "soft_byte_limit": limits.soft.octets,
        "hard_byte_limit": limits.hard.octets,
        "soft_packet_limit": limits.soft.packets,
        "hard_packet_limit": limits.hard.packets,
    }
    return {name: INFINITE if value is None else value for name, value in values.items()}


def marking(mark: Mark | None) -> Attributes:
    """The attribute of states and policies that are for packets with a mark."""
    return [] if mark is None else [("MARK", {"v": mark.value, "m": mark.mask})]


def belonging(handling: Handling) -> Attributes:
    """The attribute of states and policies that are an XFRM interface's."""
    return [] if handling.interface is None else [("IF_ID", handling.interface.number)]


def identity(daddr: IPAddress, spi: int) -> Fields:
    """What names a state in GETSA and DELSA."""
    return {"daddr": packed(daddr), "spi": spi, "family": family(daddr), "proto": IPPROTO_ESP}


def _fields(
    sa: ChildSa,
    reqid: int,
    source: IPAddress,
    target: IPAddress,
    spi: int,
    sources: tuple[TrafficSelector, ...],
    targets: tuple[TrafficSelector, ...],
) -> Fields:
    return {
        "sel": _selector(sa, sources, targets),
        "id": {"daddr": packed(target), "spi": spi, "proto": IPPROTO_ESP},
        "saddr": packed(source),
        "reqid": reqid,
        "family": family(target),
        "mode": MODES[sa.mode],
        "flags": (StateFlag.AF_UNSPEC if sa.mode is Mode.TUNNEL else 0) | (StateFlag.ESN if sa.suite.esn else 0),
    }


def _selector(sa: ChildSa, sources: Sequence[TrafficSelector], targets: Sequence[TrafficSelector]) -> Fields:
    """What packets a state is for. In a tunnel the policy says it; a host's own state can say it if it is but one."""
    if sa.mode is Mode.TUNNEL:
        return {}
    possible = selectors(sources, targets)
    return possible[0] if len(possible) == 1 else {}


def _receive_window(fields: Fields, attributes: Attributes, sa: ChildSa) -> None:
    window = sa.replay_window
    if window > _LARGEST_WINDOW:
        raise BackendError(f"a replay window of {window} packets is more than the kernel's {_LARGEST_WINDOW}")
    if not sa.suite.esn and window <= _LEGACY_WINDOW:
        fields["replay_window"] = window
        return
    words = -(-window // 32)
    value = ReplayEsn.pack({"bmp_len": words, "replay_window": window}) + bytes(4 * words)
    attributes.append(("REPLAY_ESN_VAL", value))


def _encapsulation(source_port: int, target_port: int) -> tuple[str, Fields]:
    return "ENCAP", {"type": UDP_ENCAP_ESPINUDP, "sport": source_port, "dport": target_port}


def _place(cpu: int | None, direction: Direction, kernel: Kernel) -> Attributes:
    attributes: Attributes = []
    if kernel.directions:
        attributes.append(("SA_DIR", direction))
    if kernel.per_cpu and cpu is not None:
        attributes.append(("SA_PCPU", cpu))
    return attributes
