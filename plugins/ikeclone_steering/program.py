"""The XDP program that looks for the SPI in a packet and has its CPU go on with it."""

from __future__ import annotations

import socket
from typing import Final

from ikeclone.bpf import Code, Jump, Map, Op, Reg, Size

_ETHERNET, _TAG = 14, 4
_IPV4, _IPV6, _VLAN, _SERVICE_VLAN = 0x0800, 0x86DD, 0x8100, 0x88A8
_ESP, UDP, _UDP_HEADER = 50, 17, 8
_ENCAPSULATION_PORT: Final = 4500  # RFC 3948 section 2.1
IPV4_HEADER, IPV6_HEADER = 20, 40
_FRAGMENT: Final = 0x3FFF  # More Fragments, and the offset (RFC 791 section 3.1)
_SPI_AND_NUMBER: Final = 8  # RFC 4303 section 2

_MAP_LOOKUP, _REDIRECT_MAP = 1, 51
PASS, REDIRECT = 2, 4  # what the program answers

CURSOR, END, PROTOCOL, _TYPE = Reg.R7, Reg.R8, Reg.R9, Reg.R5


def to_cpu_of_spi(cpu_of_spi: Map, cpus: Map) -> bytes:
    """ESP and ESP in UDP over IPv4 or IPv6, behind at most one VLAN tag, goes to the CPU of its SPI.

    Everything else passes: other SPIs, IKE, keepalives, fragments, IPv6 with extension headers, what is too short.
    """
    code = Code()
    ethernet(code)
    _ipv4(code)
    _ipv6(code)
    _transport(code)
    _redirect(code, cpu_of_spi, cpus)
    return finished(code)


def finished(code: Code) -> bytes:
    """The end, where packets pass."""
    code.label("pass")
    code.move(Reg.R0, PASS)
    code.exit()
    return code.octets()


def ethernet(code: Code) -> None:
    """The packet from its IP header on is at CURSOR, and goes on below, or at "ipv6", or at "pass"."""
    code.load(Size.W, CURSOR, Reg.R1, 0)
    code.load(Size.W, END, Reg.R1, 4)
    need(code, _ETHERNET)
    code.load(Size.H, _TYPE, CURSOR, _ETHERNET - 2)
    code.jump(Jump.EQ, _TYPE, socket.htons(_VLAN), "tagged")
    code.jump(Jump.NE, _TYPE, socket.htons(_SERVICE_VLAN), "untagged")
    code.label("tagged")
    need(code, _ETHERNET + _TAG)
    code.load(Size.H, _TYPE, CURSOR, _ETHERNET + _TAG - 2)
    code.alu(Op.ADD, CURSOR, _TAG)
    code.label("untagged")
    code.alu(Op.ADD, CURSOR, _ETHERNET)
    code.jump(Jump.EQ, _TYPE, socket.htons(_IPV6), "ipv6")
    code.jump(Jump.NE, _TYPE, socket.htons(_IPV4), "pass")


def _ipv4(code: Code) -> None:
    need(code, IPV4_HEADER)
    behind_ipv4(code, fragments="pass")
    code.go("transport")


def behind_ipv4(code: Code, *, fragments: str) -> None:
    """Note the protocol and go to what follows the header and its options; fragments go elsewhere."""
    length = Reg.R4
    code.load(Size.H, Reg.R0, CURSOR, 6)
    code.jump(Jump.SET, Reg.R0, socket.htons(_FRAGMENT), fragments)
    code.load(Size.B, PROTOCOL, CURSOR, 9)
    code.load(Size.B, length, CURSOR, 0)
    code.alu(Op.AND, length, 0x0F)
    code.alu(Op.LSH, length, 2)
    code.jump(Jump.LT, length, IPV4_HEADER, "pass")
    code.alu(Op.ADD, CURSOR, length)


def _ipv6(code: Code) -> None:
    code.label("ipv6")
    need(code, IPV6_HEADER)
    code.load(Size.B, PROTOCOL, CURSOR, 6)
    code.alu(Op.ADD, CURSOR, IPV6_HEADER)


def _transport(code: Code) -> None:
    """On to the SPI, whether it is behind a UDP header or not."""
    port, length = Reg.R4, Reg.R5
    code.label("transport")
    code.jump(Jump.EQ, PROTOCOL, _ESP, "esp")
    code.jump(Jump.NE, PROTOCOL, UDP, "pass")
    need(code, _UDP_HEADER)
    code.load(Size.H, port, CURSOR, 2)
    code.jump(Jump.NE, port, socket.htons(_ENCAPSULATION_PORT), "pass")
    # A frame may be longer than its packet: what is behind a keepalive of one octet is padding.
    code.load(Size.H, length, CURSOR, 4)
    code.from_network(length, 16)
    code.jump(Jump.LT, length, _UDP_HEADER + _SPI_AND_NUMBER, "pass")
    code.alu(Op.ADD, CURSOR, _UDP_HEADER)
    code.label("esp")
    need(code, _SPI_AND_NUMBER)


def _redirect(code: Code, cpu_of_spi: Map, cpus: Map) -> None:
    """The non-ESP marker of IKE (RFC 3948 section 2.2) is an SPI that nobody has."""
    code.load(Size.W, Reg.R0, CURSOR, 0)
    to_cpu(code, cpu_of_spi, cpus)


def to_cpu(code: Code, numbers: Map, cpus: Map) -> None:
    """Send the packet to the CPU that R0 has in the map of their numbers; one without goes to "pass"."""
    code.store(Size.W, Reg.FP, -4, Reg.R0)
    code.map(Reg.R1, numbers.fd)
    code.move(Reg.R2, Reg.FP)
    code.alu(Op.ADD, Reg.R2, -4)
    code.call(_MAP_LOOKUP)
    code.jump(Jump.EQ, Reg.R0, 0, "pass")
    code.load(Size.W, Reg.R2, Reg.R0, 0)
    code.map(Reg.R1, cpus.fd)
    code.move(Reg.R3, PASS)  # the answer for a CPU that is not in the map
    code.call(_REDIRECT_MAP)
    code.exit()


def need(code: Code, octets: int) -> None:
    """Pass a packet that ends before so many octets from here."""
    code.move(Reg.R3, CURSOR)
    code.alu(Op.ADD, Reg.R3, octets)
    code.jump(Jump.GT, Reg.R3, END, "pass")
