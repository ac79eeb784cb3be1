"""Whatever the network, the clocks and the crashes do, replicas end up where the oracle says."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pyhorde.crdt.replica import DEFAULT_CHUNK_BYTES
from tests.laws import histories
from tests.laws.world import DAY, HOUR, World, kept_kills

picks = st.integers(0, 31)
few = st.integers(0, 4)
chunks = st.sampled_from([1, 60, 200, DEFAULT_CHUNK_BYTES])
values = st.binary(max_size=3)


class Cluster(RuleBasedStateMachine):
    """Three to five nodes; each rule is one thing that can happen to them."""

    @initialize(
        offsets=st.lists(st.floats(-HOUR, HOUR), min_size=2, max_size=4),
        first=st.sampled_from([0.0, DAY]),
        kills=st.sampled_from([10_000, 0, 1, 2, 3]),
    )
    def start(self, offsets: list[float], first: float, kills: int) -> None:
        self.patches = ExitStack()
        self.patches.enter_context(kept_kills(kills))
        self.world = World((first, *offsets))

    @rule(who=few, key=st.sampled_from(histories.KEYS), value=values)
    def add(self, who: int, key: str, value: bytes) -> None:
        self.world.add(who, key, value)

    @rule(who=few, pick=picks)
    def remove(self, who: int, pick: int) -> None:
        self.world.remove(who, pick)

    @rule(who=few, pick=picks, value=values)
    def replace(self, who: int, pick: int, value: bytes) -> None:
        self.world.replace(who, pick, value)

    @rule(
        who=few,
        name=st.sampled_from(histories.NAMES),
        value=st.none() | values,
        rank=st.integers(0, 2),
    )
    def put(self, who: int, name: tuple[str, str], value: bytes | None, rank: int) -> None:
        self.world.put(who, name, value, rank)

    @rule(who=few, whom=few, back=st.just(0) | picks, chunk_bytes=chunks)
    def ask(self, who: int, whom: int, back: int, chunk_bytes: int) -> None:
        self.world.ask(who, whom, back, chunk_bytes)

    @rule(who=few, whom=few, back=st.just(0) | few, chunk_bytes=chunks)
    def push(self, who: int, whom: int, back: int, chunk_bytes: int) -> None:
        self.world.push(who, whom, back, chunk_bytes)

    @rule(who=few, whom=few, frm=picks, chunk_bytes=chunks)
    def push_too_much(self, who: int, whom: int, frm: int, chunk_bytes: int) -> None:
        self.world.push_too_much(who, whom, frm, chunk_bytes)

    @precondition(lambda self: self.world.transfers)
    @rule(pick=picks, again=st.booleans())
    def deliver(self, pick: int, again: bool) -> None:
        self.world.deliver(pick, again=again)

    @precondition(lambda self: self.world.transfers)
    @rule(pick=picks)
    def deliver_all(self, pick: int) -> None:
        self.world.deliver_all(pick)

    @precondition(lambda self: self.world.transfers)
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        self.world.lose(pick)

    @rule(who=few)
    def restart(self, who: int) -> None:
        self.world.restart(who)

    @precondition(lambda self: self.world.stopped)
    @rule(who=few, pick=picks)
    def retire(self, who: int, pick: int) -> None:
        self.world.retire(who, pick)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            with self.patches:
                self.world.settle(chunk_bytes=1)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
