"""ikeclone takes the connection down: nothing is left on either side, and it can come up again."""

from interop.lab import Lab, expect
from interop.steps import open_clones


def run(lab: Lab) -> None:
    open_clones(lab)
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()
    expect("replies without a tunnel", lab.ping(count=1, patience=1), 0)
    lab.up()
    expect("replies", lab.ping(), 2)
