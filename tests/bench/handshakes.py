"""How many IKE SAs with a Child SA both ends set up in a second of one CPU: `python -m tests.bench.handshakes`.

Once with X25519 alone, once with the default proposals, which add ML-KEM-768.

Two endpoints in one process hand each other their datagrams; nothing waits, so the time is that of the state
machine and its cryptography, for the initiator and the responder together.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime

from ikeclone.backend import Path
from ikeclone.credentials import Credentials
from ikeclone.crypto.registry import DEFAULT_IKE, parse_ike
from ikeclone.ike.endpoint import Endpoint
from ikeclone.memory import MemoryBackend
from ikeclone.wire.payloads import Proposal
from tests.pair.network import EAST, EAST_END, IKE, NAME, SECRET, WEST, WEST_END, connection

ROUNDS = 300
PROPOSALS = {"classic": parse_ike(IKE), "by default": DEFAULT_IKE}
NOW = 1000.0


def endpoint(ours: bool, ike: tuple[Proposal, ...]) -> Endpoint:
    """One side of the connection."""
    backend, credentials = MemoryBackend(frozenset(range(4))), Credentials(secrets=(SECRET,))
    made = Endpoint(backend, os.urandom, lambda: datetime.now(UTC), NOW, credentials)
    ends = (WEST_END, EAST_END) if ours else (EAST_END, WEST_END)
    made.addresses([WEST if ours else EAST], NOW)
    made.add(connection(*ends, ike=ike), NOW)
    return made


def exchange(west: Endpoint, east: Endpoint) -> None:
    """Carry datagrams to and fro until there are none."""
    while True:
        sent = False
        for sender, receiver in ((west, east), (east, west)):
            sender.actions()
            for datagram in sender.datagrams():
                path = datagram.path
                receiver.receive(datagram.data, Path(path.remote, path.local), NOW)
                sent = True
        if not sent:
            return


def measure(ike: tuple[Proposal, ...]) -> tuple[float, str]:
    """CPU seconds that an IKE SA with a Child SA takes of both ends together, and its suite."""
    begin = time.process_time()
    for _ in range(ROUNDS):
        west, east = endpoint(ours=True, ike=ike), endpoint(ours=False, ike=ike)
        west.tunnel(NAME).up(NOW)
        exchange(west, east)
        assert len(east.tunnels[NAME].clones.children) == 1
    (sa,) = west.ike_sas()
    return (time.process_time() - begin) / ROUNDS, str(sa.suite)


def main() -> None:
    """Print handshakes per second, and the microseconds that one takes of both ends together."""
    for name, ike in PROPOSALS.items():
        seconds, suite = measure(ike)
        rate = f"{1 / seconds:.0f} IKE SAs with a Child SA in a CPU second, {seconds * 1e6:.0f} us for both ends"
        sys.stdout.write(f"{name}, {suite}: {rate}\n")


if __name__ == "__main__":
    main()
