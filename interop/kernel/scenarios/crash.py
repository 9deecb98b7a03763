"""A daemon is killed: the next removes what it left in the kernel, and nothing of anyone else's, nor replaces that."""

from interop.kernel.lab import KernelLab, clones, up
from interop.kernel.states import states
from interop.lab import EAST, expect, expect_in

FOREIGN = "src 198.51.100.1 dst 198.51.100.2 proto esp spi 0x1000"
STATE = f"{FOREIGN} reqid 7 mode tunnel aead rfc4106(gcm(aes)) 0x{'11' * 20} 128"
SELECTOR = "src 198.51.100.0/25 dst 198.51.100.128/25 dir out"
POLICY = f"{SELECTOR} tmpl src 198.51.100.1 dst 198.51.100.2 proto esp reqid 7 mode tunnel"


def run(lab: KernelLab) -> None:
    lab.west.ip(f"xfrm state add {STATE}")
    lab.west.ip(f"xfrm policy add {POLICY}")
    foreign = lab.leftovers(lab.west)
    east = lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    expect("replies", lab.ping(1), 1)
    lab.wait(lambda: 1 in clones(west), "a clone for CPU 1")
    west.process.kill()
    west.process.wait()
    expect("states after the crash", len(states(lab.west)) >= 1 + 2 + 1, True)
    west.start()
    expect("states of the next daemon", [state.spi for state in states(lab.west)], [0x1000])
    up(west)
    expect("replies through the new tunnel", lab.ping(2, 2), 2)
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
    expect("what is in the kernel", lab.leftovers(lab.west), foreign)
    same = {"leftsubnet": "198.51.100.0/25", "rightsubnet": "198.51.100.128/25"}
    lab.ikeclone(EAST, same)
    west = lab.ikeclone(settings=same)
    refusal = west.command("up", "gw", check=False)
    expect_in("what up says", refusal, f"there is a policy that is not ours, {SELECTOR}: is another IKE daemon")
    expect("exit code", west.stop(), 0)
    expect("what is in the kernel", lab.leftovers(lab.west), foreign)
