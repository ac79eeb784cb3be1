"""What is sent, piece by piece, and what a push carries."""

import pytest

from pyhorde.crdt import Delta, RegisterRow, Replica, Row, Segment
from pyhorde.crdt import transfer as transfer_module
from pyhorde.crdt.delta import MAX_HASH, Piece

WALL = 1_000.0


def sync(frm: Replica, to: Replica) -> None:
    for delta in frm.answer(to.vector, asker=to.origin):
        to.join(delta, WALL)


def segments(deltas: list[Delta]) -> list[Segment]:
    return [segment for delta in deltas for segment in delta.segments]


@pytest.fixture
def a() -> Replica:
    return Replica("a")


@pytest.fixture
def b() -> Replica:
    return Replica("b")


class TestAnswer:
    def test_nothing_is_sent_to_one_who_knows_as_much(self, a: Replica, b: Replica):
        a.add("k", None)
        a.put("t", "k", b"", WALL)
        sync(a, b)
        assert a.deltas_for(b.vector) == b.deltas_for(a.vector) == []

    def test_only_what_is_missing_is_sent(self, a: Replica):
        first = a.add("x", b"")
        a.put("t", "x", b"", WALL)
        a.add("y", b"", label=b"p")
        a.put("t", "y", b"", WALL)
        a.remove(first)
        registers, events = a.deltas_for({"a": 2})
        assert [row.key for row in registers.registers] == ["y"]
        (segment,) = events.segments
        assert segment.rows == (Row(3, "y", b"", b"p"),)
        assert (segment.frm, segment.to, segment.kills) == (2, 5, ((5, 1),))

    def test_other_origins_are_served_too_but_not_the_asker_s(self, a: Replica, b: Replica):
        b.add("k", b"of b")
        b.put("t", "k", b"of b", WALL)
        sync(b, a)
        other = Replica("c")
        sync(a, other)
        assert other.snapshot() == b.snapshot()
        assert list(a.answer({}, asker="b")) == [Delta((a.row_of(("t", "k")),))]

    def test_registers_go_ahead_of_every_segment_in_chunks(self, a: Replica, b: Replica):
        for replica in (a, b):
            replica.put("t", f"of {replica.origin}", b"1234", WALL)
            replica.put("u", f"of {replica.origin}", None, WALL)
        sync(b, a)
        deltas = a.deltas_for({}, chunk_bytes=1)
        assert [len(delta.registers) for delta in deltas] == [1, 1, 1, 1, 0, 0]
        assert [len(delta.segments) for delta in deltas] == [0, 0, 0, 0, 1, 1]

    def test_rows_are_cut_into_chunks(self, a: Replica):
        for number in range(16):
            a.add(f"k{number}", b"v" * 81)
        pieces = segments(a.deltas_for({}, chunk_bytes=200))
        assert {len(piece.rows) for piece in pieces} == {1, 2}
        assert [piece.frm for piece in pieces] == [0, *(piece.to for piece in pieces[:-1])]
        assert pieces[-1].to == 16

    def test_events_of_which_nothing_is_left_cost_nothing(self, a: Replica, b: Replica):
        far = 2**40 - 1
        a.join(Delta(segments=(Segment("c", 0, far, (), (), complete=False),)), WALL)
        assert len(a.deltas_for({})) == 1
        assert len(a.deltas_for({"c": 5})) <= 3
        sync(a, b)
        assert b.known("c") == far

    def test_one_row_far_ahead_costs_nothing_either(self, a: Replica, b: Replica):
        far = 2**40 - 1
        piece = Piece("", far - 5, None, ["k"], [(1, b"")], None)
        a.join(Delta(segments=(Segment("c", 0, far, (piece,), (), complete=False),)), WALL)
        assert len(a.deltas_for({})) <= 4
        sync(a, b)
        assert (b.known("c"), sorted(b.keys())) == (far, ["k"])
        assert len(a.deltas_for({"c": far - 1})) <= 4

    def test_registers_known_ahead_of_their_segment_are_sent(self, a: Replica, b: Replica):
        early = RegisterRow("t", "k", 0, 1, "c", "c", 5, b"v", False)
        a.join(Delta((early,)), WALL)
        assert a.is_ahead
        assert a.deltas_for(b.vector) == [Delta((early,))]
        assert a.deltas_for({"c": 5}) == []

    def test_marks_are_told_once(self, a: Replica, b: Replica):
        a.mark("life", 7)
        a.add("k", None)
        sync(a, b)
        assert b.marks == {"life": 7}
        a.add("l", None)
        assert all(not delta.marks for delta in a.answer(b.vector))

    def test_lists_of_live_rows_go_ahead_when_removals_were_forgotten(
        self, a: Replica, b: Replica, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(transfer_module, "WINDOW", 2)
        dots = [a.add(key, None) for key in "vwxyz"]
        sync(a, b)
        a.remove(dots[1])
        a.forget_removals(a.vector)
        *lists, events = a.deltas_for(b.vector)
        live = [each for delta in lists for each in delta.live]
        assert [(each.frm, each.to, each.seqs) for each in live] == [
            (0, 3, (1, 3)),
            (3, 5, (4, 5)),
        ]
        assert not events.segments[0].complete
        sync(a, b)
        assert sorted(b.keys()) == ["v", "x", "y", "z"]

    def test_held_lists_go_ahead_when_deletions_were_forgotten(
        self, a: Replica, b: Replica, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(transfer_module, "CHUNK_HASHES", 2)
        for key in "uvwxyz":
            a.put("t", key, b"v", WALL)
        sync(a, b)
        a.put("t", "u", None, WALL)
        a.forget_deletions(a.deleted())
        held = [each for delta in a.deltas_for(b.vector) for each in delta.held]
        assert [len(each.orders) for each in held] == [2, 2, 1]
        assert [each.low for each in held] == [0, *(each.high for each in held[:-1])]
        assert held[-1].high == MAX_HASH
        assert held[0].forgotten.floors == {"a": 7}
        sync(a, b)
        assert sorted(b.table("t")) == ["v", "w", "x", "y", "z"]
        assert a.deltas_for(b.vector) == []

    def test_a_piece_has_what_is_current_when_it_is_made(self, a: Replica, b: Replica):
        a.put("t", "x", b"old", WALL)
        a.put("t", "y", b"old", WALL)
        pieces = a.answer({}, 1)
        first = next(pieces)
        a.put("t", "y", b"new", WALL)
        a.add("k", None)
        second = next(pieces)
        assert [row.value for row in first.registers + second.registers] == [b"old", b"new"]
        assert segments(list(pieces))[-1].to == 2

    def test_all_registers_are_sent_to_repair_what_is_wrong(self, a: Replica, b: Replica):
        a.put("t", "x", b"v", WALL)
        a.put("t", "y", None, WALL)
        sync(a, b)
        b._registers.remove(("t", "x"))
        assert a.register_digest != b.register_digest
        sync(a, b)
        for delta in a.all_registers(1):
            b.join(delta, WALL)
        assert b.register("t", "x") is None
        for delta in a.all_registers(1):
            b.join(delta, WALL, repair=True)
        assert a.register_digest == b.register_digest


class TestOwnDeltas:
    def test_nothing_is_pushed_when_nothing_is_new(self, a: Replica):
        assert a.own_deltas(0) == []
        a.add("k", None)
        assert a.own_deltas(1) == a.own_deltas(7) == []

    def test_only_own_events_after_the_start_are_pushed(self, a: Replica, b: Replica):
        b.add("of b", None)
        sync(b, a)
        a.add("x", None)
        a.put("t", "x", b"", WALL)
        a.add("y", None)
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
        a.add("k", None)
        (delta,) = a.own_deltas(1)
        assert delta.registers == ()

    def test_an_own_write_is_pushed_once_when_it_overwrote_again(self, a: Replica, b: Replica):
        a.put("t", "k", b"first", WALL)
        a.put("t", "k", b"second", WALL)
        (delta,) = a.own_deltas(0)
        assert [row.value for row in delta.registers] == [b"second"]
        a.forget_overwritten(1)
        assert a.can_push(1)
        assert not a.can_push(0)

    def test_every_piece_brings_the_registers_that_it_covers(self, a: Replica, b: Replica):
        for number in range(20):
            a.put("t", f"k{number}", bytes(50), WALL)
            a.add(f"k{number}", None)
        for delta in a.own_deltas(0, 100):
            b.join(delta, WALL)
            (segment,) = delta.segments
            assert b.known("a") == segment.to
            assert len(b.table("t")) == (segment.to + 1) // 2
