"""strongSwan deletes the IKE SA: everything goes on both sides, and the connection can come up again."""

from interop.lab import Lab, expect
from interop.steps import open_clones


def run(lab: Lab) -> None:
    open_clones(lab)
    lab.strongswan.terminate_ike()
    lab.expect_nothing()
    lab.up()
    expect("replies", lab.ping(), 2)
