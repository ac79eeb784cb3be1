"""When deletions are forgotten, and what that must not do."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pyhorde.cluster.cluster import Cluster
from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.effects import Send
from pyhorde.cluster.membership.messages import Gossip, Update
from pyhorde.cluster.replication.messages import Forget, SyncAck, SyncData, SyncRequest
from pyhorde.config import NodeConfig
from pyhorde.crdt import Replica
from pyhorde.errors import NotReplicated
from tests.unit.cluster.pair import Pair, met


def forget(pair: Pair, name: str, holding: Collection[str] | None = None) -> None:
    others = [each for each in pair.cores if each != name]
    pair.run(name, pair[name].forget(others if holding is None else holding))


def deletions(pair: Pair) -> list[int]:
    return [core.replica.deletions for core in pair.cores.values()]


@pytest.fixture
def trio() -> Pair:
    """Three nodes; ``a`` has deleted a register, and everybody knows."""
    made = met("abc")
    made.put("a", "r", b"1")
    made.flush()
    made.put("a", "r", None)
    made.flush()
    made.round(12)
    assert deletions(made) == [1, 1, 1]
    made.sent.clear()
    return made


def test_what_all_have_confirmed_is_forgotten_by_all_at_once(trio: Pair):
    forget(trio, "a")
    assert deletions(trio) == [0, 1, 1]
    assert trio.of(Forget) == [("a", "b"), ("a", "c")]
    trio.deliver()
    assert deletions(trio) == [0, 0, 0]
    assert [core.statistics.forgotten_deletions for core in trio.cores.values()] == [1, 1, 1]
    assert trio.equal()


def test_nothing_is_said_when_there_is_nothing_to_forget(trio: Pair):
    forget(trio, "a")
    trio.deliver()
    trio.sent.clear()
    for name in "abc":
        forget(trio, name)
    assert trio.sent == []


def test_what_one_has_not_confirmed_is_remembered(trio: Pair):
    trio.put("b", "s", None)
    trio.tick("b")
    trio.deliver(loses=lambda message: isinstance(message, SyncAck))
    forget(trio, "b")
    assert trio.replica("b").deletions == 2
    trio.round(12)
    forget(trio, "b")
    assert trio.replica("b").deletions == 0


def test_while_one_that_counts_is_not_linked_only_removals_are_forgotten(trio: Pair):
    trio.unlink("a", "c")
    removal = trio.replica("a").claims_of("a")[0].dot
    trio.replica("a").remove(removal)
    trio["a"].written(trio.now)
    trio.flush()
    kills = trio.replica("a")._logs["a"].kills
    forget(trio, "a")
    forget(trio, "a", ["b", "gone"])
    assert deletions(trio) == [1, 1, 1]
    assert len(kills) == 0
    trio.round(3)
    forget(trio, "a", ["b"])
    assert trio.replica("a").deletions == 0


def test_alone_a_node_forgets_at_once():
    alone = Pair("a")
    alone.put("a", "r", None)
    forget(alone, "a")
    assert alone.replica("a").deletions == 0
    assert alone.sent == []


def test_forget_spares_what_was_deleted_later(trio: Pair):
    seq = trio.replica("a").seq
    trio.put("a", "r", b"2")
    trio.put("a", "r", None)
    trio.give("a", "b", Forget({"a": seq, "b": 0}, {}))
    assert trio.replica("a").deletions == 1


def late(trio: Pair) -> tuple[str, str, Any]:
    """``c`` has overwritten a register before it heard of its deletion; that push is under way."""
    trio.put("a", "s", b"1")
    trio.flush()
    trio.put("c", "s", b"old")
    trio.tick("c")
    to_b = [w for w in trio.waiting if w[:2] == ("c", "b")]
    to_a = [w for w in trio.waiting if w[:2] == ("c", "a")]
    trio.waiting.clear()
    trio.now += 1
    trio.put("a", "s", None)
    trio.tick("a")
    trio.deliver()
    assert trio.value("c", "s") is None
    trio.waiting = to_a
    return to_b[0]


def test_a_message_from_before_its_sender_saw_the_deletion_is_waited_for(trio: Pair):
    """All have the deletion; if that were enough, the late message would bring the value back."""
    under_way = late(trio)
    trio.deliver()
    forget(trio, "a")
    assert min(deletions(trio)) >= 1
    trio.waiting.append(under_way)
    trio.deliver()
    for _ in range(2):
        trio.round(12)
        forget(trio, "a")
        trio.deliver()
    assert deletions(trio) == [0, 0, 0]
    trio.round(12)
    assert [trio.value(name, "s") for name in "abc"] == [None] * 3
    assert trio.equal()


def test_the_late_message_may_be_on_its_way_to_the_one_that_would_forget(trio: Pair):
    """Its sender's word that it has the deletion overtook it, and says that there is more."""
    late(trio)
    under_way, trio.waiting = trio.waiting, []
    forget(trio, "a")
    assert min(deletions(trio)) >= 1
    trio.waiting = under_way
    trio.deliver()
    trio.round(12)
    assert [trio.value(name, "s") for name in "abc"] == [None] * 3


def test_a_single_phase_would_not_do(trio: Pair):
    """What the late message does to those who forgot when all had confirmed the deletion."""
    under_way = late(trio)
    trio.deliver()
    for name in "abc":
        replica = trio.replica(name)
        replica.forget_deletions(replica.deleted())
    trio.waiting.append(under_way)
    trio.deliver()
    trio.round(12)
    assert [trio.value(name, "s") for name in "abc"] == [b"old"] * 3
    assert trio.equal()


def test_who_was_away_while_a_deletion_was_forgotten_learns_of_it(trio: Pair):
    trio.put("b", "s", b"1")
    trio.flush()
    trio.unlink("a", "c")
    trio.unlink("b", "c")
    trio.put("a", "s", None)
    trio.flush()
    trio.round(8)
    for name in "ab":
        forget(trio, name, "ab".replace(name, ""))
        trio.deliver()
    assert deletions(trio)[:2] == [0, 0]
    assert trio.value("c", "s") == b"1"
    trio.link("b", "c")
    trio.deliver()
    trio.round(8)
    assert [trio.value(name, "s") for name in "abc"] == [None] * 3
    assert trio.equal()


def test_what_others_overwrote_can_be_pushed_until_all_have_confirmed_it(trio: Pair):
    trio.put("a", "s", b"1")
    trio.tick("a")
    trio.waiting = [w for w in trio.waiting if w[1] == "b"]
    trio.deliver()
    trio.now += 1
    trio.put("b", "s", b"2")
    trio.tick("b")
    trio.deliver(loses=lambda message: isinstance(message, SyncRequest))
    assert trio.value("a", "s") == b"2"
    forget(trio, "a")
    assert trio.replica("a").can_push(trio["a"].acked("c"))
    trio.round(12)
    forget(trio, "a")
    assert not trio.replica("a").can_push(trio.replica("a").seq - 1)


def test_removals_are_forgotten_once_all_have_seen_them(trio: Pair):
    replica = trio.replica("a")
    size = replica.size
    for claim in [*replica.claims_of("a")]:
        replica.remove(claim.dot)
    trio["a"].written(trio.now)
    trio.flush()
    assert replica.size == size  # a row less, a removal more
    trio.round(12)
    forget(trio, "a")
    assert replica.size == size - 2  # and the deletion


def test_a_peer_that_dropped_this_node_is_heard_again_when_it_is_met():
    """Else it would say that it has all of this node's events: nothing would be safe there."""
    pair = met("ab")
    pair.unlink("a", "b")
    pair.replica("b").retire("a")
    pair.write("a", "k")
    pair.link("a", "b")
    pair.deliver()
    assert pair.equal()
    assert pair["a"].acked("b") == 2
    assert len(pair.replica("b").claims("k")) == 1


def test_a_linked_peer_is_never_told_that_its_own_events_are_not_wanted():
    pair = met("abc")
    pair.replica("a").retire("b")
    asked = [pair["a"].ask(boot, pair.now) for boot in "bc"]
    vectors = [effect.message.vector for (effect,) in asked if isinstance(effect, Send)]
    assert "b" not in vectors[0]
    assert vectors[1]["b"] > 10**9


def test_retired_origins_are_not_sent_again():
    pair = met("abc")
    pair.unlink("b", "c")
    pair.unlink("a", "c")
    pair.replica("a").retire("c")
    pair.round(4)
    answers = [m for s, _, m in pair.sent if s == "b" and isinstance(m, SyncData)]
    assert answers and not any(m.delta[3] for m in answers)
    assert ("a", "b") in pair.of(SyncRequest)
    assert pair.replica("a").refused == 0


# ---- who holds it back -------------------------------------------------------------------------


class Told:
    """What takes the place of replication, and who held it back at its last look."""

    def __init__(self, deletions: int) -> None:
        self.replica = Replica(boot("me"))
        for number in range(deletions):
            self.replica.put("t", f"k{number}", None, 1.0)
        self.holding: list[str] = []

    def forget(self, holding: list[str]) -> list[Any]:
        self.holding = sorted(holding)
        return []


async def nothing(*_: Any) -> None:
    pass


def boot(name: str) -> str:
    return name.encode().hex().ljust(32, "0")


def member(name: str, status: Status = Status.ALIVE) -> Member:
    return Member(name=name, address=f"{name}:1", boot=boot(name), generation=1, status=status)


def who_holds(*others: Member, absent_for: float, deletions: int = 3) -> list[str]:
    config = NodeConfig(name="me")
    config = replace(config, replication=replace(config.replication, max_deletions=10))
    world = SimpleNamespace(rng=random.Random(1), now=lambda: 0.0, wall=lambda: 0.0)
    cluster = Cluster(config, world, member("me"), Replica(boot("me")), ())  # type: ignore[arg-type]
    for other in others:
        cluster.detector.linked(other.at(Status.ALIVE), 100.0)
    for other in others:
        gossip = Gossip([Update(other).to_wire()])
        cluster.detector.received(boot("x"), gossip, 100.0)
    cluster.links._links = {boot("a"): None}  # type: ignore[dict-item]
    told = cluster._replication = Told(deletions)  # type: ignore[assignment]
    cluster._forget(100.0 + absent_for)
    return told.holding  # type: ignore[attr-defined, no-any-return]


async def test_what_a_message_makes_a_node_write_does_not_wait_for_its_timer():
    """Here that an overwritten value must stay deleted."""
    config = NodeConfig(name="me")
    world = SimpleNamespace(rng=random.Random(1), now=lambda: 100.0, wall=lambda: 100.0)
    world.watch = lambda beat, blocked: None
    world.network = SimpleNamespace(datagrams=nothing)
    mine, theirs = Replica(boot("me")), Replica(boot("a"))
    cluster = Cluster(config, world, member("me"), mine, ())  # type: ignore[arg-type]
    await cluster.start()
    cluster._replication.linked(boot("a"), 100.0)
    theirs.put("t", "r", b"1", 99.0)
    mine.put("t", "r", None, 100.0)
    armed = cluster._armed_for
    assert armed is not None and armed > 100.0
    (delta,) = theirs.own_deltas(0)
    cluster.on_message(boot("a"), SyncData(delta.to_wire(), last=True, answer=False))
    assert cluster._armed_for == 100.0 + config.replication.push_delay
    await cluster.aclose()


A, SUSPECT, DEAD, LEFT = (
    member("a"),
    member("suspect", Status.SUSPECT),
    member("dead", Status.DEAD),
    member("left", Status.LEFT),
)


def test_present_members_hold_deletions_back_suspected_ones_too():
    assert who_holds(A, SUSPECT, absent_for=9e9) == [boot("a"), boot("suspect")]


def test_an_absent_member_holds_them_back_for_its_time():
    assert who_holds(A, DEAD, absent_for=3599.0) == [boot("a"), boot("dead")]
    assert who_holds(A, DEAD, absent_for=3600.0) == [boot("a")]


def test_a_member_that_has_left_does_not_hold_them_back():
    assert who_holds(A, LEFT, absent_for=0.0) == [boot("a")]


def test_with_too_many_deletions_who_cannot_be_reached_does_not_hold_them_back():
    assert who_holds(A, DEAD, absent_for=0.0, deletions=10) == [boot("a"), boot("dead")]
    assert who_holds(A, DEAD, absent_for=0.0, deletions=11) == [boot("a")]
    assert who_holds(A, SUSPECT, absent_for=0.0, deletions=10) == [boot("a"), boot("suspect")]
    assert who_holds(A, SUSPECT, absent_for=0.0, deletions=11) == [boot("a")]


def test_a_node_alone_does_not_remember_what_it_overwrote_for_nobody():
    pair = Pair("a")
    for number in range(50):
        pair.put("a", "r", b"%d" % number)
    pair["a"].forget([])
    assert pair.replica("a").size == 1


def test_a_peer_that_has_asked_for_nothing_yet_does_not_make_it_remember_either():
    pair = Pair("ab")
    pair["a"].linked("b", pair.now)
    for number in range(50):
        pair.put("a", "r", b"%d" % number)
    pair["a"].forget([])
    assert pair.replica("a").size == 1


def test_a_peer_that_another_one_tells_everything_counts_as_joining():
    pair = Pair("ab")
    pair["a"].linked("b", pair.now)
    assert not pair["a"].is_joining("b", pair.now)
    assert pair["a"].is_joining("b", pair.now + 2)
    pair["a"].received("b", SyncRequest({}), pair.now + 2, pair.now)
    assert not pair["a"].is_joining("b", pair.now + 2)
    assert not pair["a"].is_joining("gone", pair.now + 2)


async def test_who_is_told_everything_by_somebody_else_is_not_waited_for_by_a_flush():
    now = [100.0]
    world = SimpleNamespace(rng=random.Random(1), now=lambda: now[0], wall=lambda: 0.0)
    mine = Replica(boot("me"))
    cluster = Cluster(NodeConfig(name="me"), world, member("me"), mine, ())  # type: ignore[arg-type]
    cluster.detector.linked(A, now[0])
    cluster._replication.linked(boot("a"), now[0])
    cluster.detector.linked(member("donor"), now[0])
    cluster._replication.linked(boot("donor"), now[0])
    cluster.detector.roster._since[A.name] = now[0]
    mine.add("k", None)
    confirmed = SyncRequest({boot("me"): mine.seq})
    cluster._replication.received(boot("donor"), confirmed, now[0], 0.0)
    with pytest.raises(NotReplicated):
        await cluster.acks.replicated(mine.seq, None, 0.0, "it")
    now[0] += 2
    await cluster.acks.replicated(mine.seq, None, 0.0, "it")
    with pytest.raises(NotReplicated):
        await cluster.acks.replicated(mine.seq, 2, 0.0, "it")
