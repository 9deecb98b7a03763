"""The program with its maps in the kernel: which SPI is whose."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from typing import Final

from ikeclone.bpf import Map, MapType, Program, ProgramType, possible_cpus
from ikeclone.steering import SteeringError
from ikeclone_steering.program import to_cpu_of_spi

NAME: Final = "ikeclone_steer"
_SPIS: Final = 1 << 18
QUEUE: Final = 2048  # packets that a CPU may be behind
_NO_PREALLOC: Final = 1
_HAS_FRAGS: Final = 1 << 5  # takes packets in several buffers, as of jumbo frames (Linux 5.18)


def load(code: bytes, name: str, closing: ExitStack) -> dict[str, Program]:
    """The program for the driver ("native") and for before the protocols ("generic"); raises OSError.

    The generic one takes no packets in several buffers: Linux 6.9 and later copy others then, forget how long the
    Ethernet header was, and lose each that goes to another CPU.
    """
    generic = Program(ProgramType.XDP, code, name)
    closing.callback(generic.close)
    try:
        native = Program(ProgramType.XDP, code, name, _HAS_FRAGS)
    except OSError:
        return {"native": generic, "generic": generic}
    closing.callback(native.close)
    return {"native": native, "generic": generic}


class Table:
    """Sends packets to CPUs by their SPI, on every device that the program is attached to."""

    def __init__(self) -> None:
        """Raises SteeringError when the kernel takes no such program."""
        self._known: set[int] = set()
        self._closing = ExitStack()
        try:
            self._cpu_of_spi = self._kept(Map(MapType.HASH, _SPIS, f"{NAME}_spi"[:15], _NO_PREALLOC))
            self._cpus = self._kept(Map(MapType.CPUMAP, possible_cpus(), f"{NAME}_cpu"[:15]))
            self.programs = load(to_cpu_of_spi(self._cpu_of_spi, self._cpus), NAME, self._closing)
        except OSError as error:
            self._closing.close()
            raise SteeringError(f"the kernel takes no XDP program with a cpumap ({error.strerror})") from error

    def _kept(self, made: Map) -> Map:
        self._closing.callback(made.close)
        return made

    def __len__(self) -> int:
        return len(self._known)

    def put(self, spi: int, cpu: int) -> None:
        """Send this SPI's packets to a CPU; raises SteeringError."""
        key = struct.pack("=I", cpu)
        try:
            # A CPU has a thread of the kernel's for this from when it is first in the map.
            if self._cpus.get(key) is None:
                self._cpus.put(key, QUEUE)
            self._cpu_of_spi.put(_octets(spi), cpu)
        except OSError as error:
            raise SteeringError(f"SPI {spi:08x} cannot be given to CPU {cpu}: {error.strerror}") from error
        self._known.add(spi)

    def remove(self, spi: int) -> None:
        """Let this SPI's packets pass; an unknown one is no error."""
        if spi in self._known:
            self._known.discard(spi)
            self._cpu_of_spi.remove(_octets(spi))

    def close(self) -> None:
        self._closing.close()


def _octets(spi: int) -> bytes:
    return spi.to_bytes(4, "big")
