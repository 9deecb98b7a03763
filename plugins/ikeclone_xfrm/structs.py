"""C structs of linux/xfrm.h as field types of pyroute2's messages.

An xfrm_address_t is 16 octets; an IPv4 address is the first four of them.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Any, ClassVar

from ikeclone.backend import IPAddress


class CStruct:
    """A struct is a dictionary; what is missing in one is zero. `fields` are as a message's, padding such as `3x`."""

    fields: ClassVar[tuple[tuple[str, Any], ...]] = ()

    @classmethod
    def decode_from(cls, data: bytes, offset: int) -> tuple[dict[str, Any], int]:
        """The struct at an offset, and the offset after it; raises struct.error when the data end before."""
        value: dict[str, Any] = {}
        for name, kind in cls.fields:
            if not isinstance(kind, str):
                value[name], offset = kind.decode_from(data, offset)
                continue
            unpacked = struct.unpack_from(kind, data, offset)
            offset += struct.calcsize(kind)
            if unpacked:
                value[name] = unpacked[0]
        return value, offset

    @classmethod
    def encode_into(cls, data: bytearray, offset: int, value: dict[str, Any] | None) -> int:
        """Append the struct to the data; the offset after it. Raises struct.error when a value does not fit."""
        for name, kind in cls.fields:
            given = (value or {}).get(name)
            if not isinstance(kind, str):
                offset = kind.encode_into(data, offset, given)
                continue
            empty = b"" if kind.endswith("s") else 0
            values = () if kind.endswith("x") else (empty if given is None else given,)
            data += struct.pack(kind, *values)
            offset += struct.calcsize(kind)
        return offset

    @classmethod
    def pack(cls, value: dict[str, Any]) -> bytes:
        """The struct's octets."""
        data = bytearray()
        cls.encode_into(data, 0, value)
        return bytes(data)


class Id(CStruct):
    """struct xfrm_id"""

    fields = (("daddr", "16s"), ("spi", ">I"), ("proto", "B"), ("_", "3x"))


class Selector(CStruct):
    """struct xfrm_selector"""

    fields = (
        ("daddr", "16s"),
        ("saddr", "16s"),
        ("dport", ">H"),
        ("dport_mask", ">H"),
        ("sport", ">H"),
        ("sport_mask", ">H"),
        ("family", "H"),
        ("prefixlen_d", "B"),
        ("prefixlen_s", "B"),
        ("proto", "B"),
        ("_", "3x"),
        ("ifindex", "i"),
        ("user", "I"),
    )


class LifetimeConfig(CStruct):
    """struct xfrm_lifetime_cfg"""

    fields = (
        ("soft_byte_limit", "Q"),
        ("hard_byte_limit", "Q"),
        ("soft_packet_limit", "Q"),
        ("hard_packet_limit", "Q"),
        ("soft_add_expires_seconds", "Q"),
        ("hard_add_expires_seconds", "Q"),
        ("soft_use_expires_seconds", "Q"),
        ("hard_use_expires_seconds", "Q"),
    )


class LifetimeCurrent(CStruct):
    """struct xfrm_lifetime_cur: times in seconds of the wall clock."""

    fields = (("bytes", "Q"), ("packets", "Q"), ("add_time", "Q"), ("use_time", "Q"))


class Stats(CStruct):
    """struct xfrm_stats: packets dropped, by reason."""

    fields = (("replay_window", "I"), ("replay", "I"), ("integrity_failed", "I"))


class StateInfo(CStruct):
    """struct xfrm_usersa_info"""

    fields = (
        ("sel", Selector),
        ("id", Id),
        ("saddr", "16s"),
        ("lft", LifetimeConfig),
        ("curlft", LifetimeCurrent),
        ("stats", Stats),
        ("seq", "I"),
        ("reqid", "I"),
        ("family", "H"),
        ("mode", "B"),
        ("replay_window", "B"),
        ("flags", "B"),
        ("_", "7x"),
    )


class StateId(CStruct):
    """struct xfrm_usersa_id"""

    fields = (("daddr", "16s"), ("spi", ">I"), ("family", "H"), ("proto", "B"), ("_", "1x"))


class PolicyInfo(CStruct):
    """struct xfrm_userpolicy_info"""

    fields = (
        ("sel", Selector),
        ("lft", LifetimeConfig),
        ("curlft", LifetimeCurrent),
        ("priority", "I"),
        ("index", "I"),
        ("dir", "B"),
        ("action", "B"),
        ("flags", "B"),
        ("share", "B"),
        ("_", "4x"),
    )


class PolicyId(CStruct):
    """struct xfrm_userpolicy_id"""

    fields = (("sel", Selector), ("index", "I"), ("dir", "B"), ("_", "3x"))


class Template(CStruct):
    """struct xfrm_user_tmpl"""

    fields = (
        ("id", Id),
        ("family", "H"),
        ("_0", "2x"),
        ("saddr", "16s"),
        ("reqid", "I"),
        ("mode", "B"),
        ("share", "B"),
        ("optional", "B"),
        ("_1", "1x"),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
    )


class Encapsulation(CStruct):
    """struct xfrm_encap_tmpl"""

    fields = (("type", "H"), ("sport", ">H"), ("dport", ">H"), ("_", "2x"), ("oa", "16s"))


class Mark(CStruct):
    """struct xfrm_mark"""

    fields = (("v", "I"), ("m", "I"))


class MigrateState(CStruct):
    """struct xfrm_user_migrate_state: a state to go on between other addresses."""

    fields = (
        ("id", StateId),
        ("new_daddr", "16s"),
        ("new_saddr", "16s"),
        ("old_mark", Mark),
        ("new_sel", Selector),
        ("new_reqid", "I"),
        ("flags", "I"),
        ("new_family", "H"),
        ("reserved", "H"),
    )


class Replay(CStruct):
    """struct xfrm_replay_state"""

    fields = (("oseq", "I"), ("seq", "I"), ("bitmap", "I"))


class ReplayEsn(CStruct):
    """struct xfrm_replay_state_esn without its bitmap, which follows: `bmp_len` words of 32 bits."""

    fields = (
        ("bmp_len", "I"),
        ("oseq", "I"),
        ("seq", "I"),
        ("oseq_hi", "I"),
        ("seq_hi", "I"),
        ("replay_window", "I"),
    )


def packed(address: IPAddress) -> bytes:
    """An address as the first octets of an xfrm_address_t."""
    return address.packed


def family(address: IPAddress) -> int:
    """The number of an address's family."""
    return AF_INET if address.version == 4 else AF_INET6


def unpacked(raw: bytes, number: int) -> IPAddress:
    """The address of a family in an xfrm_address_t."""
    return ip_address(raw[:4] if number == AF_INET else raw[:16])
