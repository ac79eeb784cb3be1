"""Deletions of registers that were forgotten too early, and what nearly went wrong then."""

from __future__ import annotations

import pytest

from pyhorde.crdt import Register, Replica
from pyhorde.crdt.hlc import COUNTER_BITS
from pyhorde.crdt.registers import Stable
from tests.laws.oracle import seen
from tests.laws.world import DAY, START, carry

NAME = ("t", "k")


def sync(frm: Replica, to: Replica) -> None:
    carry(frm.answer(to.vector, asker=to.origin), to)


def meet(*replicas: Replica) -> None:
    """Everybody asks everybody until nothing is new."""
    for _ in range(len(replicas) + 2):
        for to in replicas:
            for frm in replicas:
                if frm is not to:
                    sync(frm, to)
    assert len({repr(replica.snapshot()) for replica in replicas}) == 1
    assert len({repr(sorted(seen(replica).items())) for replica in replicas}) == 1


def forget(*replicas: Replica) -> None:
    for replica in replicas:
        replica.forget_deletions(replica.deleted())


def value(replica: Replica, name: tuple[str, str] = NAME) -> bytes | None:
    register = replica.register(*name)
    return None if register is None or register.deleted else register.value


@pytest.fixture
def a() -> Replica:
    return Replica("a")


@pytest.fixture
def b() -> Replica:
    return Replica("b")


@pytest.fixture
def c() -> Replica:
    return Replica("c")


class TestWhileANodeIsAway:
    def test_the_value_it_holds_stays_deleted_when_it_returns(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, b"old", START)
        meet(a, b, c)
        b.put(*NAME, None, START + 1)
        meet(a, b)
        forget(a, b)
        meet(a, b, c)
        assert [value(replica) for replica in (a, b, c)] == [None] * 3

    def test_so_it_does_when_the_node_itself_wrote_it(self, a: Replica, b: Replica) -> None:
        a.put(*NAME, b"old", START)
        sync(a, b)
        b.put(*NAME, None, START + 1)
        forget(b)
        meet(a, b)
        assert value(a) is None

    def test_and_when_the_one_who_deleted_it_is_gone_and_retired(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        gone = Replica("gone")
        a.put(*NAME, b"old", START)
        meet(a, b, c, gone)
        gone.put(*NAME, None, START + 1)
        meet(a, b, gone)
        forget(a, b)
        for replica in (a, b):
            replica.retire("gone")
        meet(a, b)
        c.retire("gone")
        meet(a, b, c)
        assert value(c) is None

    def test_and_when_it_hears_so_from_one_who_never_had_the_deletion(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, b"old", START)
        meet(a, b)
        b.put(*NAME, None, START + 1)
        forget(b)
        sync(b, c)
        meet(a, c)
        assert value(a) is None

    def test_a_write_that_nobody_saw_wins_over_a_forgotten_deletion(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        c.put(*NAME, b"unseen", START)
        b.put(*NAME, None, START + 1)
        meet(a, b)
        forget(a, b)
        meet(a, b, c)
        assert [value(replica) for replica in (a, b, c)] == [b"unseen"] * 3

    def test_a_write_that_nobody_saw_loses_against_a_deletion_that_one_remembers(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        c.put(*NAME, b"unseen", START)
        b.put(*NAME, None, START + 1)
        meet(a, b)
        forget(a)
        sync(c, a)
        assert value(a) == b"unseen"
        meet(a, b, c)
        assert [value(replica) for replica in (a, b, c)] == [None] * 3

    def test_a_lower_value_meets_one_that_was_deleted(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        writer = Replica("writer")
        writer.put(*NAME, b"low", START)
        a.put(*NAME, b"high", START + 1)
        meet(a, b, c)
        b.put(*NAME, None, START + 2)
        forget(b)
        sync(writer, b)
        meet(a, b, c, writer)


class TestWhatOthersKnow:
    def test_one_who_remembers_a_deletion_goes_on_remembering_it(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        other = Replica("other")
        a.put(*NAME, b"old", START)
        meet(a, b, c)
        b.put(*NAME, None, START + 1)
        sync(b, other)
        other.put("t", "l", None, START)
        forget(other)
        sync(other, b)
        assert b.deletions == 1
        meet(a, b, c)
        assert [value(replica) for replica in (a, b, c)] == [None] * 3

    def test_a_value_that_one_has_seen_deleted_and_another_never_saw(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        d = Replica("d")
        c.put(*NAME, b"v", START)
        d.put(*NAME, None, START + 1)
        sync(d, a)
        sync(c, b)
        sync(d, b)
        forget(a)
        sync(a, c)
        for replica in (a, d):
            sync(b, replica)
        meet(a, b, c, d)
        assert value(c) is None

    def test_a_higher_value_arrives_where_it_was_deleted_and_a_lower_one_is(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, b"v", START)
        sync(a, b)
        sync(a, c)
        b.put(*NAME, None, START + 1)
        forget(b)
        sync(b, c)
        assert value(c) is None
        a.forget("b")
        meet(a, b, c)
        assert value(a) is None


class TestPuttingAgain:
    def test_a_put_beats_a_deletion_that_others_remember(self, a: Replica, b: Replica) -> None:
        a.put(*NAME, None, START + DAY)
        meet(a, b)
        forget(a)
        assert a.put(*NAME, b"new", START)
        meet(a, b)
        assert value(b) == b"new"

    def test_so_it_does_at_one_who_joined_a_replica_that_forgot(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, None, START + DAY)
        meet(a, b)
        forget(a)
        sync(a, c)
        assert c.put(*NAME, b"new", START)
        meet(a, b, c)
        assert [value(replica) for replica in (a, b, c)] == [b"new"] * 3

    def test_a_deletion_from_the_far_future_drags_no_clock_along(
        self, a: Replica, b: Replica
    ) -> None:
        a.put(*NAME, None, START + DAY)
        meet(a, b)
        forget(b)
        b.put(*NAME, b"new", START)
        b.put("other", "k", b"now", START)
        assert b.register("other", "k").stamp >> COUNTER_BITS <= (START + 1) * 1000  # type: ignore[union-attr]
        meet(a, b)
        assert value(a) == b"new"

    def test_a_put_of_a_lower_rank_does_not_bring_back_what_was_deleted(
        self, a: Replica, b: Replica
    ) -> None:
        a.put(*NAME, b"high", START, rank=1)
        late = a.deltas_for({})
        carry(late, b)
        b.put(*NAME, None, START, rank=1)
        forget(b)
        b.put(*NAME, b"low", START)
        carry(late, b)
        assert value(b) == b"low"
        meet(a, b)

    def test_so_it_does_at_one_who_knew_that_replica_before(self, a: Replica, b: Replica) -> None:
        a.add("k", None)
        sync(a, b)
        a.put(*NAME, None, START + DAY)
        first = a.register(*NAME)
        forget(a)
        sync(a, b)
        b.put(*NAME, b"new", START)
        then = b.register(*NAME)
        assert first is not None
        assert then is not None
        assert then.order > first.order


class TestBetweenThePieces:
    def test_a_deletion_is_forgotten_before_it_is_sent(self, a: Replica, b: Replica) -> None:
        for key in ("k", "l"):
            a.put("t", key, b"old", START)
        sync(a, b)
        a.put("t", "l", b"new", START + 1)
        a.put(*NAME, None, START + 1)
        pieces = a.answer(b.vector, 1, "b")
        carry([next(pieces)], b)
        forget(a)
        carry(pieces, b)
        meet(a, b)
        assert value(b) is None

    def test_an_origin_is_dropped_while_its_events_are_sent(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        for number in range(9):
            a.add(f"k{number}", None)
        sync(a, b)
        pieces = b.answer({}, 1, "c")
        carry([next(pieces)], c)
        b.forget("a")
        b.sweep()
        carry(pieces, c)
        meet(a, b, c)
        assert len(list(c.keys())) == 9

    def test_it_knew_nothing_when_it_asked_and_something_when_it_was_told(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, b"old", START)
        sync(a, b)
        b.put(*NAME, None, START + 1)
        sync(a, Replica("other"))
        forget(b)
        pieces = b.answer(c.vector, asker="c")
        sync(a, c)
        carry(pieces, c)
        meet(a, b, c)
        assert value(c) is None

    def test_a_new_origin_asks_when_its_own_write_was_deleted(self, a: Replica, b: Replica) -> None:
        a.put(*NAME, b"old", START)
        carry(a.own_deltas(0), b)
        b.put(*NAME, None, START + 1)
        forget(b)
        sync(b, a)
        assert value(a) is None


class TestSeveralCarriers:
    def test_a_value_is_said_again_when_its_deletion_might_be_forgotten(
        self, b: Replica, c: Replica
    ) -> None:
        z = Replica("z")
        z.put(*NAME, b"v", START)
        sync(z, c)
        early = [delta for delta in z.answer({}) if delta.registers]
        carry(early, b)
        b.put(*NAME, None, START + 1)
        sync(b, c)
        forget(b)
        carry(early, b)
        assert value(b) == b"v"
        sync(z, b)
        meet(b, c)
        assert value(b) is None

    def test_a_value_that_was_said_again_reaches_one_who_lost_it(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        z = Replica("z")
        z.put(*NAME, b"v", START)
        sync(z, c)
        c.put(*NAME, None, START + 1)
        rows = [d for d in z.answer({}) if d.registers]
        carry(rows, b)
        b.put(*NAME, None, START + 2)
        forget(b)
        carry(rows, b)
        assert value(b) == b"v"
        sync(z, b)
        meet(a, b, c, z)
        assert value(a) is None

    def test_a_register_is_carried_on_once_when_another_carries_it_too(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, b"v", START)
        meet(a, b, c)
        b.retire("a")
        sync(b, c)
        before = c.seq
        c.retire("a")
        assert c.seq == before
        assert c.carries("b")
        register = c.register(*NAME)
        assert isinstance(register, Register)
        assert register.writer == "a"


class TestLearningAnew:
    def test_its_registers_are_passed_on_meanwhile(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, b"v", START)
        sync(a, b)
        b.forget("a")
        sync(b, c)
        assert value(b) == value(c) == b"v"

    def test_the_floor_of_an_origin_survives(self, a: Replica, b: Replica, c: Replica) -> None:
        a.put(*NAME, b"old", START)
        meet(a, b, c)
        a.put(*NAME, None, START + 1)
        sync(a, b)
        forget(b)
        b.forget("a")
        sync(a, b)
        sync(b, c)
        meet(a, b, c)
        assert value(c) is None

    def test_a_register_that_was_deleted_is_no_news_afterwards(
        self, a: Replica, b: Replica
    ) -> None:
        a.put(*NAME, b"old", START)
        a.add("k", None)
        sync(a, b)
        late = a.deltas_for({})
        b.put(*NAME, None, START + 1)
        forget(b)
        b.forget("a")
        carry(late, b)
        assert value(b) is None
        assert [claim.key for claim in b.claims_of("a")] == ["k"]

    def test_nor_when_its_origin_was_retired_and_is_back(self, a: Replica, b: Replica) -> None:
        a.put(*NAME, b"old", START)
        a.add("k", None)
        sync(a, b)
        late = a.deltas_for({})
        b.put(*NAME, None, START + 1)
        forget(b)
        b.retire("a")
        b.revive("a")
        carry(late, b)
        assert value(b) is None
        assert [claim.key for claim in b.claims_of("a")] == ["k"]

    def test_two_carriers_are_retired_one_after_the_other(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        gone = Replica("gone")
        gone.put(*NAME, b"v", START)
        meet(a, b, c, gone)
        b.retire("gone")
        sync(b, c)
        for origin in ("gone", "b"):
            c.retire(origin)
        sync(c, a)
        joiner = Replica("joiner")
        sync(c, joiner)
        assert value(joiner) == b"v"


class TestRelays:
    def test_a_relay_without_removal_records_serves_one_that_is_behind(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        dots = [a.add(key, None, label=b"p") for key in "xyz"]
        sync(a, c)
        a.remove(dots[1])
        a.add("w", None)
        sync(a, b)
        assert not b.deltas_for({"a": 3})[-1].segments[0].complete
        sync(b, c)
        assert sorted(c.keys()) == ["w", "x", "z"]
        assert [claim.key for claim in c.labelled("a", "", b"p")] == ["x", "z"]

    def test_events_that_can_be_pushed_no_more_are_asked_for(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, b"old", START)
        sync(a, b)
        b.put(*NAME, b"new", START + 1)
        sync(b, a)
        assert a.can_push(0)
        a.forget_overwritten(1)
        assert not a.can_push(0)
        sync(a, c)
        assert value(c) == b"new"

    def test_an_own_event_is_not_pushed_when_what_it_wrote_is_gone(
        self, a: Replica, b: Replica
    ) -> None:
        a.put(*NAME, b"old", START)
        sync(a, b)
        b.put(*NAME, None, START + 1)
        sync(b, a)
        assert a.can_push(0)
        forget(a)
        assert not a.can_push(0)
        assert a.can_push(1)


class TestWhoHeedsADeletion:
    """Doubt costs an event for each value: what came after all had seen them is not doubted."""

    def test_a_value_of_one_who_was_not_counted_is_doubted(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, b"old", START)
        meet(a, b, c)
        c.put(*NAME, b"late", START + 1)
        late = c.own_deltas(0)
        a.put(*NAME, None, START + 2)
        meet(a, b)
        b.forget_deletions(b.deleted(), Stable(b.vector, {"a": a.seq, "b": b.seq}))
        carry(late, b)
        sync(a, c)
        meet(a, b, c)
        assert [value(replica) for replica in (a, b, c)] == [None] * 3

    def test_a_value_of_one_who_has_seen_them_is_not_said_again(
        self, a: Replica, b: Replica
    ) -> None:
        a.put(*NAME, None, START, rank=7)
        meet(a, b)
        b.forget_deletions(b.deleted(), Stable(b.vector, {"a": a.seq, "b": b.seq}))
        a.put("t", "other", b"of a lower rank", START)
        before = b.seq
        sync(a, b)
        assert b.seq == before

    def test_doubts_of_others_are_doubts_of_their_own(self, a: Replica, b: Replica) -> None:
        """What somebody else has forgotten, the ones that were counted here may not have seen."""
        a.put(*NAME, None, START)
        meet(a, b)
        b.forget_deletions(b.deleted(), Stable(b.vector, {"a": a.seq, "b": b.seq}))
        other = Replica("c")
        other.put("t", "more", None, START + DAY)
        forget(other)
        sync(other, b)
        a.put("t", "other", b"value", START + 1)
        before = b.seq
        sync(a, b)
        assert b.seq > before

    def test_a_round_that_has_not_seen_all_that_was_forgotten_here_frees_nobody_of_doubt(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        a.put(*NAME, None, START)
        meet(a, b, c)
        b.put("t", "more", None, START + DAY)
        b.forget_deletions([each for each in b.deleted() if each[0] == ("t", "more")])
        b.forget_deletions(b.deleted(), Stable({"a": a.seq}, {"a": a.seq, "c": c.seq}))
        c.put("t", "more", b"unaware", START)
        before = b.seq
        sync(c, b)
        assert b.seq > before

    def test_one_who_was_counted_before_and_is_not_now_is_doubted(
        self, a: Replica, b: Replica, c: Replica
    ) -> None:
        for number, counted in enumerate(((a, b, c), (a, b))):
            a.put(*NAME, b"value", START + number)
            a.put(*NAME, None, START + number)
            meet(*counted)
            heeding = {replica.origin: replica.seq for replica in counted}
            b.forget_deletions(b.deleted(), Stable(b.vector, heeding))
        c.put(*NAME, b"unaware", START)
        before = b.seq
        sync(c, b)
        assert b.seq > before
