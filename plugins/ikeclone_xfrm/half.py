"""One direction of a Child SA in the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.numbers import Direction, Msg
from ikeclone_xfrm.states import State
from ikeclone_xfrm.structs import LifetimeCurrent
from ikeclone_xfrm.xfrm import AsyncXfrm

# The address and SPI that a state is known by.
Key = tuple[bytes, int]
_REPLAY = ("REPLAY_VAL", "REPLAY_ESN_VAL")


def key_of(identity: dict[str, Any]) -> Key:
    """The key of a state, from a struct xfrm_id or xfrm_usersa_id."""
    return identity["daddr"].ljust(16, b"\0"), identity["spi"]


@dataclass(slots=True)
class Half:
    """A state that is in the kernel, or was and may come back where it left off.

    `kept` has its sequence numbers and counters while it is not there: a sequence number is never used twice.
    """

    state: State
    direction: Direction
    present: bool = False
    kept: tuple[tuple[str, bytes], ...] = ()

    @property
    def key(self) -> Key:
        """What names it."""
        return key_of(self.state.fields["id"])

    async def put(self, xfrm: AsyncXfrm) -> None:
        """Put it into the kernel; raises XfrmError."""
        fresh = [pair for pair in self.state.attributes if not (self.kept and pair[0] in _REPLAY)]
        await xfrm.change(Msg.NEWSA, self.state.fields, [*fresh, *self.kept])
        self.present = True

    async def take(self, xfrm: AsyncXfrm) -> None:
        """Take it out, remembering how far it got; raises XfrmError."""
        if not self.present:
            return
        identity = self._identity()
        try:
            found = await xfrm.fetch(Msg.GETSA, identity)
            self.kept = _progress(found)
        except NotThere:
            self.present = False
            return
        await self.drop(xfrm)

    async def drop(self, xfrm: AsyncXfrm) -> None:
        """Take it out for good; it is no error if somebody else did. Raises XfrmError."""
        if not self.present:
            return
        self.present = False
        try:
            await xfrm.change(Msg.DELSA, self._identity())
        except NotThere:
            return

    def _identity(self) -> dict[str, Any]:
        return {**self.state.fields["id"], "family": self.state.fields["family"]}


def _progress(found: Any) -> tuple[tuple[str, bytes], ...]:
    lifetime = ("LTIME_VAL", LifetimeCurrent.pack(found["curlft"]))
    replay = ((name, found.get_attr(f"XFRMA_{name}")) for name in _REPLAY)
    return (lifetime, *((name, bytes(value)) for name, value in replay if value is not None))
