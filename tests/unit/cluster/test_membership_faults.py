"""Any mixture of faults, then a heal: all nodes agree on the truth again, and soon."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.unit.cluster.pump import Pump

BOUND = 30.0
"""Virtual seconds from the heal to agreement: a slow re-dial of former members, the longest
suspicion with its last check, and one exchange of tables."""

NAMES = st.sampled_from("abcde")


class Faults(RuleBasedStateMachine):
    """3 to 5 nodes; the pump checks invariants and incarnations after every single event."""

    @initialize(
        size=st.integers(3, 5),
        seed=st.integers(0, 2**32),
        packets=st.booleans(),
        hosts_speak_to=st.sampled_from(["", "ac", "abcde"]),
    )
    def begin(self, size: int, seed: int, packets: bool, hosts_speak_to: str):
        self.pump = Pump(seed=seed)
        self.pump.packets = packets
        self.pump.hosts_speak_to = set(hosts_speak_to)
        self.pump.addresses = {name: f"{name}:1" for name in "abcde"[:size]}
        for name in "abcde"[:size]:
            self.pump.boot(name)
        self.moves = itertools.count(2)
        self.clocks = 0

    def node(self, name: str):
        return self.pump.nodes.get(name)

    def running(self, name: str) -> bool:
        node = self.node(name)
        return node is not None and node.listening

    @rule(name=NAMES)
    def kill(self, name: str):
        if self.running(name):
            self.pump.stop(name)

    @rule(name=NAMES)
    def lose_power(self, name: str):
        if self.running(name):
            self.pump.power_off(name)

    @rule(name=NAMES, elsewhere=st.booleans(), clock=st.sampled_from([0, 0, 1, 5]))
    def restart(self, name: str, elsewhere: bool, clock: int):
        if self.node(name) is not None and not self.running(name):
            address = f"{name}:{next(self.moves)}" if elsewhere else ""
            self.pump.boot(name, address=address, generation=clock)

    @rule(name=NAMES)
    def leave(self, name: str):
        if self.running(name):
            self.pump.do(name, "leave")
            self.pump.run(0.01)
            self.pump.stop(name)

    @rule(name=NAMES, draining=st.booleans())
    def announce(self, name: str, draining: bool):
        if self.running(name):
            self.pump.do(name, "announce", draining=draining)

    @rule(one=NAMES, other=NAMES)
    def cut(self, one: str, other: str):
        if one != other:
            self.pump.cut.add(frozenset((one, other)))

    @rule(side=st.sets(NAMES, min_size=1, max_size=4))
    def partition(self, side: set[str]):
        for one, other in itertools.combinations("abcde", 2):
            if (one in side) != (other in side):
                self.pump.cut.add(frozenset((one, other)))

    @rule(one=NAMES, other=NAMES)
    def break_link(self, one: str, other: str):
        if one != other and self.running(one) and self.running(other):
            self.pump.break_link(one, other)

    @rule(share=st.sampled_from([0.1, 0.5]))
    def lose_messages(self, share: float):
        self.pump.loses = lambda *_: self.pump.rng.random() < share

    @rule(share=st.sampled_from([0.5, 1.0]))
    def lose_packets(self, share: float):
        self.pump.loses_packet = lambda *_: self.pump.rng.random() < share

    @rule(share=st.sampled_from([0.5, 1.0]))
    def lose_streams(self, share: float):
        self.pump.loses_stream = lambda *_: self.pump.rng.random() < share

    @rule()
    def double_messages(self):
        self.pump.copies = lambda *_: self.pump.rng.randrange(1, 3)

    @rule(longest=st.sampled_from([0.3, 3.0]))
    def delay_messages(self, longest: float):
        self.pump.delay = lambda *_: self.pump.rng.uniform(0, longest)

    @rule(name=NAMES, seconds=st.sampled_from([0.3, 1.0, 8.0, 30.0]))
    def stall(self, name: str, seconds: float):
        if self.running(name):
            self.pump.stall(name, seconds)

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.5, 6.0, 15.0]))
    def time_passes(self, seconds: float):
        self.pump.run(seconds)

    @precondition(lambda self: hasattr(self, "pump"))
    @rule()
    def heal(self):
        pump = self.pump
        pump.cut.clear()
        pump.loses = pump.loses_packet = pump.loses_stream = lambda *_: False
        pump.copies = lambda *_: 1
        pump.delay = lambda *_: 0.0
        pump.run(max([0.0, *(node.stalled_until - pump.now for node in pump.live)]))
        pump.run_until(pump.agreed, BOUND)

    def teardown(self):
        if hasattr(self, "pump"):
            self.heal()


TestFaults = Faults.TestCase
TestFaults.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
