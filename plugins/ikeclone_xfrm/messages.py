"""The messages of NETLINK_XFRM on pyroute2's framework."""
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from typing import ClassVar

from pyroute2.netlink import nla, nlmsg
from pyroute2.netlink.marshal import Marshal

from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.structs import (
    Encapsulation,
    Id,
    MigrateState,
    PolicyId,
    PolicyInfo,
    Selector,
    StateId,
    StateInfo,
    Template,
)


class XfrmMessage(nlmsg):
    """The attributes that every message may have (XFRMA_*), in the order of their numbers."""

    prefix = "XFRMA_"
    defaults: ClassVar = {"daddr": bytes(16), "saddr": bytes(16), "new_saddr": bytes(16), "old_saddr": bytes(16),
                           "new_daddr": bytes(16)}  # fmt: skip
    nla_map = (
        ("XFRMA_UNSPEC", "none"),
        ("XFRMA_ALG_AUTH", "cdata"),
        ("XFRMA_ALG_CRYPT", "cdata"),
        ("XFRMA_ALG_COMP", "cdata"),
        ("XFRMA_ENCAP", "encap_tmpl"),
        ("XFRMA_TMPL", "user_tmpl"),
        ("XFRMA_SA", "cdata"),
        ("XFRMA_POLICY", "cdata"),
        ("XFRMA_SEC_CTX", "cdata"),
        ("XFRMA_LTIME_VAL", "cdata"),
        ("XFRMA_REPLAY_VAL", "cdata"),
        ("XFRMA_REPLAY_THRESH", "uint32"),
        ("XFRMA_ETIMER_THRESH", "uint32"),
        ("XFRMA_SRCADDR", "cdata"),
        ("XFRMA_COADDR", "cdata"),
        ("XFRMA_LASTUSED", "uint64"),
        ("XFRMA_POLICY_TYPE", "cdata"),
        ("XFRMA_MIGRATE", "cdata"),
        ("XFRMA_ALG_AEAD", "cdata"),
        ("XFRMA_KMADDRESS", "cdata"),
        ("XFRMA_ALG_AUTH_TRUNC", "cdata"),
        ("XFRMA_MARK", "mark"),
        ("XFRMA_TFCPAD", "uint32"),
        ("XFRMA_REPLAY_ESN_VAL", "cdata"),
        ("XFRMA_SA_EXTRA_FLAGS", "uint32"),
        ("XFRMA_PROTO", "uint8"),
        ("XFRMA_ADDRESS_FILTER", "cdata"),
        ("XFRMA_PAD", "none"),
        ("XFRMA_OFFLOAD_DEV", "user_offload"),
        ("XFRMA_SET_MARK", "uint32"),
        ("XFRMA_SET_MARK_MASK", "uint32"),
        ("XFRMA_IF_ID", "uint32"),
        ("XFRMA_MTIMER_THRESH", "uint32"),
        ("XFRMA_SA_DIR", "uint8"),
        ("XFRMA_NAT_KEEPALIVE_INTERVAL", "uint32"),
        ("XFRMA_SA_PCPU", "uint32"),
    )

    class encap_tmpl(nla):  # noqa: N801  named as the struct, which nla_map refers to
        fields = Encapsulation.fields
        defaults: ClassVar = {"oa": bytes(16)}

    class user_tmpl(nla):  # noqa: N801
        """The kernel takes up to six of these in one attribute; this is the first."""

        fields = Template.fields

    class mark(nla):  # noqa: N801
        fields = (("v", "I"), ("m", "I"))

    class user_offload(nla):  # noqa: N801
        fields = (("ifindex", "i"), ("flags", "B"), ("_", "3x"))


class StateMessage(XfrmMessage):
    fields = StateInfo.fields


class StateIdMessage(XfrmMessage):
    fields = StateId.fields


class PolicyMessage(XfrmMessage):
    fields = PolicyInfo.fields


class PolicyIdMessage(XfrmMessage):
    fields = PolicyId.fields


class SpiMessage(XfrmMessage):
    """struct xfrm_userspi_info: a state to make, with an SPI between `min` and `max`. The answer is a state."""

    fields = (("info", StateInfo), ("min", "I"), ("max", "I"))


class AcquireMessage(XfrmMessage):
    """struct xfrm_user_acquire: a packet, described by `sel`, matched `policy` and found no state."""

    fields = (
        ("id", Id),
        ("saddr", "16s"),
        ("sel", Selector),
        ("policy", PolicyInfo),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
        ("seq", "I"),
    )


class ExpireMessage(XfrmMessage):
    """struct xfrm_user_expire"""

    fields = (("state", StateInfo), ("hard", "B"), ("_", "7x"))


class MappingMessage(XfrmMessage):
    """struct xfrm_user_mapping: UDP-encapsulated ESP that is sound came from elsewhere."""

    fields = (
        ("id", StateId),
        ("reqid", "I"),
        ("old_saddr", "16s"),
        ("new_saddr", "16s"),
        ("old_sport", ">H"),
        ("new_sport", ">H"),
    )


class MigrateStateMessage(XfrmMessage):
    fields = MigrateState.fields


class EventMessage(XfrmMessage):
    """struct xfrm_aevent_id: how far a state has come, by the attributes."""

    fields = (("id", StateId), ("saddr", "16s"), ("flags", "I"), ("reqid", "I"))


class FlushStatesMessage(XfrmMessage):
    """struct xfrm_usersa_flush: of protocol 0 for all of them."""

    fields = (("proto", "B"),)


class FlushPoliciesMessage(XfrmMessage):
    """It has attributes only."""

    fields = ()


class XfrmMarshal(Marshal):
    msg_map: ClassVar = {
        Msg.NEWSA: StateMessage,
        Msg.UPDSA: StateMessage,
        Msg.DELSA: StateIdMessage,
        Msg.GETSA: StateIdMessage,
        Msg.NEWPOLICY: PolicyMessage,
        Msg.UPDPOLICY: PolicyMessage,
        Msg.DELPOLICY: PolicyIdMessage,
        Msg.GETPOLICY: PolicyIdMessage,
        Msg.ALLOCSPI: SpiMessage,
        Msg.ACQUIRE: AcquireMessage,
        Msg.EXPIRE: ExpireMessage,
        Msg.MAPPING: MappingMessage,
        Msg.MIGRATE_STATE: MigrateStateMessage,
        Msg.NEWAE: EventMessage,
        Msg.FLUSHSA: FlushStatesMessage,
        Msg.FLUSHPOLICY: FlushPoliciesMessage,
    }
