"""Octet for octet what `ip xfrm` sends, and what the kernel sends read back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import count

import pytest

from ikeclone.backend import EspKeys, Handling, Interface, Mark, Offload, Path, Policy, TrafficSelector
from ikeclone_xfrm.messages import AcquireMessage, XfrmMarshal
from ikeclone_xfrm.migration import migration
from ikeclone_xfrm.numbers import Direction, Msg
from ikeclone_xfrm.offload import Card
from ikeclone_xfrm.policies import identity as policy_identity
from ikeclone_xfrm.policies import messages, priority
from ikeclone_xfrm.states import Kernel, identity, inbound, outbound
from ikeclone_xfrm.structs import Encapsulation, Id, MigrateState, PolicyInfo, ReplayEsn, Selector, StateInfo, Template

from .conftest import Encode
from .ip_xfrm import DELPOLICY, DELSA, GETSA, NEWPOLICY, NEWPOLICY_PORTS, NEWSA_AEAD, NEWSA_ENCAP
from .samples import CBC, EAST, PATH, POLICY, REQID, child

PLAIN = Kernel(directions=False, per_cpu=False)
FULL = Kernel(directions=True, per_cpu=True)


def test_a_state_with_an_aead(encode: Encode) -> None:
    state = outbound(child(replay_window=0), REQID, PLAIN)
    assert encode(Msg.NEWSA, state.fields, state.attributes) == NEWSA_AEAD


def test_a_state_with_cipher_integrity_and_encapsulation(encode: Encode) -> None:
    keys = EspKeys(bytes(range(16)), bytes(range(0x20, 0x40)))
    path = replace(PATH, local_port=4500, remote_port=4500)
    sa = child(suite=CBC, inbound_keys=keys, path=path, udp_encapsulation=True)
    state = inbound(sa, REQID, PLAIN)
    assert encode(Msg.NEWSA, state.fields, state.attributes) == NEWSA_ENCAP


def test_direction_and_cpu_are_the_kernels_attributes_33_and_35(encode: Encode) -> None:
    state = outbound(child(cpu=3, replay_window=0), REQID, FULL)
    added = bytes.fromhex("05002100020000000800230003000000")
    assert encode(Msg.NEWSA, state.fields, state.attributes) == NEWSA_AEAD + added


def test_a_policy(encode: Encode) -> None:
    out, *_ = messages(POLICY, REQID)
    assert encode(Msg.NEWPOLICY, *out) == NEWPOLICY


def test_marks_and_a_priority_are_those_that_are_asked_for(encode: Encode) -> None:
    handling = Handling(mark_in=Mark(1), mark_out=Mark(0x5, 0xFF), priority=1234)
    out, incoming, _ = messages(replace(POLICY, handling=handling), REQID)
    mark = bytes.fromhex("0c00150005000000ff000000")
    assert encode(Msg.NEWPOLICY, *out) == NEWPOLICY.replace(bytes.fromhex("80fe0300"), bytes.fromhex("d2040000")) + mark
    assert encode(Msg.NEWPOLICY, *incoming).endswith(bytes.fromhex("0c00150001000000ffffffff"))
    assert encode(Msg.DELPOLICY, *policy_identity(out)) == DELPOLICY + mark
    state = outbound(child(replay_window=0, handling=handling), REQID, PLAIN)
    assert encode(Msg.NEWSA, state.fields, state.attributes) == NEWSA_AEAD + mark
    assert state.name == [("MARK", {"v": 5, "m": 255})]


@pytest.mark.parametrize(
    ("level", "direction", "added"),
    [
        # ip xfrm state add … offload packet dev lo dir out, … offload crypto dev lo dir in (iproute2 7.2)
        (Offload.PACKET, Direction.OUT, "0c001c000100000004000000"),
        (Offload.CRYPTO, Direction.IN, "0c001c000100000002000000"),
        (Offload.CRYPTO, Direction.OUT, "0c001c000100000000000000"),
    ],
)
def test_a_state_on_a_card(encode: Encode, level: Offload, direction: Direction, added: str) -> None:
    state = outbound(child(replay_window=0), REQID, PLAIN)
    place = [*Card(1, level).state(level, direction), ("SA_DIR", direction)]
    expected = NEWSA_AEAD + bytes.fromhex(added + f"050021000{direction:d}000000")
    assert encode(Msg.NEWSA, state.fields, [*state.attributes, *place]) == expected


def test_policies_on_a_card_come_before_all_others(encode: Encode) -> None:
    out, incoming, forward = messages(POLICY, REQID, card=Card(1, Offload.PACKET))
    # ip xfrm policy add … offload packet dev lo dir out priority 130688 … (iproute2 7.2)
    ranked = NEWPOLICY.replace(bytes.fromhex("80fe0300"), bytes.fromhex("80fe0100"))
    assert encode(Msg.NEWPOLICY, *out) == ranked + bytes.fromhex("0c001c000100000004000000")
    assert encode(Msg.NEWPOLICY, *incoming).endswith(bytes.fromhex("0c001c000100000004000000"))
    assert "OFFLOAD_DEV" not in dict(forward[1])
    assert priority({**out[0]["sel"], "prefixlen_s": 0, "prefixlen_d": 0}, on_card=True) < priority(
        {**out[0]["sel"], "prefixlen_s": 128, "prefixlen_d": 128, "proto": 6, "sport_mask": 1, "dport_mask": 1}
    )


def test_policies_of_an_interface(encode: Encode) -> None:
    out, *_ = messages(replace(POLICY, handling=Handling(interface=Interface(7))), REQID)
    # ip xfrm policy add … if_id 7 …
    assert encode(Msg.NEWPOLICY, *out) == NEWPOLICY + bytes.fromhex("08001f0007000000")
    assert encode(Msg.DELPOLICY, *policy_identity(out)) == DELPOLICY + bytes.fromhex("08001f0007000000")
    state = inbound(child(handling=Handling(interface=Interface(7))), REQID, PLAIN)
    assert state.attributes[-1] == ("IF_ID", 7)


def test_a_state_that_moves(encode: Encode) -> None:
    handling = Handling(mark_out=Mark(5))
    former = outbound(child(handling=handling), REQID, FULL)
    path = Path(ip_address("192.1.2.46"), ip_address("2001:db8::1"), 4500, 4500)
    state = outbound(child(handling=handling, path=path, udp_encapsulation=True), REQID, FULL)
    encoded = encode(Msg.MIGRATE_STATE, *migration(former, state))
    assert encoded[:24] == DELSA[:24]
    assert encoded[24:40] == path.remote.packed
    assert encoded[40:56] == path.local.packed + bytes(12)
    assert encoded[56:64] == bytes.fromhex("05000000ffffffff")
    assert encoded[120:132] == REQID.to_bytes(4, "little") + bytes(4) + bytes.fromhex("0a000000")
    assert encoded[132:] == bytes.fromhex("1c000400020011941194" + "00" * 18 + "0c00150005000000ffffffff")


def test_a_policy_that_raises_acquires_for_each_cpu_differs_in_its_flags_alone(encode: Encode) -> None:
    out, *_ = messages(POLICY, REQID, acquire_per_cpu=True)
    encoded = encode(Msg.UPDPOLICY, *out)
    assert [(at, new) for at, old, new in zip(count(), NEWPOLICY, encoded, strict=False) if old != new] == [(162, 4)]


def test_a_policy_for_one_port_in_ipv6(encode: Encode) -> None:
    path = Path(ip_address("2001:db8::2"), ip_address("2001:db8::1"))
    local = (TrafficSelector.of(ip_network("2001:db8:2::1/128"), 6, 443),)
    remote = (TrafficSelector.of(ip_network("2001:db8:1::/48"), 6),)
    *_, forward = messages(Policy("v6", local, remote, path), REQID)
    assert encode(Msg.NEWPOLICY, *forward) == NEWPOLICY_PORTS


def test_names_of_states_and_policies(encode: Encode) -> None:
    out, *_ = messages(POLICY, REQID)
    assert encode(Msg.DELPOLICY, *policy_identity(out)) == DELPOLICY
    # ip adds the source address, which says nothing that the SPI does not.
    assert encode(Msg.DELSA, identity(EAST, 0x12345678), ()) == DELSA[:24] == GETSA[:24]


@pytest.mark.parametrize(
    ("struct", "size"),
    [
        (StateInfo, 224),
        (PolicyInfo, 168),
        (Template, 64),
        (Selector, 56),
        (Id, 24),
        (Encapsulation, 24),
        (ReplayEsn, 24),
        (MigrateState, 132),
    ],
)
def test_structs_have_the_size_of_the_kernels(struct: type[StateInfo], size: int) -> None:
    assert len(struct.pack({})) == size


def test_a_struct_survives_encoding_and_decoding() -> None:
    value = {"daddr": bytes(range(16)), "spi": 0x12345678, "proto": 50}
    assert Id.decode_from(Id.pack(value), 0) == (value, 24)


def test_an_acquire_is_read(encode: Encode) -> None:
    (fields, attributes), *_ = messages(POLICY, REQID)
    body = encode(Msg.ACQUIRE, {"policy": fields, "seq": 7}, [*attributes, ("SA_PCPU", 2)])
    header = (16 + len(body)).to_bytes(4, "little") + int(Msg.ACQUIRE).to_bytes(2, "little") + bytes(10)
    (message,) = XfrmMarshal().parse(header + body)
    assert isinstance(message, AcquireMessage)
    assert message["seq"] == 7
    assert message.get_attr("XFRMA_TMPL")["reqid"] == REQID
    assert message.get_attr("XFRMA_SA_PCPU") == 2
