"""Ways to lose or resurrect data that others went before, or that were found here; each pinned."""

from __future__ import annotations

from itertools import islice

from pyhorde.crdt import Replica
from tests.laws.oracle import seen
from tests.laws.world import START, carry, limits


def sync(frm: Replica, to: Replica, chunk_bytes: int = 100_000, parts: int | None = None) -> None:
    """``to`` asks ``frm``; the transfer is cut after so many ``parts``."""
    carry(list(islice(frm.deltas_for(to.vector, chunk_bytes), parts)), to)


class TestContextWiderThanTheData:
    """delta_crdt, ``max_sync_size``: a partial sync brought some keys and the context of all.

    The receiver then took the missing keys for removed, and told so the one who had them.
    """

    def test_claims_survive_when_every_transfer_is_cut_short(self) -> None:
        a, b = Replica("a"), Replica("b")
        for number in range(5_000):
            a.add(f"key-{number}", b"value")
        rounds = 0
        while seen(b) != seen(a):
            sync(a, b, chunk_bytes=1_000, parts=20)
            assert len(b.claims_of("a")) == b.vector["a"]
            sync(b, a, chunk_bytes=1_000, parts=20)
            assert len(a.claims_of("a")) == 5_000
            rounds += 1
        assert rounds > 5
        assert len(set(a.keys())) == len(set(b.keys())) == 5_000
        assert a.snapshot() == b.snapshot()

    def test_registers_survive_when_a_transfer_is_cut_short(self) -> None:
        a, b = Replica("a"), Replica("b")
        for number in range(5_000):
            a.put("t", f"key-{number}", b"value", START)
        sync(a, b, chunk_bytes=1_000, parts=20)
        assert 0 < len(b.table("t")) < 5_000
        assert seen(b) == {}
        sync(b, a)
        sync(a, b, chunk_bytes=1_000)
        assert len(a.table("t")) == len(b.table("t")) == 5_000
        assert a.snapshot() == b.snapshot()


class TestZombieClaim:
    """syn: two halves claim a name, the conflict is resolved, and a slow third node, which still
    has the losing claim, hands it back to those who had already seen it go.
    """

    def test_a_delayed_third_node_does_not_bring_back_the_losing_claim(self) -> None:
        winner, loser, slow = Replica("winner"), Replica("loser"), Replica("slow")
        winner.add("meeting", b"here")
        lost = loser.add("meeting", b"there")
        sync(loser, slow)
        late = slow.deltas_for({})
        sync(loser, winner)
        sync(winner, loser)
        assert len(winner.claims("meeting")) == 2
        loser.remove(lost)
        sync(loser, winner)
        carry(late, winner)
        carry(late, loser)
        sync(slow, winner)
        assert [claim.value for claim in winner.claims("meeting")] == [b"here"]
        sync(winner, slow)
        assert winner.snapshot() == loser.snapshot() == slow.snapshot()

    def test_nine_steps_to_a_claim_that_nobody_makes_any_more(self) -> None:
        winner, loser, away = Replica("winner"), Replica("loser"), Replica("away")
        with limits(0):
            kept = winner.add("meeting", b"here")  # 1, 2: both sides of a split claim the name
            lost = loser.add("meeting", b"there")
            sync(loser, away)  # 3: a third node hears of one claim only, and goes away
            sync(loser, winner)  # 4, 5: the split heals
            sync(winner, loser)
            loser.remove(lost)  # 6: the conflict is resolved
            sync(loser, winner)
            for replica in (winner, loser):  # 7: all that are there have seen it
                replica.forget_removals(replica.vector)
            late = away.deltas_for({})
            for replica in (winner, loser):  # 8: the third node is back, with what it knew
                carry(late, replica)
                sync(away, replica)
                assert [claim.dot for claim in replica.claims("meeting")] == [kept]
            sync(winner, away)  # 9: and hears of the rest
            sync(away, loser)
        for replica in (winner, loser, away):
            assert [claim.dot for claim in replica.claims("meeting")] == [kept]
        assert winner.snapshot() == loser.snapshot() == away.snapshot()

    def test_a_joiner_that_meets_the_delayed_node_first_loses_the_claim_later(self) -> None:
        loser, slow, winner = Replica("loser"), Replica("slow"), Replica("winner")
        lost = loser.add("meeting", b"there")
        sync(loser, slow)
        loser.remove(lost)
        sync(loser, winner)
        joiner = Replica("joiner")
        sync(slow, joiner)
        assert len(joiner.claims("meeting")) == 1
        sync(winner, joiner)
        assert joiner.claims("meeting") == []
        sync(slow, joiner)
        assert joiner.claims("meeting") == []

    def test_a_retired_origin_is_not_brought_back_by_a_delayed_node(self) -> None:
        dead, slow, other = Replica("dead"), Replica("slow"), Replica("other")
        dead.add("meeting", b"there")
        sync(dead, other)
        dead.add("second", b"there")
        sync(dead, slow)
        other.retire("dead")
        sync(slow, other)
        assert list(other.keys()) == []
        assert other.refused == 1
        assert "dead" not in other.vector


class TestRegistersWithoutTheirSegment:
    """A node dies while it pushes: the registers arrived, the segment that covers them did not.

    No vector covers them then, and whoever compares vectors finds nothing to send.
    """

    def test_they_reach_everybody_when_their_origin_is_dead(self) -> None:
        dying, heard, other = Replica("dying"), Replica("heard"), Replica("other")
        dying.put("t", "k", b"last words", START)
        carry(list(dying.answer({}))[:1], heard)
        assert seen(heard) == {}
        sync(heard, other)
        assert other.snapshot() == heard.snapshot() == dying.snapshot()

    def test_they_travel_along_when_they_replaced_a_write_that_is_asked_for(self) -> None:
        first, second = Replica("first"), Replica("second")
        first.put("t", "k", b"old", START)
        sync(first, second)
        second.put("t", "k", b"new", START)
        relay, asker = Replica("relay"), Replica("asker")
        sync(first, relay)
        carry(list(second.answer({"first": 1}))[:1], relay)
        sync(relay, asker)
        assert asker.vector["first"] == 1
        register = asker.register("t", "k")
        assert register is not None
        assert register.value == b"new"

    def test_they_are_ordinary_registers_once_the_segment_came(self) -> None:
        writer, reader = Replica("writer"), Replica("reader")
        writer.put("t", "k", b"v", START)
        first, second = writer.answer({})
        carry([first], reader)
        assert len(reader.deltas_for({"writer": 0})) == 1
        carry([second], reader)
        assert reader.deltas_for({"writer": 1}) == []


class TestTwoSnapshotsAtOnce:
    """A joiner asks two nodes. The one that is behind brings it just past the first piece of the
    other, whose list of live events was in that piece; the second piece alone does not tell.
    """

    def test_a_claim_removed_meanwhile_does_not_stay(self) -> None:
        with limits(0):
            owner, behind, joiner = Replica("owner"), Replica("behind"), Replica("joiner")
            removed = owner.add("a", b"")
            owner.add("b", b"")
            sync(owner, behind)
            owner.remove(removed)
            owner.add("c", b"")
            pieces = owner.deltas_for(joiner.vector, chunk_bytes=8)
            assert [s.to for delta in pieces for s in delta.segments] == [2, 4]
            sync(behind, joiner)
            carry(pieces, joiner)
        assert sorted(joiner.keys()) == ["b", "c"]
        assert joiner.snapshot() == owner.snapshot()


class TestRemovalsForgottenInTheMidstOfAnAnswer:
    """A piece that says by omission what is dead is passed over by one who knows that much."""

    def test_what_the_later_pieces_cannot_tell_is_listed(self) -> None:
        a, b = Replica("a"), Replica("b")
        a.add("w", b"")
        a.remove(a.add("x", b""))
        removed = a.add("y", b"")
        a.add("z", b"")
        sync(a, b)
        a.remove(removed)
        a.forget_removals({"a": 3})
        answer = a.answer({}, chunk_bytes=1)
        carry([next(answer) for _ in range(4)], b)
        a.forget_removals({"a": 6})
        carry(answer, b)
        assert b.snapshot() == a.snapshot()
