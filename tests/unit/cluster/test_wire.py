from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhorde.cluster.membership.messages import MEMBERSHIP_MESSAGES, Ping
from pyhorde.cluster.replication.messages import REPLICATION_MESSAGES
from pyhorde.cluster.transport.handshake import HANDSHAKE, Confirm, Hello, Refusal, Welcome
from pyhorde.cluster.transport.wire import (
    MAX_FRAME_BYTES,
    MAX_GOOD,
    MAX_GREETING_BYTES,
    MAX_GREETING_DEPTH,
    MAX_GREETING_VALUES,
    MAX_UNITS,
    Lane,
    Wire,
)
from pyhorde.errors import ProtocolError
from pyhorde.runtime.messages import RUNTIME_MESSAGES

ALL = (*MEMBERSHIP_MESSAGES, *REPLICATION_MESSAGES, *RUNTIME_MESSAGES)
PEER = Wire(MEMBERSHIP_MESSAGES, REPLICATION_MESSAGES, RUNTIME_MESSAGES)

CLASSES: dict[str, Any] = {cls.__name__: cls for cls in ALL}

SAMPLES: dict[str, Any] = {
    "int": 7,
    "str": "text",
    "bytes": b"data",
    "bool": True,
    "float": 1.5,
    "list[Any]": [1, ["x"], {"k": b"v"}],
    "dict[str, Any]": {"a": 1},
    "Any": [None],
}


def sample(annotation: str) -> Any:
    return SAMPLES[annotation.split(" | ", maxsplit=1)[0]]


def example(cls: type) -> Any:
    return cls(*(sample(str(field.type)) for field in fields(cls)))


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_message_between_nodes_survives_the_wire(cls: type):
    assert list(PEER.decode(PEER.encode(example(cls)))) == [example(cls)]


@pytest.mark.parametrize("cls", [Hello, Welcome, Refusal, Confirm])
def test_every_message_of_the_handshake_survives_the_wire(cls: type):
    assert list(HANDSHAKE.decode(HANDSHAKE.encode(example(cls)))) == [example(cls)]


@pytest.mark.parametrize(
    "cls", [c for c in (*ALL, Refusal) if any("| None" in str(f.type) for f in fields(c))]
)
def test_what_may_be_none_may_be_none(cls: type):
    wire = HANDSHAKE if cls is Refusal else PEER
    values = [None if "| None" in str(f.type) else sample(str(f.type)) for f in fields(cls)]
    assert list(wire.decode(wire.encode(cls(*values)))) == [cls(*values)]


@pytest.mark.parametrize("cls", [*ALL, Hello, Welcome, Refusal, Confirm])
def test_every_field_is_checked(cls: type):
    wire = PEER if cls in ALL else HANDSHAKE
    good = [getattr(example(cls), field.name) for field in fields(cls)]
    for position, field in enumerate(fields(cls)):
        if str(field.type) == "Any":
            continue
        wrong: Any = 7 if "str" in str(field.type).split("[")[0] else "wrong"
        values = [*good[:position], wrong, *good[position + 1 :]]
        with pytest.raises(ProtocolError, match=f"{cls.__name__}.{field.name}"):
            list(wire.decode(msgpack.packb([cls.tag, *values])))


@pytest.mark.parametrize("cls", [*ALL, Hello, Welcome, Refusal, Confirm])
def test_one_field_too_few_or_too_many_is_refused(cls: type):
    wire = PEER if cls in ALL else HANDSHAKE
    good = [cls.tag, *(getattr(example(cls), field.name) for field in fields(cls))]
    for values in (good[:-1], [*good, 1]):
        with pytest.raises(ProtocolError, match="fields, not"):
            list(wire.decode(msgpack.packb(values)))


def test_tags_are_unique_and_their_lanes_fit():
    tags = [cls.tag for cls in (*ALL, Hello, Welcome, Refusal, Confirm)]
    assert len(set(tags)) == len(tags)
    assert all(cls.lane is Lane.CONTROL for cls in MEMBERSHIP_MESSAGES)


PING = PEER.encode(Ping(1, "x", 0, [0, 0, 0], []))


def test_several_messages_may_share_a_frame():
    assert list(PEER.decode(PING * 3)) == [Ping(1, "x", 0, [0, 0, 0], [])] * 3
    assert list(PEER.decode(b"")) == []


@pytest.mark.parametrize(
    "frame",
    [
        msgpack.packb(7),
        msgpack.packb({}),
        msgpack.packb([]),
        msgpack.packb(["1"]),
        msgpack.packb([None]),
        msgpack.packb([999]),
        msgpack.packb([-1]),
        msgpack.packb([60, 1, "c", [], "n"]),
        PING[:-1],
        PING + b"\xc1",
        PING + b"\x94",
        PING + b"\x00",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x94\x01\x01\xa1\xff\x90",
        b"\x94\x01\x01\xa1x\x91\x81\x90\x01",
        b"\x91" * 5000,
        b"\x94\x01\x01\xa1x" + b"\x91" * 5000 + b"\xc0",
        b"\x81" * 5000,
        b"\xc4" * (MAX_FRAME_BYTES + 1),
    ],
    ids=range(21),
)
def test_what_is_no_frame_is_a_protocol_error(frame: bytes):
    with pytest.raises(ProtocolError):
        list(PEER.decode(frame))


def test_a_frame_counts_as_a_whole_or_not_at_all():
    with pytest.raises(ProtocolError, match="unknown message"):
        PEER.decode(PING + msgpack.packb([999]))


def test_so_many_combinations_of_types_are_remembered_and_no_more():
    wire = Wire((Open,))
    for number in range(2 * MAX_GOOD):
        values = [1, "a", b"b", None, 1.5, True, [], {}]
        wire.decode(msgpack.packb([Open.tag, values[number % len(values)]]))
    assert 1 < len(wire._shapes[Open.tag].good) <= MAX_GOOD


@pytest.mark.parametrize("value", [True, 1.0, None, "1"])
def test_a_number_is_neither_a_truth_value_nor_a_fraction(value: object):
    with pytest.raises(ProtocolError, match=r"Ping\.seq"):
        list(PEER.decode(msgpack.packb([1, value, "x", 0, [], []])))


@given(frame=st.binary(max_size=200))
def test_random_bytes_are_messages_or_a_protocol_error(frame: bytes):
    with contextlib.suppress(ProtocolError):
        list(PEER.decode(frame))


@dataclass(frozen=True, slots=True)
class Fraction:
    tag: ClassVar[int] = 1
    lane: ClassVar[Lane] = Lane.BULK
    value: float


@dataclass(frozen=True, slots=True)
class Optional:
    tag: ClassVar[int] = 1
    lane: ClassVar[Lane] = Lane.BULK
    value: int | list[Any] | None


@dataclass(frozen=True, slots=True)
class Open:
    tag: ClassVar[int] = 1
    lane: ClassVar[Lane] = Lane.BULK
    value: Any


@pytest.mark.parametrize("value", [None, True, 1.5, "text", [1, {"a": b"b"}]])
def test_an_open_field_takes_any_plain_value(value: object):
    wire = Wire((Open,))
    assert list(wire.decode(wire.encode(Open(value)))) == [Open(value)]


def test_a_fraction_may_be_whole_but_no_truth_value():
    wire = Wire((Fraction,))
    assert list(wire.decode(msgpack.packb([1, 2]))) == [Fraction(2)]
    with pytest.raises(ProtocolError):
        list(wire.decode(msgpack.packb([1, True])))


@pytest.mark.parametrize(("value", "fits"), [(1, True), ([], True), (None, True), (True, False)])
def test_a_union_takes_what_one_of_its_parts_takes(value: object, fits: object):
    wire = Wire((Optional,))
    if fits:
        assert list(wire.decode(msgpack.packb([1, value]))) == [Optional(value)]  # type: ignore[arg-type]
    else:
        with pytest.raises(ProtocolError, match=r"Optional\.value is a bool"):
            list(wire.decode(msgpack.packb([1, value])))


def test_a_message_that_cannot_be_encoded_leaves_nothing_in_the_next_one():
    wire = Wire((Open,))
    with pytest.raises(TypeError):
        wire.encode(Open([1, object()]))
    assert list(wire.decode(wire.encode(Open(7)))) == [Open(7)]


def test_two_messages_cannot_share_a_tag():
    with pytest.raises(ValueError, match="two messages have the tag 1"):
        Wire(MEMBERSHIP_MESSAGES, (Fraction,))


@dataclass(frozen=True, slots=True)
class Strange:
    tag: ClassVar[int] = 1
    lane: ClassVar[Lane] = Lane.BULK
    value: complex


def test_a_field_that_cannot_be_checked_is_an_error_when_the_wire_is_made():
    with pytest.raises(TypeError, match="cannot be a"):
        Wire((Strange,))


# ---- frames that would take much more than they are ---------------------------------------------

MIB = 1024 * 1024


def peak(work: Callable[[], object]) -> int:
    """Bytes that were needed at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(PEER.decode(frame))


def long_list(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def lists_of(item: bytes, size: int = MAX_FRAME_BYTES) -> bytes:
    """Many shorter lists, none of which is conspicuous by itself."""
    one = long_list(50_000, item)
    return b"\xdc" + (size // len(one)).to_bytes(2, "big") + one * (size // len(one))


@pytest.mark.parametrize(
    "item", [b"\x90", b"\x80", b"\x91\xc0", b"\x81\xc0\xc0", b"\xd4\x01x", b"\xa2xy"]
)
def test_a_large_frame_of_many_small_values_is_refused_before_it_takes_much(item: bytes):
    large = (MAX_FRAME_BYTES - 16) // len(item)
    for frame in (long_list(large, item), lists_of(item)):
        assert peak(lambda frame=frame: refused(frame)) < 100 * MIB  # type: ignore[misc]


def test_many_messages_share_one_budget():
    few = PING * 1000
    assert len(list(PEER.decode(few * 8))) == 8000
    count = MAX_UNITS // 20
    assert len(PING * count) < MAX_FRAME_BYTES
    refused(PING * count)


@pytest.mark.parametrize("size", [100, 1000, 1025, 5000, 16_000, 65_000, MIB])
@pytest.mark.parametrize("before", [b"", PING])
def test_lists_that_promise_more_than_there_is_take_no_room(size: int, before: bytes):
    head = b"\xdd" + size.to_bytes(4, "big")
    frame = (before + head * min(1000, size // 8)).ljust(size, b"\xc0")
    assert peak(lambda: refused(frame)) < 4 * MIB + size


def test_a_small_frame_of_several_messages_may_not_promise_a_large_one():
    head = b"\xdd" + (MAX_FRAME_BYTES - 1).to_bytes(4, "big")
    assert peak(lambda: refused(PING + head * 100)) < MIB


@pytest.mark.parametrize(
    "message",
    [
        CLASSES["YieldRequest"](1, "n", 1, "b", 1, bytes(MAX_FRAME_BYTES - 1000), []),
        CLASSES["SyncRequest"]({f"{number:032x}": number for number in range(100_000)}),
        CLASSES["Forget"](*[{f"{number:032x}": 1 for number in range(100_000)}] * 2),
        CLASSES["Table"]([[["x"] * 10, 1.5, "b"] for _ in range(20_000)], True),
        CLASSES["SyncData"]([[1] * 65_536] * 5, True, True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_largest_messages_that_nodes_send_get_through(message: Any):
    assert list(PEER.decode(PEER.encode(message))) == [message]


# ---- greetings ----------------------------------------------------------------------------------

GREETING = Wire((Open,))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_greeting_is_one_message():
    hello = example(Hello)
    assert HANDSHAKE.decode_greeting(HANDSHAKE.encode(hello)) == hello
    for frame in (b"", HANDSHAKE.encode(hello) * 2, HANDSHAKE.encode(hello)[:-1], b"\xc1", PING):
        with pytest.raises(ProtocolError):
            HANDSHAKE.decode_greeting(frame)


@pytest.mark.parametrize(
    ("largest", "too_large", "why"),
    [
        (b"x" * (MAX_GREETING_BYTES - 5), b"x" * (MAX_GREETING_BYTES - 4), "size"),
        (nested(MAX_GREETING_DEPTH - 1), nested(MAX_GREETING_DEPTH), "deeply"),
        ([1] * (MAX_GREETING_VALUES - 2), [1] * (MAX_GREETING_VALUES - 1), "many values"),
        ({str(n): 1 for n in range(1023)}, {str(n): 1 for n in range(1024)}, "many values"),
        ([[[1] * 25] * 76], [[[1] * 25] * 80], "many values"),
    ],
    ids="size depth list map lists".split(),
)
def test_greetings_are_bounded(largest: Any, too_large: Any, why: str):
    assert GREETING.decode_greeting(GREETING.encode(Open(largest))) == Open(largest)
    with pytest.raises(ProtocolError, match=why):
        GREETING.decode_greeting(GREETING.encode(Open(too_large)))


@pytest.mark.parametrize(
    "frame",
    [
        (b"\xdc\x3f\x00" * 1000).ljust(MAX_GREETING_BYTES, b"\xc0"),
        b"\x92\x01" + b"\x91" * 1000 + b"\xc0",
        b"\x92\x01" + b"\x81\xa1x" * 1000 + b"\xc0",
        long_list(MAX_GREETING_BYTES - 16, b"\x90"),
        long_list(5000, b"\x81\xc0\xc0"),
    ],
    ids=range(5),
)
def test_a_greeting_that_is_a_bomb_takes_little(frame: bytes):
    def greet() -> None:
        with pytest.raises(ProtocolError):
            GREETING.decode_greeting(frame)

    assert peak(greet) < 3 * MIB


@given(frame=st.binary(max_size=200))
def test_random_bytes_are_a_greeting_or_a_protocol_error(frame: bytes):
    with contextlib.suppress(ProtocolError):
        HANDSHAKE.decode_greeting(frame)
