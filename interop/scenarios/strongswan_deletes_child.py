"""strongSwan deletes each clone, which traffic brings back, then the fallback, which is replaced without it."""

from interop.lab import Lab, expect
from interop.steps import clones_of, cpu_of, open_clones, reopen


def run(lab: Lab) -> None:
    ours = open_clones(lab)
    for child in lab.strongswan.children():
        if child.cpu != "-":
            delete_clone(lab, ours, child.number)
    delete_fallback(lab, ours)
    for child in lab.strongswan.children():
        lab.strongswan.terminate_child(child.number)
    lab.wait(lambda: not clones_of(lab), "ikeclone without clones")


def delete_clone(lab: Lab, ours: list[int], number: int) -> None:
    """It does not come back by itself, nor by traffic on other CPUs."""
    before = cpu_of(lab)
    lab.strongswan.terminate_child(number)
    lab.wait(lambda: len(clones_of(lab)) == len(ours) - 1, "a clone less")
    others = clones_of(lab)
    for cpu in others:
        expect(f"replies on CPU {cpu}", lab.ping(cpu=cpu), 2)
    expect("clones without traffic on the CPU of the deleted one", clones_of(lab), others)
    (cpu,) = set(ours) - set(others)
    reopen(lab, cpu)
    expect("CPUs of the instances", cpu_of(lab), before)


def delete_fallback(lab: Lab, ours: list[int]) -> None:
    """Another one comes within seconds, and the clones stay as they are."""
    before = serials(lab)
    lab.strongswan.terminate_child(next(child.number for child in lab.strongswan.children() if child.cpu == "-"))
    lab.wait(lambda: serials(lab).get("gw-0", before["gw-0"]) != before["gw-0"], "another fallback")
    after = serials(lab)
    expect("SAs that are new", {name for name in after if after[name] != before[name]}, {"gw-0"})
    for cpu in ours:
        expect(f"replies on CPU {cpu}", lab.ping(cpu=cpu), 2)


def serials(lab: Lab) -> dict[str, int]:
    """The number of each Child SA of ikeclone, by the name of the instance."""
    return {name: row.serial for name, row in lab.ikeclone.traffic().items()}
