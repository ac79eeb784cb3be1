"""A replica, method by method. How replicas converge: tests/laws."""

import pytest

from pyhorde.crdt import Delta, Dot, RegisterRow, Replica, Row, Segment
from pyhorde.crdt.hlc import COUNTER_BITS

WALL = 1_000.0
DAY = 86400.0


def sync(frm: Replica, to: Replica) -> None:
    for delta in frm.deltas_for(to.vector):
        to.join(delta, WALL)


def values(replica: Replica, key: str) -> list[bytes]:
    return sorted(claim.value for claim in replica.claims(key))


def value(replica: Replica, table: str, key: str) -> bytes | None:
    register = replica.register(table, key)
    assert register is not None
    return register.value


def segments(deltas: list[Delta]) -> list[Segment]:
    return [segment for delta in deltas for segment in delta.segments]


@pytest.fixture
def a() -> Replica:
    return Replica("a")


@pytest.fixture
def b() -> Replica:
    return Replica("b")


class TestReading:
    def test_a_new_replica_knows_nothing(self, a: Replica):
        assert (a.seq, a.vector) == (0, {"a": 0})
        assert list(a.keys()) == a.claims("k") == a.claims_of("a") == a.claims_of("b") == []
        assert a.register("t", "k") is None
        assert a.table("t") == {}
        assert a.snapshot() == ([], [])

    def test_the_vector_is_a_copy(self, a: Replica):
        a.vector["a"] = 7
        assert a.vector == {"a": 0}

    def test_claims_of_lists_one_origin_oldest_first(self, a: Replica, b: Replica):
        b.add("x", b"")
        sync(b, a)
        dots = [a.add(key, b"") for key in "zxy"]
        assert [claim.dot for claim in a.claims_of("a")] == dots
        assert [claim.key for claim in a.claims_of("a")] == ["z", "x", "y"]

    def test_a_table_has_its_deletions(self, a: Replica):
        a.put("t", "x", b"v", WALL)
        a.put("t", "y", None, WALL)
        a.put("u", "z", b"v", WALL)
        assert {key: register.value for key, register in a.table("t").items()} == {
            "x": b"v",
            "y": None,
        }

    def test_snapshots_tell_a_deletion_from_an_empty_value(self, a: Replica, b: Replica):
        for replica, written in ((a, None), (b, b"")):
            replica.join(Delta((RegisterRow("t", "k", 0, 1, "c", 1, written),)), WALL)
        assert a.snapshot() != b.snapshot()


class TestClaims:
    def test_several_claims_of_a_key_stay_visible(self, a: Replica, b: Replica):
        a.add("k", b"first")
        a.add("k", b"second")
        b.add("k", b"third")
        sync(b, a)
        assert values(a, "k") == [b"first", b"second", b"third"]
        assert list(a.keys()) == ["k"]

    def test_remove_withdraws_one_claim_and_leaves_the_others(self, a: Replica):
        dot = a.add("k", b"first")
        a.add("k", b"second")
        a.remove(dot)
        assert values(a, "k") == [b"second"]
        assert a.seq == 3

    def test_a_key_is_gone_when_its_last_claim_is_removed(self, a: Replica):
        a.remove(a.add("k", b""))
        assert list(a.keys()) == []

    def test_remove_is_no_event_when_the_claim_is_gone(self, a: Replica):
        dot = a.add("k", b"")
        a.remove(dot)
        a.remove(dot)
        a.remove(Dot("a", 99))
        assert a.seq == 2

    def test_replace_is_one_event(self, a: Replica):
        new = a.replace(a.add("k", b"old"), b"new")
        assert new == Dot("a", 2) == a.claims("k")[0].dot
        assert values(a, "k") == [b"new"]

    def test_replace_refuses_a_claim_that_is_gone(self, a: Replica):
        dot = a.add("k", b"")
        a.remove(dot)
        with pytest.raises(ValueError, match="is not live"):
            a.replace(dot, b"")
        assert a.seq == 2

    def test_only_the_origin_of_a_claim_may_withdraw_it(self, a: Replica, b: Replica):
        dot = b.add("k", b"")
        sync(b, a)
        for withdraw in (a.remove, lambda dot: a.replace(dot, b"")):
            with pytest.raises(ValueError, match="only b may remove it"):
                withdraw(dot)
        assert values(a, "k") == [b""]
        assert a.seq == 0


class TestPut:
    def test_a_put_beats_what_is_there(self, a: Replica):
        assert a.put("t", "k", b"old", WALL)
        assert a.put("t", "k", b"new", WALL)
        assert value(a, "t", "k") == b"new"
        assert a.seq == 2

    def test_a_put_beats_a_stamp_from_the_future(self, a: Replica, b: Replica):
        b.put("t", "k", b"future", WALL + DAY)
        sync(b, a)
        assert a.put("t", "k", b"now", WALL)
        sync(a, b)
        assert value(b, "t", "k") == value(a, "t", "k") == b"now"

    def test_none_deletes(self, a: Replica):
        a.put("t", "k", b"v", WALL)
        a.put("t", "k", None, WALL)
        assert value(a, "t", "k") is None

    def test_a_lower_rank_writes_nothing(self, a: Replica):
        a.put("t", "k", b"high", WALL, rank=2)
        assert not a.put("t", "k", b"low", WALL + DAY, rank=1)
        assert value(a, "t", "k") == b"high"
        assert a.seq == 1

    def test_a_higher_rank_wins_over_a_later_stamp(self, a: Replica, b: Replica):
        a.put("t", "k", b"high", WALL, rank=2)
        b.put("t", "k", b"late", WALL + DAY, rank=1)
        sync(a, b)
        sync(b, a)
        assert value(a, "t", "k") == value(b, "t", "k") == b"high"

    def test_the_origin_decides_between_equal_stamps(self, a: Replica, b: Replica):
        a.put("t", "k", b"of a", WALL)
        b.put("t", "k", b"of b", WALL)
        sync(a, b)
        sync(b, a)
        assert value(a, "t", "k") == value(b, "t", "k") == b"of b"


class TestRetire:
    def test_retire_drops_the_claims_and_names_their_keys(self, a: Replica, b: Replica):
        b.add("x", b"")
        b.add("y", b"")
        sync(b, a)
        a.add("y", b"mine")
        assert a.retire("b") == {"x", "y"}
        assert list(a.keys()) == ["y"]
        assert values(a, "y") == [b"mine"]

    def test_retire_of_an_unknown_origin_changes_nothing(self, a: Replica):
        assert a.retire("b") == set()

    def test_retire_keeps_the_registers(self, a: Replica, b: Replica):
        b.put("t", "k", b"v", WALL)
        sync(b, a)
        a.retire("b")
        assert value(a, "t", "k") == b"v"

    def test_later_rows_of_a_retired_origin_are_ignored(self, a: Replica, b: Replica):
        a.retire("b")
        b.add("k", b"")
        b.put("t", "k", b"v", WALL)
        for delta in b.deltas_for(a.vector):
            joined = a.join(delta, WALL)
            assert joined.keys == set()
        assert list(a.keys()) == []
        assert a.vector["b"] == 2
        assert value(a, "t", "k") == b"v"

    def test_a_retired_origin_is_passed_on_without_claims(self, a: Replica, b: Replica):
        b.add("k", b"")
        sync(b, a)
        a.retire("b")
        other = Replica("c")
        sync(a, other)
        assert other.vector["b"] == 1
        assert list(other.keys()) == []


class TestDeltasFor:
    def test_nothing_is_sent_to_one_who_knows_as_much(self, a: Replica, b: Replica):
        a.add("k", b"")
        a.put("t", "k", b"", WALL)
        sync(a, b)
        assert a.deltas_for(b.vector) == b.deltas_for(a.vector) == []

    def test_only_what_is_missing_is_sent(self, a: Replica):
        first = a.add("x", b"")
        a.put("t", "x", b"", WALL)
        a.add("y", b"")
        a.put("t", "y", b"", WALL)
        a.remove(first)
        (delta,) = a.deltas_for({"a": 2})
        assert [row.key for row in delta.registers] == ["y"]
        assert delta.segments == (Segment("a", 2, 5, (Row(3, "y", b""),), ((5, 1),)),)

    def test_other_origins_are_served_too(self, a: Replica, b: Replica):
        b.add("k", b"of b")
        b.put("t", "k", b"of b", WALL)
        sync(b, a)
        other = Replica("c")
        sync(a, other)
        assert other.snapshot() == b.snapshot()

    def test_registers_go_ahead_of_every_segment_in_chunks(self, a: Replica, b: Replica):
        for replica in (a, b):
            replica.put("t", f"of {replica.origin}", b"1234", WALL)
            replica.put("u", f"of {replica.origin}", None, WALL)
        sync(b, a)
        deltas = a.deltas_for({}, chunk_bytes=1)
        assert [len(delta.registers) for delta in deltas] == [1, 1, 1, 1, 0, 0]
        assert [len(delta.segments) for delta in deltas] == [0, 0, 0, 0, 1, 1]

    def test_a_large_chunk_takes_registers_and_the_first_segment(self, a: Replica):
        a.put("t", "k", b"", WALL)
        a.add("k", b"")
        (delta,) = a.deltas_for({})
        assert (len(delta.registers), len(delta.segments)) == (1, 1)

    def test_rows_are_cut_into_chunks(self, a: Replica):
        for number in range(10):
            a.add(f"k{number}", b"v" * 81)
        pieces = segments(a.deltas_for({}, chunk_bytes=100))
        assert [len(piece.rows) for piece in pieces] == [2, 2, 2, 2, 2]

    def test_registers_known_ahead_of_their_segment_are_sent(self, a: Replica, b: Replica):
        early = RegisterRow("t", "k", 0, 1, "c", 5, b"v")
        a.join(Delta((early,)), WALL)
        assert a.deltas_for(b.vector) == [Delta((early,))]
        assert a.deltas_for({"c": 5}) == []

    def test_many_registers_known_ahead_of_their_segment_are_cut_into_chunks(self, a: Replica):
        early = [RegisterRow("t", f"k{seq}", 0, 1, "c", seq, b"v") for seq in (5, 6)]
        a.join(Delta(tuple(early)), WALL)
        deltas = a.deltas_for({}, chunk_bytes=1)
        assert sorted(deltas, key=repr) == [Delta((row,)) for row in early]


class TestOwnDeltas:
    def test_nothing_is_pushed_when_nothing_is_new(self, a: Replica):
        assert a.own_deltas(0) == []
        a.add("k", b"")
        assert a.own_deltas(1) == a.own_deltas(7) == []

    def test_only_own_events_after_the_start_are_pushed(self, a: Replica, b: Replica):
        b.add("of b", b"")
        sync(b, a)
        a.add("x", b"")
        a.put("t", "x", b"", WALL)
        a.add("y", b"")
        a.put("t", "y", b"", WALL)
        (delta,) = a.own_deltas(2)
        assert [row.key for row in delta.registers] == ["y"]
        assert [row.key for row in delta.segments[0].rows] == ["y"]

    def test_an_own_write_that_was_overwritten_is_pushed_as_what_it_is_now(
        self, a: Replica, b: Replica
    ):
        a.put("t", "k", b"of a", WALL)
        sync(a, b)
        b.put("t", "k", b"of b", WALL)
        sync(b, a)
        (delta,) = a.own_deltas(0)
        assert [(row.origin, row.value) for row in delta.registers] == [("b", b"of b")]
        a.add("k", b"")
        (delta,) = a.own_deltas(1)
        assert delta.registers == ()

    def test_an_own_write_is_pushed_once_when_it_overwrote_again(self, a: Replica, b: Replica):
        a.put("t", "k", b"first", WALL)
        sync(a, b)
        b.put("t", "k", b"second", WALL)
        sync(b, a)
        a.put("t", "k", b"third", WALL)
        (delta,) = a.own_deltas(0)
        assert [row.value for row in delta.registers] == [b"third"]


class TestJoin:
    def test_joined_names_what_changed(self, a: Replica, b: Replica):
        a.add("k", b"")
        a.put("t", "k", b"", WALL)
        (delta,) = a.deltas_for({})
        joined = b.join(delta, WALL)
        assert joined
        assert (joined.keys, joined.registers, joined.gaps) == ({"k"}, {("t", "k")}, [])

    def test_joined_is_false_when_nothing_changed(self, a: Replica, b: Replica):
        a.add("k", b"")
        (delta,) = a.deltas_for({})
        b.join(delta, WALL)
        assert not b.join(delta, WALL)

    def test_a_gap_is_reported_and_nothing_of_the_segment_taken(self, a: Replica):
        joined = a.join(Delta(segments=(Segment("b", 3, 4, (Row(4, "k", b""),)),)), WALL)
        assert joined.gaps == ["b"]
        assert not joined
        assert a.vector["b"] == 0
        assert list(a.keys()) == []

    def test_what_others_say_of_the_own_origin_is_ignored(self, a: Replica):
        a.add("k", b"")
        a.join(Delta(segments=(Segment("a", 0, 9, (Row(9, "forged", b""),)),)), WALL)
        assert a.vector == {"a": 1}
        assert list(a.keys()) == ["k"]

    def test_an_overlap_tells_what_is_dead_and_is_not_taken_twice(self, a: Replica):
        rows = tuple(Row(seq, f"k{seq}", b"") for seq in (1, 2, 3))
        a.join(Delta(segments=(Segment("b", 0, 2, rows[:2], complete=False),)), WALL)
        joined = a.join(Delta(segments=(Segment("b", 0, 4, rows[1:], complete=False),)), WALL)
        assert joined.keys == {"k1", "k3"}
        assert sorted(a.keys()) == ["k2", "k3"]

    def test_live_events_tell_what_is_dead_when_removals_were_forgotten(self, a: Replica):
        rows = tuple(Row(seq, f"k{seq}", b"") for seq in (1, 2))
        a.join(Delta(segments=(Segment("b", 0, 2, rows, complete=False),)), WALL)
        a.join(Delta(segments=(Segment("b", 2, 4, complete=False, live=(2,)),)), WALL)
        assert list(a.keys()) == ["k2"]

    def test_a_removal_is_passed_on_by_whoever_heard_of_it(self, a: Replica, b: Replica):
        other = Replica("c")
        dot = a.add("k", b"")
        for replica in (b, other):
            sync(a, replica)
        a.remove(dot)
        sync(a, b)
        sync(b, other)
        assert list(other.keys()) == []

    def test_a_stamp_from_the_future_is_counted_kept_and_not_believed(self, a: Replica, b: Replica):
        b.put("t", "k", b"v", WALL + DAY)
        (delta,) = b.deltas_for({})
        assert a.join(delta, WALL).skewed == 1
        assert value(a, "t", "k") == b"v"
        assert a.clock.last >> COUNTER_BITS < (WALL + 1) * 1000

    def test_an_old_or_equal_register_changes_nothing(self, a: Replica, b: Replica):
        b.put("t", "k", b"old", WALL)
        old = b.deltas_for({})
        b.put("t", "k", b"new", WALL)
        sync(b, a)
        assert not a.join(old[0], WALL)
        assert value(a, "t", "k") == b"new"
