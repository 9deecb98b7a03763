"""The steps of strongSwan's own test of SAs per CPU, with ikeclone on one side: exact counts of packets on each SA."""

from collections import Counter

from interop.kernel.lab import CPUS, KernelLab, up
from interop.kernel.states import states
from interop.kernel.steps import renew_children
from interop.kernel.strongswan import KernelStrongSwan
from interop.lab import EAST, expect

Packets = Counter[int | None]  # by the CPU of the SA; None is the fallback


def run(lab: KernelLab) -> None:
    peer = lab.strongswan(EAST, per_cpu_sas="yes", start_action="trap")
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    expect("first ping on CPU 1, and its reply", ping(lab, 1), (Counter({None: 1}), Counter({None: 1})))
    await_clone(lab, peer, 1)
    expect("second ping on CPU 1", ping(lab, 1)[0], Counter({1: 1}))
    for cpu in (0, 2, 3):
        # strongSwan's own clone for the replies on another CPU may have given this one an SA to send on.
        sender = cpu if cpu in {state.cpu for state in states(lab.west) if state.sends} else None
        expect(f"first ping on CPU {cpu}", ping(lab, cpu)[0], Counter({sender: 1}))
        await_clone(lab, peer, cpu)
    each_on_its_own(lab)
    renew_children(lab, west, lambda: west.command("rekey", "gw"))
    each_on_its_own(lab)
    renew_children(lab, west, peer.rekey_children)
    each_on_its_own(lab)
    expect(
        "packets on the new fallback", [state.packets for state in states(lab.west) if state.cpu is None][:2], [0, 0]
    )


def await_clone(lab: KernelLab, peer: KernelStrongSwan, cpu: int) -> None:
    """Wait until both sides have an SA for this CPU: strongSwan answers pings on the CPU that they come on."""
    lab.wait(lambda: any(state.sends and state.cpu == cpu for state in states(lab.west)), f"our clone for CPU {cpu}")
    lab.wait(lambda: any(sa.cpu == str(cpu) for sa in peer.children()), f"strongSwan's SA for CPU {cpu}")


def each_on_its_own(lab: KernelLab) -> None:
    """A ping on each CPU goes out on the SA of that CPU, and neither it nor its reply on the fallback."""
    for cpu in CPUS:
        sent, received = ping(lab, cpu)
        expect(f"ping on CPU {cpu}", sent, Counter({cpu: 1}))
        expect(f"replies on CPU {cpu}: all, on the fallback", (received.total(), received[None]), (1, 0))


def ping(lab: KernelLab, cpu: int) -> tuple[Packets, Packets]:
    """One ping on a CPU: the packets that west's SAs sent and received meanwhile."""
    before = {state.spi: state.packets for state in states(lab.west)}
    expect(f"replies on CPU {cpu}", lab.ping(cpu), 1)
    sent, received = Packets(), Packets()
    for state in states(lab.west):
        if more := state.packets - before.get(state.spi, 0):
            (sent if state.sends else received)[state.cpu] += more
    return sent, received
