"""Taking out of the kernel what is ours and nothing else, whoever of us left it there."""

from __future__ import annotations

from contextlib import suppress

from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.messages import XfrmMessage
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import NAMING, is_ours
from ikeclone_xfrm.states import Attributes
from ikeclone_xfrm.xfrm import AsyncXfrm


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
        # A larval state has no SPI to name it by; it ends by itself.
        if is_ours(state["reqid"]) and state["id"]["spi"]:
            with suppress(NotThere):
                await xfrm.change(Msg.DELSA, {**state["id"], "family": state["family"]}, _naming(state))
                count += 1
    return count


def _naming(message: XfrmMessage) -> Attributes:
    found = [(name, message.get_attr(f"XFRMA_{name}")) for name in NAMING]
    return [(name, value) for name, value in found if value is not None]
