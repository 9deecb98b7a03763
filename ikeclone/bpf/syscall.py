"""bpf(2): programs and maps. Whatever the kernel refuses is an OSError with its errno."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from enum import IntEnum
from pathlib import Path
from typing import Final

_NUMBER: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_ATTRIBUTES: Final = 128  # octets of union bpf_attr that we use; a kernel with fewer wants the rest to be zero
_LICENCE: Final = b"Apache-2.0\0"
_POSSIBLE: Final = Path("/sys/devices/system/cpu/possible")
_PROG_INFO, _PROG_INFO_NAME = 80, slice(64, 80)  # the size of struct bpf_prog_info up to its name, and the name
NAME_LENGTH: Final = 15
_LOG: Final = 1 << 16  # octets for what the verifier says
_STATISTICS: Final = ("processed ", "verification time", "stack depth", "mark_precise")


class _Command(IntEnum):
    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    PROG_LOAD = 5
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    OBJ_GET_INFO_BY_FD = 15


class ProgramType(IntEnum):
    """What a program is for."""

    SOCKET_FILTER = 1
    XDP = 6


class MapType(IntEnum):
    """What a map is."""

    HASH = 1
    ARRAY = 2
    CPUMAP = 16


class Program:
    """A program in the kernel, while its descriptor `fd` is open or something has it attached."""

    def __init__(self, kind: ProgramType, code: bytes, name: str = "", flags: int = 0) -> None:
        """Load it; `name` has at most 15 characters. Raises OSError, with the verifier's reason."""
        self._code = kind, code, name.encode(), flags
        try:
            self.fd = self._load()
        except OSError as refusal:
            raise OSError(refusal.errno, f"{refusal.strerror}{self._reason()}") from refusal

    def _load(self, log: ctypes.Array[ctypes.c_char] | None = None) -> int:
        kind, code, title, flags = self._code
        instructions, licence = _buffer(code), _buffer(_LICENCE)
        addresses = ctypes.addressof(instructions), ctypes.addressof(licence)
        wanted = (1, len(log), ctypes.addressof(log)) if log else (0, 0, 0)  # log_level, log_size, log_buf
        head = _attributes("=IIQQIIQ4xI16s", kind, len(code) // 8, *addresses, *wanted, flags, title)
        return _bpf(_Command.PROG_LOAD, head)

    def _reason(self) -> str:
        """What the verifier says last, when asked to say anything, before its statistics."""
        log = _buffer(bytes(_LOG))
        try:
            os.close(self._load(log))
        except OSError:
            lines = log.raw.rstrip(b"\0").decode(errors="replace").splitlines()
            said = [line for line in lines if line and not line.startswith(_STATISTICS)]
            return f" (the verifier: {said[-1]})" if said else ""
        return ""

    def close(self) -> None:
        os.close(self.fd)


class Map:
    """A map in the kernel, while its descriptor `fd` is open or a program uses it. Keys and values are numbers of 32
    bits, a value in the machine's order of octets.
    """

    def __init__(self, kind: MapType, entries: int, name: str, flags: int = 0) -> None:
        """Make one for so many entries; raises OSError where that is refused."""
        self.fd = _bpf(_Command.MAP_CREATE, _attributes("=5I8x16s", kind, 4, 4, entries, flags, name.encode()))

    def get(self, key: bytes) -> int | None:
        """The value of this key, if it has one."""
        value = _buffer(bytes(4))
        try:
            self._element(_Command.MAP_LOOKUP_ELEM, key, ctypes.addressof(value))
        except FileNotFoundError:
            return None
        return int(struct.unpack("=I", value.raw)[0])

    def put(self, key: bytes, value: int) -> None:
        buffer = _buffer(struct.pack("=I", value))
        self._element(_Command.MAP_UPDATE_ELEM, key, ctypes.addressof(buffer))

    def remove(self, key: bytes) -> None:
        """Take an entry out; raises FileNotFoundError when there is none."""
        self._element(_Command.MAP_DELETE_ELEM, key, 0)

    def _element(self, command: _Command, key: bytes, value: int) -> None:
        buffer = _buffer(key)
        _bpf(command, _attributes("=I4xQQQ", self.fd, ctypes.addressof(buffer), value, 0))

    def close(self) -> None:
        os.close(self.fd)


def name_of(program_id: int) -> str:
    """The name of a program in the kernel; raises OSError when there is none with this number."""
    fd = _bpf(_Command.PROG_GET_FD_BY_ID, _attributes("=I", program_id))
    try:
        info = _buffer(bytes(_PROG_INFO))
        _bpf(_Command.OBJ_GET_INFO_BY_FD, _attributes("=IIQ", fd, _PROG_INFO, ctypes.addressof(info)))
    finally:
        os.close(fd)
    return info.raw[_PROG_INFO_NAME].rstrip(b"\0").decode()


def run(program: Program, packet: bytes) -> int:
    """What a program returns for a packet, which goes nowhere; raises OSError."""
    return _run(program, packet, 1)[0]


def duration(program: Program, packet: bytes, times: int) -> int:
    """How many nanoseconds it takes for a packet, on average of so many times; raises OSError."""
    return _run(program, packet, times)[1]


def _run(program: Program, packet: bytes, times: int) -> tuple[int, int]:
    data = _buffer(packet)
    attributes = _attributes("=IIIIQQII", program.fd, 0, len(packet), 0, ctypes.addressof(data), 0, times, 0)
    _bpf(_Command.PROG_TEST_RUN, attributes)
    answer, nanoseconds = struct.unpack_from("=I", attributes, 4)[0], struct.unpack_from("=I", attributes, 36)[0]
    return int(answer), int(nanoseconds)


def possible_cpus() -> int:
    """One more than the highest number that a CPU of this machine can have."""
    return int(_POSSIBLE.read_text().strip().replace(",", "-").split("-")[-1]) + 1


def _buffer(octets: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(octets, len(octets))


def _attributes(layout: str, *values: int | bytes) -> ctypes.Array[ctypes.c_char]:
    """The head of a union bpf_attr."""
    return _buffer(struct.pack(layout, *values).ljust(_ATTRIBUTES, b"\0"))


def _bpf(command: _Command, attributes: ctypes.Array[ctypes.c_char]) -> int:
    number = _NUMBER.get(platform.machine())
    if number is None:
        raise OSError(0, f"the number of bpf(2) on {platform.machine()} is not known")
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(number, int(command), attributes, _ATTRIBUTES)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
