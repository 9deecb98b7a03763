"""The ways to steer, best first, and what they change in the system."""

from __future__ import annotations

import logging

from ikeclone.steering import Choice, Settings
from ikeclone_steering.changes import Changes
from ikeclone_steering.hashing import CardHash
from ikeclone_steering.inside import Inside
from ikeclone_steering.journal import Journal
from ikeclone_steering.links import Links
from ikeclone_steering.masks import Masks
from ikeclone_steering.redirect import Redirect
from ikeclone_steering.rules import CardRules
from ikeclone_steering.ways import Way

log = logging.getLogger(__name__)


class System:
    """What there is of them; nothing is changed by making it."""

    def __init__(self, settings: Settings) -> None:
        self.links, self.changes = Links(), Changes()
        self._journal = Journal()
        self._redirect = Redirect(self.links)
        card: list[Way] = [CardRules(self._journal), CardHash(self._journal)]
        masks = Masks(self._journal)
        by_choice: dict[Choice, list[Way]] = {
            Choice.AUTO: [*card, self._redirect, masks],
            Choice.NIC: card,
            Choice.XDP: [self._redirect],
            Choice.RPS: [masks],
        }
        self.ways = by_choice[settings.choice]
        self.inside = Inside(settings.inside, self.links, masks)

    async def sweep(self) -> None:
        """Undo what a daemon that crashed has left."""
        for name in await self.links.detach_ours():
            log.warning("the XDP program of an earlier daemon is taken off %s", name)
        for change in self._journal.undo_all():
            log.warning("undone, of an earlier daemon: %s", change)

    async def undo(self) -> None:
        """Undo everything, and close."""
        try:
            self._journal.undo_all()
            await self.links.detach_ours()
        finally:
            self.close()

    def close(self) -> None:
        """Give the descriptors back, and leave everything as it is."""
        self.links.close()
        self.changes.close()
        self._redirect.close()
        self.inside.close()
