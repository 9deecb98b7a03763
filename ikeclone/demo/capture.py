"""What goes over the cable between two hosts, kept in a pcap file by tcpdump."""

from __future__ import annotations

import time
from pathlib import Path

from ikeclone.demo.namespaces import Namespace, end

WANTED = "udp port 500 or udp port 4500 or esp"
PCAP_HEADER = 24


def unjoined(device: str, *ends: Namespace) -> None:
    """Have a virtual cable carry each packet by itself, as a real one does.

    Else it hands over what UDP_SEGMENT joined as one large packet, which a dissector cannot read.
    """
    for end_of_cable in ends:
        end_of_cable.ip(f"link set {device} gso_max_segs 1")


class Capture:
    """IKE and ESP as one namespace sees them on a device, from the making of this object until `close`."""

    def __init__(self, namespace: Namespace, device: str, file: Path) -> None:
        self.file = file
        file.unlink(missing_ok=True)
        # As root tcpdump would give itself up to a user who cannot write here.
        options = ("-Z", "root", "--immediate-mode", "-U", "-i", device)
        self._process = namespace.start("tcpdump", *options, "-w", file, WANTED)
        deadline = time.monotonic() + 10
        while not (file.exists() and file.stat().st_size >= PCAP_HEADER):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"tcpdump does not capture: {self._ended()}")
            time.sleep(0.02)

    def close(self) -> None:
        """Stop, with everything written."""
        end(self._process)

    def _ended(self) -> str:
        self._process.kill()
        return self._process.communicate()[0].strip()
