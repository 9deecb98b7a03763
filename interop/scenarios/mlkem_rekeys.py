"""X25519 and ML-KEM-768 for IKE and Child SAs; both sides rekey both under traffic, in IKE_FOLLOWUP_KE."""

from interop.lab import Lab, expect_in
from interop.steps import open_clones, rekey_children, rekey_ike

IKE, ESP = "aes128gcm16-prfsha256-x25519-ke1_mlkem768", "aes128gcm16-x25519-ke1_mlkem768"


def run(lab: Lab) -> None:
    ours = open_clones(lab, {"ike": IKE, "esp": ESP}, {"proposals": IKE}, {"esp_proposals": ESP})
    rekey_children(lab, ours, lambda: lab.ikeclone.command("rekey", "gw"))
    rekey_ike(lab, lambda: lab.ikeclone.command("rekey", "gw", "--ike"))
    rekey_ike(lab, lab.strongswan.rekey_ike)
    rekey_children(lab, ours, lab.strongswan.rekey_children)
    expect_in("strongSwan's log", lab.strongswan.log(), "parsed IKE_FOLLOWUP_KE request")
    expect_in("strongSwan's log", lab.strongswan.log(), "parsed IKE_FOLLOWUP_KE response")
