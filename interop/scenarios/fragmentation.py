"""Certificates so large that IKE_AUTH is cut into fragments in both directions, whoever initiates."""

from interop.judge import fragments
from interop.lab import EAST, WEST, Lab, expect
from interop.steps import both_initiate_with_certificates


def run(lab: Lab) -> None:
    both_initiate_with_certificates(lab, "rsa", "rsasig")
    # Both initiate once, so each has sent a request and a response.
    for sender in (WEST, EAST):
        kinds = fragments(lab.capture, sender.address)
        expect(
            f"{sender.name}: message ids with fragments, and whether those are responses",
            kinds,
            {(1, False), (1, True)},
        )
