"""Whatever two endpoints do on a bad network, when it heals they agree, and nothing is left over.

`python -m tests.property --walks 5000` walks longer, and elsewhere each time.
"""

from __future__ import annotations

import contextlib
from itertools import product

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ikeclone.connection import Auto, Childless, Timing
from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.errors import LocalError
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.mobike import PATIENCE
from ikeclone.ike.state import State
from tests.pair.network import EAST, ESP, IKE, NAME, WEST, Network, Side
from tests.pair.scenario import accepted
from tests.pair.test_sharing import OTHER
from tests.property.shapes import (
    PROOFS,
    SHAPES,
    assert_leases,
    assert_nothing,
    assert_selectors,
    credentials,
    ends,
    second,
)

# They take a quarter of a minute each; on a machine with much else to do, longer.
pytestmark = pytest.mark.timeout(300)

# Shrinking takes minutes, and thirty steps are read soon enough.
PHASES = (Phase.explicit, Phase.generate)
THOROUGH = settings(derandomize=True, database=None, print_blob=False, phases=PHASES)
TIMING = Timing(ike_lifetime=3600, child_lifetime=1200, margin=100, retransmit_timeout=15, dpd_delay=10)

names = st.sampled_from([NAME, NAME, OTHER])
west_or_east = st.sampled_from(["west", "east"])
whats = st.sampled_from(["child", "ike", "reauth"])
# Which of its two addresses each side has.
HOMES = {"west": (str(WEST), "198.51.100.7"), "east": (str(EAST), "192.1.2.24")}
kept = st.sampled_from([(0,), (1,), (0, 1), ()])
moments = st.sampled_from([0.0, 0.005, 0.011, 0.03, 0.1, 0.6, 2.0, 9.0, 40.0])


def live_sas(side: Side) -> list[bytes]:
    """The IKE SAs that a side would still use, by the initiator's SPI."""
    return [sa.spi_i for sa in side.endpoint.ike_sas() if sa.state is not State.DEAD]


class TwoEndpoints(RuleBasedStateMachine):
    """A tunnel, commands and traffic at both its ends, and the weather between them."""

    @initialize(
        seed=st.integers(0, 2**16),
        clones=st.tuples(*[st.sampled_from([0, 1, 2, None])] * 2),
        auto=st.tuples(*[st.sampled_from([Auto.ADD, Auto.ONDEMAND, Auto.START])] * 2),
        reauth=st.booleans(),
        mobike=st.booleans(),
        fragment_size=st.sampled_from([1228, 150]),
        cpus=st.tuples(*[st.integers(1, 3)] * 2),
        additional=st.sampled_from(["", "-ke1_ecp256", "-ke1_x448-ke2_mlkem768"]),
        childless=st.tuples(*[st.sampled_from([Childless.ALLOW, Childless.PREFER])] * 2),
        resumption=st.booleans(),
        shape=st.sampled_from(SHAPES),
        proof=st.sampled_from(PROOFS),
        lasting=st.booleans(),
        window=st.sampled_from([1, 2, 32]),
        uniqueids=st.booleans(),
    )
    def start(
        self,
        seed: int,
        clones: tuple[int | None, int | None],
        auto: tuple[Auto, Auto],
        reauth: bool,
        mobike: bool,
        fragment_size: int,
        cpus: tuple[int, int],
        additional: str,
        childless: tuple[Childless, Childless],
        resumption: bool,
        shape: str,
        proof: str,
        lasting: bool,
        window: int,
        uniqueids: bool,
    ) -> None:
        """A `lasting` tunnel is up from the beginning, and nobody takes it down or restarts.

        A gateway waits for the road warriors that it gives addresses to.
        """
        proposals = {"ike": parse_ike(IKE + additional), "esp": parse_esp(f"{ESP}-dh31{additional}")}
        both = {"reauth": reauth, "mobike": mobike, "timing": TIMING, "resumption": resumption, **proposals}
        if shape == "road":
            auto = auto[0], Auto.ADD
        west, east = (
            {"clones": c, "auto": a, "childless": first, **both, **end}
            for c, a, first, end in zip(clones, auto, childless, ends(shape, proof), strict=True)
        )
        host = Settings(
            fragment_size=fragment_size,
            window=window,
            uniqueids=uniqueids,
            retry_delay=2.0,
            retry_delay_limit=20.0,
            clone_backoff=5.0,
            clone_backoff_limit=20.0,
        )
        secrets = credentials(shape, proof)
        self.net = Network(cpus=cpus, seed=seed, west=west, east=east, settings=host, credentials=secrets)
        for side in self.net.sides if shape == "two" else ():
            side.others = (second(side.conn),)
            side.endpoint.add(side.others[0], self.net.now)
            self.net.settle(side)
        self.taken_down = {(side, name): False for side in self.net.sides for name in side.endpoint.tunnels}
        self.lasting, self.steady = lasting, set[str]()
        self.net.watch = self.assert_accepted
        for name in self.net.west.endpoint.tunnels if lasting else ():
            self.net.west.up(name)
            self.net.run(5)

    def side(self, name: str) -> Side:
        side = getattr(self.net, name)
        assert isinstance(side, Side)
        return side

    @rule(name=west_or_east, which=names, ike_only=st.sampled_from([False, False, True]))
    def up(self, name: str, which: str, ike_only: bool) -> None:
        with contextlib.suppress(LocalError):
            self.side(name).up(which, ike_only=ike_only)
            self.taken_down[self.side(name), which] = False

    @invariant()
    def note_what_is_steady(self) -> None:
        """Connections that are up on both sides: from now on their packets get through, until they go down."""
        if hasattr(self, "net") and self.net.quiet:
            self.steady |= {which for which in self.net.west.endpoint.tunnels if self.carries(which)}
            for side in self.net.sides:
                side.reports.clear()

    def carries(self, which: str) -> bool:
        """Whether each CPU of both sides has an SA that the peer accepts."""
        return all(accepted(side, cpu, which) for side in self.net.sides for cpu in side.backend.cpus())

    def assert_accepted(self) -> None:
        """At every moment that is so; not when an end gave the other up."""
        reports = [report for side in self.net.sides for report in side.reports]
        if any(report.kind is Kind.IKE_DOWN or "given up" in report.text for report in reports):
            self.steady.clear()
        assert all(self.carries(which) for which in self.steady)

    @precondition(lambda self: not self.lasting)
    @rule(name=west_or_east, which=names)
    def down(self, name: str, which: str) -> None:
        self.steady.discard(which)
        with contextlib.suppress(LocalError):
            self.side(name).down(which)
            self.taken_down[self.side(name), which] = True

    @rule(name=west_or_east, which=names, what=whats)
    def rekey(self, name: str, which: str, what: str) -> None:
        with contextlib.suppress(LocalError):
            self.side(name).rekey(which, ike=what == "ike", reauth=what == "reauth")

    @rule(which=names, what=st.sampled_from(["up", "child", "ike", "reauth", "reauth"]))
    def both(self, which: str, what: str) -> None:
        """At the same moment."""
        for name in HOMES:
            if what == "up":
                self.up(name, which, ike_only=False)
            else:
                self.rekey(name, which, what)

    @rule(which=names, cpus=st.lists(st.tuples(west_or_east, st.integers(0, 2)), min_size=1, max_size=4))
    def packets(self, which: str, cpus: list[tuple[str, int]]) -> None:
        for name, cpu in cpus:
            if cpu in self.side(name).backend.cpus() and which in self.side(name).backend.policies:
                self.side(name).packet(cpu, name=which)

    @precondition(lambda self: not self.lasting)
    @rule(name=west_or_east)
    def restart(self, name: str) -> None:
        self.steady.clear()
        self.side(name).start()
        self.taken_down |= {(side, which): False for side, which in self.taken_down if side is self.side(name)}

    @rule(
        loss=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
        repeat=st.sampled_from([0.0, 0.3]),
        jitter=st.sampled_from([0.0, 0.02, 1.0]),
    )
    def weather(self, loss: float, repeat: float, jitter: float) -> None:
        link = self.net.link
        link.loss, link.repeat, link.jitter = loss, repeat, jitter

    @rule(name=west_or_east, numbers=kept)
    def move(self, name: str, numbers: tuple[int, ...]) -> None:
        self.side(name).addresses(*(HOMES[name][number] for number in numbers))

    @rule(seconds=moments)
    def wait(self, seconds: float) -> None:
        self.net.run(seconds)

    def teardown(self) -> None:
        if not hasattr(self, "net"):
            return
        self.weather(0.0, 0.0, 0.0)
        for name in HOMES:
            self.move(name, (0,))
        # Who waits for a peer that may be elsewhere is patient.
        self.net.run(PATIENCE + 100)
        self.settle()
        for (side, which), taken_down in self.taken_down.items():
            tunnel = side.endpoint.tunnels[which]
            if side.conn.auto is Auto.START and not taken_down:
                assert tunnel.wanted
            if tunnel.wanted:
                assert tunnel.usable, f"{which} of {side.address} is down"
                assert tunnel.ike_only or tunnel.clones.children, f"{which} of {side.address} has no Child SA"
        for which in self.net.west.endpoint.tunnels:
            self.net.west.up(which)
        self.net.run(10)
        self.settle()
        self.assert_carries()
        self.lasting = False
        for name, which in product(HOMES, self.net.west.endpoint.tunnels):
            self.down(name, which)
        self.net.run(100)
        assert_nothing(self.net.sides)

    def settle(self) -> None:
        """Both sides agree now, or in a moment when a rekey is under way."""
        for _ in range(40):
            with contextlib.suppress(AssertionError):
                return self.assert_agree()
            self.net.run(1)
        return self.assert_agree()

    def assert_agree(self) -> None:
        self.net.assert_consistent()
        assert_selectors([self.net.west], [self.net.east])
        assert_leases(self.net)
        west, east = (sorted(live_sas(side)) for side in self.net.sides)
        assert west == east
        assert len(west) <= 1 + bool(self.net.west.others)

    def assert_carries(self) -> None:
        self.net.lost_packets.clear()
        for side, which in self.taken_down:
            assert all(side.packet(cpu, name=which) for cpu in side.backend.cpus())
        self.net.run(1)
        assert self.net.lost_packets == []


TwoEndpoints.TestCase.settings = settings(THOROUGH, max_examples=85, stateful_step_count=30)
test_two_endpoints = TwoEndpoints.TestCase
