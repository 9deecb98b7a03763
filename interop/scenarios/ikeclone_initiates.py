"""ikeclone initiates with a preshared key; pings go both ways."""

from interop.lab import Lab, expect


def run(lab: Lab) -> None:
    lab.strongswan.start()
    lab.start_ikeclone()
    lab.up()
    expect("replies to west", lab.ping(), 2)
    expect("replies to east", lab.ping_back(), 2)
    expect(
        "strongSwan's Child SAs",
        [child.octets for child in lab.strongswan.children()],
        [{"in": 336, "out": 336}],
    )
    [sa] = lab.ikeclone.traffic().values()
    expect("ikeclone's octets in and out", (sa.in_bytes, sa.out_bytes), (336, 336))
