"""A wire for 576 octets that drops IP fragments and 7 % of all packets: certificates, ML-KEM, rekeys by both.

strongSwan is told how narrow the wire is; ikeclone finds out.
"""

import re
from collections.abc import Callable

from ikeclone.demo.tunnel import DEVICE
from interop.authority import Authority
from interop.judge import fragments
from interop.lab import EAST, WEST, Lab, expect

MTU = 576
WIRE = f"""\
table ip wire {{
    chain arriving {{
        type filter hook prerouting priority -450
        iif {DEVICE} ip frag-off & 0x3fff != 0 counter drop
        iif {DEVICE} numgen random mod 100 < 7 counter drop
    }}
}}
"""
IKE, ESP = "aes128gcm16-prfsha256-x25519-ke1_mlkem768", "aes128gcm16-x25519-ke1_mlkem768"
# As ikeclone: it begins after half a second.
OPTIONS = {"fragment_size": str(MTU), "retransmit_timeout": "0.5", "retransmit_base": "2", "retransmit_tries": "6"}
PATIENCE = 45  # seconds: a message in several fragments may have to be sent many times


def run(lab: Lab) -> None:
    authority = Authority("rsa")
    lab.strongswan.certify(authority.issue("east"))
    lab.strongswan.start(connection={"proposals": IKE}, child={"esp_proposals": ESP}, options=OPTIONS)
    settings = {"authby": "rsasig", "leftcert": "own.pem", "ike": IKE, "esp": ESP, "clones": "no"}
    lab.start_ikeclone(settings, papers=authority.issue("west"))
    worsen(lab)
    ours, theirs = lab.ikeclone, lab.strongswan
    lab.up()
    renew_all(lab, lambda: ours.command("rekey", "gw"), lambda: ours.command("rekey", "gw", "--ike"))
    ours.command("down", "gw")
    lab.expect_nothing()
    theirs.initiate(check=False)  # it may take longer than swanctl waits
    renew_all(lab, theirs.rekey_children, theirs.rekey_ike)
    for sender in (WEST, EAST):
        found = {(1, False), (1, True)} & fragments(lab.capture, sender.address)
        expect(f"{sender.name}: requests and responses in fragments", sorted(found), [(1, False), (1, True)])


def worsen(lab: Lab) -> None:
    """Make the wire narrow and lossy, in both directions."""
    (lab.logs / "wire.nft").write_text(WIRE)
    for side in (lab.west, lab.east):
        side.ip(f"link set {DEVICE} mtu {MTU}")
        side.run("nft", "--file", lab.logs / "wire.nft")


def renew_all(lab: Lab, rekey_children: Callable[[], object], rekey_ike: Callable[[], object]) -> None:
    """Rekey Child SA and IKE SA under a ping, of which no more is lost than the wire drops."""
    before = dropped(lab)
    with lab.pinging() as pinging:
        pinging.await_replies(patience=PATIENCE)
        renew(lab, children, rekey_children)
        renew(lab, ike_sas, rekey_ike)
        pinging.await_replies(patience=PATIENCE)
    lost, drops = len(pinging.lost), dropped(lab) - before
    expect(f"{lost} pings lost, {drops} packets dropped: no more", lost <= drops, True)


def children(lab: Lab) -> set[int]:
    return {row.serial for row in lab.ikeclone.traffic().values()}


def ike_sas(lab: Lab) -> set[int]:
    return {sa.serial for sa in lab.ikeclone.ike_sas()}


def renew(lab: Lab, serials: Callable[[Lab], set[int]], rekey: Callable[[], object]) -> None:
    """Call `rekey` and wait until another SA has the place of the one that there is."""
    (old,) = serials(lab)
    rekey()
    lab.wait(lambda: len(serials(lab)) == 1 and old not in serials(lab), f"an SA in place of #{old}", PATIENCE)


def dropped(lab: Lab) -> int:
    """How many packets the wire has dropped, both ways."""
    listed = "".join(side.run("nft", "list", "table", "ip", "wire") for side in (lab.west, lab.east))
    return sum(map(int, re.findall(r"counter packets (\d+)", listed)))
