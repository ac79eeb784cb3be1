"""The wire form of deltas: what goes out comes in, and nothing else does."""

from typing import Any

import msgpack
import pytest

from pyhorde.crdt.delta import MAX_SEQ, MAX_STAMP, Delta, RegisterRow, Row, Segment

REGISTER = RegisterRow("t", "k", 1, 2, "a", 3, b"v")
SEGMENT = Segment("a", 3, 9, (Row(5, "k", b"v"), Row(9, "l", b"")), ((6, 2), (7, 4)))


def register(**changes: Any) -> list[Any]:
    return [list(REGISTER._replace(**changes))]


def segment(**changes: Any) -> list[Any]:
    fields = {
        "origin": "a",
        "frm": 3,
        "to": 9,
        "rows": [[5, "k", b"v"]],
        "kills": [[6, 2]],
        "complete": True,
        "live": None,
    }
    assert changes.keys() <= fields.keys()
    return [list((fields | changes).values())]


@pytest.mark.parametrize(
    "delta",
    [
        Delta(),
        Delta((REGISTER,), (SEGMENT,)),
        Delta((REGISTER._replace(value=None), REGISTER._replace(value=b"", stamp=MAX_STAMP - 1))),
        Delta(segments=(Segment("a", 0, 0), Segment("b", 0, MAX_SEQ, complete=False))),
        Delta(segments=(Segment("a", 3, 9, complete=False, live=()),)),
        Delta(segments=(Segment("a", 3, 9, complete=False, live=(1, 3)),)),
    ],
)
def test_a_delta_survives_the_wire(delta: Delta):
    assert Delta.from_wire(msgpack.unpackb(msgpack.packb(delta.to_wire()))) == delta


def test_the_samples_are_refused_for_what_is_changed_in_them_only():
    assert Delta.from_wire([register(), segment()]).registers == (REGISTER,)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param(None, "delta: expected 2 fields", id="nothing"),
        pytest.param({}, "delta: expected 2 fields", id="a map"),
        pytest.param("ab", "delta: expected 2 fields", id="a text of the right length"),
        pytest.param([[]], "delta: expected 2 fields", id="too few fields"),
        pytest.param([[], [], []], "delta: expected 2 fields", id="too many fields"),
        pytest.param([None, []], "registers: expected a list", id="no list of registers"),
        pytest.param([[], "x"], "segments: expected a list", id="no list of segments"),
        pytest.param([[None], []], "register: expected 7 fields", id="no register"),
        pytest.param([[], [None]], "segment: expected 7 fields", id="no segment"),
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
        ({"rank": -1}, "bad sequence number"),
        ({"rank": True}, "bad sequence number"),
        ({"stamp": "1"}, "bad stamp"),
        ({"stamp": 1.0}, "bad stamp"),
        ({"stamp": True}, "bad stamp"),
        ({"stamp": -1}, "bad stamp"),
        ({"stamp": MAX_STAMP}, "bad stamp"),
        ({"seq": MAX_SEQ + 1}, "bad sequence number"),
        ({"value": "text"}, "bad value"),
        ({"value": 0}, "bad value"),
    ],
)
def test_from_wire_refuses_a_register(changes: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        Delta.from_wire([register(**changes), []])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"origin": b"a"}, "bad head"),
        ({"complete": 1}, "bad head"),
        ({"frm": 10}, "bad head"),
        ({"frm": -1}, "bad sequence number"),
        ({"frm": False}, "bad sequence number"),
        ({"to": None}, "bad sequence number"),
        ({"to": MAX_SEQ + 1}, "bad sequence number"),
        ({"rows": None}, "rows: expected a list"),
        ({"rows": [None]}, "row: expected 3 fields"),
        ({"rows": [[5, "k"]]}, "row: expected 3 fields"),
        ({"rows": [["5", "k", b"v"]]}, "bad sequence number"),
        ({"rows": [[5, b"k", b"v"]]}, "bad key or value"),
        ({"rows": [[5, "k", "v"]]}, "bad key or value"),
        ({"rows": [[5, "k", None]]}, "bad key or value"),
        ({"rows": [[3, "k", b"v"]]}, "rows out of order or out of range"),
        ({"rows": [[10, "k", b"v"]]}, "rows out of order or out of range"),
        ({"rows": [[5, "k", b"v"], [5, "l", b"v"]]}, "rows out of order or out of range"),
        ({"rows": [[6, "k", b"v"], [5, "l", b"v"]]}, "rows out of order or out of range"),
        ({"kills": 7}, "kills: expected a list"),
        ({"kills": [6]}, "kill: expected 2 fields"),
        ({"kills": [[6, 2, 1]]}, "kill: expected 2 fields"),
        ({"kills": [[6, "2"]]}, "bad sequence number"),
        ({"kills": [[3, 2]]}, "kill out of range"),
        ({"kills": [[10, 2]]}, "kill out of range"),
        ({"kills": [[6, 6]]}, "kill out of range"),
        ({"live": 1}, "live: expected a list"),
        ({"live": [None]}, "bad sequence number"),
    ],
)
def test_from_wire_refuses_a_segment(changes: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        Delta.from_wire([[], segment(**changes)])
