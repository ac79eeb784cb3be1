from __future__ import annotations

import math
import os
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, IntEnum
from uuid import UUID

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from pyhorde.cluster.transport.codec import MAX_NESTING, MAX_VALUE_BYTES, Codec
from pyhorde.errors import CannotTravel

TUPLE, SET, FROZENSET, DATETIME, DATE, TIMEDELTA, UUID_CODE, INT = range(1, 9)
DATACLASS, ENUM, DOC = range(9, 12)


class Colour(Enum):
    RED = "red"
    BOTH = ("a", 1)


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: object = None


@dataclass
class Grown:
    """As if ``added`` had come in a later version."""

    kept: int
    added: list[int] = field(default_factory=list)

    def __post_init__(self):
        raise AssertionError("decoding runs no code of the class")


@dataclass
class Undeclared:
    x: int


class TextSubclass(str):
    __slots__ = ()


@pytest.fixture
def codec() -> Codec:
    return Codec([Colour, Level, Point, Grown])


VALUES = [
    None,
    True,
    0,
    -1,
    2**63,
    2**64,
    -(2**63) - 1,
    -(2**200),
    3**500,
    0.0,
    -1.5,
    math.inf,
    "",
    "ü\0€",
    b"\x00\xff",
    [],
    [1, [2, [3]]],
    {},
    {"a": 1, 2: "b", None: 3.5, True: False},
    {(1, ("a", (b"b", None))): [1], frozenset({1}): 2, UUID(int=5): 3},
    (),
    (1, (2, ()), [(3,)]),
    set(),
    {1, "a", (2, 3), frozenset({4})},
    frozenset({frozenset(), frozenset({1})}),
    datetime(2026, 1, 2, 3, 4, 5, 678901),  # noqa: DTZ001 - naive ones travel too
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    date(2026, 1, 2),
    timedelta(days=-3, seconds=7, microseconds=11),
    UUID("12345678-1234-5678-1234-567812345678"),
    Point(1, (2, Point(3))),
    {Point(1): Point(2, [Point(3)])},
    Colour.RED,
    Colour.BOTH,
    [Level.LOW],
]


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_can_travel_arrives_as_it_was(codec: Codec, value: object):
    assert same(codec.decode(codec.encode(value)), value)


def test_nan_arrives_as_nan(codec: Codec):
    assert math.isnan(codec.decode(codec.encode(math.nan)))


def test_types_inside_of_containers_are_kept(codec: Codec):
    ((inner,), mapping) = codec.decode(codec.encode([({1, 2},), {(1, 2): (3,)}]))
    assert inner == {1, 2} and type(inner) is set
    assert [type(part) for item in mapping.items() for part in item] == [tuple, tuple]


def test_a_document_arrives_with_its_content_and_history(codec: Codec):
    document: Doc = Doc()
    document["text"] = Text("hello")
    arrived = codec.decode(codec.encode({"doc": document}))["doc"]
    assert str(arrived.get("text", type=Text)) == "hello"
    assert arrived.get_update() == document.get_update()


def test_msgpacks_own_timestamps_are_read_as_moments(codec: Codec):
    stamp = msgpack.packb(msgpack.Timestamp(1, 0))
    assert codec.decode(stamp) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@settings(deadline=None)
@given(st.sets(st.one_of(st.integers(), st.text(), st.frozensets(st.text(max_size=3)))))
def test_equal_sets_give_equal_bytes_whatever_the_order_of_insertion(values: set):
    codec = Codec()
    backwards = set()
    for value in reversed(list(values)):
        backwards.add(value)
    assert codec.encode(values) == codec.encode(backwards)


def test_equal_sets_give_equal_bytes_whatever_the_hash_seed():
    script = (
        "from pyhorde.cluster.transport.codec import Codec;"
        "print(Codec().encode({frozenset('abx'), frozenset('cd'), frozenset('ef')}).hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "3")
    }
    assert len(outputs) == 1


# ---- declared types -----------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [int, TextSubclass, Exception])
def test_only_dataclasses_and_enums_can_be_declared(declared: type):
    with pytest.raises(TypeError, match="neither a dataclass nor an enum"):
        Codec([declared])


def test_a_field_that_the_other_side_does_not_know_keeps_its_place_empty(codec: Codec):
    raw = packed(DATACLASS, [name_of(Grown), {"kept": 1, "gone": 2}])
    value = codec.decode(raw)
    assert value.kept == 1
    assert not hasattr(value, "added") and not hasattr(value, "gone")
    assert codec.decode(codec.encode(value)).kept == 1


def test_a_type_that_the_receiver_does_not_declare_is_named(codec: Codec):
    with pytest.raises(CannotTravel, match="Point is not declared on this node"):
        Codec().decode(codec.encode(Point(1)))


# ---- refusals on the way out --------------------------------------------------------------------


def deep_list(levels: int) -> object:
    value: object = None
    for _ in range(levels):
        value = [value]
    return value


def deep_tuple(levels: int) -> object:
    value: object = None
    for _ in range(levels):
        value = (value,)
    return value


def endless() -> list:
    value: list = []
    value.append((value,))
    return value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (object(), "it holds a builtins:object"),
        ([{"a": (lambda: None,)}], "it holds a builtins:function"),
        (complex(1), "complex"),
        (TextSubclass("x"), "TextSubclass"),
        (ValueError("x"), "ValueError"),
        (int, "it holds a builtins:type"),
        (Undeclared(1), r"Undeclared \(list it in the process class's `types`\)"),
        ("\ud800", "surrogates"),
        ({"x": "\udfff"}, "surrogates"),
        (deep_list(5000), "recursion|nested"),
        (deep_tuple(MAX_NESTING), "nested too deeply"),
        (deep_tuple(5000), "nested too deeply"),
        (endless(), "nested too deeply"),
        (b"x" * (MAX_VALUE_BYTES + 1), "1048576 are allowed"),
    ],
    ids=range(14),
)
def test_what_cannot_travel_is_refused_saying_why(codec: Codec, value: object, problem: str):
    with pytest.raises(CannotTravel, match=problem) as raised:
        codec.encode(value, "the result")
    assert raised.value.what == "the result"


def test_a_limit_is_met_exactly(codec: Codec):
    assert len(codec.encode(b"x" * 8, limit=10)) == 10
    with pytest.raises(CannotTravel, match="it takes 11 bytes and 10 are allowed"):
        codec.encode(b"x" * 9, limit=10)


@pytest.mark.parametrize("make", [deep_tuple, lambda n: frozenset([deep_tuple(n - 1)])])
def test_whatever_is_encoded_can_be_decoded_to_the_last_level(codec: Codec, make):
    value = make(MAX_NESTING - 1)
    assert codec.decode(codec.encode(value)) == value
    with pytest.raises(CannotTravel):
        codec.encode(make(MAX_NESTING))


# ---- refusals on the way in ---------------------------------------------------------------------


def packed(code: int, content: object) -> bytes:
    return msgpack.packb(msgpack.ExtType(code, msgpack.packb(content)))


def name_of(declared: type) -> str:
    return f"{declared.__module__}:{declared.__qualname__}"


def nested_extensions(levels: int, code: int = TUPLE) -> bytes:
    data = msgpack.packb([])
    for _ in range(levels):
        data = msgpack.packb(msgpack.ExtType(code, data))
    return data


HOSTILE = {
    "nothing": b"",
    "truncated": b"\x92\x01",
    "trailing": b"\x01\x01",
    "reserved": b"\xc1",
    "enormous array": b"\xdd\xff\xff\xff\xff",
    "enormous map": b"\xdf\xff\xff\xff\xff",
    "enormous text": b"\xdb\xff\xff\xff\xff",
    "enormous extension": b"\xc9\xff\xff\xff\xff\x01",
    "bad text": b"\xa1\xff",
    "unhashable key": b"\x81\x90\x01",
    "deep arrays": b"\x91" * 100_000 + b"\xc0",
    "deep extensions": nested_extensions(MAX_NESTING),
    "very deep extensions": nested_extensions(5000),
    "deep sets": nested_extensions(5000, SET),
    "deep unknown extensions": nested_extensions(5000, 99),
    "deep arrays in extensions": b"\x91" * 2000 + nested_extensions(50),
    "unknown extension": packed(99, None),
    "negative extension": b"\xd4\xfb\x01",
    "tuple of a number": packed(TUPLE, 7),
    "set of arrays": packed(SET, [[]]),
    "frozenset of a number": packed(FROZENSET, 7),
    "no moment": packed(DATETIME, "yesterday"),
    "moment of a number": packed(DATETIME, 7),
    "no date": packed(DATE, "2026-13-01"),
    "endless time": packed(TIMEDELTA, [10**10, 0, 0]),
    "time of texts": packed(TIMEDELTA, ["1", "2", "3"]),
    "no identifier": packed(UUID_CODE, "xyz"),
    "identifier of a number": packed(UUID_CODE, 7),
    "undeclared": packed(DATACLASS, ["os:system", {"x": 1}]),
    "type without a name": packed(DATACLASS, [[], {}]),
    "no fields": packed(DATACLASS, [name_of(Point)]),
    "too many parts": packed(DATACLASS, [name_of(Point), {}, {}]),
    "fields in a list": packed(DATACLASS, [name_of(Point), []]),
    "fields in a text": packed(DATACLASS, [name_of(Point), "x"]),
    "dataclass that is an enum": packed(DATACLASS, [name_of(Colour), {}]),
    "no such colour": packed(ENUM, [name_of(Colour), "green"]),
    "unhashable colour": packed(ENUM, [name_of(Colour), []]),
    "no document": msgpack.packb(msgpack.ExtType(DOC, b"\xff\xff\xff")),
    "bad timestamp": b"\xd4\xff\x01",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_cannot_travel_and_nothing_else_happens(codec: Codec, data: bytes):
    with pytest.raises(CannotTravel) as raised:
        codec.decode(data, "the state")
    assert raised.value.what == "the state"


def test_a_dataclass_in_the_guise_of_an_enum_runs_no_code_of_the_class(codec: Codec):
    assert codec.decode(packed(ENUM, [name_of(Grown), {"kept": 3}])).kept == 3


def attempt(codec: Codec, data: bytes) -> None:
    try:
        value = codec.decode(data)
    except CannotTravel:
        return
    codec.encode(value)


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=100))
def test_random_bytes_are_read_or_refused(data: bytes):
    attempt(Codec([Colour, Point]), data)


@settings(max_examples=500, deadline=None)
@given(code=st.sampled_from([*range(DOC), 12]), content=st.binary(max_size=60))
def test_random_extensions_are_read_or_refused(code: int, content: bytes):
    attempt(Codec([Colour, Point]), msgpack.packb(msgpack.ExtType(code, content)))


@settings(max_examples=200, deadline=None)
@given(position=st.integers(5), byte=st.integers(0, 255))
def test_a_document_with_one_byte_changed_is_read_or_refused(position: int, byte: int):
    document: Doc = Doc(client_id=7)
    document["text"] = Text("hello")
    data = bytearray(document.get_update())
    data[position % len(data)] = byte
    attempt(Codec(), msgpack.packb(msgpack.ExtType(DOC, bytes(data))))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(value=PLAIN, position=st.integers(0), byte=st.integers(0, 255))
def test_a_value_with_one_byte_changed_is_read_or_refused(value, position: int, byte: int):
    data = bytearray(Codec().encode(value))
    data[position % len(data)] = byte
    attempt(Codec(), bytes(data))


@settings(deadline=None)
@given(value=PLAIN)
def test_any_plain_value_arrives_as_it_was(value):
    assert Codec().decode(Codec().encode(value)) == value


@pytest.mark.parametrize("size", [1000, 1025, 16_000, MAX_VALUE_BYTES])
def test_lists_that_promise_more_than_there_is_take_no_room(size: int):
    data = (b"\xdd" + size.to_bytes(4, "big")) * min(1000, size // 8)
    data = data.ljust(size, b"\xc0")
    wrapped = b"\xc9" + size.to_bytes(4, "big") + b"\x01" + data  # as the content of a tuple
    for each in (data, wrapped):
        tracemalloc.start()
        try:
            with pytest.raises(CannotTravel):
                Codec().decode(each)
            assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024 + 4 * size
        finally:
            tracemalloc.stop()
