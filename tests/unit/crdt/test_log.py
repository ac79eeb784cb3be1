"""One origin's events: what is remembered, and what a segment of them says."""

import pytest

from pyhorde.crdt import Dot
from pyhorde.crdt import log as log_module
from pyhorde.crdt.delta import Piece, Segment
from pyhorde.crdt.log import Kills, OriginLog
from pyhorde.crdt.rows import Run

X, Y = ("t", "x"), ("t", "y")


def log_of(*live: int, seq: int = 0) -> OriginLog:
    """A log with rows at these events."""
    log = OriginLog("a", 1)
    for number in live:
        log.put("", number, f"k{number}", b"")
    log.seq = max(seq, *live, 0)
    return log


class TestKills:
    def test_those_in_a_range_are_found(self):
        kills = Kills()
        for at, seq in ((3, 1), (5, 2), (7, 4)):
            kills.remember(at, seq)
        assert kills.between(3, 7) == ((5, 2), (7, 4))
        assert kills.between(0, 6) == ((3, 1), (5, 2))
        assert len(kills) == 3

    def test_those_up_to_an_event_are_forgotten(self):
        kills = Kills()
        for at in (3, 5, 7):
            kills.remember(at, 1)
        kills.forget(5)
        assert (kills.floor, kills.between(0, 9)) == (5, ((7, 1),))
        kills.forget(4)
        assert kills.floor == 5

    @pytest.mark.parametrize("kept", [0, 1, 20])
    def test_the_oldest_are_forgotten_when_there_are_too_many(
        self, kept: int, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(log_module, "KEPT_KILLS", kept)
        kills = Kills()
        for at in range(1, 100):
            kills.remember(at, at)
            assert len(kills) <= kept + kept // 10
            known = [at for at, _ in kills.between(0, 1000)]
            assert known == list(range(kills.floor + 1, at + 1))


class TestRows:
    def test_they_are_counted_and_summed(self):
        log = log_of(1, 2, 5)
        log.extend(
            Piece("u", 6, None, ["x", "y"], [(2, b"p")], None), Run(6, None, ["x", "y"], [b"p"] * 2)
        )
        assert (log.live, log.total) == (5, 21)
        assert log.get(6) == ("u", "x", b"p")
        assert log.pop(6) == ("u", "x", b"p")
        assert log.pop(6) is log.get(6) is None
        assert (log.live, log.total) == (4, 15)
        assert log.seqs(1, 9) == [2, 5, 7]

    def test_labels_are_those_of_what_is_left_of_a_piece(self):
        log = OriginLog("a", 1)
        piece = Piece("", 1, None, ["x", "y", "z"], [(2, b"p"), (1, b"q")], None)
        run = piece.run().after(1)
        assert run is not None
        log.extend(piece, run)
        labels = log.shelf("").labels
        assert (list(labels.seqs(b"p")), list(labels.seqs(b"q"))) == ([2], [3])

    def test_weight_grows_with_keys_and_values(self):
        log = log_of(1, 2)
        assert log.weight(0, 1) < log.weight(0, 2)
        log.put("", 3, "k", (b"", bytes(100)))
        assert log.weight(2, 3) > 100
        assert log.weight(3, 9) == 0


class TestSegments:
    def test_an_empty_log_is_one_empty_segment(self):
        assert OriginLog("a", 1).segment(0, 0) == Segment("a", 0, 0, complete=False)

    def test_only_rows_of_the_range_are_listed(self):
        segment = log_of(1, 3, 5, 6).segment(1, 5)
        assert [row.seq for row in segment.rows] == [3, 5]
        assert (segment.frm, segment.to) == (1, 5)

    def test_a_segment_from_the_beginning_needs_no_removals(self):
        log = log_of(2, seq=3)
        log.kills.remember(3, 1)
        segment = log.segment(0, 3)
        assert (segment.kills, segment.complete) == ((), False)

    def test_a_segment_has_the_removals_of_its_range(self):
        log = log_of(4, seq=7)
        for at, seq in ((3, 1), (5, 2), (7, 3)):
            log.kills.remember(at, seq)
        assert log.segment(3, 6).kills == ((5, 2),)

    @pytest.mark.parametrize(("frm", "complete"), [(4, False), (5, True), (6, True)])
    def test_a_segment_is_complete_from_the_floor_on(self, frm: int, complete: bool):
        log = log_of(1, 3, 7)
        log.kills.forget(5)
        assert log.segment(frm, 7).complete is complete


class TestRegisters:
    def test_one_is_early_until_its_event_is_known(self):
        log = OriginLog("a", 1)
        log.carry(X, 1)
        log.carry(Y, 2)
        assert log.carries
        assert log.registers(0, 9) == []
        assert log.registers(0) == [(X, Dot("a", 1)), (Y, Dot("a", 2))]
        assert log.registers(1) == [(Y, Dot("a", 2))]
        log.advance(1)
        assert log.registers(0, 9) == [(X, Dot("a", 1))]

    def test_they_are_listed_by_event_whatever_came_first(self):
        log = log_of(seq=9)
        for name, seq in ((X, 7), (Y, 3)):
            log.carry(name, seq)
        assert log.registers(0) == [(Y, Dot("a", 3)), (X, Dot("a", 7))]
        assert log.registers(3) == [(X, Dot("a", 7))]
        assert log.registers(0, 6) == [(Y, Dot("a", 3))]

    def test_one_that_is_not_current_any_more_is_dropped(self):
        log = log_of(seq=3)
        log.carry(X, 3)
        log.carry(Y, 5)
        for seq in (3, 5, 8):
            log.drop_register(seq)
        assert not log.carries
        assert log.registers(0) == []

    def test_advance_never_goes_back(self):
        log = OriginLog("a", 1)
        log.advance(5)
        log.advance(3)
        assert log.seq == 5
