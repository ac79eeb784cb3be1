"""Taking in what another replica sent, delta by delta."""

import pytest

from pyhorde.crdt import Delta, RegisterRow, Replica, Segment
from pyhorde.crdt.delta import MAX_HASH, Forgotten, Held, Live, Piece
from pyhorde.crdt.hlc import COUNTER_BITS

WALL = 1_000.0
DAY = 86400.0
NOTHING = Forgotten({}, {}, {})


def sync(frm: Replica, to: Replica) -> None:
    for delta in frm.answer(to.vector, asker=to.origin):
        to.join(delta, WALL)


def rows(start: int, *keys: str) -> tuple[Piece, ...]:
    return (Piece("", start, None, list(keys), [(len(keys), b"")], None),)


@pytest.fixture
def a() -> Replica:
    return Replica("a")


@pytest.fixture
def b() -> Replica:
    return Replica("b")


class TestRows:
    def test_joined_names_what_changed(self, a: Replica, b: Replica):
        dot = a.add("k", b"v", table="u")
        a.put("t", "k", b"", WALL)
        registers, events = a.deltas_for({})
        assert b.join(registers, WALL).registers == {("t", "k")}
        joined = b.join(events, WALL)
        assert joined
        assert (joined.keys, joined.of("u"), joined.of(""), joined.gaps) == (
            {"k"},
            {"k"},
            set(),
            [],
        )
        a.remove(dot)
        (delta,) = a.deltas_for(b.vector)
        joined = b.join(delta, WALL)
        assert [(r.table, r.origin, r.seq, r.key) for r in joined.removed] == [("u", "a", 1, "k")]
        assert joined.of("u") == {"k"}

    def test_joined_is_false_when_nothing_changed(self, a: Replica, b: Replica):
        a.add("k", None)
        (delta,) = a.deltas_for({})
        b.join(delta, WALL)
        assert not b.join(delta, WALL)

    def test_a_gap_is_reported_and_nothing_of_the_segment_taken(self, a: Replica):
        joined = a.join(Delta(segments=(Segment("b", 3, 4, rows(4, "k")),)), WALL)
        assert joined.gaps == ["b"]
        assert not joined
        assert a.vector["b"] == 0
        assert list(a.keys()) == []

    def test_what_others_say_of_the_own_origin_is_ignored(self, a: Replica):
        a.add("k", None)
        forged = Segment("a", 0, 9, rows(9, "forged"))
        a.join(Delta(segments=(forged,), live=(Live("a", 0, 9, ()),)), WALL)
        assert a.vector == {"a": 1}
        assert list(a.keys()) == ["k"]

    def test_an_overlap_tells_what_is_dead_and_is_not_taken_twice(self, a: Replica):
        a.join(Delta(segments=(Segment("b", 0, 2, rows(1, "k1", "k2"), complete=False),)), WALL)
        again = Segment("b", 0, 4, rows(2, "k2", "k3"), complete=False)
        joined = a.join(Delta(segments=(again,)), WALL)
        assert joined.keys == {"k1", "k3"}
        assert sorted(a.keys()) == ["k2", "k3"]

    def test_live_lists_tell_what_is_dead_when_removals_were_forgotten(self, a: Replica):
        a.join(Delta(segments=(Segment("b", 0, 3, rows(1, "k1", "k2", "k3")),)), WALL)
        a.join(Delta(live=(Live("b", 0, 2, (2,)), Live("never heard of", 0, 2, ()))), WALL)
        assert sorted(a.keys()) == ["k2", "k3"]

    def test_a_removal_is_passed_on_by_whoever_heard_of_it(self, a: Replica, b: Replica):
        other = Replica("c")
        dot = a.add("k", None)
        for replica in (b, other):
            sync(a, replica)
        a.remove(dot)
        sync(a, b)
        sync(b, other)
        assert list(other.keys()) == []


class TestRegisters:
    def test_a_stamp_from_the_future_is_counted_kept_and_not_believed(self, a: Replica, b: Replica):
        b.put("t", "k", b"v", WALL + DAY)
        assert a.join(b.deltas_for({})[0], WALL).skewed == 1
        assert a.table("t")["k"].value == b"v"
        assert a.clock.last >> COUNTER_BITS < (WALL + 1) * 1000

    def test_an_old_or_equal_register_changes_nothing(self, a: Replica, b: Replica):
        b.put("t", "k", b"old", WALL)
        old = b.deltas_for({})
        b.put("t", "k", b"new", WALL)
        sync(b, a)
        assert not a.join(old[0], WALL)
        assert a.table("t")["k"].value == b"new"

    def test_a_deletion_is_said_again_when_it_beats_what_was_not_seen_before(
        self, a: Replica, b: Replica
    ):
        a.put("t", "k", b"old", WALL)
        b.put("t", "k", None, WALL + 1)
        delta = a.deltas_for({})[0]
        assert b.join(delta, WALL).wrote
        assert b.seq == 2
        for each in a.deltas_for({}):
            b.join(each, WALL)
        before = b.seq
        assert not b.join(delta, WALL).wrote
        assert b.seq == before

    def test_a_value_that_might_have_been_deleted_is_said_again(self, a: Replica, b: Replica):
        b.put("t", "other", None, WALL + 1)
        b.forget_deletions(b.deleted())
        a.put("t", "k", b"v", WALL)
        assert b.join(a.deltas_for({})[0], WALL).wrote
        assert b.table("t")["k"].dot == ("b", 2)
        a.put("t", "k", b"later", WALL + 2)
        assert not b.join(a.deltas_for({})[0], WALL).wrote

    def test_a_value_may_be_carried_by_several_events(self, a: Replica):
        row = RegisterRow("t", "k", 0, 1, "w", "x", 5, b"v", False)
        a.join(Delta((row,)), WALL)
        a.join(Delta((row._replace(origin="y", seq=3),)), WALL)
        sent = {(r.origin, r.seq) for delta in a.deltas_for({}) for r in delta.registers}
        assert sent == {("x", 5), ("y", 3)}
        assert a.deltas_for({"x": 5, "y": 3}) == []


class TestHeldLists:
    def held(self, *, covers: dict[str, int], forgotten: Forgotten = NOTHING) -> Delta:
        return Delta(held=(Held(0, MAX_HASH, {}, covers, forgotten),))

    def test_what_the_sender_has_seen_and_does_not_hold_is_dropped(self, a: Replica, b: Replica):
        b.put("t", "x", b"v", WALL)
        b.put("t", "y", b"v", WALL)
        sync(b, a)
        joined = a.join(self.held(covers={"b": 1}), WALL)
        assert joined.registers == {("t", "x")}
        assert list(a.table("t")) == ["y"]

    def test_only_the_hashes_in_its_range_count(self, a: Replica):
        a.put("t", "x", b"v", WALL)
        a.join(Delta(held=(Held(0, 1, {}, {"a": 1}, NOTHING),)), WALL)
        assert list(a.table("t")) == ["x"]

    def test_that_deletions_were_forgotten_is_passed_on(self, a: Replica):
        a.join(self.held(covers={}, forgotten=Forgotten({"x": 7}, {"y": 8}, {"t": (0, 9)})), WALL)
        (delta,) = a.deltas_for({})
        (held,) = delta.held
        assert held.forgotten == Forgotten({"x": 7}, {"y": 8}, {"t": (0, 9)})
        assert a.deltas_for({"x": 7}) == []

    def test_an_own_event_stands_for_those_of_a_retired_origin(self, a: Replica):
        a.retire("x")
        told = self.held(covers={}, forgotten=Forgotten({"x": 7}, {}, {}))
        assert a.join(told, WALL).wrote
        assert not a.join(told, WALL).wrote
        assert (a.seq, a.passed_on) == (1, {"x": 7})
        assert not a.can_push(0)

    def test_one_event_is_enough_for_all(self, a: Replica):
        a.join(self.held(covers={}, forgotten=Forgotten({"x": 7}, {"x": 7}, {})), WALL)
        a.retire("x")
        assert a.seq == 0
