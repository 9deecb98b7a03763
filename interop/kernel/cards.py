"""Network cards that do IPsec: netdevsim's, which take states but encrypt nothing, with a cable between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.tunnel import DEVICE
from interop.kernel.lab import KernelLab
from interop.lab import EAST, WEST

CARD = "sim0"
_BUS = Path("/sys/bus/netdevsim")


@contextmanager
def cards(lab: KernelLab) -> Iterator[None]:
    """Lead the cable between both hosts from card to card for a while."""
    with ExitStack() as stack:
        ends = []
        for number, end in ((11, WEST), (12, EAST)):
            side = lab.side(end)
            side.run("sh", "-c", f"echo '{number} 1' > {_BUS}/new_device")
            stack.callback(_remove, side, number, end.address)
            _rename(side)
            ends.append(f"{stack.enter_context(_opened(side))}:{_index(side)}")
        (_BUS / "link_device").write_text(" ".join(ends))
        for end in (WEST, EAST):
            lab.side(end).ip(f"address del {end.address}/24 dev {DEVICE}")
            lab.side(end).ip(f"address add {end.address}/24 dev {CARD}")
            lab.side(end).ip(f"link set {CARD} up")
        yield


def on_card(side: Namespace) -> int:
    """How many states the card of a host has."""
    return side.ip("xfrm state").count(f"crypto offload parameters: dev {CARD}")


def _remove(side: Namespace, number: int, address: str) -> None:
    (_BUS / "del_device").write_text(str(number))
    side.ip(f"address add {address}/24 dev {DEVICE}")


def _rename(side: Namespace) -> None:
    listed = [line.split(":")[1].strip().split("@")[0] for line in side.ip("-o link").splitlines()]
    (name,) = [name for name in listed if name not in ("lo", DEVICE)]
    side.ip(f"link set {name} name {CARD}")


def _index(side: Namespace) -> str:
    return side.ip(f"-o link show {CARD}").split(":")[0]


@contextmanager
def _opened(side: Namespace) -> Iterator[int]:
    number = os.open(side.path, os.O_RDONLY)
    try:
        yield number
    finally:
        os.close(number)
