"""The XDP program that spreads packets over CPUs: those of a flow go to the same one always."""

from __future__ import annotations

from typing import Final

from ikeclone.bpf import Code, Jump, Map, Op, Reg, Size
from ikeclone_steering.program import (
    CURSOR,
    IPV4_HEADER,
    IPV6_HEADER,
    PROTOCOL,
    behind_ipv4,
    ethernet,
    finished,
    need,
    to_cpu,
)

_PORTS: Final = 4  # octets, in the beginning of what these protocols have
_WITH_PORTS: Final = (6, 17, 132)  # TCP, UDP, SCTP
_MULTIPLIER: Final = 0x2545F491  # odd: what differs before stays different
_HASH: Final = Reg.R6


def to_cpu_of_flow(cpu_of_slot: Map, slots: int, cpus: Map) -> bytes:
    """IPv4 and IPv6, behind at most one VLAN tag, goes to a CPU by its addresses and, where it has them, its ports.

    Fragments go by their addresses. Everything else passes, ARP for one.
    """
    code = Code()
    ethernet(code)
    _ipv4(code)
    _ipv6(code)
    _ports(code)
    code.label("spread")
    code.move(Reg.R0, _HASH)
    code.alu(Op.RSH, Reg.R0, 32)
    code.alu(Op.MOD, Reg.R0, slots)
    to_cpu(code, cpu_of_slot, cpus)
    return finished(code)


def _ipv4(code: Code) -> None:
    need(code, IPV4_HEADER)
    code.move(_HASH, 0)
    _mix(code, Size.W, 12, 16)
    behind_ipv4(code, fragments="spread")
    code.go("ports")


def _ipv6(code: Code) -> None:
    code.label("ipv6")
    need(code, IPV6_HEADER)
    code.move(_HASH, 0)
    _mix(code, Size.W, *range(8, IPV6_HEADER, 4))
    code.load(Size.B, PROTOCOL, CURSOR, 6)
    code.alu(Op.ADD, CURSOR, IPV6_HEADER)


def _ports(code: Code) -> None:
    code.label("ports")
    for protocol in _WITH_PORTS:
        code.jump(Jump.EQ, PROTOCOL, protocol, "with ports")
    code.go("spread")
    code.label("with ports")
    need(code, _PORTS)
    _mix(code, Size.W, 0)


def _mix(code: Code, size: Size, *offsets: int) -> None:
    """Count what is there in the packet into the hash, whose upper half is the better one."""
    for offset in offsets:
        code.load(size, Reg.R0, CURSOR, offset)
        code.alu(Op.XOR, _HASH, Reg.R0)
        code.alu(Op.MUL, _HASH, _MULTIPLIER)
