"""Taking out of the kernel what is ours and nothing else, whoever of us left it there."""

from __future__ import annotations

from contextlib import suppress

from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.messages import XfrmMessage
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import NAMING, is_ours
from ikeclone_xfrm.states import Attributes, Fields
from ikeclone_xfrm.xfrm import AsyncXfrm

_FIRST_SPI, _LAST_SPI = 0x100, 0xFFFFFFFF


async def sweep(xfrm: AsyncXfrm) -> int:
    """Remove every policy and state with a reqid of ours; how many there were. Raises XfrmError.

    Policies go first: nothing shall ask for states that are going.
    """
    count = 0
    for policy in await xfrm.dump(Msg.GETPOLICY):
        template = policy.get_attr("XFRMA_TMPL")
        if template is not None and is_ours(template["reqid"]):
            with suppress(NotThere):
                name = {"sel": policy["sel"], "dir": policy["dir"], "index": policy["index"]}
                await xfrm.change(Msg.DELPOLICY, name, _naming(policy))
                count += 1
    for state in await xfrm.dump(Msg.GETSA):
        if is_ours(state["reqid"]):
            with suppress(NotThere):
                await xfrm.change(Msg.DELSA, await _identity(xfrm, state), _naming(state))
                count += 1
    return count


async def _identity(xfrm: AsyncXfrm, state: XfrmMessage) -> Fields:
    """What a state is known by. A larval one, for which an acquire is under way, has no SPI yet: it is given one."""
    name, family = state["id"], {"family": state["family"]}
    if not name["spi"]:
        cpu = state.get_attr("XFRMA_SA_PCPU")
        kept = {key: state[key] for key in ("id", "saddr", "seq", "reqid", "family", "mode")}
        more = [*_naming(state), *([] if cpu is None else [("SA_PCPU", cpu)])]
        name = (await xfrm.fetch(Msg.ALLOCSPI, {"info": kept, "min": _FIRST_SPI, "max": _LAST_SPI}, more))["id"]
    return {**name, **family}


def _naming(message: XfrmMessage) -> Attributes:
    found = [(name, message.get_attr(f"XFRMA_{name}")) for name in NAMING]
    return [(name, value) for name, value in found if value is not None]
