"""A replica, method by method. How replicas converge: tests/laws."""

import pytest

from pyhorde.crdt import Claimed, Delta, Dot, RegisterRow, Replica
from pyhorde.crdt import replica as replica_module
from pyhorde.crdt.delta import MAX_SEQ, MAX_STAMP

WALL = 1_000.0
DAY = 86400.0


def sync(frm: Replica, to: Replica) -> None:
    for delta in frm.deltas_for(to.vector):
        to.join(delta, WALL)


def values(replica: Replica, key: str) -> list[bytes]:
    return sorted(claim.value or b"" for claim in replica.claims(key))


def value(replica: Replica, table: str, key: str) -> bytes | None:
    register = replica.register(table, key)
    assert register is not None
    return None if register.deleted else register.value


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
        found = {key: (register.value, register.deleted) for key, register in a.table("t").items()}
        assert found == {"x": (b"v", False), "y": (b"", True)}
        assert sorted(a.registers()) == [("t", "x"), ("t", "y"), ("u", "z")]
        assert a.deletions == 1

    def test_snapshots_know_no_deletions(self, a: Replica, b: Replica):
        a.put("t", "k", None, WALL)
        assert a.snapshot() == b.snapshot()
        row = RegisterRow("t", "k", 0, MAX_STAMP - 1, "c", "c", 1, b"", False)
        b.join(Delta((row,)), WALL)
        assert a.snapshot() != b.snapshot()

    def test_snapshots_tell_no_value_from_an_empty_one(self, a: Replica):
        first, second = Replica("a"), Replica("a")
        first.add("k", None)
        second.add("k", b"")
        assert first.snapshot() != second.snapshot()

    def test_the_size_is_what_is_kept(self, a: Replica):
        dots = [a.add(key, None) for key in "xyz"]
        a.put("t", "k", b"v", WALL)
        a.remove(dots[0])
        assert a.size == 2 + 1 + 1

    def test_a_mark_only_rises(self, a: Replica):
        for at_least in (3, 5, 4):
            a.mark("life", at_least)
        assert a.marks == {"life": 5}

    def test_the_digest_tells_what_is_missing(self, a: Replica):
        dots = [a.add(key, None) for key in "xyz"]
        assert a.digest() == {"a": (3, 3, 6)}
        a.remove(dots[1])
        assert a.digest() == {"a": (4, 2, 4)}


class TestTables:
    def test_each_table_has_claims_of_its_own(self, a: Replica):
        a.add("k", b"first")
        a.add("k", b"second", table="u")
        assert [claim.value for claim in a.claims("k", "u")] == [b"second"]
        assert values(a, "k") == [b"first"]
        assert sorted(a.tables()) == ["", "u"]
        assert list(a.keys("u")) == ["k"]
        assert list(a.keys("v")) == a.claims("k", "v") == []
        assert [claim.value for claim in a.claims_of("a", "u")] == [b"second"]

    def test_the_index_of_a_table_stays_the_same_object(self, a: Replica):
        index = a.index("u")
        a.add("k", None, table="u")
        assert a.index("u") is index
        assert list(index.dots) == ["k"]
        assert a.claimed(index.dots["k"]) == Claimed("k", Dot("a", 1), None)
        log, seq, stored = a.stored("u", index.dots["k"])
        assert (log.origin, seq, stored) == ("a", 1, b"")

    def test_what_a_packed_dot_stood_for_may_be_gone(self, a: Replica, b: Replica):
        b.add("k", None)
        sync(b, a)
        dot = a.index("").dots["k"]
        a.retire("b")
        assert a.claimed(dot) is None
        while a.sweep():
            pass
        assert a.claimed(dot) is None

    def test_many_keys_are_claimed_at_once(self, a: Replica):
        a.add("x", None)
        assert a.add_all(["x", "y", "y"], table="", label=b"p") == range(2, 5)
        assert a.seq == 4
        assert len(a.claims("x")) == len(a.claims("y")) == 2
        assert a.add_all([]) == range(5, 5)


class TestLabels:
    def test_the_claims_of_a_label_are_found_oldest_first(self, a: Replica):
        a.add("x", b"1", label=b"p")
        a.add("y", None, label=b"q")
        a.add_all(["v", "w"], label=b"p")
        found = a.labelled("a", "", b"p")
        assert [(claim.key, claim.label) for claim in found] == [(k, b"p") for k in "xvw"]
        assert a.labelled("a", "u", b"p") == a.labelled("b", "", b"p") == []

    def test_a_label_stays_when_a_claim_is_replaced_and_goes_when_it_is_removed(self, a: Replica):
        dot = a.replace(a.add("x", None, label=b"p"), b"new")
        assert a.labelled("a", "", b"p") == [Claimed("x", dot, b"new", b"p")]
        a.remove(dot)
        assert a.labelled("a", "", b"p") == []

    def test_labels_travel(self, a: Replica, b: Replica):
        a.add("x", b"v", label=b"p")
        a.add_all(["y", "z"], label=b"p", table="u")
        sync(a, b)
        assert b.labelled("a", "", b"p") == a.labelled("a", "", b"p")
        assert b.labelled("a", "u", b"p") == a.labelled("a", "u", b"p")


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
        a.put("t", "k", None, WALL, note=b"why")
        assert value(a, "t", "k") is None
        assert a.table("t")["k"].value == b"why"

    @pytest.mark.parametrize("rank", [-1, MAX_SEQ])
    def test_an_impossible_rank_writes_nothing(self, a: Replica, rank: int):
        assert not a.put("t", "k", b"v", WALL, rank=rank)
        assert a.seq == 0

    def test_nothing_is_written_after_the_end_of_time(self, a: Replica):
        row = RegisterRow("t", "k", 0, MAX_STAMP - 1, "b", "b", 1, b"last", False)
        a.join(Delta((row,)), WALL)
        with pytest.raises(OverflowError):
            a.put("t", "k", b"later", WALL)
        assert (a.seq, value(a, "t", "k")) == (0, b"last")

    def test_own_events_that_there_are_not_are_not_believed(self, a: Replica):
        a.join(Delta((RegisterRow("t", "k", 0, 1, "a", "a", 7, b"v", False),)), WALL)
        assert a.register("t", "k") is None and a.refused == 1 and not a.is_ahead
        assert a.put("t", "k", b"w", WALL) and a.seq == 1

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


class TestDeletions:
    def test_those_that_are_remembered_are_listed_the_oldest_first(self, a: Replica):
        for key in "xy":
            a.put("t", key, None, WALL)
        assert [name for name, _ in a.deleted()] == [("t", "x"), ("t", "y")]

    def test_what_was_written_since_is_not_forgotten(self, a: Replica):
        a.put("t", "x", None, WALL)
        a.put("t", "y", None, WALL)
        old = a.deleted()
        a.put("t", "y", b"new", WALL)
        assert a.forget_deletions(old) == 1
        assert a.forget_deletions(old) == 0
        assert a.register("t", "x") is None
        assert value(a, "t", "y") == b"new"
        assert a.marks.keys() == {"stamp/t"}
        assert a.forgotten.keys() == {"t"}

    def test_own_events_suffice_no_more_for_one_who_missed_them(self, a: Replica):
        a.put("t", "x", None, WALL)
        a.add("k", None)
        assert a.can_push(0)
        a.forget_deletions(a.deleted())
        assert not a.can_push(0)
        assert a.can_push(1)


class TestRetire:
    def test_the_claims_are_gone_at_once(self, a: Replica, b: Replica):
        b.add("x", None)
        b.add("y", None)
        sync(b, a)
        a.add("y", b"mine")
        a.retire("b")
        assert list(a.keys()) == ["y"]
        assert values(a, "y") == [b"mine"]
        assert a.claims_of("b") == a.labelled("b", "", b"") == []
        assert "b" not in a.vector
        assert a.covers["b"] == 2

    def test_sweep_takes_its_rows_apart_and_ends(self, a: Replica, b: Replica):
        b.add_all([f"k{n}" for n in range(10_000)], table="u")
        b.add("x", None)
        sync(b, a)
        a.retire("b")
        swept: list[tuple[str, str]] = []
        while (step := a.sweep()) is not None:
            assert len(step[1]) <= 4096
            swept += [(step[0], key) for key in step[1]]
        assert len(swept) == len(set(swept)) == 10_001
        assert a.index("u").dots == a.index("").dots == {}
        assert (a.size, a.sweep()) == (0, None)

    def test_the_own_origin_is_not_retired(self, a: Replica):
        a.add("k", None)
        a.retire("a")
        assert list(a.keys()) == ["k"]

    def test_retiring_twice_is_retiring_once(self, a: Replica, b: Replica):
        b.put("t", "k", b"v", WALL)
        sync(b, a)
        a.retire("b")
        a.retire("b")
        assert a.seq == 1

    def test_the_registers_stay_as_own_events(self, a: Replica, b: Replica):
        b.put("t", "k", b"v", WALL)
        sync(b, a)
        assert a.carries("b")
        a.retire("b")
        assert not a.carries("b")
        other = Replica("c")
        sync(a, other)
        assert value(other, "t", "k") == value(a, "t", "k") == b"v"
        assert other.table("t")["k"].writer == "b"

    def test_what_others_say_of_it_is_refused_and_counted(self, a: Replica, b: Replica):
        a.retire("b")
        b.add("k", None)
        b.put("t", "k", b"v", WALL)
        wrote = [a.join(delta, WALL).wrote for delta in b.deltas_for(a.vector)]
        assert wrote == [True, False]
        assert list(a.keys()) == []
        assert a.refused == 1
        assert value(a, "t", "k") == b"v"
        assert a.table("t")["k"].dot.origin == "a"

    def test_it_is_learned_anew_when_it_is_revived(self, a: Replica, b: Replica):
        b.add("x", None, label=b"p")
        b.put("t", "k", b"v", WALL)
        sync(b, a)
        a.retire("b")
        b.add("y", None)
        a.revive("b")
        a.revive("never heard of")
        sync(b, a)
        assert sorted(a.keys()) == ["x", "y"]
        assert [claim.key for claim in a.labelled("b", "", b"p")] == ["x"]
        assert a.vector["b"] == 3
        while a.sweep():
            pass
        assert sorted(a.keys()) == ["x", "y"]

    def test_only_so_many_are_remembered(self, a: Replica, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(replica_module, "KEPT_RETIRED", 2)
        for origin in "xyz":
            a.retire(origin)
        assert list(a.retired) == ["y", "z"]


class TestForget:
    def test_a_copy_that_was_found_wrong_is_learned_anew(self, a: Replica, b: Replica):
        for key in "xyz":
            b.add(key, None)
        b.put("t", "k", b"v", WALL)
        sync(b, a)
        a._logs["b"].pop(2)
        assert a.digest()["b"] != b.digest()["b"]
        a.forget("b")
        assert a.known("b") == 0
        assert value(a, "t", "k") == b"v"
        sync(b, a)
        while a.sweep():
            pass
        assert a.digest()["b"] == b.digest()["b"]
        assert a.snapshot() == b.snapshot()

    def test_the_own_origin_and_unknown_ones_are_not_forgotten(self, a: Replica):
        a.add("k", None)
        for origin in "ab":
            a.forget(origin)
        assert list(a.keys()) == ["k"]
