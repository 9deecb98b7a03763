"""Public keys that both sides know without certificates; either side initiates."""

from interop.authority import Authority, Papers
from interop.lab import Lab
from interop.steps import both_initiate


def run(lab: Lab) -> None:
    authority = Authority("ecdsa")
    west, east = authority.issue("west"), authority.issue("east")
    lab.strongswan.know_keys(east, west)
    lab.strongswan.start()
    lab.start_ikeclone({"authby": "ecdsa", "leftpubkey": coded(west), "rightpubkey": coded(east)}, papers=west)
    both_initiate(lab)


def coded(papers: Papers) -> str:
    """A public key as ipsec.conf has it: the base64 within PEM."""
    return "0s" + "".join(papers.public.decode().splitlines()[1:-1])
