"""Two endpoints with any number of CPUs, through anything that may happen to clones: what must hold always, and after.

`python -m tests.property clones --walks 5000` walks longer, and elsewhere each time.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ikeclone.backend import Lost
from ikeclone.connection import ClonesMode
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.host import Settings
from ikeclone.ike.informational import DeleteChildren
from ikeclone.ike.rekey_child import RekeyChild
from tests.pair.groups import PATIENT, ask, busy, traffic
from tests.pair.network import NAME, Network, Side

UNIVERSE = (0, 1, 2, 5, 9)

online = st.sets(st.sampled_from(UNIVERSE), min_size=1).map(frozenset)
sides = st.sampled_from([0, 1])
clones = st.sampled_from([None, None, 1, 2, 3])
ends = st.tuples(online, clones, st.sampled_from(ClonesMode), st.sampled_from([0.0, 20.0]))


class Clones(RuleBasedStateMachine):
    net: Network

    @initialize(west=ends, east=ends, window=st.sampled_from([1, 3, 32]), seed=st.integers(0, 1000))
    def connect(self, west: tuple[object, ...], east: tuple[object, ...], window: int, seed: int) -> None:
        options = [
            {"clones": limit, "clones_mode": mode, "clones_idle": idle, "timing": PATIENT, "pfs": False}
            for _, limit, mode, idle in (west, east)
        ]
        settings = Settings(window=window, clone_backoff=30.0)
        self.net = Network(west=options[0], east=options[1], settings=settings, seed=seed)
        for side, (cpus, *_) in zip(self.net.sides, (west, east), strict=True):
            assert isinstance(cpus, frozenset)
            side.backend.online = cpus
        self.net.established()
        self.lossless = True

    # What happens

    @rule(side=sides, cpu=st.sampled_from(UNIVERSE), count=st.integers(1, 3))
    def packets(self, side: int, cpu: int, count: int) -> None:
        sender = self.net.sides[side]
        cpu = cpu if cpu in sender.backend.online else min(sender.backend.online)
        for _ in range(count):
            assert sender.packet(cpu), "a CPU with traffic has no SA"

    @rule()
    def packets_everywhere(self) -> None:
        traffic(self.net)

    @rule(seconds=st.sampled_from([0.001, 0.009, 0.011, 0.02, 0.1, 1.0, 10.0]))
    def time(self, seconds: float) -> None:
        self.net.run(seconds)

    @rule(side=sides)
    def survey(self, side: int) -> None:
        self.net.sides[side].survey()

    @rule(side=sides, which=st.integers(0, 9))
    def rekey(self, side: int, which: int) -> None:
        child = self._one(side, which, lambda _: True)
        ike = self.net.sides[side].ike
        if child is not None and ike is not None:
            ask(self.net.sides[side], RekeyChild(ike, child))

    @rule(side=sides)
    def rekey_ike(self, side: int) -> None:
        self.net.sides[side].rekey(ike=True)

    @rule(side=sides, which=st.integers(0, 9))
    def delete_clone(self, side: int, which: int) -> None:
        child = self._one(side, which, lambda c: c.cpu is not None)
        ike = self.net.sides[side].ike
        if child is not None and ike is not None:
            ask(self.net.sides[side], DeleteChildren(ike, (child,)))

    @rule(side=sides, which=st.integers(0, 9))
    def lose_clone(self, side: int, which: int) -> None:
        child = self._one(side, which, lambda c: c.cpu is not None)
        if child is not None:
            self.lossless = False
            self.net.sides[side].endpoint.lost(Lost((child.inbound_spi,), "a worker died"), self.net.now)
            self.net.settle(self.net.sides[side])

    @rule(side=sides, cpus=online)
    def plug(self, side: int, cpus: frozenset[int]) -> None:
        self.net.sides[side].backend.online = cpus

    @rule(loss=st.sampled_from([0.0, 0.1, 0.3]), repeat=st.sampled_from([0.0, 0.2]), jitter=st.sampled_from([0.0, 0.1]))
    def weather(self, loss: float, repeat: float, jitter: float) -> None:
        self.net.link.loss, self.net.link.repeat, self.net.link.jitter = loss, repeat, jitter
        self.lossless = self.lossless and not loss and not jitter

    def _one(self, side: int, which: int, fits: object) -> Child | None:
        assert callable(fits)
        children = [c for c in self.net.sides[side].children if c.state is ChildState.INSTALLED and fits(c)]
        return children[which % len(children)] if children else None

    # What must hold always

    @invariant()
    def no_cpu_has_two_clones_that_we_opened(self) -> None:
        for side in self.net.sides:
            ours = Counter(cpu for cpu, _ in opened(side, by_us=True))
            assert set(ours.values()) <= {1}
            assert not side.endpoint.tunnels[NAME].clones.pending & ours.keys()

    @invariant()
    def there_is_always_a_fallback_that_sends(self) -> None:
        for side in self.net.sides:
            assert (NAME, None) in side.backend.outbound

    @invariant()
    def a_cpu_sends_on_one_sa_and_the_data_plane_knows_which(self) -> None:
        for side in self.net.sides:
            active = {c.cpu: c.inbound_spi for c in side.children if c.active}
            assert len(active) == sum(c.active for c in side.children)
            assert {cpu: spi for (_, cpu), spi in side.backend.outbound.items()} == active

    @invariant()
    def no_limit_is_passed(self) -> None:
        for side in self.net.sides:
            limit = side.endpoint.tunnels[NAME].clones.limit(frozenset(UNIVERSE))
            assert len(opened(side, by_us=True)) <= limit
            assert len(opened(side, by_us=False)) <= 2 * max(limit, len(UNIVERSE))

    @precondition(lambda self: self.lossless)
    @invariant()
    def no_packet_is_lost(self) -> None:
        assert self.net.lost_packets == []

    # What must hold in the end

    def teardown(self) -> None:
        if not hasattr(self, "net"):
            return
        net = self.net
        net.link.loss = net.link.repeat = net.link.jitter = 0.0
        for _ in range(200):
            traffic(net)
            for side in net.sides:
                side.survey()
            net.run(3)
        net.run(400)
        self.check_peace()

    def check_peace(self) -> None:
        assert not busy(self.net)
        self.net.assert_consistent()
        messages = len(self.net.seen)
        self.net.run(100)
        assert len(self.net.seen) == messages
        for side in self.net.sides:
            clones = side.endpoint.tunnels[NAME].clones
            assert all(c.state is ChildState.INSTALLED for c in side.children)
            assert len({c.instance for c in side.children}) == len(side.children)
            assert {c.cpu for c in side.children if c.cpu is not None} <= side.backend.online
            wanted = min(len(side.backend.online), clones.limit(side.backend.online))
            assert len(clones.served) >= wanted or clones.refusals


def opened(side: Side, *, by_us: bool) -> set[tuple[int | None, int]]:
    """The clones that one side opened, by CPU and instance: two rekeys of one at a time make two SAs of it."""
    lasting = (c for c in side.children if c.cpu is not None and c.lasts)
    return {(c.cpu, c.instance) for c in lasting if c.opened_by_us is by_us}


TestClones = Clones.TestCase
TestClones.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
