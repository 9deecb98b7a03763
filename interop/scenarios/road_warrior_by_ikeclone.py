"""ikeclone logs in with a password at strongSwan and gets addresses and name servers from its pools; all of it goes.

All that it sends goes into the tunnel. The addresses stay over rekeys and reauthentication, and have clones.
"""

from ikeclone.demo.pings import ping
from interop.authority import Authority
from interop.lab import EAST, EAST6, Lab, cpus, expect
from interop.scenarios.eap_mschapv2 import WARRIOR
from interop.steps import clones_of

INSIDE, INSIDE6 = "10.3.0.1", "2001:db8:3::1"
EVERYTHING = "0.0.0.0/0", "::/0"


def run(lab: Lab) -> None:
    authority, users = Authority("ecdsa"), {"alice": "a long password"}
    lab.strongswan.serve_users(authority.issue("east"), users)
    lab.east.ip(f"address add {EAST6.inner}/128 dev lo nodad")
    pools = {
        "road": {"addrs": "10.3.0.0/24", "dns": "192.0.2.53"},
        "road6": {"addrs": "2001:db8:3::/64", "dns": "2001:db8:b::53"},
    }
    child = {"local_ts": ", ".join(EVERYTHING), "remote_ts": "dynamic", "per_cpu_sas": "yes"}
    lab.strongswan.start(connection={"pools": ", ".join(pools)}, child=child, pools=pools)
    everything = f'"{" ".join(EVERYTHING)}"'
    settings = WARRIOR | {"leftsubnet": "", "leftmodecfgclient": "yes", "rightsubnet": everything, "clones": "2"}
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
    for pool in pools.values():
        expect("addresses left", lab.west.ip(f"-oneline address show to {pool['addrs']}"), "")


def expect_address(lab: Lab) -> None:
    (row,) = lab.ikeclone.status().connections
    found = row.addresses, row.dns
    expect("addresses and name servers", found, ([INSIDE, INSIDE6], ["192.0.2.53", "2001:db8:b::53"]))
    expect("replies to west and to east", lab.ping_between(INSIDE, EAST.inner), [2, 2])
    expect("the same in IPv6", lab.ping_between(INSIDE6, EAST6.inner), [2, 2])
