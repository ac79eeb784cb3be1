"""One origin's events: what is remembered, and how a range of them is cut into segments."""

import pytest

from pyhorde.crdt import log as log_module
from pyhorde.crdt.delta import Row, Segment
from pyhorde.crdt.log import ROW_OVERHEAD, OriginLog

ROW_BYTES = ROW_OVERHEAD + 1


def log_of(*live: int, seq: int = 0) -> OriginLog:
    """A log with rows at these events."""
    log = OriginLog("a")
    log.rows = {number: Row(number, "k", b"") for number in live}
    log.seq = max(seq, *live, 0)
    return log


def ranges(segments: list[Segment]) -> list[tuple[int, int, list[int]]]:
    return [(s.frm, s.to, [row.seq for row in s.rows]) for s in segments]


def test_an_empty_log_is_one_empty_segment():
    assert OriginLog("a").segments(0, 100) == [Segment("a", 0, 0, complete=False)]


def test_a_segment_reaches_to_the_last_event_when_the_last_rows_are_gone():
    assert ranges(log_of(1, 2, seq=9).segments(0, 1000)) == [(0, 9, [1, 2])]


def test_only_rows_after_the_start_are_listed():
    assert ranges(log_of(1, 3, 5).segments(3, 1000)) == [(3, 5, [5])]


@pytest.mark.parametrize(
    ("chunk_bytes", "expected"),
    [
        (0, [(0, 1, [1]), (1, 2, [2]), (2, 5, [4])]),
        (ROW_BYTES - 1, [(0, 1, [1]), (1, 2, [2]), (2, 5, [4])]),
        (ROW_BYTES, [(0, 2, [1, 2]), (2, 5, [4])]),
        (2 * ROW_BYTES, [(0, 5, [1, 2, 4])]),
    ],
)
def test_pieces_follow_on_each_other_whatever_their_size(
    chunk_bytes: int, expected: list[tuple[int, int, list[int]]]
):
    assert ranges(log_of(1, 2, 4, seq=5).segments(0, chunk_bytes)) == expected


def test_a_piece_has_the_removals_of_its_range():
    log = log_of(4, 6, seq=7)
    for at, seq in ((3, 1), (5, 2), (7, 3)):
        log.remember_kill(at, seq)
    kills = [segment.kills for segment in log.segments(3, chunk_bytes=0)]
    assert kills == [(), ((5, 2), (7, 3))]


def test_a_segment_from_the_beginning_needs_no_removals():
    log = log_of(2, seq=3)
    log.remember_kill(3, 1)
    assert log.segments(0, 100) == [Segment("a", 0, 3, (Row(2, "k", b""),), complete=False)]


def test_removals_are_all_known_when_none_was_forgotten():
    (segment,) = log_of(1, 2, 3).segments(1, 100)
    assert segment.complete
    assert segment.live is None


def test_the_oldest_removals_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(log_module, "KEPT_KILLS", 2)
    log = log_of(4, seq=7)
    for at, seq in ((5, 1), (6, 2), (7, 3)):
        log.remember_kill(at, seq)
    assert list(log.kills) == [(6, 2), (7, 3)]
    assert log.floor == 5


@pytest.mark.parametrize(("frm", "complete"), [(4, False), (5, True), (6, True)])
def test_a_segment_is_complete_from_the_floor_on(frm: int, complete: bool):
    log = log_of(1, 3, 7)
    log.floor = 5
    (segment,) = log.segments(frm, 100)
    assert segment.complete is complete
    assert segment.live == (None if complete else (1, 3))


def test_only_the_first_piece_lists_the_live_events_before_it():
    log = log_of(1, 3, 4, 7)
    log.floor = 7
    pieces = log.segments(2, chunk_bytes=0)
    assert [(p.frm, p.complete, p.live) for p in pieces] == [
        (2, False, (1,)),
        (3, False, None),
        (4, False, None),
    ]


def test_advance_never_goes_back():
    log = OriginLog("a")
    log.advance(5)
    log.advance(3)
    assert log.seq == 5


def test_a_register_is_early_until_its_event_is_known():
    log = OriginLog("a")
    log.note_register(("t", "x"), 1)
    log.note_register(("t", "y"), 2)
    assert log.early == {("t", "x"), ("t", "y")}
    log.advance(1)
    assert log.early == {("t", "y")}
    log.advance(2)
    assert log.early == set()


def test_a_register_of_a_known_event_is_not_early():
    log = log_of(seq=3)
    log.note_register(("t", "x"), 3)
    assert log.registers == {("t", "x"): 3}
    assert log.early == set()


def test_a_register_is_forgotten_when_somebody_else_wrote_it():
    log = OriginLog("a")
    log.note_register(("t", "x"), 1)
    log.forget_register(("t", "x"))
    log.forget_register(("t", "never written"))
    assert (log.registers, log.early) == ({}, set())


@pytest.mark.parametrize("to", [6, 1_000_000])
def test_live_between_is_the_same_found_either_way(to: int):
    assert log_of(1, 2, 3, 5, 6, 8, 9, seq=9).live_between(2, min(to, 6)) == [3, 5, 6]
    assert log_of(2, 3, 5).live_between(2, to) == [3, 5]
