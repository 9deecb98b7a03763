"""Policies that several connections have, and the numbers of connections."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast

import pytest

from ikeclone.backend import BackendError, Handling, Interface, Mark, TrafficSelector
from ikeclone_xfrm import reqids as module
from ikeclone_xfrm.errors import refused
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import REQID_BASE
from ikeclone_xfrm.reqids import Reqids
from ikeclone_xfrm.shelf import Shelf
from ikeclone_xfrm.trap import Trap
from ikeclone_xfrm.xfrm import AsyncXfrm

from .samples import POLICY, REMOTE

OTHER = (TrafficSelector.of(ip_network("198.51.100.0/24")),)


class Kernel:
    """Which reqid has each policy, as the kernel has it: one policy for each selector and direction."""

    def __init__(self) -> None:
        self.policies: dict[str, int] = {}

    async def change(self, kind: Msg, fields: dict[str, Any], attributes: Iterable[tuple[str, Any]] = ()) -> None:
        more = dict(attributes)
        name = repr((fields["sel"], fields["dir"], more.get("MARK"), more.get("IF_ID")))
        if kind is Msg.DELPOLICY:
            del self.policies[name]
        else:
            self.policies[name] = more["TMPL"]["reqid"]

    async def fetch(self, kind: Msg, fields: dict[str, Any], attributes: Iterable[tuple[str, Any]] = ()) -> None:
        """There is nothing of anybody else's."""
        raise refused(kind.name, errno.ENOENT)

    def reqids(self) -> list[int]:
        return sorted(self.policies.values())


def traps(kernel: Kernel) -> tuple[Trap, Trap]:
    shelf = Shelf(cast("AsyncXfrm", kernel))
    return Trap(shelf, POLICY, 1, lambda _: None), Trap(shelf, POLICY, 2, lambda _: None)


async def test_the_last_has_what_two_share_and_the_first_has_it_back() -> None:
    kernel = Kernel()
    whole, part = traps(kernel)
    wide = replace(POLICY, remote=REMOTE + OTHER)
    await whole.install(wide)
    await part.install(POLICY)
    assert kernel.reqids() == [1, 1, 1, 2, 2, 2]
    await whole.install(wide)
    await whole.arm(changed=True)
    assert kernel.reqids() == [1, 1, 1, 2, 2, 2]
    await part.remove()
    assert kernel.reqids() == [1] * 6
    await whole.remove()
    assert kernel.policies == {}


async def test_the_first_may_go_first() -> None:
    kernel = Kernel()
    whole, part = traps(kernel)
    await whole.install(POLICY)
    await part.install(POLICY)
    await whole.remove()
    assert kernel.reqids() == [2, 2, 2]
    await part.remove()
    assert kernel.policies == {}


async def test_marks_and_interfaces_tell_policies_apart() -> None:
    kernel = Kernel()
    first, second = traps(kernel)
    third = Trap(first._shelf, POLICY, 3, lambda _: None)
    await first.install(replace(POLICY, handling=Handling(mark_in=Mark(1, 1), mark_out=Mark(1, 1))))
    await second.install(POLICY)
    await third.install(replace(POLICY, handling=Handling(interface=Interface(7))))
    assert kernel.reqids() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    await first.remove()
    assert kernel.reqids() == [2, 2, 2, 3, 3, 3]


def test_a_reqid_that_was_given_back_is_the_last_to_be_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    reqids = Reqids()
    assert [reqids.of(name) - REQID_BASE for name in ("a", "b", "a")] == [1, 2, 1]
    reqids.give_back("a")
    assert [reqids.of(name) - REQID_BASE for name in ("c", "d")] == [3, 1]
    with pytest.raises(BackendError, match="3 connections are as many"):
        reqids.of("e")
    reqids.clear()
    assert reqids.of("e") == REQID_BASE + 2
