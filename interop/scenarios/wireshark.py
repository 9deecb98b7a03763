"""Wireshark decrypts all of it with ikeclone's key log: IKE, and ESP before and after a rekey."""

from interop.lab import Lab, expect
from interop.steps import open_clones


def run(lab: Lab) -> None:
    open_clones(lab)
    lab.ping()
    lab.ikeclone.command("rekey", "gw")
    lab.ikeclone.command("rekey", "gw", "--ike")
    lab.ping_back()
    lab.ikeclone.command("down", "gw")
    verdict = lab.judge()
    expect("decrypted IKE messages but for IKE_SA_INIT", verdict.ike_decrypted, verdict.ike - 2)
    expect("decrypted ESP packets", verdict.esp_decrypted, verdict.esp)
