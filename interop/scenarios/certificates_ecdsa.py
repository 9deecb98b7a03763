"""ECDSA certificates with an intermediate authority; either side initiates, and pings go both ways."""

from interop.lab import Lab
from interop.steps import both_initiate_with_certificates


def run(lab: Lab) -> None:
    both_initiate_with_certificates(lab, "ecdsa", "ecdsa")
