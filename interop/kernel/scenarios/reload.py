"""ipsec.conf changes under a tunnel with clones: it stays while another connection comes and goes, then it goes."""

from ikeclone.control.models import Done, Reload
from interop.kernel.lab import CPUS, KernelDaemon, KernelLab, PinnedPing, clones, up
from interop.kernel.states import states
from interop.kernel.steps import expect_no_states
from interop.lab import EAST, expect, section

OTHER = section("conn other", {"also": "gw", "leftsubnet": "192.0.3.0/24", "rightsubnet": "192.0.4.0/24"})
ONDEMAND = OTHER + "    auto=ondemand\n"


def run(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes"})
    file = west.log.parent / "ipsec.conf"
    conf = file.read_text()
    up(west)
    with PinnedPing(lab.west, CPUS[1]) as running:
        lab.wait(lambda: CPUS[1] in clones(west), "a clone")
        lab.wait(lambda: west.settled("gw"), "a clone that sends")
        before = {state.spi for state in states(lab.west)}
        file.write_text(conf.replace("clones=yes", "clones=si"))
        expect("a mistake is told", "clones=si: must be no, yes" in west.command("reload", check=False), True)
        reload(west, conf + ONDEMAND, "new: other")
        expect("policies of the new connection", policies(lab, "192.0.4.0/24"), True)
        reload(west, conf, "gone: other")
        expect("policies of the connection that is gone", policies(lab, "192.0.4.0/24"), False)
        running.await_replies()
    expect("lost pings", running.lost, [])
    expect("states that are gone", before - {state.spi for state in states(lab.west)}, set())
    reload(west, "", "gone: gw")
    expect_no_states(lab)
    expect("policies", policies(lab, "192.0."), False)
    for daemon in (west, east):
        expect("exit code", daemon.stop(), 0)
        expect("left behind", lab.leftovers(daemon.namespace), "")


def reload(daemon: KernelDaemon, conf: str, said: str) -> None:
    (daemon.log.parent / "ipsec.conf").write_text(conf)
    report = daemon.call(Reload())
    assert isinstance(report, Done)
    expect(f"{report.text} says {said}", said in report.text, True)


def policies(lab: KernelLab, network: str) -> bool:
    """Whether west's kernel has policies for a network."""
    return network in lab.west.ip("xfrm policy list nosock")
