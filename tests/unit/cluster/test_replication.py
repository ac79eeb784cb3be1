from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from pyhorde.cluster.replication.messages import (
    REPLICATION_MESSAGES,
    Audit,
    SyncAck,
    SyncData,
    SyncRequest,
)
from pyhorde.cluster.replication.replication import EARLY, Caught, Learned
from pyhorde.cluster.transport.wire import Wire
from pyhorde.crdt import Delta
from tests.unit.cluster.pair import CONFIG, Pair, met

GOOD = Delta().to_wire()


@pytest.fixture
def pair() -> Pair:
    return met("ab")


def test_two_that_meet_exchange_what_each_lacks():
    pair = Pair()
    for i in range(50):
        pair.write("a", f"from-a-{i}")
        pair.write("b", f"from-b-{i}")
    pair.link("a", "b")
    pair.deliver()
    assert pair.converged()
    assert len(list(pair.replica("a").keys())) == 100
    assert Caught("b") in pair.effects["a"] and Caught("a") in pair.effects["b"]
    assert pair["a"].acked("b") == pair["b"].acked("a") == 50


def test_two_empty_ones_that_meet_have_caught_up_as_well():
    pair = Pair()
    pair.link("a", "b")
    pair.deliver()
    assert pair.effects == {"a": [Caught("b")], "b": [Caught("a")]}


def test_a_write_is_pushed_once_and_confirmed(pair: Pair):
    pair.write("a")
    pair.tick("a")
    pair.deliver()
    assert len(pair.pushes("a")) == 1
    assert pair.converged()
    assert pair["a"].acked("b") == pair.replica("a").seq == 2
    (learned,) = pair.effects["b"]
    assert isinstance(learned, Learned) and learned.joined.keys == {"k"}


def test_writes_wait_a_moment_for_company(pair: Pair):
    for i in range(10):
        pair.write("a", f"k{i}")
    assert pair["a"].next_deadline() == pair.now + CONFIG.push_delay
    pair.run("a", pair["a"].tick(pair.now))
    assert pair.sent == []
    pair.tick("a")
    pair.deliver()
    assert len(pair.pushes("a")) == 1
    assert pair.converged()


def test_one_batch_is_in_flight_and_the_next_carries_all_that_came_meanwhile(pair: Pair):
    pair.write("a", "first")
    pair.tick("a")
    for i in range(5):
        pair.write("a", f"later-{i}")
        pair.tick("a")
    assert len(pair.pushes("a")) == 1
    pair.deliver()
    assert len(pair.pushes("a")) == 2
    assert pair.converged()


def test_what_a_peer_confirmed_grows_only_with_its_word(pair: Pair):
    pair.write("a")
    pair.tick("a")
    assert pair["a"].acked("b") == 1
    pair.deliver(loses=lambda message: isinstance(message, SyncAck))
    assert pair.converged()
    assert pair["a"].acked("b") == 1


def test_an_old_confirmation_takes_nothing_back(pair: Pair):
    pair["a"].received("b", SyncAck({"a": 0}), pair.now, pair.now)
    assert pair["a"].acked("b") == 1
    assert pair["a"].received("b", SyncAck({}), pair.now, pair.now) == []
    assert pair["a"].acked("b") == 1


def test_a_peer_without_a_link_has_confirmed_nothing(pair: Pair):
    pair["a"].unlinked("b")
    pair["a"].unlinked("b")
    assert pair["a"].acked("b") == 0
    assert pair["a"].received("b", SyncAck({"a": 1}), pair.now, pair.now) == []


@pytest.mark.parametrize("kind", [SyncData, SyncAck])
def test_what_was_lost_is_repaired_when_the_other_asks(pair: Pair, kind: type):
    pair.write("a")
    pair.tick("a")
    pair.deliver(loses=lambda message: isinstance(message, kind))
    pair.write("a", "k2")
    pair.tick("b", 2 * CONFIG.sync_interval)
    pair.deliver()
    assert pair.converged()
    assert pair["a"].acked("b") == 3


@pytest.mark.parametrize("kind", [SyncData, SyncAck])
def test_a_push_whose_fate_is_unknown_is_given_up_within_two_exchanges(pair: Pair, kind: type):
    pair.write("a")
    pair.tick("a")
    pair.deliver(loses=lambda message: isinstance(message, kind))
    for _ in range(2):
        assert pair["a"].acked("b") == 1
        pair.tick("a", 2 * CONFIG.sync_interval)
        pair.deliver(loses=lambda message: isinstance(message, SyncRequest))
    assert pair.converged()
    assert pair["a"].acked("b") == 2


def test_a_gap_is_noticed_and_filled_at_once(pair: Pair):
    pair.write("a", "k1")
    (lost,) = pair.replica("a").own_deltas(1)
    pair.write("a", "k2")
    (late,) = pair.replica("a").own_deltas(2)
    assert lost != late
    message = SyncData(late.to_wire(), last=True, answer=False)
    pair.run("b", pair["b"].received("a", message, pair.now, pair.now))
    assert any(isinstance(m, SyncRequest) for _, _, m in pair.sent)
    pair.deliver()
    assert pair.converged()


def test_messages_that_arrive_twice_change_nothing_more(pair: Pair):
    pair.write("a")
    pair.tick("a")
    pair.waiting *= 2
    pair.deliver()
    assert pair.converged()
    assert len(pair.effects["b"]) == 1


def test_whoever_comes_back_gets_what_it_missed(pair: Pair):
    for name, other in ("ab", "ba"):
        pair[name].unlinked(other)
    for i in range(3):
        pair.write("a", f"meanwhile-{i}")
    pair.tick("a")
    assert pair.sent == []
    pair.link("a", "b")
    pair.deliver()
    assert pair.converged()
    assert pair["a"].acked("b") == 4


def test_before_a_peer_has_said_what_it_knows_nothing_is_pushed():
    pair = Pair()
    pair.link("a", "b")
    pair.write("a")
    pair.tick("a")
    assert pair.pushes("a") == []
    pair.deliver()
    assert pair.converged()


def test_large_deltas_travel_in_pieces():
    pair = Pair(config=replace(CONFIG, chunk_bytes=1024))
    for i in range(100):
        pair.write("a", f"k{i}", b"x" * 100)
    pair.link("a", "b")
    pair.deliver()
    answers = [m for a, _, m in pair.sent if a == "a" and isinstance(m, SyncData)]
    assert len(answers) > 5
    assert [m.last for m in answers].count(True) == 1
    for i in range(100):
        pair.write("a", f"more{i}", b"x" * 100)
    pair.tick("a")
    pair.deliver()
    assert pair.converged()
    assert pair["a"].acked("b") == 200


def test_news_of_a_third_node_passes_through_and_the_own_pushes_go_on():
    """What was answered from others' logs alone leaves nothing of the own in flight."""
    pair = Pair("abc")
    pair.write("c", "from-c")
    pair.link("a", "c")
    pair.deliver()
    pair.link("a", "b")
    pair.deliver()
    assert pair.converged()
    pair.write("a", "from-a")
    pair.tick("a")
    pair.deliver()
    assert pair.converged()
    assert pair["a"].acked("b") == 1


def test_it_is_known_who_has_told_all_it_knew():
    pair = Pair("abc")
    pair["b"].settled = True
    pair.link("a", "b")
    assert pair["a"].asking("b", pair.now)
    assert pair["a"].heard() == (False, False)
    assert pair["a"].lagging(pair.now) == ["b"]
    pair.deliver()
    assert not pair["a"].asking("b", pair.now)
    assert pair["a"].heard() == (True, True)
    assert pair["a"].lagging(pair.now) == []
    pair.link("a", "c")
    assert pair["a"].heard() == (False, True)
    pair.deliver()
    assert pair["c"].heard() == (True, False)
    assert not pair["a"].asking("nobody", 0.0)


def test_an_answer_counts_from_the_moment_of_its_request(pair: Pair):
    pair.run("a", pair["a"].ask("b", 200.0))
    pair.run("a", pair["a"].ask("b", 300.0))
    assert pair["a"].asking("b", 300.0)
    assert not pair["a"].asking("b", 300.1)
    pair.deliver()
    assert pair["a"].lagging(300.0) == []
    assert pair["a"].lagging(300.1) == ["b"]


def test_messages_after_the_end_of_the_link_leave_no_trace(pair: Pair):
    for name, other in ("ab", "ba"):
        pair[name].unlinked(other)
    data = SyncData(Delta().to_wire(), last=True, answer=True)
    for message in (SyncRequest({}), SyncAck({"a": 1}), data):
        pair["a"].received("b", message, pair.now, pair.now)
    assert pair["a"].acked("b") == 0
    assert pair["a"].heard() == (True, False)


def test_vectors_are_exchanged_now_and_then_with_a_random_peer():
    pair = Pair("abc")
    pair.link("a", "b")
    pair.link("a", "c")
    pair.deliver()
    pair.sent.clear()
    for _ in range(200):
        pair.tick("a", 0.1)
    pair.waiting.clear()
    asked = [to for a, to, m in pair.sent if a == "a" and isinstance(m, SyncRequest)]
    assert len(asked) == pytest.approx(20, abs=4)
    assert set(asked) == {"b", "c"}


def test_vectors_are_exchanged_with_whoever_is_sent_something_anyway():
    pair = Pair("abc")
    pair.link("a", "b")
    pair.link("a", "c")
    pair.deliver()
    pair.tick("a", 2 * CONFIG.sync_interval)
    pair.sent.clear()
    for turn in range(20):
        pair.now += CONFIG.sync_interval
        pair.run("a", pair["a"].tick(pair.now, ["stranger", "bc"[turn % 2]]))
    asked = [to for a, to, m in pair.sent if a == "a" and isinstance(m, SyncRequest)]
    assert asked == list("bc" * 10)


def test_company_does_not_make_exchanges_more_frequent():
    pair = Pair("ab")
    pair.link("a", "b")
    pair.deliver()
    pair.sent.clear()
    for _ in range(200):
        pair.now += 0.1
        pair.run("a", pair["a"].tick(pair.now, ["b"]))
    asked = [m for a, _, m in pair.sent if a == "a" and isinstance(m, SyncRequest)]
    assert len(asked) <= 20.0 / (EARLY * CONFIG.sync_interval) + 2


def test_an_exchange_in_which_nothing_was_lacking_is_two_messages(pair: Pair):
    pair.tick("a", 2 * CONFIG.sync_interval)
    pair.deliver()
    assert [type(m) for _, _, m in pair.sent] == [SyncRequest, SyncData]
    assert pair.effects["a"] == [Caught("b")]


def test_peers_that_know_equally_much_are_pushed_the_same_message():
    pair = Pair("abcd")
    for other in "bcd":
        pair.link("a", other)
    pair.deliver()
    pair.write("a", "k1")
    pair.tick("a")
    first, *others = pair.pushes("a")
    assert len(others) == 2
    assert all(push is first for push in others)


def test_alone_the_turn_passes():
    pair = Pair("a")
    pair.tick("a", 5.0)
    assert pair.sent == []
    assert pair["a"].next_deadline() > pair.now


def test_an_idle_cluster_says_little():
    """Three nodes, a minute: an exchange per node and interval, and two audits or so."""
    pair = met("abc")
    for _ in range(600):
        pair.now += 0.1
        for name in "abc":
            pair.run(name, pair[name].tick(pair.now))
            pair.deliver()
    kinds = Counter(type(message) for _, _, message in pair.sent)
    assert kinds[SyncRequest] == kinds[SyncData] <= 3 * 60
    assert kinds[Audit] <= 3 * 3
    assert kinds.total() == 2 * kinds[SyncRequest] + kinds[Audit]
    wire = Wire(REPLICATION_MESSAGES)
    assert sum(len(wire.encode(message)) for _, _, message in pair.sent) < 3 * 60 * 40


def test_an_idle_cluster_of_company_says_no_more_either():
    pair = met("abc")
    for _ in range(600):
        pair.now += 0.1
        for name in "abc":
            pair.run(name, pair[name].tick(pair.now, "abc".replace(name, "")))
            pair.deliver()
    assert len(pair.of(SyncRequest)) <= 3 * 60 / EARLY + 3


def test_a_push_is_not_sent_back_nor_on():
    pair = met("abc")
    pair.write("a")
    for _ in range(20):
        pair.tick("a", 0.01)
        pair.deliver()
        for name in "bc":
            pair.tick(name, 0.01)
            pair.deliver()
    assert [(s, to) for s, to, m in pair.sent if isinstance(m, SyncData) and m.delta[3]] == [
        ("a", "b"),
        ("a", "c"),
    ]


def test_what_must_be_said_again_is_pushed_soon(pair: Pair):
    """A deletion that beats a value of which nobody has heard here."""
    pair.put("b", "r", b"late")
    pair.now += 1
    pair.put("a", "r", None)
    pair.tick("a")
    pair.waiting.clear()
    assert pair["a"].next_deadline() > pair.now + CONFIG.push_delay
    pair.tick("b")
    pair.deliver(loses=lambda message: isinstance(message, SyncAck))
    assert pair["a"].next_deadline() <= pair.now + CONFIG.push_delay
    pair["a"].unlinked("b")
    pair["b"].unlinked("a")
    pair.link("a", "b")
    pair.flush()
    assert pair.value("b", "r") is None
    assert pair.equal()


def test_after_a_gap_an_answer_does_not_count_as_all_there_was(pair: Pair):
    pair.run("b", pair["b"].ask("a", pair.now))
    pair.sent.clear()
    gap = SyncData([[], [], [], [["a", 5, 1, [], [], [], True]], {}], last=True, answer=False)
    pair.give("b", "a", gap)
    assert pair.of(SyncRequest) == []  # one is under way
    pair["b"].received("a", SyncData(GOOD, last=True, answer=True), pair.now, pair.now)
    assert pair.effects["b"] == []
    assert pair["b"].asking("a", pair.now)
    assert pair["b"].lagging(pair.now) == ["a"]
    pair.deliver()
    assert pair.effects["b"] == [Caught("a")]


def test_what_was_written_can_be_pushed_without_a_timer(pair: Pair):
    assert pair["a"].written(pair.now)
    assert not pair["a"].written(pair.now)
    pair.write("a")
    pair.run("a", pair["a"].push())
    pair.deliver()
    assert len(pair.pushes("a")) == 1
    assert pair.equal()
    assert pair["a"].written(pair.now)


def test_where_a_request_is_always_under_way_later_answers_count_again(pair: Pair):
    pair.run("b", pair["b"].ask("a", pair.now))
    gap = SyncData([[], [], [], [["a", 5, 1, [], [], [], True]], {}], last=True, answer=False)
    pair["b"].received("a", gap, pair.now, pair.now)
    for expected in ([], [Caught("a")], [Caught("a")]):
        pair.now += 1
        pair["b"].ask("a", pair.now)  # before the one that was asked last is answered
        effects = pair["b"].received(
            "a", SyncData(GOOD, last=True, answer=True), pair.now, pair.now
        )
        assert [each for each in effects if isinstance(each, Caught)] == expected
