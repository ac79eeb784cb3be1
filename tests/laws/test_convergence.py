"""Whatever the network, the clocks and the crashes do, replicas end up where the oracle says."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pyhorde.crdt.replica import DEFAULT_CHUNK_BYTES
from tests.laws import histories
from tests.laws.oracle import LABELS, TABLES
from tests.laws.world import DAY, HOUR, World, limits

picks = st.integers(0, 31)
few = st.integers(0, 4)
chunks = st.sampled_from([1, 60, 200, DEFAULT_CHUNK_BYTES])
values = st.binary(max_size=3)
tables = st.sampled_from(TABLES)
labels = st.sampled_from(LABELS)
keys = st.sampled_from(histories.KEYS)


class Cluster(RuleBasedStateMachine):
    """Three to five nodes; each rule is one thing that can happen to them."""

    @initialize(
        offsets=st.lists(st.floats(-HOUR, HOUR), min_size=2, max_size=4),
        first=st.sampled_from([0.0, DAY]),
        kills=st.sampled_from([10_000, 0, 1, 2, 3]),
        window=st.sampled_from([16_384, 1, 3]),
    )
    def start(self, offsets: list[float], first: float, kills: int, window: int) -> None:
        self.patches = ExitStack()
        self.patches.enter_context(limits(kills, window))
        self.world = World((first, *offsets))

    @rule(who=few, table=tables, key=keys, value=st.none() | values, label=labels)
    def add(self, who: int, table: str, key: str, value: bytes | None, label: bytes) -> None:
        self.world.add(who, table, key, value, label)

    @rule(who=few, table=tables, some=st.lists(keys, max_size=4), label=labels)
    def add_all(self, who: int, table: str, some: list[str], label: bytes) -> None:
        self.world.add_all(who, table, some, label)

    @rule(who=few, pick=picks)
    def remove(self, who: int, pick: int) -> None:
        self.world.remove(who, pick)

    @rule(who=few, pick=picks, value=st.none() | values)
    def replace(self, who: int, pick: int, value: bytes | None) -> None:
        self.world.replace(who, pick, value)

    @rule(
        who=few,
        name=st.sampled_from(histories.NAMES),
        value=st.none() | values,
        rank=st.integers(0, 2),
    )
    def put(self, who: int, name: tuple[str, str], value: bytes | None, rank: int) -> None:
        self.world.put(who, name, value, rank)

    @rule(who=few, pick=st.integers(0, 7))
    def forget_deletions(self, who: int, pick: int) -> None:
        self.world.forget_deletions(who, pick)

    @rule(who=few)
    def forget_stable_deletions(self, who: int) -> None:
        self.world.forget_stable_deletions(who)

    @rule(who=few, whom=few)
    def forget_removals(self, who: int, whom: int) -> None:
        self.world.forget_removals(who, whom)

    @rule(who=few, pick=picks)
    def forget_overwritten(self, who: int, pick: int) -> None:
        self.world.forget_overwritten(who, pick)

    @rule(who=few, whom=picks, pick=picks)
    def audit(self, who: int, whom: int, pick: int) -> None:
        self.world.audit(who, whom, pick)

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
    @rule(pick=picks)
    def send(self, pick: int) -> None:
        self.world.send(pick)

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

    @rule(who=few, pick=picks, sweep=st.booleans())
    def retire(self, who: int, pick: int, sweep: bool) -> None:
        self.world.retire(who, pick, sweep=sweep)

    @rule(who=few, pick=picks)
    def revive(self, who: int, pick: int) -> None:
        self.world.revive(who, pick)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            with self.patches:
                self.world.settle(chunk_bytes=1)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
