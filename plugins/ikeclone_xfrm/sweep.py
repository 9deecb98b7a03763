"""Taking out of the kernel what is ours and nothing else, whoever of us left it there."""

from __future__ import annotations

from contextlib import suppress

from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.larval import end, is_larval
from ikeclone_xfrm.messages import XfrmMessage
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import is_ours, naming
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
                await xfrm.change(Msg.DELPOLICY, name, naming(policy))
                count += 1
    for state in await xfrm.dump(Msg.GETSA):
        if is_ours(state["reqid"]):
            with suppress(NotThere):
                await _remove(xfrm, state)
                count += 1
    return count


async def _remove(xfrm: AsyncXfrm, state: XfrmMessage) -> None:
    if is_larval(state):
        await end(state, xfrm)
    else:
        await xfrm.change(Msg.DELSA, {**state["id"], "family": state["family"]}, naming(state))
