"""Two road warriors and two gateways that send them to each other: on whichever they end, it is one, and all agree.

`python -m tests.property gateways --walks 5000` walks longer, and elsewhere each time.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ikeclone.connection import Auto, Childless, Choice, End, Identity, Pool, Redirection, Secret
from ikeclone.credentials import Credentials
from ikeclone.errors import LocalError
from ikeclone.ike.host import Settings
from ikeclone.ike.redirect import send_away
from ikeclone.ike.state import State
from ikeclone.selectors import TrafficSelector
from tests.pair.network import EAST, EAST_END, NAME, WEST_END, Network, assert_agree, connection
from tests.property.shapes import assert_nothing, assert_selectors
from tests.property.test_endpoints import THOROUGH, TIMING, live_sas, moments

# A few seconds on a machine with nothing else to do.
pytestmark = pytest.mark.timeout(300)

KEY = Credentials((Secret((), b"a secret of all road warriors"),))
SOUTH, HOST = ip_address("192.1.2.66"), ip_address("198.51.100.7")
HOST_END = End(HOST, Identity.parse("@host"), (TrafficSelector.of(ip_network("192.0.11.0/24")),))
# Each gateway has as many addresses as there are road warriors.
POOLS = (
    Pool(ip_address("10.3.0.1"), ip_address("10.3.0.2")),
    Pool(ip_address("10.4.0.1"), ip_address("10.4.0.2")),
)
SETTINGS = Settings(retry_delay=2.0, retry_delay_limit=20.0)
# After so long nobody remembers how often it was sent elsewhere, nor waits to try again.
CALM = 400.0

warriors = st.sampled_from(["west", "host"])
gateways = st.sampled_from(["east", "south"])
anybody = st.one_of(warriors, gateways)


def asking(end: End, *, leased: bool) -> End:
    return replace(end, selectors=(), asks=True) if leased else end


def anyone(pool: Pool, *, leased: bool) -> End:
    """Whoever asks, from anywhere."""
    if leased:
        return End(None, None, (pool.selector,), asks=True, pools=(pool,))
    return End(None, None, (WEST_END.selectors[0], HOST_END.selectors[0]))


class Gateways(RuleBasedStateMachine):
    """West and another host come to east, which sends them south, which sends them back."""

    @initialize(
        seed=st.integers(0, 999),
        leased=st.booleans(),
        clones=st.sampled_from([0, 2]),
        auto=st.tuples(*[st.sampled_from([Auto.ADD, Auto.ONDEMAND, Auto.START])] * 2),
        reauth=st.booleans(),
        mobike=st.booleans(),
        resumption=st.booleans(),
        childless=st.sampled_from([Childless.ALLOW, Childless.PREFER]),
    )
    def start(
        self,
        seed: int,
        leased: bool,
        clones: int,
        auto: tuple[Auto, Auto],
        reauth: bool,
        mobike: bool,
        resumption: bool,
        childless: Childless,
    ) -> None:
        every = {"clones": clones, "mobike": mobike, "resumption": resumption, "childless": childless, "timing": TIMING}
        client = {**every, "reauth": reauth, "redirection": Redirection(accept=True)}
        net = self.net = Network(
            seed=seed,
            west={**client, "auto": auto[0], "local": asking(WEST_END, leased=leased)},
            east={**every, "remote": anyone(POOLS[0], leased=leased)},
            credentials=(KEY, KEY),
            settings=SETTINGS,
        )
        south = connection(replace(EAST_END, address=SOUTH), anyone(POOLS[1], leased=leased), **every)
        host = connection(asking(HOST_END, leased=leased), EAST_END, **client, auto=auto[1])
        more = {"south": south, "host": host}
        third = {name: net.add(str(conn.local.address), conn, SETTINGS, KEY) for name, conn in more.items()}
        self.sides = {"west": net.west, "east": net.east, **third}
        self.warriors, self.gateways = [net.west, self.sides["host"]], [net.east, self.sides["south"]]
        self.taken_down = dict.fromkeys(self.warriors, False)

    # What happens

    @rule(name=warriors)
    def up(self, name: str) -> None:
        self.sides[name].up()
        self.taken_down[self.sides[name]] = False

    @rule(name=anybody)
    def down(self, name: str) -> None:
        self.sides[name].down()
        if name in ("west", "host"):
            self.taken_down[self.sides[name]] = True

    @rule(name=anybody, what=st.sampled_from(["child", "ike", "reauth"]))
    def rekey(self, name: str, what: str) -> None:
        with contextlib.suppress(LocalError):
            self.sides[name].rekey(ike=what == "ike", reauth=what == "reauth")

    @rule(name=warriors, cpu=st.integers(0, 1))
    def packet(self, name: str, cpu: int) -> None:
        """It opens a clone, or brings the connection up; where it goes is not followed here."""
        side = self.sides[name]
        if NAME in side.backend.policies:
            side.backend.transmit(NAME, cpu, 84)
            side.hear()
            self.net.settle(side)

    @rule(name=gateways)
    def send_away(self, name: str) -> None:
        """Those that are there now."""
        side, there = self.sides[name], SOUTH if name == "east" else EAST
        for tunnel in side.endpoint.named(NAME):
            with contextlib.suppress(LocalError):
                send_away(tunnel, there, self.net.now)
        self.net.settle(side)

    @rule(name=gateways, when=st.sampled_from(["never", "at first", "authenticated"]))
    def turn_away(self, name: str, when: str) -> None:
        """Those that come from now on, or until it is started anew."""
        side, there = self.sides[name], SOUTH if name == "east" else EAST
        ways = Redirection(send=Choice.YES, to=(there,))
        host, tunnel = side.endpoint.host, side.endpoint.tunnels[NAME]
        host.settings = replace(host.settings, redirection=ways if when == "at first" else Redirection())
        tunnel.connection = replace(tunnel.connection, redirection=ways if when == "authenticated" else Redirection())

    @rule(name=anybody)
    def restart(self, name: str) -> None:
        self.sides[name].start()
        if name in ("west", "host"):
            self.taken_down[self.sides[name]] = False

    @rule(
        loss=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
        repeat=st.sampled_from([0.0, 0.3]),
        jitter=st.sampled_from([0.0, 0.02, 1.0]),
    )
    def weather(self, loss: float, repeat: float, jitter: float) -> None:
        link = self.net.link
        link.loss, link.repeat, link.jitter = loss, repeat, jitter

    @rule(seconds=moments)
    def wait(self, seconds: float) -> None:
        self.net.run(seconds)

    # What must hold in the end

    def teardown(self) -> None:
        if not hasattr(self, "net"):
            return
        self.weather(0.0, 0.0, 0.0)
        for name in ("east", "south"):
            self.turn_away(name, "never")
        self.net.run(CALM)
        self.settle()
        for side, taken_down in self.taken_down.items():
            tunnel = side.endpoint.tunnels[NAME]
            assert tunnel.wanted or taken_down or side.conn.auto is not Auto.START
            assert not tunnel.wanted or tunnel.clones.children
        self.assert_turned_away()
        for name in self.sides:
            self.down(name)
        self.net.run(100)
        assert_nothing([*self.warriors, *self.gateways])
        assert not [tunnel for side in self.gateways for tunnel in side.endpoint.tunnels if tunnel != NAME]

    def assert_turned_away(self) -> None:
        """Those that come to a gateway that takes nobody are on the other one, and their packets arrive."""
        self.turn_away("east", "at first")
        for side in self.warriors:
            side.down()
        self.net.run(100)
        for side in self.warriors:
            side.up()
        self.net.run(10)
        self.settle()
        for side in self.warriors:
            packet = side.backend.transmit(NAME, 0, 84)
            assert packet is not None
            assert self.sides["south"].backend.receive(packet) is not None
        assert live_sas(self.net.east) == []

    def settle(self) -> None:
        """All agree now, or in a moment when a rekey is under way."""
        for _ in range(40):
            with contextlib.suppress(AssertionError):
                return self.assert_agree()
            self.net.run(1)
        return self.assert_agree()

    def assert_agree(self) -> None:
        assert_agree(self.warriors, self.gateways)
        assert_selectors(self.warriors, self.gateways)
        ours, theirs = (sorted(spi for s in sides for spi in live_sas(s)) for sides in (self.warriors, self.gateways))
        assert ours == theirs
        for side in self.warriors:
            assert len(live_sas(side)) <= 1
        self.assert_leases()

    def assert_leases(self) -> None:
        """Each road warrior has the address that the gateway has leased to it, and nobody else has one."""
        held = {a for side in self.gateways for leases in side.endpoint.host.pools.values() for a in leases.held}
        given = {a for side in self.warriors for a in side.endpoint.tunnels[NAME].irac.addresses}
        assert held == given
        for side in self.gateways:
            instances = tuple(side.endpoint.tunnels[NAME].instances)
            assert all(instance.sas(State.ESTABLISHED) for instance in instances)


Gateways.TestCase.settings = settings(THOROUGH, max_examples=30, stateful_step_count=30)
test_gateways = Gateways.TestCase
