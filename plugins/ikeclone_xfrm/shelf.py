"""The policies of all connections in the kernel, which can have one for the same traffic only once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from contextlib import suppress
from typing import Any

from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.foreign import refuse_company
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import Message, identity
from ikeclone_xfrm.xfrm import AsyncXfrm


class Shelf:
    """Of several owners of the same policy, such as a connection that waits for packets and the part of it that has
    Child SAs, the one that came last has it; when it goes, the one before has it again. Methods raise BackendError.
    """

    def __init__(self, xfrm: AsyncXfrm) -> None:
        self._xfrm = xfrm
        self._owners: dict[Hashable, dict[object, Message]] = {}

    async def refuse_company(self, wanted: Iterable[Message]) -> None:
        """See that nobody else has one of these policies."""
        await refuse_company(self._xfrm, wanted)

    async def put(self, owner: object, message: Message) -> None:
        """Let the kernel have an owner's policy, in place of the owner's former one for the same traffic."""
        owners = self._owners.setdefault(_key(message), {})
        new = owner not in owners
        if new or owner is next(reversed(owners)):
            await self._xfrm.change(Msg.UPDPOLICY, *message)
        owners[owner] = message

    async def take(self, owner: object, message: Message) -> None:
        """An owner has this policy no more."""
        key = _key(message)
        owners = self._owners.get(key, {})
        had_it = bool(owners) and owner is next(reversed(owners))
        owners.pop(owner, None)
        if not owners:
            self._owners.pop(key, None)
            with suppress(NotThere):
                await self._xfrm.change(Msg.DELPOLICY, *identity(message))
        elif had_it:
            await self._xfrm.change(Msg.UPDPOLICY, *next(reversed(owners.values())))


def _key(message: Message) -> Hashable:
    """What the kernel tells policies apart by."""
    fields, attributes = identity(message)
    return _frozen(fields), _frozen(dict(attributes))


def _frozen(value: Any) -> Hashable:
    return tuple((name, _frozen(each)) for name, each in sorted(value.items())) if isinstance(value, dict) else value
