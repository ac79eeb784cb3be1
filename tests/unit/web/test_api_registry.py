"""Registered keys and metadata over HTTP."""

from __future__ import annotations

import pytest

from pyhorde.errors import NotReplicated
from tests.unit.web.conftest import Edge
from tests.unit.web.fake_node import Badge


async def test_a_registered_key(edge: Edge):
    edge.node.registers("seat/7", "m", {"row": (1, 2)})
    assert await edge.get("/v1/registry/seat%2F7") == {
        "key": "seat/7",
        "value": {"row": [1, 2]},
        "process": "m",
        "node": "a",
    }


async def test_a_process_holds_its_own_name(edge: Edge):
    edge.node.runs("m", on="b")
    held = {"key": "m", "value": None, "process": "m", "node": "b"}
    assert await edge.get("/v1/registry/m") == held


async def test_a_value_of_a_declared_type(edge: Edge):
    edge.node.registers("k", "m", Badge(7))
    assert (await edge.get("/v1/registry/k"))["value"] == {"number": 7}


async def test_a_value_of_an_unknown_type_comes_as_its_bytes(edge: Edge):
    edge.node.registers("k2", "m", 1)
    for key in ("k", "k1", "k3"):
        edge.node.keys.default.claim(key, "m", b"\xc1")
    held = {"key": "k", "value": {"base64": "wQ=="}, "process": "m", "node": "a"}
    assert await edge.get("/v1/registry/k") == held
    assert (await edge.get("/v1/registry/k2"))["value"] == 1
    assert (await edge.get("/v1/status"))["names"] == 4


async def test_a_key_nobody_holds(edge: Edge):
    edge.node.runs("m", on="c")
    for key in ("k", "m"):
        error = await edge.refused("GET", f"/v1/registry/{key}")
        assert (error["status"], error["type"], error["name"]) == (404, "NameNotFound", key)


@pytest.mark.parametrize("value", [None, False, 0, "", [1, {"a": None}], "ü"])
async def test_metadata_is_written_to_all_and_read_again(edge: Edge, value: object):
    assert await edge.ask("PUT", "/v1/meta/a%2Fb", value=value) == (200, {"value": value})
    assert edge.node.seen == [("put", "a/b"), ("flush", 5.0)]
    assert await edge.get("/v1/meta/a%2Fb") == {"value": value}


async def test_metadata_is_deleted_everywhere(edge: Edge):
    edge.node.shared["k"] = None
    assert await edge.ask("DELETE", "/v1/meta/k") == (204, None)
    assert edge.node.seen == [("delete", "k"), ("flush", 5.0)]


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_metadata_that_is_not_there(edge: Edge, verb: str):
    error = await edge.refused(verb, "/v1/meta/k")
    assert (error["status"], error["type"], error["name"]) == (404, "NameNotFound", "k")
    assert edge.node.seen == []


@pytest.mark.parametrize("verb", ["PUT", "DELETE"])
async def test_a_write_that_did_not_reach_everyone(edge: Edge, verb: str):
    edge.node.shared["k"] = 1
    edge.node.fails = NotReplicated("what a wrote", ("b",), 5.0)
    error = await edge.refused(verb, "/v1/meta/k", b'{"value": 2}')
    assert (error["status"], error["missing"], error["timeout"]) == (503, ["b"], 5.0)


async def test_a_put_needs_a_value(edge: Edge):
    error = await edge.refused("PUT", "/v1/meta/k", b"{}")
    assert (error["status"], error["message"]) == (400, "'value' is missing")
    assert edge.node.seen == []


async def test_a_key_that_cannot_be_one(edge: Edge):
    for verb in ("GET", "PUT", "DELETE"):
        error = await edge.refused(verb, "/v1/meta/%FF", b'{"value": 1}')
        assert (error["status"], error["type"]) == (400, "InvalidName")
