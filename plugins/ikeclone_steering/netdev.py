"""What the kernel says of devices over generic netlink: the family netdev (linux/netdev.h), since Linux 6.3 and 6.8."""

from __future__ import annotations

from typing import Any, ClassVar

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import AsyncGenericNetlinkSocket


class Device(genlmsg):  # type: ignore[misc]
    """NETDEV_CMD_DEV_GET: what its driver does for XDP. The kernel tells of all devices at once only."""

    command: ClassVar = 1
    nla_map = ((1, "IFINDEX", "uint32"), (3, "XDP_FEATURES", "uint64"))
    REDIRECTS: ClassVar = 1 << 1  # NETDEV_XDP_ACT_REDIRECT


class Queue(genlmsg):  # type: ignore[misc]
    """NETDEV_CMD_QUEUE_GET: a queue and what polls it."""

    command: ClassVar = 10
    nla_map = ((1, "ID", "uint32"), (2, "IFINDEX", "uint32"), (3, "TYPE", "uint32"), (4, "NAPI_ID", "uint32"))
    RECEIVES: ClassVar = 0  # NETDEV_QUEUE_TYPE_RX


class Napi(genlmsg):  # type: ignore[misc]
    """NETDEV_CMD_NAPI_GET: what polls queues, and its interrupt."""

    command: ClassVar = 11
    nla_map = ((1, "IFINDEX", "uint32"), (2, "ID", "uint32"), (3, "IRQ", "uint32"), (4, "PID", "uint32"))


async def dump(kind: type[Any], index: int) -> list[Any]:
    """What there is of a device's; nothing from a kernel that does not know."""
    sock = AsyncGenericNetlinkSocket()
    try:
        await sock.bind("netdev", kind)
        message = kind()
        message["cmd"], message["version"] = kind.command, 1
        message["attrs"] = [] if kind is Device else [("IFINDEX", index)]
        request = sock.nlm_request(message, msg_type=sock.prid, msg_flags=NLM_F_REQUEST | NLM_F_DUMP)
        answers = [answer async for answer in await request]
    except NetlinkError:
        return []
    finally:
        sock.close()
    return [answer for answer in answers if answer.get_attr("IFINDEX") == index]
