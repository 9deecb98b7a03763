"""Every algorithm for IKE, and every one for ESP that ikeclone's own data plane has, with a rekey of each suite."""

from itertools import cycle

from ikeclone.control.models import Down, Rekey, Up
from interop.lab import Lab, expect

SIZES = (128, 192, 256)
IKE_CIPHERS = [f"aes{size}{mode}" for mode in ("", "ctr") for size in SIZES]
IKE_AEADS = [f"aes{size}{mode}{icv}" for mode in ("gcm", "ccm") for icv in (8, 12, 16) for size in SIZES]
HASHES = ["sha1", "sha256", "sha384", "sha512", "aesxcbc", "aescmac"]
GROUPS = ["modp2048", "modp3072", "modp4096", "modp6144", "modp8192", "ecp256", "ecp384", "ecp521"]
GROUPS += ["ecp256bp", "ecp384bp", "ecp512bp", "x25519", "x448"]
ESP = ["chacha20poly1305", *(f"aes{size}gcm16" for size in SIZES)]
ESP += [f"aes{size}-{integrity}" for integrity in ("sha256", "sha384", "sha512") for size in SIZES]


def run(lab: Lab) -> None:
    suites = list(zip(ike_suites(), cycle(ESP), cycle(GROUPS[::-1]), strict=False))
    lab.strongswan.start(
        connection={"proposals": ", ".join(ike for ike, _, _ in suites)},
        child={"esp_proposals": ", ".join(f"{esp}-{group}" for _, esp, group in suites)},
    )
    conns = {f"suite{n}": {"ike": ike, "esp": f"{esp}-{group}"} for n, (ike, esp, group) in enumerate(suites)}
    lab.start_ikeclone(others=conns)
    for name in conns:
        try_suite(lab, name)


def ike_suites() -> list[str]:
    """Each cipher once, with each PRF, integrity and key exchange in turn."""
    plain = [f"{cipher}-{integrity}" for cipher, integrity in zip(IKE_CIPHERS, HASHES, strict=True)]
    keyed = zip(cycle(HASHES), cycle(GROUPS))
    every = [*plain, *IKE_AEADS, "chacha20poly1305"]
    return [f"{ciphers}-prf{prf}-{group}" for ciphers, (prf, group) in zip(every, keyed, strict=False)]


def try_suite(lab: Lab, name: str) -> None:
    """Up, pings both ways, a rekey of the Child SA with a key exchange of its own and of the IKE SA, pings, down."""
    lab.ikeclone.call(Up(name=name))
    expect(f"replies with {name}", lab.ping(), 2)
    lab.ikeclone.call(Rekey(name=name))
    lab.ikeclone.call(Rekey(name=name, ike=True))
    expect(f"replies with {name} after the rekeys", (lab.ping(), lab.ping_back()), (2, 2))
    lab.ikeclone.call(Down(name=name))
    lab.expect_nothing()
