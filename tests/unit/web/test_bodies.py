"""Bodies that are none, and results that JSON does not have."""

from __future__ import annotations

import asyncio
import enum
import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pycrdt
import pytest

from pyhorde.web.bodies import BadRequest, answer, parse, plain
from tests.unit.web.conftest import Edge

CALL = "/v1/processes/v/call"
MIB = 1024 * 1024


# ---- what comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b'"\xff"', "not UTF-8: byte 1"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"[NaN]", "NaN, which JSON does not have"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "1e999, which is too large"),
        (b"[-1e999]", "too large"),
        (b"[" + b"9" * 5000 + b"]", "too many digits"),
        (b"[" * 100_000, "nested more than 100 levels"),
        (b'{"value": ' + b"[" * 100 + b"]" * 100 + b"}", "nested more than 100 levels"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested more than 100 levels"),
        (rb'["\ud800"]', "half a surrogate pair"),
        (rb'{"\uDFFF": 1}', "half a surrogate pair"),
    ],
)
def test_bytes_that_are_no_json(raw: bytes, word: str):
    with pytest.raises(BadRequest) as caught:
        parse(raw)
    assert word in str(caught.value)


def test_json_is_read_as_it_is():
    raw = rb'{"a": [1, -2.5, 1e3, null, true, "\ud83d\ude00", "\\ud800"], "big": 1' + b"0" * 30
    assert parse(raw + b"}") == {
        "a": [1, -2.5, 1000.0, None, True, "\U0001f600", "\\ud800"],
        "big": 10**30,
    }


async def test_broken_json_is_pointed_at(edge: Edge):
    error = await edge.refused("POST", CALL, b'{"method": "get",\n  "args": [1,, 2]}')
    assert (error["status"], error["type"], error["code"]) == (400, "BadRequest", "bad_request")
    assert (error["line"], error["column"]) == (2, 14)
    assert error["message"].endswith("(line 2, column 14)")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[1]", "the body must be an object, not an array"),
        (b"null", "the body must be an object, not null"),
        (b'"text"', 'the body must be an object, not "text"'),
        (b"{}", "'method' is missing"),
        (b'{"method": {}}', "'method' must be the name of a method, not an object"),
        (b'{"metod": "get"}', "there is no field 'metod'"),
    ],
)
async def test_bodies_of_the_wrong_shape(edge: Edge, raw: bytes, message: str):
    error = await edge.refused("POST", CALL, raw)
    assert (error["status"], error["message"]) == (400, message)
    assert "line" not in error


async def test_hints_say_what_was_meant(edge: Edge):
    error = await edge.refused("POST", CALL, metod="get")
    assert error["hint"] == "did you mean 'method'?"
    error = await edge.refused("POST", CALL, xyz=1)
    assert error["hint"] == "there is: method, args, kwargs, timeout, request_id"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
async def test_the_content_type_does_not_matter(edge: Edge, kind: str):
    status, _ = await edge.ask("POST", CALL, b'{"method": "get"}', headers={"Content-Type": kind})
    assert status == 200


async def test_a_body_of_one_mib_is_taken_and_one_byte_more_is_not(edge: Edge):
    body = b'{"method": "get", "args": ["' + b"x" * MIB
    body = body[: MIB - 3] + b'"]}'
    assert (await edge.ask("POST", CALL, body))[0] == 200
    error = await edge.refused("POST", CALL, body + b" ")
    assert (error["status"], error["type"], error["limit"]) == (413, "TooLarge", MIB)


async def test_a_body_that_is_not_what_its_headers_say(edge: Edge):
    headers = {"Content-Encoding": "gzip"}
    error = await edge.refused("POST", CALL, b"this is no gzip", headers=headers)
    assert (error["status"], error["type"]) == (400, "BadRequest")


async def test_a_name_may_come_in_an_absolute_request_target(edge: Edge):
    edge.node.shared["a/b"] = 1
    server = edge.client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    target = f"http://{server.host}:{server.port}/v1/meta/a%2Fb"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.read()).endswith(b'{"value": 1}')
    writer.close()
    await writer.wait_closed()


# ---- what goes out ------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    BOTH = ("red", "blue")


class Level(enum.IntEnum):
    HIGH = 3


class Count(int):
    pass


class Word(enum.StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Seat:
    at: Point
    taken: set[int]


class Odd:
    def __str__(self) -> str:
        return "odd"


def document() -> pycrdt.Doc[Any]:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc["text"] = pycrdt.Text("hello")
    return doc


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (10**30, 10**30),
        (1.5, 1.5),
        (math.nan, None),
        ([math.inf, -math.inf], [None, None]),
        ((1, (2,)), [1, [2]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({(1, 2)}, [[1, 2]]),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\x00\xff", {"base64": "AP8="}),
        (bytearray(b"a"), {"base64": "YQ=="}),
        (Colour.RED, "red"),
        (Colour.BOTH, ["red", "blue"]),
        (Level.HIGH, 3),
        (Count(4), 4),
        (Word.YES, "yes"),
        (Seat(Point(1, 2.0), {2, 1}), {"at": [1, 2.0], "taken": [1, 2]}),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "None": "b", "(1, 2)": "c"}),
        ({Level.HIGH: 1, Word.YES: 2, date(2026, 1, 2): 3}, {"3": 1, "yes": 2, "2026-01-02": 3}),
        (Decimal("1.50"), "1.50"),
        (Odd(), "odd"),
        (Seat, str(Seat)),
    ],
)
def test_values_come_out_as_their_closest_likeness(value: object, expected: object):
    assert plain(value) == expected
    assert json.loads(answer(value).body) == expected


def test_a_document_comes_out_as_its_update():
    rendered = plain({"doc": document()})
    assert set(rendered["doc"]) == {"base64"}


def test_text_that_is_no_unicode_can_still_be_answered():
    assert json.loads(answer({"k": "\ud800"}).body) == {"k": "\ud800"}


async def test_a_result_goes_through_it(edge: Edge):
    edge.node.result = {"at": (1, math.nan), 5: b"x"}
    _, body = await edge.ask("POST", CALL, method="get")
    assert body == {"result": {"at": [1, None], "5": {"base64": "eA=="}}}
