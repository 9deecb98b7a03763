"""What a connection wants done with its packets, beside which of them it wants."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Interface, IPv6Interface


class Offload(Enum):
    """What of IPsec a network card does (`nic-offload=`): the cipher alone, or all that is done with a packet.

    AUTO is as much as it can.
    """

    NO = "no"
    AUTO = "auto"
    CRYPTO = "crypto"
    PACKET = "packet"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the marks of packets must be, in the bits of the mask (`mark=`)."""

    value: int
    mask: int = 0xFFFFFFFF

    def __str__(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


@dataclass(frozen=True, slots=True)
class Interface:
    """A network device of the tunnel's own, `ipsecN`, and its addresses: what is routed there, is the tunnel's."""

    number: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()

    @property
    def name(self) -> str:
        """The device's name."""
        return f"ipsec{self.number}"


@dataclass(frozen=True, slots=True)
class Handling:
    """How a data plane handles a connection's packets; the defaults leave everything to it.

    Packets have to bear the marks, and get none. A smaller `priority` comes first. `parallel` are the CPUs that share
    the work of one SA, none of them named for all; None is the CPU that has the packet.
    """

    offload: Offload = Offload.NO
    interface: Interface | None = None
    mark_in: Mark | None = None
    mark_out: Mark | None = None
    priority: int | None = None
    parallel: frozenset[int] | None = None

    def demands(self) -> list[str]:
        """The settings of ipsec.conf that a data plane has to be able to meet."""
        settings: dict[str, object] = {
            "nic-offload": self.offload.value if self.offload in (Offload.CRYPTO, Offload.PACKET) else None,
            "ipsec-interface": None if self.interface is None else self.interface.number,
            "mark-in": self.mark_in,
            "mark-out": self.mark_out,
            "priority": self.priority,
            "parallel-crypto": None if self.parallel is None else _cpus(self.parallel),
        }
        return [f"{keyword}={value}" for keyword, value in settings.items() if value is not None]


def _cpus(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers))) or "yes"
