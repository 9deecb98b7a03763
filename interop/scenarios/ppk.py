"""A postquantum preshared key on which both sides insist in their keys; either side initiates."""

from interop.lab import Lab, expect_in
from interop.steps import both_initiate

NAME, KEY = "lab-ppk", "a-postquantum-lab-key"


def run(lab: Lab) -> None:
    lab.strongswan.know_ppk(NAME, KEY)
    lab.strongswan.start(connection={"ppk_id": NAME, "ppk_required": "yes"})
    lab.start_ikeclone({"ppk": "insist"}, ppk=(NAME, KEY))
    both_initiate(lab)
    expect_in("strongSwan's log", lab.strongswan.log(), f"using PPK for PPK_ID '{NAME}'")
