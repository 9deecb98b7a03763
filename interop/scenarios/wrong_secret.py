"""The preshared keys differ: whoever initiates is told so, and nothing is left on either side."""

from interop.lab import Lab, expect_in


def run(lab: Lab) -> None:
    lab.strongswan.start()
    lab.start_ikeclone(secret="another-secret-of-24-bytes")  # noqa: S106  a lab's
    expect_in("ikeclone up", lab.fail_to_come_up(), "AUTHENTICATION_FAILED")
    expect_in("swanctl --initiate", lab.strongswan.initiate(check=False), "AUTH_FAILED")
    lab.expect_nothing()
