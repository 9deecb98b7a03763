"""Each clone's packets are decrypted on the clone's CPU, wherever they arrive; without steering they are not.

With RPS, the last resort, each SPI's packets are on one CPU.
"""

import json
from collections import Counter
from collections.abc import Mapping

from interop.kernel.lab import CPUS, KernelLab, clones, up
from interop.kernel.states import states
from interop.lab import EAST, expect

CLONES = {"clones": "yes"}
COUNT = 20  # pings on each CPU
# What status says.
SAID = {
    "no": "none: steering=no",
    "auto": "XDP (native) on eth1, by SPI to the CPU of its clone",
    "xdp": "XDP (native) on eth1, by SPI to the CPU of its clone",
    "rps": "RPS on eth1, by SPI or UDP ports to a CPU, always the same",
}
READ_MASK = "mount -t sysfs sysfs /sys && cat /sys/class/net/eth1/queues/rx-0/rps_cpus"
# By the SPI that a packet came with and the CPU that goes on with it after decryption.
RULES = """\
table inet steering {
  set decrypted { typeof ipsec in spi . meta cpu; flags dynamic; size 1024; counter; }
  chain input {
    type filter hook input priority 0
    meta secpath exists add @decrypted { ipsec in spi . meta cpu }
  }
}
"""


def run(lab: KernelLab) -> None:
    (lab.logs / "rules.nft").write_text(RULES)
    lab.east.run("nft", "--file", lab.logs / "rules.nft")
    elsewhere, there = _measure(lab, "no", CLONES)
    expect("without steering, packets decrypted on another CPU than their clone's", elsewhere > 0, True)
    raw = _measure(lab, "xdp", CLONES)
    expect("with steering, packets decrypted on another CPU than their clone's", raw[0], 0)
    encapsulated = _measure(lab, "auto", {**CLONES, "encapsulation": "yes"})
    expect("with steering, packets in UDP decrypted on another CPU than their clone's", encapsulated[0], 0)
    spread = _measure(lab, "rps", CLONES)
    expect("CPUs that the packets of any SPI are decrypted on, with RPS", _cpus_of_an_spi(lab), {1})
    expect("masks left", masks(lab), 0)
    figures = {"no": (elsewhere, there), "xdp": raw, "xdp, in UDP": encapsulated, "rps": spread}
    (lab.logs / "steering.json").write_text(json.dumps(figures, indent=2))


def _measure(lab: KernelLab, steering: str, settings: Mapping[str, str]) -> tuple[int, int]:
    """How many packets from four CPUs of west's east decrypts on another CPU than their clone's, and how many there."""
    east = lab.ikeclone(EAST, settings, f"steering={steering}")
    west = lab.ikeclone(settings=settings)
    up(west)
    for cpu in (*CPUS[1:], CPUS[0]):  # so that no clone has the same CPU at both ends by itself
        expect(f"replies on CPU {cpu}, through the fallback", lab.ping(cpu), 1)
        lab.wait(lambda: cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023  it is waited for at once
    lab.wait(lambda: east.settled("gw") and west.settled("gw"), "clones that send")
    lab.east.run("nft", "flush", "set", "inet", "steering", "decrypted")
    for cpu in CPUS:
        expect(f"replies on CPU {cpu}", lab.ping(cpu, COUNT), COUNT)
    counted = _decrypted(lab)
    cpus = {state.spi: state.cpu for state in states(lab.east) if not state.sends}
    expect("packets of clones", sum(counted[spi, cpu] for spi, cpu in counted if cpus[spi] is not None), 4 * COUNT)
    there = sum(count for (spi, cpu), count in counted.items() if cpus[spi] == cpu)
    expect("what status says of it", SAID[steering] in east.status().data_plane["receive steering"], True)
    diagnosis = east.command("doctor", "--json")
    expect("the doctor knows the data plane", "(in use)" in diagnosis, True)
    expect("the doctor knows the program", "XDP, in use" in diagnosis, "XDP" in SAID[steering])
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
    expect("left on the device", "xdp" in lab.east.ip("link show eth1"), False)
    return counted.total() - there, there


def _decrypted(lab: KernelLab) -> Counter[tuple[int, int]]:
    """Packets by SPI and CPU."""
    listed = json.loads(lab.east.run("nft", "--json", "list", "set", "inet", "steering", "decrypted"))
    (found,) = [entry["set"] for entry in listed["nftables"] if "set" in entry]
    counted: Counter[tuple[int, int]] = Counter()
    for element in found.get("elem", ()):
        spi, cpu = element["elem"]["val"]["concat"]
        counted[spi, cpu] += element["elem"]["counter"]["packets"]
    return counted


def _cpus_of_an_spi(lab: KernelLab) -> set[int]:
    """On how many CPUs each SPI's packets were decrypted."""
    return set(Counter(spi for spi, _ in _decrypted(lab)).values())


def masks(lab: KernelLab) -> int:
    """The CPUs that RPS may give packets of the cable to."""
    return int(lab.east.run("unshare", "--mount", "sh", "-c", READ_MASK).replace(",", ""), 16)
