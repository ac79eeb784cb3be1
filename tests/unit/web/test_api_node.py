"""Health, status, members, drain, and the index."""

from __future__ import annotations

import pytest

from pyhorde import __version__
from pyhorde.errors import NodeClosed
from tests.unit.web.conftest import Edge
from tests.unit.web.fake_node import FakeCell


async def test_the_index_names_the_node_and_links_to_what_works(edge: Edge):
    index = await edge.get("/")
    assert (index["name"], index["version"], index["node"]) == ("pyhorde", __version__, "a")
    assert index["links"]["status"] == "/v1/status"
    for path in index["links"].values():
        async with edge.client.get(path) as response:
            assert response.status == 200, path


@pytest.mark.parametrize("state", ["joining", "ready", "draining", "left"])
async def test_a_node_is_alive_whatever_its_state(edge: Edge, state: str):
    edge.node.state = state
    edge.node.why_not_ready = "" if state == "ready" else "because"
    assert await edge.get("/healthz") == {"status": "alive", "node": "a", "state": state}


async def test_ready_only_when_nothing_speaks_against_it(edge: Edge):
    assert await edge.get("/readyz") == {"ready": True, "node": "a", "state": "ready"}
    edge.node.state, edge.node.why_not_ready = "draining", "it is draining"
    assert await edge.ask("GET", "/readyz") == (
        503,
        {"ready": False, "node": "a", "state": "draining", "reason": "it is draining"},
    )


MEMBERS = [
    {
        "name": "a",
        "address": "10.0.0.1:7411",
        "state": "alive",
        "incarnation": 4,
        "boot": "boot-a",
        "generation": 1,
        "since": 12.5,
        "labels": {"zone": "x"},
        "cordoned": False,
        "processes": 2,
        "health": 0,
        "lag_ms": 1,
    },
    {
        "name": "b",
        "address": "10.0.0.2:7411",
        "state": "draining",
        "incarnation": 0,
        "boot": "boot-b",
        "generation": 1,
        "since": 3.0,
        "labels": {},
        "cordoned": True,
        "processes": 5,
        "health": 3,
        "lag_ms": 40,
    },
    {
        "name": "c",
        "address": "10.0.0.3:7411",
        "state": "dead",
        "incarnation": 0,
        "boot": "boot-c",
        "generation": 1,
        "since": 0.0,
        "labels": {},
        "cordoned": False,
        "processes": None,
        "health": None,
        "lag_ms": None,
    },
]


async def test_status_says_what_the_node_knows(edge: Edge):
    edge.node.runs("m-1")
    edge.node.runs("m-2", on="b")
    edge.node.runs("m-3", on="c")
    edge.node.registers("key", "m-1", 1)
    edge.node.cells = [FakeCell("m-1")]
    assert await edge.get("/v1/status") == {
        "node": "a",
        "incarnation": 4,
        "state": "ready",
        "cluster": "horde",
        "version": __version__,
        "members": MEMBERS,
        "processes": {"local": 1, "total": 3},
        "names": 3,
        "health": 0,
        "loop": {"lag_ms": 0, "blockages": 0, "last": None},
        "packets": {"sent": 3, "sent_bytes": 300, "received": 0, "refused": 0},
    }


async def test_status_shows_what_blocked_the_event_loop(edge: Edge):
    cluster = edge.node.cluster_parts
    cluster.blocked(1.23456, "a stack")
    cluster.meter.lag = 0.7777
    cluster.detector.health.worse(3)
    status = await edge.get("/v1/status")
    assert status["health"] == 3
    last = {"seconds": 1.235, "stack": "a stack"}
    assert status["loop"] == {"lag_ms": 777, "blockages": 1, "last": last}


async def test_members_lists_the_dead_too(edge: Edge):
    assert await edge.get("/v1/members") == {"members": MEMBERS}


async def test_a_member_is_cordoned_and_uncordoned(edge: Edge):
    path = "/v1/members/b/cordon"
    assert await edge.ask("POST", path) == (202, MEMBERS[1])
    assert await edge.ask("DELETE", path) == (202, MEMBERS[1])
    assert edge.node.seen == [("cordon", "b"), ("uncordon", "b")]


@pytest.mark.parametrize("verb", ["POST", "DELETE"])
async def test_a_cordon_of_nobody_is_not_found(edge: Edge, verb: str):
    refused = await edge.refused(verb, "/v1/members/zebra/cordon")
    assert (refused["status"], refused["type"], refused["name"]) == (404, "NameNotFound", "zebra")
    assert edge.node.seen == []


async def test_a_drain_is_begun_and_shows_its_progress(edge: Edge):
    status, begun = await edge.ask("POST", "/v1/drain")
    progress = {"total": 2, "moved": 0, "remaining": ["x", "y"]}
    assert (status, begun) == (202, {"node": "a", "state": "draining", **progress})
    assert edge.node.seen == [("drain",)]
    assert (await edge.get("/v1/status"))["drain"] == progress


async def test_a_node_that_has_stopped_does_not_drain(edge: Edge):
    edge.node.fails = NodeClosed("a")
    assert (await edge.refused("POST", "/v1/drain"))["type"] == "NodeClosed"


async def test_head_is_answered_like_get(edge: Edge):
    assert await edge.ask("HEAD", "/readyz") == (200, None)
