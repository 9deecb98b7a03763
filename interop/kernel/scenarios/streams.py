"""iperf3 with UDP pinned to each CPU at once: each stream's octets are on the clone of its CPU, and on no other SA."""

import subprocess

from ikeclone.demo.namespaces import end
from interop.kernel.lab import CPUS, KernelLab, clones, up
from interop.kernel.states import states
from interop.lab import EAST, WEST, expect

PORT = 5201
OCTETS = 4_000_000  # a stream
# TCP would send on the CPU that gets an acknowledgement, too.
CLIENT = ("iperf3", "-u", "-b", "20M", "-l", "1250", "-n", str(OCTETS))


def run(lab: KernelLab) -> None:
    lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    for cpu in CPUS:
        expect(f"replies on CPU {cpu}", lab.ping(cpu), 1)
    lab.wait(lambda: set(clones(west)) == set(CPUS), "a clone for each CPU")
    lab.wait(lambda: {None, *CPUS} == {state.cpu for state in states(lab.west) if state.sends}, "clones that send")
    before = sent(lab)
    stream(lab)
    octets: dict[int | None, int] = {cpu: count - before[cpu] for cpu, count in sent(lab).items()}
    expect("octets on the fallback", octets.pop(None), 0)
    for clone, count in octets.items():
        # Beside the stream there are headers, and what iperf3 tells its server.
        expect(f"{count} octets on CPU {clone} are one stream", OCTETS <= count < 1.1 * OCTETS, True)


def sent(lab: KernelLab) -> dict[int | None, int]:
    """The octets that the SA of each CPU has sent."""
    found: dict[int | None, int] = {}
    for state in states(lab.west):
        if state.sends:
            found[state.cpu] = state.octets + found.get(state.cpu, 0)
    return found


def stream(lab: KernelLab) -> None:
    """A stream on each CPU, all at once."""
    servers = [
        lab.east.start("iperf3", "-s", "-1", "--forceflush", "-B", EAST.inner, "-p", str(PORT + cpu), cpus=(cpu,))
        for cpu in CPUS
    ]
    for server in servers:
        await_listening(server)
    clients = [
        lab.west.start(*CLIENT, "-c", EAST.inner, "-B", WEST.inner, "-p", str(PORT + cpu), cpus=(cpu,)) for cpu in CPUS
    ]
    expect("exit codes of iperf3", [client.wait(60) for client in clients], [0 for _ in CPUS])
    for process in servers:
        end(process)


def await_listening(server: subprocess.Popen[str]) -> None:
    """Read what iperf3 says until it listens; raises RuntimeError if it ends first."""
    assert server.stdout is not None
    if not any("listening" in line for line in server.stdout):
        raise RuntimeError("iperf3 does not listen")
