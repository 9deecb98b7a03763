"""What a worker gives up before it touches a packet: it needs its descriptors and its CPU, nothing else."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from typing import Final

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_CAPABILITY_VERSION_3: Final = 0x20080522
_MOST_CAPABILITIES: Final = 64


def pin(cpu: int) -> str:
    """Run on this CPU only; returns why that is not possible here, or nothing."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        return f"not pinned to CPU {cpu}: {error.strerror}"
    return ""


def drop_privileges() -> None:
    """Give up all capabilities, for good; leave no keys in core dumps; die with the daemon. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    for capability in range(_MOST_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for those that the kernel doesn't have
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, bytes(24)))
    check(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    check(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
