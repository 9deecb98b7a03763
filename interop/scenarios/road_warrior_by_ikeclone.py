"""ikeclone logs in with a password at strongSwan and gets an address and a name server from its pool; all of it goes.

All that it sends goes into the tunnel. The address stays over rekeys and reauthentication, and has clones.
"""

from ikeclone.demo.pings import ping
from interop.authority import Authority
from interop.lab import EAST, Lab, cpus, expect
from interop.scenarios.eap_mschapv2 import WARRIOR
from interop.steps import clones_of

INSIDE, EVERYTHING = "10.3.0.1", "0.0.0.0/0"


def run(lab: Lab) -> None:
    authority, users = Authority("ecdsa"), {"alice": "a long password"}
    lab.strongswan.serve_users(authority.issue("east"), users)
    pool = {"addrs": "10.3.0.0/24", "dns": "192.0.2.53"}
    child = {"local_ts": EVERYTHING, "remote_ts": "dynamic", "per_cpu_sas": "yes"}
    lab.strongswan.start(connection={"pools": "road"}, child=child, pool=pool)
    settings = WARRIOR | {"leftsubnet": "", "leftmodecfgclient": "yes", "rightsubnet": EVERYTHING, "clones": "2"}
    lab.start_ikeclone(settings, papers=authority.issue("west"), users=users)
    lab.up()
    expect_address(lab)
    ours = cpus()[:2]
    for cpu in ours:
        expect(f"replies on CPU {cpu}", len(ping(lab.west, INSIDE, EAST.inner, cpus=[cpu])), 1)
    lab.wait(lambda: clones_of(lab) == ours, "a clone for each CPU")
    lab.ikeclone.command("rekey", "gw")
    lab.ikeclone.command("rekey", "gw", "--ike")
    expect_address(lab)
    lab.ikeclone.command("rekey", "gw", "--reauth")
    expect_address(lab)
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()
    expect("addresses left", lab.west.ip("-oneline address show to 10.3.0.0/24"), "")


def expect_address(lab: Lab) -> None:
    (row,) = lab.ikeclone.status().connections
    expect("addresses and name servers", (row.addresses, row.dns), ([INSIDE], ["192.0.2.53"]))
    expect("replies to west and to east", lab.ping_between(INSIDE, EAST.inner), [2, 2])
