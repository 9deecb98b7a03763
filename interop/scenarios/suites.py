"""Every algorithm for IKE, and every one for ESP that ikeclone's own data plane has, with rekeys of each suite."""

from itertools import cycle

from ikeclone.control.models import Down, Rekey, Up
from interop.lab import Lab, expect

HASHES = ["sha1", "sha256", "sha384", "sha512", "aesxcbc", "aescmac"]
CIPHERS = ["aes128", "aes192", "aes256", "aes128ctr", "aes192ctr", "aes256ctr"]
AEADS = ["aes128gcm8", "aes192gcm12", "aes256gcm16", "aes256ccm8", "aes128ccm12", "aes192ccm16", "chacha20poly1305"]
GROUPS = ["modp2048", "modp3072", "modp4096", "modp6144", "modp8192", "ecp256", "ecp384", "ecp521"]
GROUPS += ["ecp256bp", "ecp384bp", "ecp512bp", "x25519", "x448"]
ESP = ["chacha20poly1305", "aes128gcm16", "aes192gcm16", "aes256gcm16"]
ESP += [f"aes{size}-{integrity}" for integrity in ("sha256", "sha384", "sha512") for size in (128, 192, 256)]


def run(lab: Lab) -> None:
    ike = [f"{cipher}-{integrity}" for cipher, integrity in zip(CIPHERS, HASHES, strict=True)] + AEADS
    ike = [f"{ciphers}-prf{prf}-{group}" for ciphers, group, prf in zip(ike, GROUPS, cycle(HASHES), strict=False)]
    # A Child SA has keys of its own exchange when it is rekeyed; the group is another one than the IKE SA's.
    esp = [f"{suite}-{group}" for suite, group in zip(ESP, reversed(GROUPS), strict=True)]
    lab.strongswan.start(connection={"proposals": ", ".join(ike)}, child={"esp_proposals": ", ".join(esp)})
    conns = {f"suite{n}": {"ike": one, "esp": other} for n, (one, other) in enumerate(zip(ike, esp, strict=True))}
    lab.start_ikeclone(others=conns)
    for name in conns:
        try_suite(lab, name)


def try_suite(lab: Lab, name: str) -> None:
    """Up, rekeys of the Child SA and the IKE SA, pings both ways before and after, down."""
    lab.ikeclone.call(Up(name=name))
    expect(f"replies with {name}", lab.ping(), 2)
    lab.ikeclone.call(Rekey(name=name))
    lab.ikeclone.call(Rekey(name=name, ike=True))
    expect(f"replies with {name} after the rekeys", (lab.ping(), lab.ping_back()), (2, 2))
    lab.ikeclone.call(Down(name=name))
    lab.expect_nothing()
