"""How far a state's sequence numbers have come, as the kernel says it and is told it."""

from __future__ import annotations

from typing import Any, Final

from ikeclone_xfrm.structs import Replay, ReplayEsn

# A state has one of these attributes.
REPLAY: Final = {"REPLAY_VAL": Replay, "REPLAY_ESN_VAL": ReplayEsn}


def progress(found: Any, skipped: int, *, esn: bool) -> list[tuple[str, bytes]]:
    """The attribute with the numbers of a state that was found, less so many that it is not to send with."""
    values = ((name, found.get_attr(f"XFRMA_{name}")) for name in REPLAY)
    return [(name, _ahead(name, bytes(value), skipped, esn=esn)) for name, value in values if value is not None]


def _ahead(name: str, value: bytes, count: int, *, esn: bool) -> bytes:
    fields, size = REPLAY[name].decode_from(value, 0)
    last = (fields.get("oseq_hi", 0) << 32 if esn else 0) + fields["oseq"] + count
    # With the last one the kernel has it send no more: it does not begin again.
    last = min(last, (1 << (64 if esn else 32)) - 1)
    fields["oseq"] = last & 0xFFFFFFFF
    if esn:
        fields["oseq_hi"] = last >> 32
    return REPLAY[name].pack(fields) + value[size:]
