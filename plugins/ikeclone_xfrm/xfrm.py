"""A socket of NETLINK_XFRM."""
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from pyroute2.netlink import NETLINK_XFRM, NLM_F_ACK, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

from ikeclone_xfrm.errors import refused
from ikeclone_xfrm.messages import XfrmMarshal, XfrmMessage
from ikeclone_xfrm.numbers import Group, Msg

Fields = dict[str, Any]
Attributes = Iterable[tuple[str, Any]]


class AsyncXfrm(AsyncNetlinkSocket):
    """Use one for requests and another for events: the kernel tells all listeners of what a request did under that
    request's sequence number, by which pyroute2 would take the news for the answer.
    """

    marshal_class = XfrmMarshal

    def __init__(self, **arguments: Any) -> None:
        super().__init__(family=NETLINK_XFRM, ext_ack=True, **arguments)
        self._dumping = asyncio.Lock()

    async def subscribe(self, groups: Iterable[Group]) -> None:
        """Receive these groups' messages from now on."""
        await self.bind(groups=sum(1 << (group - 1) for group in groups))

    async def change(self, kind: Msg, fields: Fields, attributes: Attributes = ()) -> None:
        """Send a request that is only acknowledged; raises XfrmError."""
        # The kernel wants it said that NEWAE replaces what is there.
        await self._request(kind, NLM_F_ACK | (NLM_F_REPLACE if kind is Msg.NEWAE else 0), fields, attributes)

    async def fetch(self, kind: Msg, fields: Fields, attributes: Attributes = ()) -> XfrmMessage:
        """Send a request with one answer; raises XfrmError."""
        # No acknowledgement is asked for: it would come after the answer and find nobody waiting.
        (answer,) = await self._request(kind, 0, fields, attributes)
        return answer

    async def dump(self, kind: Msg) -> list[XfrmMessage]:
        """All states or policies; raises XfrmError."""
        async with self._dumping:  # to a socket with a dump on its way, the kernel answers EBUSY
            return await self._request(kind, NLM_F_DUMP, {}, ())

    async def events(self) -> AsyncIterator[XfrmMessage]:
        """The subscribed messages. Raises OSError (ENOBUFS) when some were lost; this socket is of no use then."""
        while True:
            async for message in self.get():
                yield message

    async def _request(self, kind: Msg, flags: int, fields: Fields, attributes: Attributes) -> list[XfrmMessage]:
        message = XfrmMarshal.msg_map[kind]()
        message.update(fields)
        message["attrs"] = [(f"XFRMA_{name}", value) for name, value in attributes]
        try:
            answers = await self.nlm_request(message, msg_type=kind, msg_flags=NLM_F_REQUEST | flags)
            return [answer async for answer in answers]
        except NetlinkError as error:
            raise refused(kind.name, error.code, error.args[1]) from error
