"""The networks do not fit: whoever initiates is told so, and nothing is left on either side."""

from interop.lab import Lab, expect_in


def run(lab: Lab) -> None:
    lab.strongswan.start()
    lab.start_ikeclone({"rightsubnet": "198.51.100.0/24"})
    expect_in("ikeclone up", lab.fail_to_come_up(), "TS_UNACCEPTABLE")
    lab.expect_nothing()
    expect_in("swanctl --initiate", lab.strongswan.initiate(check=False), "TS_UNACCEPT")
    lab.strongswan.swanctl("--terminate", "--ike", "gw", check=False)
    lab.expect_nothing()
