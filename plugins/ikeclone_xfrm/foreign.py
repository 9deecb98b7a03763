"""Policies of others: the kernel has one for a selector, mark and interface, and would put ours in its place."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_network

from ikeclone.backend import BackendError
from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.messages import XfrmMessage
from ikeclone_xfrm.numbers import Msg, PolicyDirection
from ikeclone_xfrm.policies import Message, identity, is_ours
from ikeclone_xfrm.states import Fields
from ikeclone_xfrm.structs import unpacked
from ikeclone_xfrm.xfrm import AsyncXfrm


async def company() -> str:
    """What others have in the kernel's IPsec, in words; nothing if there is nothing. Raises BackendError, OSError."""
    xfrm = AsyncXfrm()
    try:
        await xfrm.bind()
        found = [policy for policy in await xfrm.dump(Msg.GETPOLICY) if policy["dir"] in list(PolicyDirection)]
        policies = sum(not _is_ours(policy) for policy in found)
        states = sum(not is_ours(state["reqid"]) for state in await xfrm.dump(Msg.GETSA))
    finally:
        xfrm.close()
    return f"; somebody else has {policies} policies and {states} states here" if policies or states else ""


async def refuse_company(xfrm: AsyncXfrm, wanted: Iterable[Message]) -> None:
    """Raise BackendError when somebody else has one of these policies: it stays as it is."""
    for message in wanted:
        fields, attributes = identity(message)
        with suppress(NotThere):
            found = await xfrm.fetch(Msg.GETPOLICY, fields, attributes)
            if not _is_ours(found):
                raise BackendError(
                    f"there is a policy that is not ours, {shown(fields)}: is another IKE daemon running? "
                    "`ip xfrm policy` shows it"
                )


def shown(policy: Fields) -> str:
    """A policy's selector and direction as `ip xfrm` takes them; ports are left out."""
    selector = policy["sel"]
    ends = (("src", "saddr", "prefixlen_s"), ("dst", "daddr", "prefixlen_d"))
    nets = [f"{end} {_network(selector, address, length)}" for end, address, length in ends]
    return " ".join([*nets, "dir", PolicyDirection(policy["dir"]).name.lower()])


def _is_ours(policy: XfrmMessage) -> bool:
    template = policy.get_attr("XFRMA_TMPL")
    return template is not None and is_ours(template["reqid"])


def _network(selector: Fields, address: str, length: str) -> str:
    return str(ip_network((unpacked(selector[address], selector["family"]), selector[length])))
