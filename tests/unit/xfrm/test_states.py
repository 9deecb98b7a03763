"""What a Child SA becomes in kernels of several ages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ikeclone.backend import BackendError, Encr, EspSuite, Integ, Limits, Mode, Volume
from ikeclone_xfrm.numbers import INFINITE
from ikeclone_xfrm.states import Kernel, State, inbound, outbound
from ikeclone_xfrm.structs import ReplayEsn

from .samples import GCM, REQID, SA, child

PLAIN = Kernel(directions=False, per_cpu=False)
DIRECTED = Kernel(directions=True, per_cpu=False)
FULL = Kernel(directions=True, per_cpu=True)


def attribute(state: State, name: str) -> Any:
    return dict(state.attributes).get(name)


def test_a_clone_is_bound_to_its_cpu_in_both_directions() -> None:
    for build, direction in ((inbound, 1), (outbound, 2)):
        state = build(child(cpu=1), REQID, FULL)
        assert (attribute(state, "SA_DIR"), attribute(state, "SA_PCPU")) == (direction, 1)


def test_a_fallback_is_bound_to_none() -> None:
    assert attribute(outbound(SA, REQID, FULL), "SA_PCPU") is None


def test_an_older_kernel_is_not_told_what_it_would_pass_over() -> None:
    for build in (inbound, outbound):
        assert attribute(build(child(cpu=1), REQID, DIRECTED), "SA_PCPU") is None
        assert attribute(build(child(cpu=1), REQID, PLAIN), "SA_DIR") is None


def limits(state: State) -> list[int]:
    """Soft and hard octets, soft and hard packets."""
    found = state.fields["lft"]
    assert not any(name.endswith("seconds") for name in found)
    return [found[f"{which}_{kind}_limit"] for kind in ("byte", "packet") for which in ("soft", "hard")]


def test_without_limits_a_state_has_none() -> None:
    for build in (inbound, outbound):
        assert limits(build(SA, REQID, FULL)) == [INFINITE] * 4


@pytest.mark.parametrize("cpu", [None, 1])
def test_the_kernel_ends_states_at_their_limits_and_no_clone_is_dying(cpu: int | None) -> None:
    wanted = child(cpu=cpu, limits=Limits(Volume(1000, None), Volume(2000, 30)))
    assert limits(inbound(wanted, REQID, FULL)) == [1000, 2000, INFINITE, 30]
    soft = 1000 if cpu is None else INFINITE
    assert limits(outbound(wanted, REQID, FULL)) == [soft, 2000, INFINITE, 30]


@pytest.mark.parametrize(("window", "words"), [(33, 2), (128, 4), (4096, 128)])
def test_a_large_replay_window_has_a_bitmap(window: int, words: int) -> None:
    state = inbound(child(replay_window=window), REQID, FULL)
    value, _ = ReplayEsn.decode_from(attribute(state, "REPLAY_ESN_VAL"), 0)
    assert (value["replay_window"], value["bmp_len"]) == (window, words)
    assert len(attribute(state, "REPLAY_ESN_VAL")) == 24 + 4 * words
    assert state.fields.get("replay_window", 0) == 0


def test_a_replay_window_that_the_kernel_does_not_have_is_refused() -> None:
    with pytest.raises(BackendError, match="4096"):
        inbound(child(replay_window=4097), REQID, FULL)


def test_an_outbound_state_with_a_direction_has_no_replay_window() -> None:
    plain = outbound(child(replay_window=128), REQID, FULL)
    assert attribute(plain, "REPLAY_ESN_VAL") is None
    extended = outbound(child(replay_window=128, suite=replace(GCM, esn=True)), REQID, FULL)
    assert attribute(extended, "REPLAY_ESN_VAL") == bytes(24)
    assert extended.fields["flags"] & 128


def test_encapsulation_has_the_ports_in_the_order_of_the_packets() -> None:
    sa = child(path=replace(SA.path, local_port=4500, remote_port=61000), udp_encapsulation=True)
    assert attribute(outbound(sa, REQID, FULL), "ENCAP") == {"type": 2, "sport": 4500, "dport": 61000}
    received = inbound(sa, REQID, FULL)
    assert attribute(received, "ENCAP") == {"type": 2, "sport": 61000, "dport": 4500}
    assert attribute(received, "MTIMER_THRESH") == 1


def test_transport_mode_says_which_packets() -> None:
    state = outbound(child(mode=Mode.TRANSPORT), REQID, FULL)
    assert (state.fields["mode"], state.fields["sel"]["prefixlen_d"], state.fields["flags"]) == (0, 24, 0)


def test_an_algorithm_that_the_kernel_has_not_is_refused() -> None:
    unknown = EspSuite(Encr.BLOWFISH, 128, Integ.HMAC_SHA1_96)
    with pytest.raises(BackendError, match="BLOWFISH"):
        outbound(child(suite=unknown), REQID, FULL)


def test_keys_are_not_shown() -> None:
    state = outbound(SA, REQID, FULL)
    assert "rfc4106" not in repr(state)
