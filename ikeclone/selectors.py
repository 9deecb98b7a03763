"""Traffic selectors: ranges of addresses, ports and a protocol (RFC 7296 section 3.13.1)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, summarize_address_range

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class TrafficSelector:
    """Addresses `first`..`last` and ports `first_port`..`last_port`, inclusive; protocol 0 means any."""

    first: IPAddress
    last: IPAddress
    protocol: int = 0
    first_port: int = 0
    last_port: int = 65535

    @classmethod
    def of(cls, network: IPNetwork, protocol: int = 0, port: int | None = None) -> TrafficSelector:
        """The selector of a whole network, for one port or, with None, all of them."""
        ports = (0, 65535) if port is None else (port, port)
        return cls(network.network_address, network.broadcast_address, protocol, *ports)

    def intersection(self, other: TrafficSelector) -> TrafficSelector | None:
        """What both selectors cover, or None."""
        if self.first.version != other.first.version:
            return None
        if self.protocol and other.protocol and self.protocol != other.protocol:
            return None
        first = max(self.first, other.first, key=int)
        last = min(self.last, other.last, key=int)
        first_port = max(self.first_port, other.first_port)
        last_port = min(self.last_port, other.last_port)
        if int(first) > int(last) or first_port > last_port:
            return None
        return TrafficSelector(first, last, self.protocol or other.protocol, first_port, last_port)

    def covers(self, other: TrafficSelector) -> bool:
        """Whether everything in `other` is in this selector too."""
        return self.intersection(other) == other

    def networks(self) -> tuple[IPNetwork, ...]:
        """The fewest networks that make up the address range."""
        return tuple(summarize_address_range(self.first, self.last))

    def __str__(self) -> str:
        nets = self.networks()
        text = str(nets[0]) if len(nets) == 1 else f"{self.first}-{self.last}"
        if self.protocol or (self.first_port, self.last_port) != (0, 65535):
            text += f"/{self.protocol or '%any'}"
        if (self.first_port, self.last_port) != (0, 65535):
            ports = str(self.first_port) if self.first_port == self.last_port else f"{self.first_port}-{self.last_port}"
            text += f"/{ports}"
        return text
