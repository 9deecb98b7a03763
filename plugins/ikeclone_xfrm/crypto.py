"""The kernel's crypto algorithms, over netlink (linux/cryptouser.h) and as /proc/crypto lists them."""
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST, nlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.marshal import Marshal
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

from ikeclone_xfrm.errors import refused
from ikeclone_xfrm.numbers import CryptoMsg

_NETLINK_CRYPTO: Final = 21
LIST: Final = Path("/proc/crypto")
_AEAD, _TYPES = 3, 0xF  # CRYPTO_ALG_TYPE_AEAD, CRYPTO_ALG_TYPE_MASK
LONGEST: Final = 63  # octets of a name that netlink takes


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One that the kernel has: of several with a name the one of the highest priority is used, a driver is just one."""

    name: str
    driver: str
    priority: int
    references: int


def algorithms() -> list[Algorithm]:
    """All that there are now."""
    found = []
    for block in LIST.read_text().strip().split("\n\n"):
        said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        found.append(Algorithm(said["name"], said["driver"], int(said["priority"]), int(said["refcnt"])))
    return found


class CryptoMessage(nlmsg):
    """struct crypto_user_alg, and the one attribute that there is need of."""

    prefix = "CRYPTOCFGA_"
    fields = (
        ("name", "64s"),
        ("driver", "64s"),
        ("module", "64s"),
        ("type", "I"),
        ("mask", "I"),
        ("references", "I"),
        ("flags", "I"),
    )
    defaults: ClassVar = {"name": b"", "driver": b"", "module": b""}
    nla_map = (("CRYPTOCFGA_UNSPEC", "none"), ("CRYPTOCFGA_PRIORITY_VAL", "uint32"))


class CryptoMarshal(Marshal):
    msg_map: ClassVar = dict.fromkeys(CryptoMsg, CryptoMessage)


class AsyncCrypto(AsyncNetlinkSocket):
    """A socket of NETLINK_CRYPTO."""

    marshal_class = CryptoMarshal

    def __init__(self, **arguments: Any) -> None:
        super().__init__(family=_NETLINK_CRYPTO, ext_ack=True, **arguments)

    async def change(self, kind: CryptoMsg, driver: str, priority: int | None = None) -> None:
        """Make an AEAD, change its priority or remove it; raises XfrmError."""
        message = CryptoMessage()
        message.update({"driver": driver.encode(), "type": _AEAD, "mask": _TYPES})
        message["attrs"] = [] if priority is None else [("CRYPTOCFGA_PRIORITY_VAL", priority)]
        try:
            answers = await self.nlm_request(message, msg_type=kind, msg_flags=NLM_F_REQUEST | NLM_F_ACK)
            async for _ in answers:
                pass
        except NetlinkError as error:
            raise refused(kind.name, error.code, error.args[1]) from error
