"""A Child SA in the kernel: a state that receives and, from activation on, one that sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ikeclone.backend import ChildSa, Counters, Path
from ikeclone_xfrm.counting import counters_of
from ikeclone_xfrm.half import Half, Key
from ikeclone_xfrm.numbers import Direction
from ikeclone_xfrm.placement import Place
from ikeclone_xfrm.states import Kernel, inbound, outbound


@dataclass(init=False, slots=True, eq=False)
class Pair:
    """Both halves; neither is in the kernel yet when this is made."""

    sa: ChildSa
    inbound: Half
    outbound: Half

    def __init__(self, sa: ChildSa, reqid: int, kernel: Kernel, place: Place, whole: int | None = None) -> None:
        """Raises BackendError when the kernel cannot have such an SA."""
        self.sa = sa
        self.inbound = Half(inbound(sa, whole or reqid, kernel), Direction.IN, place)
        self.outbound = Half(outbound(sa, reqid, kernel), Direction.OUT, place)

    def moved(self, path: Path, udp_encapsulation: bool, kernel: Kernel, place: Place) -> Pair:
        """The same SA between other addresses or ports, in UDP or not."""
        sa = replace(self.sa, path=path, udp_encapsulation=udp_encapsulation)
        whole, reqid = (half.state.fields["reqid"] for half in (self.inbound, self.outbound))
        return Pair(sa, reqid, kernel, place, whole)

    def counters(self, states: Mapping[Key, Any], boot: float) -> Counters:
        """What both halves carried, those that are in the kernel (`states`) and those that were.

        `boot` is the wall clock's time when the monotonic clock was 0.
        """
        counters = Counters()
        for half in (self.inbound, self.outbound):
            state = states.get(half.key) if half.present else half.last
            if state is not None:
                counters_of(state, counters, outbound=half.direction is Direction.OUT, boot=boot)
        return counters

    @property
    def offloaded(self) -> str | None:
        """What a card does for it, if it is to do anything."""
        if self.inbound.place.card is None:
            return None
        halves = (("in", self.inbound), ("out", self.outbound))
        return " ".join(f"{way} {half.level.value}" for way, half in halves if half.present)

    def present(self) -> list[Key]:
        """The keys of the halves that should be in the kernel."""
        return [half.key for half in (self.inbound, self.outbound) if half.present]
