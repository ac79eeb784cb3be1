"""The wire form of deltas: what goes out comes in, and nothing else does."""

import tracemalloc
from typing import Any

import msgpack
import pytest

from pyhorde.crdt.delta import (
    MAX_EVENT,
    MAX_HASH,
    MAX_KEY_BYTES,
    MAX_ROWS,
    MAX_SEQ,
    MAX_STAMP,
    MAX_TABLE_BYTES,
    Delta,
    Forgotten,
    Held,
    Live,
    Piece,
    RegisterRow,
    Row,
    Segment,
    hash_of,
    hash_of_order,
)

REGISTER = RegisterRow("t", "k", 1, 2, "w", "a", 3, b"v", False)
PIECE = Piece("u", 5, [0, 3], ["k", "l"], [(1, b"p"), (1, b"")], [b"v", None])
SEGMENT = Segment("a", 3, 9, (PIECE,), ((6, 2), (7, 4)))
FORGOTTEN = Forgotten({"a": 3}, {"b": 4}, {"t": (1, 2)})
HELD = Held(0, MAX_HASH, {7: 8, 9: 1}, {"a": 3}, FORGOTTEN)
LIVE = Live("a", 2, 9, (3, 4, 7, 9))


def wire(index: int, *rows: Any) -> list[Any]:
    fields: list[Any] = [[], [], [], [], {}]
    fields[index] = list(rows)
    return fields


def register(**changes: Any) -> list[Any]:
    fields = dict(zip(RegisterRow._fields, REGISTER, strict=True)) | changes
    order = "table key rank stamp writer origin seq value deleted".split()
    return wire(0, [fields[name] for name in order])


def held(**changes: Any) -> list[Any]:
    fields = {"low": 0, "high": 9, "hashes": bytes(8), "orders": bytes(4), "covers": {}}
    fields |= {"floors": {}, "passed_on": {}, "greatest": {}}
    assert changes.keys() <= fields.keys()
    return wire(1, list((fields | changes).values()))


def live(**changes: Any) -> list[Any]:
    fields = {"origin": "a", "frm": 2, "to": 9, "steps": [3, 2]}
    return wire(2, list((fields | changes).values()))


def segment(**changes: Any) -> list[Any]:
    fields = {"origin": "a", "frm": 3, "length": 6, "pieces": [], "at": [3], "back": [4]}
    fields |= {"complete": True}
    assert changes.keys() <= fields.keys()
    return wire(3, list((fields | changes).values()))


def piece(**changes: Any) -> list[Any]:
    fields = {"table": "u", "start": 2, "gaps": [0, 3], "keys": ["k", "l"]}
    fields |= {"labels": [2, b"p"], "values": None}
    assert changes.keys() <= fields.keys()
    return segment(pieces=[list((fields | changes).values())])


@pytest.mark.parametrize(
    "delta",
    [
        Delta(),
        Delta((REGISTER,), (HELD,), (LIVE,), (SEGMENT,), {"life": 7}),
        Delta((REGISTER._replace(deleted=True, value=b""), REGISTER._replace(writer="a"))),
        Delta((REGISTER._replace(stamp=MAX_STAMP - 1, rank=MAX_SEQ, seq=MAX_EVENT),)),
        Delta(segments=(Segment("a", 0, 0), Segment("b", 0, MAX_EVENT, complete=False))),
        Delta(segments=(Segment("a", 3, 5, (Piece("", 4, None, ["k"], [(1, b"")], None),)),)),
        Delta(live=(Live("a", 0, 0, ()), Live("b", 0, MAX_ROWS, tuple(range(1, MAX_ROWS + 1))))),
        Delta(held=(Held(1, 2, {}, {}, Forgotten({}, {}, {})),)),
    ],
)
def test_a_delta_survives_the_wire(delta: Delta):
    assert Delta.from_wire(msgpack.unpackb(msgpack.packb(delta.to_wire()))) == delta


def test_the_samples_are_refused_for_what_is_changed_in_them_only():
    for raw in (register(), held(), live(), segment(), piece()):
        assert Delta.from_wire(raw)


def test_a_delta_is_false_when_there_is_nothing_in_it():
    assert not Delta()
    assert Delta(marks={"life": 1})


def test_the_rows_of_a_segment_are_listed_by_number():
    first = Piece("t", 5, None, ["c"], [(1, b"")], None)
    assert Segment("a", 3, 9, (first, Piece("", 4, None, ["b"], [(1, b"p")], [b"v"]))).rows == (
        Row(4, "b", b"v", b"p", ""),
        Row(5, "c", None, b"", "t"),
    )


def test_hashes_tell_names_and_orders_apart():
    assert hash_of(("t", "kk")) != hash_of(("tk", "k"))
    assert 0 <= hash_of(("t", "\ud800")) < MAX_HASH
    assert hash_of_order((0, 1, "a")) != hash_of_order((0, 1, "b"))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param(None, "delta: expected 5 fields", id="nothing"),
        pytest.param({}, "delta: expected 5 fields", id="a map"),
        pytest.param("abcde", "delta: expected 5 fields", id="a text of the right length"),
        pytest.param([[]] * 4, "delta: expected 5 fields", id="too few fields"),
        pytest.param([None, [], [], [], {}], "registers: expected a list", id="no registers"),
        pytest.param([[], 1, [], [], {}], "held: expected a list", id="no held lists"),
        pytest.param([[], [], b"", [], {}], "live: expected a list", id="no live lists"),
        pytest.param([[], [], [], "x", {}], "segments: expected a list", id="no segments"),
        pytest.param([[], [], [], [], []], "marks: expected a map", id="no marks"),
        pytest.param([[], [], [], [], {1: 1}], "marks: expected a map", id="a mark without name"),
        pytest.param([[], [], [], [], {"m": -1}], "marks: bad number", id="a mark below 0"),
        pytest.param([[], [], [], [], {"m": True}], "marks: bad number", id="a mark that is true"),
        pytest.param([[], [], [], [], {"m": MAX_STAMP}], "marks: bad number", id="a huge mark"),
        pytest.param(wire(0, None), "register: expected 9 fields", id="no register"),
        pytest.param(wire(1, []), "held: expected 8 fields", id="no held list"),
        pytest.param(wire(2, [1]), "live: expected 4 fields", id="no live list"),
        pytest.param(wire(3, "x"), "segment: expected 7 fields", id="no segment"),
        pytest.param(segment(pieces=[7]), "piece: expected 6 fields", id="no piece"),
    ],
)
def test_from_wire_refuses_what_is_no_delta(raw: Any, problem: str):
    with pytest.raises(ValueError, match=problem):
        Delta.from_wire(raw)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"table": 1}, "bad table, key or origin"),
        ({"key": b"k"}, "bad table, key or origin"),
        ({"origin": None}, "bad table, key or origin"),
        ({"key": ""}, "bad key"),
        ({"key": "k" * (MAX_KEY_BYTES + 1)}, "bad key"),
        ({"table": "t" * (MAX_KEY_BYTES + 1)}, "bad key"),
        ({"writer": 7}, "bad writer"),
        ({"rank": -1}, "bad rank"),
        ({"rank": True}, "bad rank"),
        ({"rank": MAX_SEQ + 1}, "bad rank"),
        ({"stamp": "1"}, "bad stamp"),
        ({"stamp": 1.0}, "bad stamp"),
        ({"stamp": True}, "bad stamp"),
        ({"stamp": -1}, "bad stamp"),
        ({"stamp": MAX_STAMP}, "bad stamp"),
        ({"seq": MAX_EVENT + 1}, "bad sequence number"),
        ({"seq": None}, "bad sequence number"),
        ({"value": "text"}, "bad value"),
        ({"value": None}, "bad value"),
        ({"deleted": 1}, "bad value"),
    ],
)
def test_from_wire_refuses_a_register(changes: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        Delta.from_wire(register(**changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"low": -1}, "bad range"),
        ({"low": 9}, "bad range"),
        ({"low": False}, "bad range"),
        ({"high": MAX_HASH + 1}, "bad range"),
        ({"hashes": bytes(7)}, "bad hashes"),
        ({"hashes": [1]}, "bad hashes"),
        ({"orders": bytes(3)}, "bad hashes"),
        ({"orders": bytes(8)}, "longer"),
        ({"covers": []}, "expected a map"),
        ({"covers": {"a": -1}}, "bad number"),
        ({"floors": {"a": MAX_STAMP}}, "bad number"),
        ({"floors": {b"a": 1}}, "expected a map"),
        ({"passed_on": {"a": "1"}}, "bad number"),
        ({"greatest": []}, "expected a map"),
        ({"greatest": {"t": 1}}, "expected 2 fields"),
        ({"greatest": {"t": [1, -1]}}, "bad number"),
        ({"greatest": {1: [1, 1]}}, "expected a map"),
    ],
)
def test_from_wire_refuses_a_held_list(changes: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        Delta.from_wire(held(**changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"origin": 1}, "bad head"),
        ({"steps": [3]}, "bad head"),
        ({"frm": None}, "bad sequence number"),
        ({"to": -1}, "bad sequence number"),
        ({"steps": None}, "expected a list"),
        ({"steps": [3, "1"]}, "bad number"),
        ({"steps": [3, 1 << 50]}, "bad number"),
        ({"steps": [3, 0]}, "out of range"),
        ({"steps": [2, 1]}, "out of range"),
        ({"steps": [3, 8]}, "out of range"),
        ({"steps": [3, MAX_EVENT]}, "bad head"),
        ({"steps": [3, MAX_ROWS + 1], "to": MAX_EVENT}, "bad head"),
        ({"steps": [3, 2, 0, 1]}, "out of range"),
    ],
)
def test_from_wire_refuses_a_live_list(changes: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        Delta.from_wire(live(**changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"origin": b"a"}, "bad head"),
        ({"complete": 1}, "bad head"),
        ({"frm": -1}, "bad sequence number"),
        ({"frm": False}, "bad sequence number"),
        ({"length": None}, "bad sequence number"),
        ({"length": MAX_EVENT}, "bad sequence number"),
        ({"pieces": None}, "pieces: expected a list"),
        ({"at": 7}, "kills: expected a list"),
        ({"at": ["3"]}, "kills: bad number"),
        ({"at": [3, 1]}, "bad kills"),
        ({"at": [1] * (MAX_ROWS + 1), "back": [1] * (MAX_ROWS + 1)}, "bad kills"),
        ({"at": [0]}, "kill out of range"),
        ({"at": [7]}, "kill out of range"),
        ({"back": [0]}, "kill out of range"),
        ({"back": [6]}, "kill out of range"),
    ],
)
def test_from_wire_refuses_a_segment(changes: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        Delta.from_wire(segment(**changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"table": None}, "bad table"),
        ({"table": "t" * (MAX_TABLE_BYTES + 1)}, "bad table"),
        ({"keys": []}, "bad keys"),
        ({"keys": "kl"}, "keys: expected a list"),
        ({"keys": ["k", b"l"]}, "bad keys"),
        ({"keys": ["k", ""]}, "empty or too long"),
        ({"keys": ["k", "l" * (MAX_KEY_BYTES + 1)]}, "empty or too long"),
        ({"gaps": [0]}, "bad gaps"),
        ({"gaps": [1, 1]}, "bad gaps"),
        ({"gaps": [0, -1]}, "bad number"),
        ({"gaps": [0, MAX_EVENT]}, "out of range"),
        ({"gaps": 7}, "expected a list"),
        ({"start": 0}, "out of range"),
        ({"start": 7}, "out of range"),
        ({"start": "2"}, "bad sequence number"),
        ({"values": [b"v"]}, "bad values"),
        ({"values": ["v", None]}, "bad values"),
        ({"values": 1}, "values: expected a list"),
        ({"labels": []}, "bad labels"),
        ({"labels": [2]}, "bad labels"),
        ({"labels": [1, b""]}, "bad labels"),
        ({"labels": [MAX_EVENT, b""]}, "bad labels"),
        ({"labels": [2, b"", 0, b""]}, "bad labels"),
        ({"labels": [2, "p"]}, "bad labels"),
        ({"labels": None}, "labels: expected a list"),
    ],
)
def test_from_wire_refuses_a_piece(changes: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        Delta.from_wire(piece(**changes))


def test_from_wire_refuses_more_rows_than_one_delta_may_have():
    keys = ["k"] * (MAX_ROWS + 1)
    raw = ["u", 1, None, keys, [len(keys), b""], None]
    with pytest.raises(ValueError, match="too many rows"):
        Delta.from_wire(segment(length=MAX_ROWS + 9, pieces=[raw], at=[], back=[]))


HOSTILE: list[Any] = [
    None, True, -1, 0, 1, 1 << 39, 1 << 63, 1.5, float("nan"), "", "a", "\ud800", b"", b"a",
    [], [1], [[]], {}, {"a": 1}, {1: 2}, [None], ["a", 1],
]  # fmt: skip


def test_whatever_is_put_in_any_place_is_taken_or_refused_with_a_value_error():
    for raw in (register(), held(), live(), segment(), piece()):
        for path in paths(raw):
            for value in HOSTILE:
                try:
                    Delta.from_wire(changed(raw, path, value))
                except ValueError:
                    continue


def paths(raw: Any) -> list[list[int]]:
    if not isinstance(raw, list):
        return [[]]
    return [[], *([n, *rest] for n, each in enumerate(raw) for rest in paths(each))]


def changed(raw: Any, path: list[int], value: Any) -> Any:
    if not path:
        return value
    place, *rest = path
    return [changed(each, rest, value) if n == place else each for n, each in enumerate(raw)]


def test_huge_counts_take_no_memory():
    tracemalloc.start()
    for raw in (
        live(frm=0, to=MAX_ROWS, steps=[1, MAX_EVENT]),
        live(frm=0, to=MAX_EVENT, steps=[1, MAX_EVENT]),
        live(frm=0, to=MAX_ROWS, steps=[1, MAX_ROWS] * 1000),
        wire(2, *[["a", 0, MAX_ROWS, [1, MAX_ROWS]]] * 1000),
        piece(labels=[MAX_EVENT, b"p"]),
        piece(gaps=[0, MAX_EVENT]),
    ):
        with pytest.raises(ValueError, match=r"live|piece"):
            Delta.from_wire(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
