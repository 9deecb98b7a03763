"""Numbers of linux/xfrm.h, linux/netlink.h and linux/udp.h, under the kernel's names."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class Msg(IntEnum):
    """Types of messages (XFRM_MSG_*)."""

    NEWSA = 0x10
    DELSA = 0x11
    GETSA = 0x12
    NEWPOLICY = 0x13
    DELPOLICY = 0x14
    GETPOLICY = 0x15
    ALLOCSPI = 0x16
    ACQUIRE = 0x17
    EXPIRE = 0x18
    UPDPOLICY = 0x19
    UPDSA = 0x1A
    POLEXPIRE = 0x1B
    FLUSHSA = 0x1C
    FLUSHPOLICY = 0x1D
    NEWAE = 0x1E
    MAPPING = 0x26
    MIGRATE_STATE = 0x29


class Group(IntEnum):
    """Multicast groups (XFRMNLGRP_*)."""

    ACQUIRE = 1
    EXPIRE = 2
    SA = 3
    POLICY = 4
    MAPPING = 8


class Direction(IntEnum):
    """Of a state (XFRM_SA_DIR_*)."""

    IN = 1
    OUT = 2


class PolicyDirection(IntEnum):
    """Of a policy (XFRM_POLICY_*)."""

    IN = 0
    OUT = 1
    FWD = 2


class PolicyFlag(IntFlag):
    """Of a policy (XFRM_POLICY_*)."""

    CPU_ACQUIRE = 4


class OffloadFlag(IntFlag):
    """Of a state or policy on a network card (XFRM_OFFLOAD_*); without PACKET it is the cipher only."""

    INBOUND = 2
    PACKET = 4


class StateFlag(IntFlag):
    """Of a state (XFRM_STATE_*). AF_UNSPEC lets a tunnel carry packets of either family."""

    AF_UNSPEC = 32
    ESN = 128


INFINITE: Final = 0xFFFFFFFFFFFFFFFF  # XFRM_INF
ANY_ALGORITHM: Final = 0xFFFFFFFF
IPPROTO_ESP: Final = 50
XFRMA_TMPL: Final = 5
XFRMA_SA_PCPU: Final = 35

UDP_ENCAP: Final = 100
UDP_ENCAP_ESPINUDP: Final = 2
IP_XFRM_POLICY: Final = 17
IPV6_XFRM_POLICY: Final = 35

NETLINK_BROADCAST_ERROR: Final = 4


class CryptoMsg(IntEnum):
    """CRYPTO_MSG_*"""

    NEWALG = 0x10
    DELALG = 0x11
    UPDATEALG = 0x12
