"""The TUN device: where inner packets leave and enter the system.

It has a queue per worker, and a virtio header in front of each packet, with which the kernel hands over and takes
back whole TCP super packets of up to 64 KB instead of segments ("TSO").
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress
from typing import Final

from ikeclone.backend import BackendError
from ikeclone_esp import bpf

_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNSETSTEERINGEBPF: Final = 0x800454E0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x1, 0x1000, 0x4000, 0x100
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 0x1, 0x2, 0x4, 0x8
_OFFLOADS: Final = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN

# struct virtio_net_hdr: flags, GSO type, header length, GSO size (MSS), checksum start and offset
VNET: Final = struct.Struct("=BBHHHH")
NEEDS_CHECKSUM: Final = 1
GSO_NONE, GSO_TCPV4, GSO_TCPV6 = 0, 1, 4
GSO_ECN: Final = 0x80
PLAIN: Final = bytes(VNET.size)  # the header of a packet that asks for nothing

_REFUSALS: Final = {
    errno.ENOENT: "there is no /dev/net/tun: load the module with `modprobe tun`",
    errno.ENODEV: "the kernel has no TUN driver: load the module with `modprobe tun`",
    errno.EACCES: "no permission for /dev/net/tun: run as root or in a user namespace",
    errno.EPERM: "no permission to make a TUN device: run as root or with CAP_NET_ADMIN",
    errno.EBUSY: "the TUN device is in use by somebody else",
}


class Tun:
    """A TUN device with one queue for each CPU, in their order; it vanishes when its descriptors are closed.

    `steering` says in words how packets find their queue; `steers_by_cpu` whether it is the sending CPU's.
    """

    def __init__(self, cpus: list[int], pattern: str = "ikeclone%d") -> None:
        """Make a device with the first free name. Raises BackendError with what to do when it is refused."""
        self.queues: list[int] = []
        self.name = pattern
        try:
            for _ in cpus:
                self._open_queue()
        except OSError as error:
            self.close()
            reason = _REFUSALS.get(error.errno or 0, f"cannot make a TUN device: {error.strerror}")
            raise BackendError(reason) from error
        self.steers_by_cpu = False
        self.steering = self._steer(cpus)

    def _open_queue(self) -> None:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.queues.append(fd)
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_MULTI_QUEUE
        answer = fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", self.name.encode(), flags))
        self.name = answer[:16].rstrip(b"\0").decode()
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS)

    def _steer(self, cpus: list[int]) -> str:
        """Bind queues to CPUs; where eBPF is refused the kernel chooses a queue by flow."""
        try:
            program = bpf.load(bpf.queue_of_cpu({cpu: queue for queue, cpu in enumerate(cpus)}))
        except OSError as error:
            return f"by flow, not by CPU: the kernel refuses eBPF here ({error.strerror})"
        try:
            fcntl.ioctl(self.queues[0], _TUNSETSTEERINGEBPF, struct.pack("i", program))
        finally:
            os.close(program)
        self.steers_by_cpu = True
        return "by CPU (eBPF)"

    def close(self) -> None:
        for fd in self.queues:
            with suppress(OSError):
                os.close(fd)
        self.queues.clear()
