"""Every algorithm of ESP in the kernel that both sides know, ikeclone and strongSwan, with a rekey of each suite."""

from ikeclone.control.models import Down, Rekey, Up
from interop.kernel.lab import KernelLab
from interop.kernel.steps import expect_no_states
from interop.lab import expect

AEADS = ["aes128gcm8", "aes192gcm12", "aes256gcm16", "aes256ccm8", "aes128ccm12", "aes192ccm16", "chacha20poly1305"]
PLAIN = ["aes128-sha1", "aes192-aesxcbc", "aes256-aescmac", "aes128-sha256", "aes192-sha384", "aes256-sha512"]
COUNTED = ["aes128ctr-aesxcbc", "aes192ctr-aescmac", "aes256ctr-sha1"]
SUITES = [*AEADS, *PLAIN, *COUNTED, "null-sha256"]


def run(lab: KernelLab) -> None:
    lab.strongswan(esp_proposals=", ".join(f"{suite}-x25519" for suite in SUITES))
    conns = {f"suite{number}": {"esp": f"{suite}-x25519"} for number, suite in enumerate(SUITES)}
    west = lab.ikeclone(others=conns)
    for name, settings in conns.items():
        west.call(Up(name=name))
        expect(f"replies with {settings['esp']}", lab.ping(0), 1)
        west.call(Rekey(name=name))
        expect(f"replies with {settings['esp']} after the rekey", lab.ping(1), 1)
        west.call(Down(name=name))
        expect_no_states(lab)
