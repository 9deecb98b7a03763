"""The last resort: the kernel's own spreading of received packets (RPS), and of the queues to send by (XPS)."""

from __future__ import annotations

from dataclasses import dataclass

from ikeclone.steering import Arrival, SteeringError
from ikeclone_steering import sysfs
from ikeclone_steering.journal import Change, Journal
from ikeclone_steering.links import Link
from ikeclone_steering.queues import online_cpus
from ikeclone_steering.ways import Remembered


@dataclass(frozen=True, slots=True)
class MaskChanged(Change):
    """A mask of CPUs in a file of the device's, such as queues/rx-0/rps_cpus."""

    file: str
    before: str
    after: str

    def do(self) -> None:
        sysfs.write(self.device, self.file, self.after)

    def undo(self) -> None:
        if _number(sysfs.read(self.device, self.file)) == _number(self.after):
            sysfs.write(self.device, self.file, self.before)


class Masks:
    """Packets are spread over all CPUs by the kernel's hash, of the SPI or of the UDP ports.

    The packets of an SPI come to one CPU always, but it is the hash that chooses which.
    """

    title = "RPS"
    looks_into_udp = False

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._done: Remembered[int, str] = Remembered()

    async def put(self, link: Link, arrival: Arrival) -> str:
        return await self.spread(link)

    async def spread(self, link: Link) -> str:
        """Let every CPU have its share of what this device receives."""
        return await self._done.get(link.index, lambda: self._mask(link))

    async def remove(self, spi: int) -> None: ...

    async def prospect(self, link: Link) -> str:
        if link.loopback:
            raise SteeringError("packets of the loopback device stay on their CPU")
        try:
            masks = [_number(sysfs.read(link.name, file)) for file in _files(link.name, "rx-", "rps_cpus")]
        except OSError as error:
            raise SteeringError(f"the kernel has none ({error.strerror})") from error
        return "RPS, which is on already" if all(masks) else "RPS"

    async def _mask(self, link: Link) -> str:
        if link.loopback:
            raise SteeringError("packets of the loopback device stay on their CPU")
        cpus = online_cpus()
        try:
            for file in _files(link.name, "rx-", "rps_cpus"):
                self._change(link.name, file, cpus)
            sending = _files(link.name, "tx-", "xps_cpus")
            for number, file in enumerate(sending if len(sending) > 1 else []):
                self._change(link.name, file, cpus[number :: len(sending)])
        except OSError as error:
            raise SteeringError(f"the kernel has none ({error.strerror})") from error
        return f"RPS on {link.name}, by SPI or UDP ports to a CPU, always the same"

    def _change(self, device: str, file: str, cpus: list[int]) -> None:
        """A mask that somebody has set is left alone."""
        before = sysfs.read(device, file)
        if cpus and not _number(before):
            self._journal.make(MaskChanged(device, file, before, as_mask(cpus)))


def _files(device: str, prefix: str, name: str) -> list[str]:
    """In the order of the queues."""
    queues = [queue for queue in sysfs.entries(device, "queues") if queue.startswith(prefix)]
    return [f"queues/{queue}/{name}" for queue in sorted(queues, key=lambda queue: int(queue.removeprefix(prefix)))]


def as_mask(cpus: list[int]) -> str:
    """As the kernel takes it: groups of 32 bits, the highest first."""
    digits = f"{sum(1 << cpu for cpu in cpus):x}"
    width = -(-len(digits) // 8) * 8
    padded = digits.rjust(width, "0")
    return ",".join(padded[at : at + 8] for at in range(0, width, 8))


def _number(mask: str) -> int:
    return int(mask.replace(",", ""), 16)
