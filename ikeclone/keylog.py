"""The key log: Wireshark's tables of IKE and ESP keys, for whoever must look into the packets.

`ikev2_decryption_table` and `esp_sa` in the log's directory; used as a Wireshark profile, or copied into one.
Of an IKE SA whose keys change in IKE_INTERMEDIATE Wireshark takes the last ones, so it cannot read that exchange.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ikeclone.backend import ChildSa, EspKeys, EspSuite
from ikeclone.backend import Path as IpPath
from ikeclone.errors import LocalError
from ikeclone.ike.actions import IkeKeyed
from ikeclone.numbers import Encr, Integ

log = logging.getLogger(__name__)

_IKE_CIPHERS = {
    Encr.AES_CBC: "AES-CBC-{bits} [RFC3602]",
    Encr.AES_CTR: "AES-CTR-{bits} [RFC5930]",
    Encr.AES_CCM_8: "AES-CCM-{bits} with 8 octet ICV [RFC5282]",
    Encr.AES_CCM_12: "AES-CCM-{bits} with 12 octet ICV [RFC5282]",
    Encr.AES_CCM_16: "AES-CCM-{bits} with 16 octet ICV [RFC5282]",
    Encr.AES_GCM_8: "AES-GCM-{bits} with 8 octet ICV [RFC5282]",
    Encr.AES_GCM_12: "AES-GCM-{bits} with 12 octet ICV [RFC5282]",
    Encr.AES_GCM_16: "AES-GCM-{bits} with 16 octet ICV [RFC5282]",
}
_IKE_INTEGRITY = {
    Integ.NONE: "NONE [RFC4306]",
    Integ.HMAC_SHA2_256_128: "HMAC_SHA2_256_128 [RFC4868]",
    Integ.HMAC_SHA2_384_192: "HMAC_SHA2_384_192 [RFC4868]",
    Integ.HMAC_SHA2_512_256: "HMAC_SHA2_512_256 [RFC4868]",
}
_ESP_CIPHERS = {
    Encr.AES_CBC: "AES-CBC [RFC3602]",
    Encr.AES_GCM_8: "AES-GCM with 8 octet ICV [RFC4106]",
    Encr.AES_GCM_12: "AES-GCM with 12 octet ICV [RFC4106]",
    Encr.AES_GCM_16: "AES-GCM with 16 octet ICV [RFC4106]",
}
_ESP_INTEGRITY = {
    Integ.NONE: "NULL",
    Integ.HMAC_SHA2_256_128: "HMAC-SHA-256-128 [RFC4868]",
    Integ.HMAC_SHA2_384_192: "HMAC-SHA-384-192 [RFC4868]",
    Integ.HMAC_SHA2_512_256: "HMAC-SHA-512-256 [RFC4868]",
}


class KeyLog:
    """Writes every key to files that only their owner can read. Loud: whoever has them reads all traffic.

    Raises LocalError when the directory cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._ike = _create(directory / "ikev2_decryption_table")
            self._esp = _create(directory / "esp_sa")
        except OSError as error:
            raise LocalError(f"cannot write the key log to {directory}: {error.strerror or error}") from error
        log.warning("KEY LOG: the keys of every SA are written to %s", directory)

    def ike(self, keyed: IkeKeyed) -> None:
        """Note the keys of an IKE SA."""
        suite, keys = keyed.suite, keyed.keys
        cipher, integrity = _IKE_CIPHERS.get(suite.encryption), _IKE_INTEGRITY.get(suite.integrity)
        if cipher is None or integrity is None:
            log.warning("KEY LOG: Wireshark has no name for %s", suite)
            return
        spis = f"{keyed.initiator_spi.hex()},{keyed.responder_spi.hex()}"
        sealed = f'{keys.sk_ei.hex()},{keys.sk_er.hex()},"{cipher.format(bits=suite.key_bits)}"'
        _append(self._ike, f'{spis},{sealed},{keys.sk_ai.hex()},{keys.sk_ar.hex()},"{integrity}"')

    def child(self, sa: ChildSa) -> None:
        """Note the keys of both directions of a Child SA."""
        path = sa.path
        back = IpPath(path.remote, path.local, path.remote_port, path.local_port)
        self._direction(path, sa.outbound_spi, sa.suite, sa.outbound_keys)
        self._direction(back, sa.inbound_spi, sa.suite, sa.inbound_keys)

    def _direction(self, path: IpPath, spi: int, suite: EspSuite, keys: EspKeys) -> None:
        cipher, integrity = _ESP_CIPHERS.get(suite.encryption), _ESP_INTEGRITY.get(suite.integrity)
        if cipher is None or integrity is None:
            log.warning("KEY LOG: Wireshark has no name for %s", suite)
            return
        fields = (f"IPv{path.local.version}", path.local, path.remote, f"0x{spi:08x}")
        where = ",".join(f'"{field}"' for field in fields)
        algorithms = f'"{cipher}","0x{keys.encryption.hex()}","{integrity}","0x{keys.integrity.hex()}"'
        _append(self._esp, f"{where},{algorithms}")


def _create(path: Path) -> Path:
    os.close(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    return path


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
