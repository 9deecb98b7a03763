"""Having a network card do IPsec's work, and finding out whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from socket import if_indextoname

from ikeclone.backend import BackendError, Offload
from ikeclone_xfrm.numbers import Direction, OffloadFlag
from ikeclone_xfrm.states import Attributes


class CardRefused(BackendError):
    """The card does not take a state as it is wanted."""


@dataclass(frozen=True, slots=True)
class Card:
    """The network device that leads to a peer, and what is wanted of it; `policies` are in its hands as well."""

    index: int
    wanted: Offload
    policies: bool = False

    @property
    def name(self) -> str:
        """The device's name; raises OSError when it is gone."""
        return if_indextoname(self.index)

    def levels(self) -> list[Offload]:
        """What to try, one after the other: without its policies a card cannot do all of a state's work."""
        if self.policies:
            return [Offload.PACKET]
        return [Offload.CRYPTO, Offload.NO] if self.wanted is Offload.AUTO else [self.wanted]

    def state(self, level: Offload, direction: Direction) -> Attributes:
        """The attribute that puts a state there."""
        flags = OffloadFlag.INBOUND if direction is Direction.IN else OffloadFlag(0)
        return self._attribute(flags | (OffloadFlag.PACKET if level is Offload.PACKET else 0))

    def policy(self) -> Attributes:
        """The attribute that puts a policy there."""
        return self._attribute(OffloadFlag.PACKET)

    def _attribute(self, flags: int) -> Attributes:
        return [("OFFLOAD_DEV", {"ifindex": self.index, "flags": flags})]
