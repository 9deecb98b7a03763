"""NAT detection (RFC 7296 section 2.23) and prohibition (RFC 4555 section 3.9)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from ikeclone.backend import Path
from ikeclone.errors import UnexpectedNatDetected
from ikeclone.numbers import NotifyType
from ikeclone.selectors import IPAddress
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Notify

PORT = 4500


def detection_hash(spi_i: bytes, spi_r: bytes, address: IPAddress, port: int) -> bytes:
    """SHA-1 over SPIs, address and port; no secret depends on it."""
    octets = spi_i + spi_r + address.packed + port.to_bytes(2, "big")
    return hashlib.sha1(octets, usedforsecurity=False).digest()


def notifies(
    spi_i: bytes, spi_r: bytes, path: Path, force: bool, random: Callable[[int], bytes]
) -> tuple[Notify, Notify]:
    """What we say of our addresses; `force` claims a NAT before us, so that the peer encapsulates ESP in UDP."""
    source = random(20) if force else detection_hash(spi_i, spi_r, path.local, path.local_port)
    destination = detection_hash(spi_i, spi_r, path.remote, path.remote_port)
    return (
        Notify(NotifyType.NAT_DETECTION_SOURCE_IP, source),
        Notify(NotifyType.NAT_DETECTION_DESTINATION_IP, destination),
    )


@dataclass(frozen=True, slots=True)
class Nat:
    """What detection found. `supported` is whether the peer takes part in it at all."""

    supported: bool = False
    local: bool = False
    remote: bool = False
    forced: bool = False

    @property
    def encapsulate(self) -> bool:
        """Whether ESP goes in UDP and IKE moves to port 4500."""
        return self.supported and (self.local or self.remote or self.forced)


def detect(message: Message, path: Path, forced: bool) -> Nat:
    """Compare the peer's hashes with what we see of it; several source hashes mean several possible addresses."""
    header = message.header
    spis = header.initiator_spi, header.responder_spi
    sources = [n.data for n in message.all(Notify) if n.type is NotifyType.NAT_DETECTION_SOURCE_IP]
    destination = message.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if not sources or destination is None:
        return Nat()
    return Nat(
        supported=True,
        local=destination.data != detection_hash(*spis, path.local, path.local_port),
        remote=detection_hash(*spis, path.remote, path.remote_port) not in sources,
        forced=forced,
    )


def forbid(path: Path) -> Notify:
    """No NAT may change the addresses of this request."""
    return Notify(NotifyType.NO_NATS_ALLOWED, _addresses(path))


def check_prohibition(message: Message, path: Path) -> None:
    """See that no NAT has changed a request on which it says that none may; raises UnexpectedNatDetected."""
    said = message.notify(NotifyType.NO_NATS_ALLOWED)
    if said is not None and said.data != _addresses(path.reverse):
        raise UnexpectedNatDetected(f"{path.remote} is not where the peer sent it from")


def _addresses(path: Path) -> bytes:
    """Source and destination, then their ports, of what we send on a path (RFC 4555 section 4.2.6)."""
    ports = path.local_port.to_bytes(2, "big") + path.remote_port.to_bytes(2, "big")
    return path.local.packed + path.remote.packed + ports
