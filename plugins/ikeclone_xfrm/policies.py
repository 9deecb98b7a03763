"""A connection's traffic as the kernel's policies, and what the kernel's policies and states of ours are known by."""

from __future__ import annotations

from typing import Any, Final

from ikeclone.backend import IPAddress, Limits, Mode, Policy
from ikeclone_xfrm.numbers import ANY_ALGORITHM, IPPROTO_ESP, PolicyDirection, PolicyFlag
from ikeclone_xfrm.offload import Card
from ikeclone_xfrm.selectors import mirrored, selectors
from ikeclone_xfrm.states import MODES, Attributes, Fields, belonging, lifetime, marking
from ikeclone_xfrm.structs import family, packed

# States and policies whose reqid begins with RFC 9611's number are ours, also those of a daemon that has crashed.
REQID_BASE: Final = 9611 << 16
REQID_MASK: Final = 0xFFFF0000
_LOWEST_PRIORITY: Final = 0x40000  # the kernel prefers small numbers
_LOWEST_ON_CARD: Final = 0x20000

NAMING: Final = ("MARK", "IF_ID")  # attributes without which the kernel does not find a state or policy that has them

Message = tuple[Fields, Attributes]


def is_ours(reqid: int) -> bool:
    """Whether a reqid is one that this backend gives."""
    return reqid & REQID_MASK == REQID_BASE


def messages(
    policy: Policy, reqid: int, whole: int | None = None, *, acquire_per_cpu: bool = False, card: Card | None = None
) -> list[Message]:
    """What UPDPOLICY wants to know of each policy that makes up a connection's: out, in and forwarded.

    A part's traffic leaves by states with its own reqid, and may come in by any with that of the `whole`.
    With `acquire_per_cpu`, a packet on a CPU without a state of its own raises an acquire although there is a
    fallback. A `card` applies them instead of the kernel: it sees packets first, so they have to come before all
    others. What it has let in, the kernel's policy for forwarding takes. Raises BackendError for selectors that the
    kernel cannot express.
    """
    flags = PolicyFlag.CPU_ACQUIRE if acquire_per_cpu else 0
    path, handling, found = policy.path, policy.handling, []
    device = belonging(handling)
    marks = marking(handling.mark_in) + device, marking(handling.mark_out) + device
    place = card.policy() if card is not None else []
    for selector in selectors(policy.local, policy.remote):
        rank = priority(selector, on_card=card is not None) if handling.priority is None else handling.priority
        template = _template(path.local, path.remote, reqid, policy.mode)
        found.append(_message(selector, PolicyDirection.OUT, rank, template, marks[1] + place, flags))
        template = _template(path.remote, path.local, whole or reqid, policy.mode)
        incoming = (PolicyDirection.IN, PolicyDirection.FWD)[: 2 if policy.mode is Mode.TUNNEL else 1]
        for direction in incoming:
            more = marks[0] + (place if direction is PolicyDirection.IN else [])
            found.append(_message(mirrored(selector), direction, rank, template, more))
    return found


def outgoing(message: Message) -> bool:
    """Whether a policy is for what leaves, the only kind that raises acquires."""
    return bool(message[0]["dir"] == PolicyDirection.OUT)


def identity(message: Message) -> Message:
    """What names a policy in DELPOLICY: two may differ in their marks or interfaces alone."""
    fields, attributes = message
    return {"sel": fields["sel"], "dir": fields["dir"]}, [each for each in attributes if each[0] in NAMING]


def naming(message: Any) -> Attributes:
    """Those attributes of the kernel's message of a policy or state without which it is not found."""
    found = [(name, message.get_attr(f"XFRMA_{name}")) for name in NAMING]
    return [(name, value) for name, value in found if value is not None]


def _message(
    selector: Fields, direction: PolicyDirection, rank: int, template: Fields, more: Attributes, flags: int = 0
) -> Message:
    fields = {
        "sel": selector,
        "lft": lifetime(Limits()),
        "priority": rank,
        "dir": direction,
        "flags": flags,
    }
    return fields, [("TMPL", template), *more]


def priority(selector: Fields, *, on_card: bool = False) -> int:
    """Narrower selectors come first: by the length of both prefixes, then by protocol, then by ports.

    All policies on cards come before all others.
    """
    bits: int = selector["prefixlen_s"] + selector["prefixlen_d"]
    ports = bool(selector["sport_mask"]) + bool(selector["dport_mask"])
    lowest = _LOWEST_ON_CARD if on_card else _LOWEST_PRIORITY
    return lowest - (bits << 3) - (4 if selector["proto"] else 0) - ports


def _template(source: IPAddress, target: IPAddress, reqid: int, mode: Mode) -> Fields:
    return {
        "id": {"daddr": packed(target), "proto": IPPROTO_ESP},
        "saddr": packed(source),
        "family": family(target),
        "reqid": reqid,
        "mode": MODES[mode],
        "aalgos": ANY_ALGORITHM,
        "ealgos": ANY_ALGORITHM,
        "calgos": ANY_ALGORITHM,
    }
