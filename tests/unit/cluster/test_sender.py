"""What flows to one peer, and when."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from pyhorde.cluster.replication import sender as sender_module
from pyhorde.cluster.replication.messages import SyncAck, SyncData, SyncRequest
from pyhorde.cluster.replication.replication import Caught
from pyhorde.cluster.replication.sender import WINDOW, Pushes, Sender
from pyhorde.crdt import Delta, Replica
from pyhorde.crdt.replica import CHUNK_ROWS
from tests.unit.cluster.pair import CONFIG, Pair, met

FULL = 64
"""Rows of a full chunk in these tests."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "CHUNK_ROWS", FULL)


@pytest.fixture
def pair() -> Pair:
    return met("ab")


class Pusher:
    """One sender to ``b``; the test plays the peer."""

    def __init__(self, chunk_bytes: int = 1024) -> None:
        self.replica = Replica("a")
        self.pushes = Pushes(self.replica, chunk_bytes)
        self.out = Sender("b", self.pushes)

    def write(self, count: int, value: bytes = b"x" * 100) -> None:
        for number in range(count):
            self.replica.add(f"k{self.replica.seq}-{number}", value)

    def ready(self, *, push: bool = True) -> list[SyncData]:
        return self.out.ready(push=push)

    def confirm(self, message: SyncData) -> None:
        self.out.confirmed({s.origin: s.to for s in Delta.from_wire(message.delta).segments})


@pytest.fixture
def sender() -> Pusher:
    made = Pusher()
    made.out.requested({})
    assert [m.answer for m in made.ready()] == [True]
    return made


def spans(messages: list[SyncData]) -> list[tuple[int, int]]:
    """From which event to which the segments of these messages go."""
    found = [Delta.from_wire(message.delta).segments for message in messages]
    return [(s.frm, s.to) for segments in found for s in segments]


def test_pushes_wait_until_the_peer_has_said_what_it_knows():
    sender = Pusher()
    sender.write(1)
    assert sender.ready() == []
    assert sender.out.acked is None


def test_a_window_of_messages_is_under_way(sender: Pusher):
    sender.write(10 * FULL)
    first = sender.ready()
    assert len(first) == WINDOW
    assert sender.ready() == []
    for message in first[:2]:
        sender.confirm(message)
    assert len(sender.ready()) == 2


def test_the_messages_follow_each_other_without_a_hole(sender: Pusher):
    sender.write(10 * FULL)
    waiting = sender.ready()
    sent = list(waiting)
    while waiting:
        sender.confirm(waiting.pop(0))
        waiting += (more := sender.ready())
        sent += more
    assert spans(sent)[0][0] == 0
    assert spans(sent)[-1][1] == sender.replica.seq
    assert all(one[1] == other[0] for one, other in pairwise(spans(sent)))


def test_less_than_a_full_chunk_waits_for_a_confirmation(sender: Pusher):
    sender.write(1)
    (first,) = sender.ready()
    sender.write(FULL - 1, b"")
    assert sender.ready() == []
    sender.confirm(first)
    assert spans(sender.ready()) == [(1, FULL)]


def test_a_full_chunk_does_not_wait(sender: Pusher):
    sender.write(1)
    sender.ready()
    sender.write(FULL, b"")
    assert spans(sender.ready())[0][0] == 1


def test_many_small_writes_during_one_push_become_one_message(pair: Pair):
    pair.write("a")
    pair.tick("a")
    for number in range(40):
        pair.write("a", f"k{number}")
        pair.tick("a")
    assert len(pair.pushes("a")) == 1
    pair.deliver()
    assert len(pair.pushes("a")) == 2
    assert pair.converged()


def test_peers_that_are_equally_far_are_sent_the_same_object():
    pushes = Pusher().pushes
    pushes.replica.add("k", b"v")
    (_, first), (_, again) = pushes.after(0), pushes.after(0)
    assert first is again


def test_peers_at_different_points_share_what_was_made_for_each_point():
    sender = Pusher()
    outs = [Sender(name, sender.pushes) for name in "bcde"]
    sender.write(4, b"")
    for out, known in zip(outs, (2, 3, 2, 3), strict=True):
        out.requested({"a": known})
        out.ready(push=False)
        out.confirmed({"a": known})
        out._sent = known
    made = [message for out in outs for message in out.ready(push=True)]
    assert spans(made) == [(2, 4), (3, 4), (2, 4), (3, 4)]
    assert made[0] is made[2] and made[1] is made[3]


def test_a_push_that_was_made_before_more_was_written_is_made_anew():
    sender = Pusher(chunk_bytes=1024 * 1024)
    sender.write(1, b"")
    sender.pushes.after(0)
    sender.write(1, b"")
    assert spans([sender.pushes.after(0)[1]]) == [(0, 2)]


def test_the_latest_pushes_only_are_kept():
    sender = Pusher()
    sender.write(20, b"")
    for frm in range(20):
        sender.pushes.after(frm)
    assert len(sender.pushes._made) == sender_module.KEPT_PUSHES


def test_nothing_is_pushed_while_an_answer_is_under_way():
    sender = Pusher()
    sender.write(100)
    sender.out.requested({})
    first = sender.ready()
    sender.write(FULL, b"")
    sent = list(first)
    while first:
        sender.confirm(first.pop(0))
        first += (more := sender.ready())
        sent += more
    assert [m.answer for m in sent] == sorted((m.answer for m in sent), reverse=True)
    answers, pushes = [m for m in sent if m.answer], [m for m in sent if not m.answer]
    assert spans(answers)[-1][1] == 100
    assert spans(pushes)[0][0] == 100


def test_only_the_last_piece_of_an_answer_says_so():
    sender = Pusher()
    sender.write(200)
    sender.out.requested({})
    sent = waiting = sender.ready(push=False)
    while waiting:
        for message in waiting:
            sender.confirm(message)
        waiting = sender.ready(push=False)
        sent = sent + waiting
    assert len(sent) > 2 * WINDOW
    assert [m.last for m in sent] == [False] * (len(sent) - 1) + [True]


def test_each_request_gets_one_end_also_when_they_come_all_at_once(pair: Pair):
    for number in range(100):
        pair.write("a", f"k{number}", b"x" * 10_000)
    for _ in range(5):
        pair.run("b", pair["b"].ask("a", pair.now))
    pair.deliver()
    answers = [m for a, _, m in pair.sent if a == "a" and isinstance(m, SyncData) and m.answer]
    assert [m.last for m in answers].count(True) == 5
    assert pair.effects["b"].count(Caught("a")) == 5
    assert pair.converged()


def test_a_request_during_an_answer_is_answered_after_it_with_what_is_still_lacking():
    """A peer asks once a second; a long answer must not be followed by another such."""
    sender = Pusher()
    sender.write(200)
    sender.out.requested({})
    waiting = sender.ready(push=False)
    sender.out.requested({})
    sender.out.requested({})
    sent: list[SyncData] = []
    while waiting:
        sent.append(waiting.pop(0))
        sender.confirm(sent[-1])
        waiting += sender.ready(push=False)
    assert [m.last for m in sent].count(True) == 3
    assert [m.last for m in sent[-3:]] == [True] * 3
    assert spans(sent[-2:]) == []


def test_the_next_answer_waits_until_the_one_before_is_confirmed():
    sender = Pusher(chunk_bytes=1024 * 1024)
    sender.write(10)
    sender.out.requested({})
    (first,) = sender.ready()
    sender.out.requested({})
    assert sender.ready() == []
    sender.confirm(first)
    (second,) = sender.ready()
    assert second.last and second.answer and spans([second]) == []


@pytest.mark.parametrize("kind", [SyncData, SyncAck])
def test_what_was_lost_is_given_up_by_the_second_review(pair: Pair, kind: type):
    pair.write("a")
    pair.tick("a")
    pair.deliver(loses=lambda message: isinstance(message, kind))
    pair.write("a", "k2")
    out = pair["a"]._peers["b"].out
    assert not out.review()
    assert out.ready(push=True) == []
    assert out.review()
    assert spans(out.ready(push=True)) == [(1, 3)]


def test_a_request_is_answered_at_once_though_a_whole_window_of_pushes_was_lost(sender: Pusher):
    sender.write(10 * FULL)
    assert len(sender.ready()) == WINDOW
    sender.out.requested({})
    answer = sender.ready()
    assert [m.answer for m in answer] == [True] * WINDOW
    assert spans(answer)[0][0] == 0


def test_what_has_just_been_sent_is_not_given_up(sender: Pusher):
    """However long nothing was under way before."""
    for message in sender.ready():
        sender.confirm(message)
    for _ in range(3):
        assert not sender.out.review()
    sender.write(1)
    (push,) = sender.ready()
    assert not sender.out.review()
    sender.confirm(push)
    assert not sender.out.review()
    assert sender.ready() == []


def test_an_answer_that_waits_for_lost_confirmations_is_sent_after_all(pair: Pair):
    for number in range(20):
        pair.write("a", f"k{number}")
    for _ in range(2):
        pair.run("b", pair["b"].ask("a", pair.now))
        pair.deliver(loses=lambda message: isinstance(message, SyncAck))
    assert pair["a"].acked("b") == 1 or pair.effects["b"].count(Caught("a")) == 1
    for _ in range(2):
        pair.tick("a", 2 * CONFIG.sync_interval)
        pair.deliver(loses=lambda message: isinstance(message, SyncRequest))
    assert pair.effects["b"].count(Caught("a")) == 2
    assert pair["a"].acked("b") == 21


def test_who_lacks_forgotten_removals_is_brought_up_by_a_transfer(pair: Pair):
    for number in range(3):
        pair.write("a", f"k{number}")
    pair.flush()
    (first, *_) = [c for c in pair.replica("a").claims_of("a") if c.key == "k0"]
    pair.replica("a").remove(first.dot)
    pair.replica("a").forget_removals({"a": pair.replica("a").seq})
    assert not pair.replica("a").can_push(pair["a"].acked("b"))
    pair.sent.clear()
    pair["a"].written(pair.now)
    pair.tick("a")
    pair.deliver()
    assert pair.converged()
    (live, segment) = pair.pushes("a")
    assert (live.last, segment.last) == (False, True)
    assert not live.answer and not segment.answer
    assert Caught("a") not in pair.effects["b"]


def test_who_lacks_a_forgotten_deletion_is_brought_up_by_a_transfer(pair: Pair):
    pair.put("a", "r", b"1")
    pair.flush()
    pair.put("a", "r", None)
    pair.replica("a").forget_deletions(pair.replica("a").deleted())
    assert pair.value("b", "r") == b"1"
    pair.flush()
    assert pair.value("b", "r") is None
    assert pair.equal()
    assert pair["a"].acked("b") == pair.replica("a").seq


def test_who_confirms_through_relays_is_not_sent_it_again(sender: Pusher):
    sender.write(3)
    for message in sender.ready(push=False):
        sender.confirm(message)
    sender.out.learned({"a": 3})
    assert sender.out.acked == 3
    assert sender.ready() == []
    sender.write(1)
    assert spans(sender.ready()) == [(3, 4)]


def test_a_confirmation_of_what_a_relay_sent_says_nothing_of_the_own_push(pair: Pair):
    pair.write("a")
    pair.tick("a")
    pair.write("a", "k2")
    pair.give("a", "b", SyncAck({"a": 2}, relayed=True))
    assert len(pair.pushes("a")) == 1
    assert pair["a"].acked("b") == 2


def test_confirmations_from_relays_leave_room_for_no_more(sender: Pusher):
    sender.write(10 * FULL)
    sender.ready()
    sender.out.learned({"a": FULL})
    assert sender.ready() == []


def test_a_peer_that_had_to_start_again_has_confirmed_only_what_it_says(sender: Pusher):
    sender.write(3)
    sender.out.learned({"a": 3})
    sender.out.requested({})
    assert sender.out.acked == 0
    assert spans(sender.ready()) == [(0, 3)]


def sizes(messages: list[Any]) -> list[int]:
    """How many rows each message carries."""
    found = [Delta.from_wire(m.delta).segments for m in messages if isinstance(m, SyncData)]
    return [sum(len(s.rows) for s in segments) for segments in found]


def test_twenty_thousand_names_travel_in_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sender_module, "CHUNK_ROWS", CHUNK_ROWS)
    pair = met("ab")
    names = [f"name-{number}" for number in range(20_000)]
    for start in range(0, 20_000, 5000):
        pair.replica("a").add_all(names[start : start + 5000])
    pair["a"].written(pair.now)
    pair.flush()
    assert pair.converged()
    assert sum(sizes(pair.pushes("a"))) == 20_000
    assert max(sizes(pair.pushes("a"))) <= CHUNK_ROWS
    late = Pair("bc", CONFIG)
    late.cores["b"] = pair["b"]
    late.link("b", "c")
    late.deliver()
    answers = [m for a, _, m in late.sent if a == "b"]
    assert max(sizes(answers)) <= CHUNK_ROWS
    assert len(list(late.replica("c").keys())) == 20_002


@pytest.mark.parametrize(("count", "size"), [(40, 64 * 1024), (3, 4 * 1024 * 1024)])
def test_large_values_and_states_arrive(count: int, size: int):
    pair = met("ab", replace(CONFIG, chunk_bytes=256 * 1024))
    for number in range(count):
        pair.put("a", f"state-{number}", bytes([number]) * size)
        pair.write("a", f"name-{number}", bytes([number]) * 1024)
    pair.flush()
    assert pair.equal()
    largest = max(sum(len(row[7]) for row in m.delta[0]) for m in pair.pushes("a"))
    assert largest <= max(size, 256 * 1024) + 64 * 1024
    pair.unlink("a", "b")
    for number in range(count):
        pair.put("b", f"state-{number}", bytes([number + 1]) * size)
    pair.link("a", "b")
    pair.deliver()
    assert pair.equal()
    assert pair.value("a", "state-2") == b"\x03" * size
