"""One direction of a Child SA in the kernel."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

from ikeclone.backend import BackendError, Offload
from ikeclone_xfrm.errors import NotThere, XfrmError
from ikeclone_xfrm.migration import migration
from ikeclone_xfrm.numbers import Direction, Msg, StateFlag
from ikeclone_xfrm.offload import Card, CardRefused
from ikeclone_xfrm.placement import Place
from ikeclone_xfrm.sequence import REPLAY, progress
from ikeclone_xfrm.states import Attributes, State
from ikeclone_xfrm.structs import LifetimeCurrent
from ikeclone_xfrm.xfrm import AsyncXfrm

# The address and SPI that a state is known by.
Key = tuple[bytes, int]
# Sequence numbers: more than a state can use between two requests.
_MEANWHILE: Final = 1 << 20


def key_of(identity: dict[str, Any]) -> Key:
    """The key of a state, from a struct xfrm_id or xfrm_usersa_id."""
    return identity["daddr"].ljust(16, b"\0"), identity["spi"]


@dataclass(slots=True)
class Half:
    """A state that is in the kernel, or was and may come back where it left off.

    `level` is what the card does for it. `last` is what the kernel said of it when it was taken out. Its sequence
    numbers and counters come back with it, less the numbers that are `skipped`: none is ever used twice.
    """

    state: State
    direction: Direction
    place: Place = field(default_factory=Place)
    level: Offload = Offload.NO
    present: bool = False
    last: Any = None
    skipped: int = 0

    @property
    def key(self) -> Key:
        """What names it."""
        return key_of(self.state.fields["id"])

    async def put(self, xfrm: AsyncXfrm) -> None:
        """Put it into the kernel, and onto its card; raises BackendError, or CardRefused."""
        if self.place.card is None:
            await self._put(xfrm, [])
        else:
            await self._put_on(self.place.card, xfrm)

    async def _put_on(self, card: Card, xfrm: AsyncXfrm) -> None:
        refusal: XfrmError | None = None
        for level in card.levels():
            try:
                await self._put(xfrm, [] if level is Offload.NO else card.state(level, self.direction))
            except XfrmError as error:
                refusal = error
                continue
            self.level = level if await self._is_on_card(xfrm) else Offload.NO
            if self.level is level or (card.wanted is Offload.AUTO and not card.policies):
                return
            await self.drop(xfrm)
        why = refusal.text if refusal is not None else "it has none"
        raise CardRefused(f"{card.name} refuses nic-offload={card.wanted.value}: {why}") from refusal

    async def _put(self, xfrm: AsyncXfrm, more: Attributes) -> None:
        former = self._progress() if self.last is not None else []
        fresh = [pair for pair in self.state.attributes if not (former and pair[0] in REPLAY)]
        async with self.place.making():
            await xfrm.change(Msg.NEWSA, self.state.fields, [*fresh, *former, *more])
        self.present = True

    async def _is_on_card(self, xfrm: AsyncXfrm) -> bool:
        """A kernel whose device cannot do it passes over what was asked for."""
        found = await xfrm.fetch(Msg.GETSA, self._identity(), self.state.name)
        return found.get_attr("XFRMA_OFFLOAD_DEV") is not None

    async def take(self, xfrm: AsyncXfrm) -> None:
        """Take it out, remembering how far it got; raises XfrmError."""
        if not self.present:
            return
        try:
            self.last = await xfrm.fetch(Msg.GETSA, self._identity(), self.state.name)
        except NotThere:
            self.present = False
            return
        # It goes on sending until it is dropped.
        self.skipped = _MEANWHILE if self.direction is Direction.OUT else 0
        await self.drop(xfrm)

    async def skip(self, count: int, xfrm: AsyncXfrm) -> None:
        """Leave out so many sequence numbers; raises BackendError when a card counts them."""
        if self.level is Offload.PACKET:
            raise BackendError(f"{self.state}: the network card counts its sequence numbers")
        if not self.present:
            self.skipped += count
            return
        found = await xfrm.fetch(Msg.GETSA, self._identity(), self.state.name)
        fields = {"id": self._identity(), "saddr": self.state.fields["saddr"], "reqid": self.state.fields["reqid"]}
        await xfrm.change(Msg.NEWAE, fields, [*progress(found, count, esn=self._esn), *self.state.name])

    async def settle(self, place: Place, xfrm: AsyncXfrm) -> None:
        """Go on in another place; raises BackendError."""
        was_there = self.present
        await self.take(xfrm)
        self.place, self.level = place, Offload.NO
        if was_there:
            await self.put(xfrm)

    async def hand_over(self, successor: Half, xfrm: AsyncXfrm, *, migrates: bool) -> None:
        """Go on as the successor, which differs in addresses or ports; raises BackendError."""
        if not self.present:
            successor.last, successor.skipped = self.last, self.skipped
        elif migrates and self.place.card is None:  # one on a card is lost if the kernel cannot migrate it (7.2)
            await xfrm.change(Msg.MIGRATE_STATE, *migration(self.state, successor.state))
            self.present, successor.present = False, True
        else:
            await self.take(xfrm)
            successor.last, successor.skipped = self.last, self.skipped
            await successor.put(xfrm)

    async def drop(self, xfrm: AsyncXfrm) -> None:
        """Take it out for good; it is no error if somebody else did. Raises XfrmError."""
        if not self.present:
            return
        self.present = False
        try:
            await xfrm.change(Msg.DELSA, self._identity(), self.state.name)
        except NotThere:
            return

    def _progress(self) -> list[tuple[str, bytes]]:
        """The attributes with which it goes on where it ended. It is as new as it looks: newer ones send."""
        lifetime = ("LTIME_VAL", LifetimeCurrent.pack({**self.last["curlft"], "add_time": int(time.time())}))
        return [lifetime, *progress(self.last, self.skipped, esn=self._esn)]

    @property
    def _esn(self) -> bool:
        return bool(self.state.fields["flags"] & StateFlag.ESN)

    def _identity(self) -> dict[str, Any]:
        return {**self.state.fields["id"], "family": self.state.fields["family"]}
