"""A real node on loopback, asked by the client of the command line."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pyhorde import Process, call, errors
from pyhorde.client import Client
from pyhorde.web import Node


class Tally(Process):
    def __init__(self, start: int = 0) -> None:
        self.state = start

    @call
    async def add(self, by: int = 1) -> int:
        self.state += by
        return self.state

    @call
    async def fail(self) -> None:
        raise ValueError("no")


def ask(function: Any, *args: Any, **kwargs: Any) -> Any:
    return asyncio.to_thread(function, *args, **kwargs)


async def test_a_node_is_served_on_its_own_address():
    async with Node(name="a", bind="127.0.0.1:0", processes={"app:Tally": Tally}) as node:
        client = Client(node.config.bind)
        assert await ask(client.ready)
        row = {"name": "a/b", "type": "app:Tally", "node": "a", "epoch": 1, "restart": "permanent"}
        assert await ask(client.start, "Tally", "a/b", [40]) == row
        assert await ask(client.processes) == [row] == await ask(client.processes, local=True)
        assert await ask(client.call, "a/b", "add", [2], request_id="r") == 42
        assert await ask(client.call, "a/b", "add", [2], request_id="r") == 42
        await ask(client.meta_put, "k", [1])
        assert await ask(client.meta_get, "k") == [1]
        status = await ask(client.status)
        assert (status["processes"], status["names"]) == ({"local": 1, "total": 1}, 1)
        with pytest.raises(errors.NameTaken):
            await ask(client.start, "Tally", "a/b")
        with pytest.raises(errors.RemoteError, match="ValueError: no"):
            await ask(client.call, "a/b", "fail")
        await ask(client.stop, "a/b")
        with pytest.raises(errors.NameNotFound):
            await ask(client.process, "a/b")


async def test_metrics_of_a_real_node():
    async with Node(name="a", bind="127.0.0.1:0") as node:
        reader, writer = await asyncio.open_connection(*node.config.bind.split(":"))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        text = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"\npyhorde_members_present 1.0\n" in text


async def test_a_drain_over_http_ends_the_node():
    node = Node(name="a", bind="127.0.0.1:0")
    await node.start()
    steps = await ask(lambda: list(Client(node.config.bind).drained()))
    assert steps[-1]["state"] in ("left", "closed", "gone")
    assert await node.wait_closed() is None


async def test_events_of_a_real_node_come_and_end_with_it():
    async with Node(name="a", bind="127.0.0.1:0") as node:
        client = Client(node.config.bind)
        kept = await ask(lambda: list(client.events(follow=False)))
        assert [event["kind"] for event in kept] == ["in_sync"]
        following = client.events(after=kept[-1]["id"])
        first = asyncio.ensure_future(ask(next, following))
        await node.cluster.cordon("a")
        assert (await first)["kind"] == "cordoned"
        rest = asyncio.ensure_future(ask(lambda: [event["kind"] for event in following]))
        await node.drain()
        assert await rest == ["draining", "member_draining", "drained", "member_left"]


async def test_a_member_is_cordoned_over_http():
    async with Node(name="a", bind="127.0.0.1:0", labels=(("zone", "x"),)) as node:
        client = Client(node.config.bind)
        row = await ask(client.cordon, "a")
        assert (row["name"], row["cordoned"], row["labels"]) == ("a", True, {"zone": "x"})
        assert (await ask(client.members))[0]["cordoned"]
        assert not (await ask(client.uncordon, "a"))["cordoned"]
        with pytest.raises(errors.NameNotFound):
            await ask(client.cordon, "zebra")


async def test_what_blocks_the_event_loop_is_in_the_status_and_in_the_journal():
    async with Node(name="a", bind="127.0.0.1:0") as node:
        events = node.cluster.events()
        block_until_noticed(node)
        async with asyncio.timeout(10):
            event = await anext(events)
        assert event.kind == "loop_blocked"
        assert "block_until_noticed" in event.fields["stack"]
        loop = (await ask(Client(node.config.bind).status))["loop"]
        assert (loop["blockages"], loop["last"]) == (1, dict(event.fields))
        assert loop["lag_ms"] > 0


def block_until_noticed(node: Any) -> None:
    end = time.monotonic() + 10
    while not node.cluster_parts.meter.blockages:
        assert time.monotonic() < end
        time.sleep(0.01)
