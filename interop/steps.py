"""What several scenarios do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from interop.authority import Authority
from interop.lab import Lab, cpus, expect

PING = 84  # octets: IP header, ICMP header, and the 56 that ping sends


def ping_both_ways(lab: Lab) -> None:
    """Two pings each way on a fresh tunnel; both sides have one Child SA and counted all of them."""
    expect("replies to west", lab.ping(), 2)
    expect("replies to east", lab.ping_back(), 2)
    octets = 2 * 2 * PING
    theirs = [child.octets for child in lab.strongswan.children()]
    expect("octets of strongSwan's Child SAs", theirs, [{"in": octets, "out": octets}])
    ours = [(row.in_bytes, row.out_bytes) for row in lab.ikeclone.traffic().values()]
    expect("octets of ikeclone's Child SAs", ours, [(octets, octets)])


def both_initiate_with_certificates(lab: Lab, kind: str, authby: str, options: Mapping[str, str] | None = None) -> None:
    """Certificates of one kind of key, an intermediate authority between them and the one that is trusted.

    `options` are strongSwan's.
    """
    authority = Authority(kind)
    lab.strongswan.certify(authority.issue("east"))
    lab.strongswan.start(options=options)
    lab.start_ikeclone({"authby": authby, "leftcert": "own.pem"}, papers=authority.issue("west"))
    both_initiate(lab)


def both_initiate(lab: Lab) -> None:
    """ikeclone brings the connection up and takes it down, then strongSwan brings it up; pings go both ways."""
    lab.up()
    ping_both_ways(lab)
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()
    lab.strongswan.initiate()
    ping_both_ways(lab)


def open_clones(
    lab: Lab,
    settings: Mapping[str, str] | None = None,
    connection: Mapping[str, str] | None = None,
    child: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> list[int]:
    """Bring both sides up with a clone for each CPU, two at most; returns these CPUs.

    `settings` are ikeclone's, the others strongSwan's: `connection` and `child` in swanctl.conf, `options` of charon.
    """
    ours = cpus()[:2]
    lab.strongswan.start(connection=connection, child={"per_cpu_sas": "yes", **(child or {})}, options=options)
    lab.start_ikeclone({"clones": "2", **(settings or {})})
    lab.up()
    expect("instances after up", list(lab.ikeclone.traffic()), ["gw-0"])
    for cpu in ours:
        expect(f"replies on CPU {cpu}, through the fallback", lab.ping(count=1, cpu=cpu), 1)
    lab.wait(lambda: clones_of(lab) == ours, "a clone for each CPU")
    lab.wait(lambda: len(lab.strongswan.children()) == 1 + len(ours), "strongSwan's Child SAs")
    return ours


def clones_of(lab: Lab) -> list[int]:
    """The CPUs of ikeclone's clones, in order; one occurs as often as it has clones."""
    return sorted(row.cpu for row in lab.ikeclone.traffic().values() if row.cpu is not None)


def reopen(lab: Lab, cpu: int) -> None:
    """Ping on a CPU without a clone until it has one again."""
    lab.wait(lambda: lab.ping(count=1, cpu=cpu) and cpu in clones_of(lab), f"another clone on CPU {cpu}")


def cpu_of(lab: Lab) -> dict[str, int | None]:
    """The CPU of each of ikeclone's instances by name."""
    return {name: row.cpu for name, row in lab.ikeclone.traffic().items()}


def rekey_children(lab: Lab, ours: list[int], rekey: Callable[[], object]) -> None:
    """Rekey every Child SA under traffic; nothing is lost, and each stays on its CPU."""
    before = cpu_of(lab)
    replace(lab, lambda: {row.serial for row in lab.ikeclone.traffic().values()}, rekey)
    expect("CPUs of the instances", cpu_of(lab), before)
    expect("strongSwan's Child SAs", len(lab.strongswan.children()), 1 + len(ours))


def rekey_ike(lab: Lab, rekey: Callable[[], object]) -> None:
    """Rekey the IKE SA under traffic; nothing is lost, and its Child SAs are still there."""
    children = {row.serial for row in lab.ikeclone.traffic().values()}
    replace(lab, lambda: {sa.serial for sa in lab.ikeclone.ike_sas()}, rekey)
    expect("IKE SAs of ikeclone", len(lab.ikeclone.ike_sas()), 1)
    lab.wait(lambda: list(lab.strongswan.ike_sas().values()) == ["ESTABLISHED"], "strongSwan with one IKE SA")
    expect("Child SAs", {row.serial for row in lab.ikeclone.traffic().values()}, children)


def reauthenticate(lab: Lab, ours: list[int], rekey: Callable[[], object]) -> None:
    """Replace the IKE SA and its Child SAs under traffic; nothing is lost, and every CPU gets a clone again."""
    before = {row.serial for row in lab.ikeclone.traffic().values()}
    replace(lab, lambda: {sa.serial for sa in lab.ikeclone.ike_sas()}, rekey)
    lab.wait(lambda: list(lab.strongswan.ike_sas().values()) == ["ESTABLISHED"], "strongSwan with one IKE SA")
    lab.wait(lambda: clones_of(lab) == ours, "a clone for each CPU")
    expect("Child SAs that are still there", before & {row.serial for row in lab.ikeclone.traffic().values()}, set())
    expect("replies", lab.ping(), 2)


def replace(lab: Lab, serials: Callable[[], set[int]], rekey: Callable[[], object]) -> None:
    """Call `rekey` while a ping runs and wait until all these SAs are others; raises when a ping is lost."""
    before = serials()
    with lab.pinging() as pinging:
        pinging.await_replies()
        rekey()
        lab.wait(lambda: not before & serials(), "new SAs in place of all old ones")
        pinging.await_replies()
    expect("lost pings", pinging.lost, [])
