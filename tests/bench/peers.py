"""What one more peer costs a gateway that has many: `python -m tests.bench.peers [PEERS]`.

Each peer sets up an IKE SA with a Child SA; then each rekeys its Child SA. The time is that of the gateway alone, for
the first and the last hundred of them: they should cost the same.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

from ikeclone.backend import Path
from ikeclone.connection import End, Identity, Secret
from ikeclone.credentials import Credentials
from ikeclone.ike.endpoint import Endpoint
from ikeclone.memory import MemoryBackend
from ikeclone.selectors import TrafficSelector
from tests.pair.network import EAST_END, NAME, connection

NOW = 1000.0
SAMPLE = 100
ANYONE = End(None, None, (TrafficSelector.of(ip_network("10.0.0.0/8")),))


def endpoint(local: End, remote: End, number: int) -> Endpoint:
    """A host with one connection."""
    backend = MemoryBackend(frozenset(range(4)), 0x1000 * (number + 1))
    made = Endpoint(backend, os.urandom, lambda: datetime.now(UTC), NOW, Credentials((Secret((), b"of them all"),)))
    made.addresses((local.address,) if local.address else (), NOW)
    made.add(connection(local, remote), NOW)
    return made


def peer(number: int) -> Endpoint:
    """A peer with an address, a name and a network of its own."""
    address, subnet = ip_address("172.16.0.0") + number, ip_address("10.0.0.0") + number * 256
    name, traffic = Identity.parse(f"@host{number}"), TrafficSelector.of(ip_network(f"{subnet}/24"))
    return endpoint(End(address, name, (traffic,)), EAST_END, number + 1)


class Gateway:
    """The host that all of them connect to; `seconds` of CPU are what it has used."""

    def __init__(self) -> None:
        self.endpoint, self.seconds = endpoint(EAST_END, ANYONE, 0), 0.0

    def exchange(self, other: Endpoint) -> None:
        """Carry datagrams to and fro until there are none."""
        while sent := other.datagrams():
            other.actions()
            begin = time.process_time()
            for datagram in sent:
                self.endpoint.receive(datagram.data, Path(datagram.path.remote, datagram.path.local), NOW)
            self.endpoint.actions()
            answers = self.endpoint.datagrams()
            self.seconds += time.process_time() - begin
            for datagram in answers:
                other.receive(datagram.data, Path(datagram.path.remote, datagram.path.local), NOW)


def main() -> None:
    """Print the milliseconds of a peer."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    gateway, peers = Gateway(), [peer(number) for number in range(1, count + 1)]
    report("set up", gateway, peers, lambda each: each.tunnel(NAME).up(NOW))
    report("rekey", gateway, peers, lambda each: each.tunnel(NAME).rekey(NOW, ike=False))
    begin = time.process_time()
    gateway.endpoint.survey({}, NOW)
    sys.stdout.write(f"survey: {(time.process_time() - begin) * 1e3:.1f} ms\n")


def report(what: str, gateway: Gateway, peers: list[Endpoint], begin: Callable[[Endpoint], object]) -> None:
    """Let each peer do something, and say what the first and the last of them cost the gateway."""
    spent = []
    for each in peers:
        before = gateway.seconds
        begin(each)
        gateway.exchange(each)
        spent.append(gateway.seconds - before)
    first, last = (sum(part) / SAMPLE * 1e3 for part in (spent[:SAMPLE], spent[-SAMPLE:]))
    sys.stdout.write(f"{what}: {first:.2f} ms for one of the first {SAMPLE} peers, {last:.2f} for one of the last\n")


if __name__ == "__main__":
    main()
