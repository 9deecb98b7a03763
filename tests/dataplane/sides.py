"""Two EspBackends, each in its namespace, with Child SAs under fixed keys: the data plane without IKE."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import subprocess
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from ikeclone.backend import ChildSa, Counters, Encr, EspKeys, EspSuite, Event, Integ, Path, Policy, TrafficSelector
from ikeclone_esp import EspBackend
from tests.dataplane.netns import Namespace

GCM = EspSuite(Encr.AES_GCM_16, 256, Integ.NONE)


def new_keys(suite: EspSuite) -> EspKeys:
    salt = 4 if suite.integrity == Integ.NONE else 0
    sizes = {Integ.NONE: 0, Integ.HMAC_SHA2_256_128: 32, Integ.HMAC_SHA2_384_192: 48, Integ.HMAC_SHA2_512_256: 64}
    return EspKeys(secrets.token_bytes(suite.key_bits // 8 + salt), secrets.token_bytes(sizes[suite.integrity]))


@dataclass
class Side:
    """One end of the tunnel: where it is, what is behind it, and its backend once started."""

    namespace: Namespace
    outer: str
    inner: str
    source: str
    backend: EspBackend = field(init=False)
    events: list[Event] = field(default_factory=list)
    sock: socket.socket = field(init=False)

    def start(self) -> None:
        self.namespace.call(self._start())

    async def _start(self) -> None:
        self.backend = EspBackend()
        await self.backend.start()
        family = socket.AF_INET6 if ":" in self.outer else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.sock.bind((self.outer, 4500))
        self.backend.share(self.sock)
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            self.events.append(await self.backend.event())

    def stop(self) -> None:
        self.namespace.call(self._stop())

    async def _stop(self) -> None:
        self._watcher.cancel()
        await self.backend.stop()
        self.sock.close()

    def namespace_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket in the namespace, for the test itself."""

        async def make() -> socket.socket:
            return socket.socket(family, kind, socket.htons(protocol))

        return self.namespace.call(make())

    def counters(self) -> dict[int, Counters]:
        return dict(self.namespace.call(self.backend.counters()))

    def path(self, other: Side) -> Path:
        return Path(ip_address(self.outer), ip_address(other.outer), 4500, 4500)

    def policy(self, other: Side, connection: str = "net-net") -> Policy:
        selectors = [(TrafficSelector.of(ip_network(side.inner)),) for side in (self, other)]
        return Policy(connection, selectors[0], selectors[1], self.path(other), source=ip_address(self.source))


@dataclass
class Tunnel:
    """What IKE would do: SAs of two sides, made in the order that IKE makes them."""

    left: Side
    right: Side
    connection: str = "net-net"
    encapsulation: bool = True
    suite: EspSuite = GCM

    def route(self) -> None:
        for side, other in ((self.left, self.right), (self.right, self.left)):
            side.namespace.call(side.backend.route(side.policy(other, self.connection)))

    def add(self, left_cpu: int | None = None, right_cpu: int | None = None) -> tuple[int, int]:
        """Install and activate a pair of SAs on both sides, the right one first; returns their inbound SPIs."""
        left, right = self.make(left_cpu, right_cpu)
        self.install(self.right, right)
        self.install(self.left, left)
        return left.inbound_spi, right.inbound_spi

    def make(self, left_cpu: int | None = None, right_cpu: int | None = None) -> tuple[ChildSa, ChildSa]:
        """A pair of SAs with fresh SPIs and keys, not installed."""
        cpus = (left_cpu, right_cpu)
        sides = (self.left, self.right)
        spis = [side.namespace.call(_allocate(side, cpu)) for side, cpu in zip(sides, cpus, strict=True)]
        keys = [new_keys(self.suite), new_keys(self.suite)]
        made = []
        for i, (side, other) in enumerate(((self.left, self.right), (self.right, self.left))):
            policy = side.policy(other)
            made.append(
                ChildSa(
                    self.connection,
                    cpus[i],
                    spis[i],
                    spis[1 - i],
                    self.suite,
                    keys[i],
                    keys[1 - i],
                    policy.local,
                    policy.remote,
                    policy.path,
                    self.encapsulation,
                )
            )
        return made[0], made[1]

    @staticmethod
    def install(side: Side, sa: ChildSa) -> None:
        side.namespace.call(side.backend.install(sa))
        side.namespace.call(side.backend.activate(sa.inbound_spi))

    def remove(self, spis: tuple[int, int]) -> None:
        for side, spi in zip((self.left, self.right), spis, strict=True):
            side.namespace.call(side.backend.remove(spi))


async def _allocate(side: Side, cpu: int | None) -> int:
    return side.backend.allocate_spi(cpu)


def ping(side: Side, address: str, cpu: int, count: int = 5, patience: int = 10) -> int:
    """Send echo requests at once from one CPU; returns how many were answered, at the latest after so many seconds."""
    # After the first reply ping waits for the others only as long as the interval, whatever -W says.
    times = ("-i", str(patience), "-W", str(patience))
    command = side.namespace.command(
        *("taskset", "-c", str(cpu), "ping", "-q", "-c", str(count), "-l", str(count), *times, address)
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return int(re.search(r"(\d+) received", done.stdout).group(1))  # type: ignore[union-attr]
