"""Server-sent events: resumed, filtered, kept alive, bounded, and ended with the node."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientResponse

from pyhorde.web import streaming
from tests.unit.web.conftest import Edge


class Reader:
    """Reads a stream block by block."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response

    async def block(self) -> dict[str, str]:
        """The next block: its fields, a comment under the empty name; empty at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            while line := (await self.response.content.readline()).decode():
                if line == "\n":
                    return fields
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name.rstrip(":")] = value
        return fields

    async def event(self) -> dict[str, Any]:
        block = await self.block()
        event = json.loads(block["data"])
        assert block["id"] == event["id"]
        return event

    async def kinds(self) -> list[str]:
        """Those of all events up to the end."""
        found = []
        while block := await self.block():
            found.append(json.loads(block["data"])["kind"])
        return found


async def listen(edge: Edge, query: str = "", **headers: str) -> Reader:
    response = await edge.client.get(f"/v1/events{query}", headers=headers)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    reader = Reader(response)
    assert await reader.block() == {"retry": "1000"}
    return reader


def note(edge: Edge, *kinds: str) -> None:
    for kind in kinds:
        edge.node.cluster_parts.journal.note(kind, {"member": "b"})


async def test_what_happens_from_now_on_is_sent(edge: Edge):
    note(edge, "past")
    reader = await listen(edge)
    note(edge, "member_dead")
    assert await reader.event() == {
        "id": "cafecafe-2",
        "wall": 1_700_000_000.0,
        "kind": "member_dead",
        "fields": {"member": "b"},
    }
    note(edge, "member_alive")
    assert (await reader.event())["kind"] == "member_alive"


async def test_a_stream_is_resumed_after_an_id(edge: Edge):
    note(edge, "one", "two", "three")
    assert await (await listen(edge, "?after=cafecafe-1&follow=0")).kinds() == ["two", "three"]
    headers = {"Last-Event-ID": "cafecafe-2"}
    reader = await listen(edge, "?after=cafecafe-1&follow=0", **headers)
    assert await reader.kinds() == ["three"]


async def test_an_id_that_nobody_knows_starts_with_a_gap_whatever_is_asked_for(edge: Edge):
    note(edge, "member_dead", "link_up")
    reader = await listen(edge, "?after=0badf00d-7&kind=member_&follow=0")
    gap = await reader.event()
    assert (gap["kind"], gap["id"]) == ("gap", "cafecafe-0")
    assert gap["fields"] == {"after": "0badf00d-7", "count": None}
    assert await reader.kinds() == ["member_dead"]


async def test_a_strange_id_is_no_way_in(edge: Edge):
    reader = await listen(edge, "?follow=0", **{"Last-Event-ID": "x" * 5000})
    assert (await reader.event())["fields"]["after"] == "x" * 64


async def test_kinds_are_filtered_by_their_beginning(edge: Edge):
    reader = await listen(edge, "?kind=member_")
    note(edge, "link_up", "member_dead", "link_lost", "member_alive")
    assert [(await reader.event())["kind"] for _ in range(2)] == ["member_dead", "member_alive"]


async def test_a_stream_ends_when_the_node_stops(edge: Edge):
    reader = await listen(edge)
    note(edge, "drained")
    edge.node.cluster_parts.journal.close()
    assert await reader.kinds() == ["drained"]


async def test_silence_is_broken_by_comments(edge: Edge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streaming, "KEEP_ALIVE", 0.05)
    monkeypatch.setattr(streaming, "LOOK", 0.01)
    reader = await listen(edge)
    assert [await reader.block() for _ in range(2)] == [{"": "still here"}] * 2


async def test_streams_are_bounded_and_a_reader_who_goes_makes_room(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streaming, "MAX_STREAMS", 2)
    monkeypatch.setattr(streaming, "LOOK", 0.01)
    readers = [await listen(edge) for _ in range(2)]
    async with edge.client.get("/metrics") as response:
        assert "\npyhorde_event_streams 2.0\n" in await response.text()
    refused = await edge.refused("GET", "/v1/events")
    assert (refused["status"], refused["type"], refused["limit"]) == (503, "TooManyStreams", 2)
    readers[0].response.close()
    async with asyncio.timeout(10):
        while (again := await edge.client.get("/v1/events")).status != 200:
            assert again.status == 503
    again.close()


async def test_a_reader_who_takes_nothing_is_hung_up_on(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streaming, "MAX_STREAMS", 1)
    monkeypatch.setattr(streaming, "STUCK", 0.05)
    reader = await listen(edge)
    for _ in range(200):
        edge.node.cluster_parts.journal.note("loop_blocked", {"stack": "x" * 100_000})
    async with asyncio.timeout(10):
        while (again := await edge.client.get("/v1/events")).status != 200:
            assert again.status == 503
    again.close()
    reader.response.close()


async def test_head_does_not_begin_a_stream(edge: Edge):
    async with edge.client.head("/v1/events") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_unknown_parameters_are_refused(edge: Edge):
    assert (await edge.refused("GET", "/v1/events?knd=x"))["hint"] == "did you mean 'kind'?"
    assert (await edge.refused("GET", "/v1/events?follow=maybe"))["status"] == 400
