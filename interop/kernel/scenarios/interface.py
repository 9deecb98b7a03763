"""ipsec-interface=: what is routed to the device is tunnelled, by clones too; it goes with us, or after a crash."""

from interop.kernel.lab import CPUS, KernelLab, clones, up
from interop.kernel.states import states
from interop.lab import EAST, WEST, expect

SETTINGS = {"clones": "yes", "ipsec-interface": "7", "leftinterface-ip": "10.7.0.1/24", "leftsourceip": WEST.inner}


def run(lab: KernelLab) -> None:
    lab.west.ip(f"route del {EAST.net}")  # the device is the only way
    lab.west.ip("link add ipsec9 type xfrm if_id 9")
    east = lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings=SETTINGS)
    up(west)
    expect("device", "10.7.0.1/24" in lab.west.ip("address show dev ipsec7"), True)
    expect("if_id of policies and states", lab.west.ip("xfrm policy list nosock").count("if_id 0x7"), 3)
    expect("if_id of states", lab.west.ip("xfrm state").count("if_id 0x7"), 2)
    for cpu in CPUS[:2]:
        expect(f"replies on CPU {cpu}", lab.ping(cpu), 1)
        lab.wait(lambda: cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023  it is waited for at once
    expect("packets that the device has sent", _sent(lab), 2)
    west.process.kill()
    west.process.wait()
    west.start()
    expect("what the next daemon finds", (lab.leftovers(lab.west), _devices(lab)), ("", ["ipsec9"]))
    up(west)
    expect("replies through the new tunnel", lab.ping(CPUS[0]), 1)
    west.command("down", "gw")
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")
    lab.wait(lambda: _devices(lab) == ["ipsec9"], "the end of the device")
    up(west)
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
    expect("left behind", (lab.leftovers(lab.west), _devices(lab)), ("", ["ipsec9"]))
    lab.ikeclone(EAST, {"clones": "yes"})
    foreign = lab.ikeclone(settings={"ipsec-interface": "8"})
    lab.west.ip("link add ipsec8 type bridge")
    refusal = foreign.command("up", "gw", check=False) + foreign.last_words()
    expect("failure", "there is a device ipsec8, but it is no XFRM interface 8" in refusal, True)
    foreign.stop()
    expect("devices of others", _devices(lab), ["ipsec9"])


def _devices(lab: KernelLab) -> list[str]:
    return [line.split(":")[1].strip().split("@")[0] for line in lab.west.ip("-o link show type xfrm").splitlines()]


def _sent(lab: KernelLab) -> int:
    lines = [line.split() for line in lab.west.ip("-s link show ipsec7").splitlines()]
    return int(lines[[words[0] for words in lines].index("TX:") + 1][1])
