"""IPv4 and IPv6, inside and outside, in all four ways: clones, rekeys under a ping, nothing lost."""

from ikeclone.demo.pings import RunningPing
from ikeclone.demo.tunnel import DEVICE
from interop.kernel.lab import KernelLab, clones, up
from interop.kernel.states import states
from interop.kernel.steps import expect_no_states, renew_children, renew_ike
from interop.lab import EAST, EAST6, WEST, WEST6, expect
from interop.swanctl import End

CPU = 3


def run(lab: KernelLab) -> None:
    for side, end, other in ((lab.west, WEST6, EAST6), (lab.east, EAST6, WEST6)):
        side.ip(f"address add {end.address}/64 dev {DEVICE} nodad")
        side.ip(f"address add {end.inner}/128 dev lo nodad")
        side.ip(f"-6 route add {other.net} via {other.address} src {end.inner}")
    for outer in ((WEST, EAST), (WEST6, EAST6)):
        for inner in ((WEST, EAST), (WEST6, EAST6)):
            tunnel(lab, outer, inner)


def tunnel(lab: KernelLab, outer: tuple[End, End], inner: tuple[End, End]) -> None:
    """A tunnel from its first packet to its last."""
    settings: dict[str, str | None] = {"clones": "yes"}
    for name, public, private in zip(("left", "right"), outer, inner, strict=True):
        settings |= {name: public.address, f"{name}subnet": private.net}
    east, west = lab.ikeclone(EAST, settings), lab.ikeclone(WEST, settings)
    up(west)
    with RunningPing(lab.west, inner[0].inner, inner[1].inner, 0.05, (CPU,)) as running:
        lab.wait(lambda: CPU in clones(west), "a clone")
        renew_children(lab, west, lambda: west.command("rekey", "gw"))
        renew_ike(lab, west, lambda: east.command("rekey", "gw", "--ike"))
        running.await_replies()
        before = {state.spi: state.packets for state in states(lab.west) if state.sends}
        running.await_replies()
    sent = {state.cpu for state in states(lab.west) if state.sends and state.packets > before.get(state.spi, 0)}
    expect(f"CPUs whose states carried {inner[0].net} over {outer[0].address}", sent, {CPU})
    expect("lost pings", running.lost, [])
    west.command("down", "gw")
    expect_no_states(lab)
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
