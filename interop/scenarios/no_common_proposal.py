"""No algorithms in common, for IKE or for ESP: whoever initiates is told so, and nothing is left."""

from interop.lab import Lab, expect_in

REFUSED = "NO_PROPOSAL_CHOSEN"
IKE = {"ike": "aes256-sha2_384-dh20"}
ESP = {"ike": "aes128-sha2_256-dh31", "esp": "aes_gcm_256", "pfs": "no"}


def run(lab: Lab) -> None:
    lab.strongswan.start()
    for settings in (IKE, ESP):
        lab.start_ikeclone(settings)
        expect_in("ikeclone up", lab.fail_to_come_up(), REFUSED)
        lab.expect_nothing()
        expect_in("swanctl --initiate", lab.strongswan.initiate(check=False), "NO_PROP")
        lab.strongswan.swanctl("--terminate", "--ike", "gw", check=False)
        lab.expect_nothing()
