"""The steps of strongSwan's own test of SAs per CPU, with ikeclone on one side: exact counts of packets on each SA."""

from collections import Counter
from typing import NamedTuple

from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.pings import ping
from interop.kernel.lab import CPUS, KernelDaemon, KernelLab, up
from interop.kernel.scenarios.forwarding import HOSTS, behind
from interop.kernel.states import KernelState, sending, states
from interop.kernel.steps import renew_children
from interop.kernel.strongswan import KernelStrongSwan
from interop.lab import EAST, WEST, expect

ALL = set(CPUS)
Hosts = tuple[Namespace, str, str]  # who pings, from which address, to which


class Step(NamedTuple):
    """A ping on a CPU: the SAs of west that carry it and its reply, and the CPUs with an SA afterwards."""

    cpu: int
    sent: int | None
    received: int | None
    west: set[int]
    east: set[int]


# Both sides have a ping and its reply on the same CPU. Who opens a clone has it on the CPU that wanted it, the other
# side where it pleases: strongSwan on its highest CPU without one, ikeclone on the first CPU of those with the fewest.
STEPS = (
    Step(1, None, None, {0, 1}, {1, 3}),  # each side opens one
    Step(1, 1, 0, {0, 1}, {1, 3}),
    Step(0, 0, None, {0, 1, 2}, {0, 1, 3}),  # strongSwan alone opens one
    Step(2, 2, None, ALL, ALL),  # likewise
    Step(3, 3, 1, ALL, ALL),
)
REPLIES = {0: 2, 1: 0, 2: 3, 3: 1}  # the CPU of the SA of west that has the replies to each CPU


def run(lab: KernelLab) -> None:
    steps(lab, lab.strongswan(EAST, per_cpu_sas="yes", start_action="trap"))
    forward(lab)


def steps(lab: KernelLab, peer: KernelStrongSwan, hosts: Hosts | None = None, **settings: str | None) -> None:
    """All steps but forwarding, with ikeclone at west, which has these settings."""
    west = lab.ikeclone(settings={"clones": "yes", **settings})
    up(west)
    for step in STEPS:
        expect_path(lab, step.cpu, step.sent, step.received, hosts)
        await_clones(lab, west, peer, step.west, step.east)
    each_on_its_own(lab, hosts)
    for rekey in (lambda: west.command("rekey", "gw"), peer.rekey_children):
        renew_children(lab, west, rekey)
        await_clones(lab, west, peer, ALL, ALL)
        each_on_its_own(lab, hosts)
    expect_unused_fallback(lab)


def expect_unused_fallback(lab: KernelLab) -> None:
    """Nothing has gone by the fallback since it was made; what received for a former one stays for a moment."""
    lab.wait(lambda: len(_fallback(lab)) == 2, "the states of one fallback")
    expect("packets on the new fallback", [state.packets for state in _fallback(lab)], [0, 0])


def _fallback(lab: KernelLab) -> list[KernelState]:
    return [state for state in states(lab.west) if state.cpu is None]


def await_clones(lab: KernelLab, west: KernelDaemon, peer: KernelStrongSwan, ours: set[int], theirs: set[int]) -> None:
    """Wait until each side sends on exactly the fallback and a clone for each of these CPUs of its own."""
    for side, cpus in ((lab.west, ours), (lab.east, theirs)):
        wanted = Counter({None: 1} | dict.fromkeys(cpus, 1))
        lab.wait(lambda: sending(side) == wanted, f"states of {side.name} that send, for CPUs {cpus}")  # noqa: B023
    listed = {"-", *map(str, theirs)}
    lab.wait(lambda: {sa.cpu for sa in peer.children()} == listed, f"strongSwan's Child SAs for CPUs {theirs}")
    lab.wait(lambda: west.settled("gw"), "ikeclone without a clone on its way")


def each_on_its_own(lab: KernelLab, hosts: Hosts | None = None) -> None:
    """A ping on each CPU goes out on the SA of that CPU, its reply comes on the SA of the same CPU of east."""
    for cpu in CPUS:
        expect_path(lab, cpu, cpu, REPLIES[cpu], hosts)


def forward(lab: KernelLab) -> None:
    """Pings between hosts behind the gateways are on the clones as well."""
    with Namespace("sunrise") as sunrise, Namespace("sunset") as sunset:
        behind(lab.west, WEST, sunset)
        behind(lab.east, EAST, sunrise)
        each_on_its_own(lab, (sunset, HOSTS[WEST.name], HOSTS[EAST.name]))
    expect_unused_fallback(lab)


def expect_path(lab: KernelLab, cpu: int, sent: int | None, received: int | None, hosts: Hosts | None = None) -> None:
    """A ping on a CPU, between other hosts than the gateways if named: the SAs of west that carry it and its reply."""
    before = {state.spi: state.packets for state in states(lab.west)}
    replies = ping(*(hosts or (lab.west, WEST.inner, EAST.inner)), 1, (cpu,))
    expect(f"replies on CPU {cpu}", len(replies), 1)
    carried = Counter[tuple[str, int | None]]()
    for state in states(lab.west):
        carried["sent" if state.sends else "received", state.cpu] += state.packets - before.get(state.spi, 0)
    expect(f"ping on CPU {cpu}", +carried, Counter({("sent", sent): 1, ("received", received): 1}))
