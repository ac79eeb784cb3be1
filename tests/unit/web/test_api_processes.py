"""Processes over HTTP: listing, starting, ending, calling."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from pyhorde import errors
from tests.unit.web.conftest import Edge
from tests.unit.web.fake_node import FakeCell


def row(name: str, node: str | None = "a", epoch: int = 1) -> dict[str, object]:
    return {
        "name": name,
        "type": "app:Counter",
        "node": node,
        "epoch": epoch,
        "restart": "permanent",
    }


async def names(edge: Edge, query: str) -> tuple[list[str], str | None]:
    page = await edge.get(f"/v1/processes{query}")
    return [process["name"] for process in page["processes"]], page["next"]


@pytest.fixture
def five(edge: Edge) -> Edge:
    for name, node in zip(("n-1", "m-2", "m-1", "m-3", "z"), "ababa", strict=True):
        edge.node.runs(name, on=node)
    return edge


# ---- listing ------------------------------------------------------------------------------------


async def test_an_empty_list(edge: Edge):
    assert await edge.get("/v1/processes") == {"processes": [], "next": None}


async def test_processes_are_listed_by_name(five: Edge):
    page = await five.get("/v1/processes")
    assert page["processes"][:2] == [row("m-1"), row("m-2", "b")]
    assert await names(five, "") == (["m-1", "m-2", "m-3", "n-1", "z"], None)


@pytest.mark.parametrize(
    ("query", "found", "after"),
    [
        ("?prefix=m-", ["m-1", "m-2", "m-3"], None),
        ("?prefix=q", [], None),
        ("?node=b", ["m-2", "m-3"], None),
        ("?node=", ["m-1", "m-2", "m-3", "n-1", "z"], None),
        ("?node=b&limit=1", ["m-2"], "m-2"),
        ("?node=b&limit=2", ["m-2", "m-3"], None),
        ("?prefix=m-&limit=3", ["m-1", "m-2", "m-3"], None),
        ("?limit=2", ["m-1", "m-2"], "m-2"),
        ("?limit=2&after=m-2", ["m-3", "n-1"], "n-1"),
        ("?after=n", ["n-1", "z"], None),
        ("?after=z", [], None),
        ("?after=a&prefix=m-", ["m-1", "m-2", "m-3"], None),
        ("?prefix=a&after=m-1", [], None),
        ("?local=0&prefix=z", ["z"], None),
    ],
)
async def test_what_is_asked_for_is_listed(
    five: Edge, query: str, found: list[str], after: str | None
):
    assert await names(five, query) == (found, after)


async def test_an_orphan_has_no_node_and_the_highest_epoch_known(edge: Edge):
    edge.node.runs("m", on="c", epoch=7)
    assert (await edge.get("/v1/processes"))["processes"] == [row("m", None, 7)]
    assert await edge.get("/v1/processes/m") == row("m", None, 7)


async def test_local_tells_what_really_runs_here(five: Edge):
    five.node.cells = [FakeCell("y", epoch=3), FakeCell("m-9"), FakeCell("m-8")]
    page = await five.get("/v1/processes?local=1&prefix=m-&limit=1")
    assert page == {"processes": [row("m-8")], "next": "m-8"}
    assert await names(five, "?local=true&after=m-8") == (["m-9", "y"], None)
    assert await names(five, "?local=1&node=b") == ([], None)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("limit=0", "limit must be a whole number from 1 to 10000, not '0'"),
        ("limit=10001", "10000"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=%C2%B2", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("local=maybe", "local"),
        ("prefix=%FF", "UTF-8"),
        ("node=a&node=b", "twice"),
        ("nod=a", "'nod'"),
    ],
)
async def test_a_query_that_makes_no_sense(edge: Edge, query: str, word: str):
    error = await edge.refused("GET", f"/v1/processes?{query}")
    assert (error["status"], error["type"]) == (400, "BadRequest")
    assert word in error["message"]


async def test_a_mistyped_parameter_is_recognised(edge: Edge):
    assert (await edge.refused("GET", "/v1/processes?nod=a"))["hint"] == "did you mean 'node'?"


# ---- one process --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["m", "a/b c?", "50%", "%2F", "ü/ö", "..", "#1", "a\nb", "x" * 512]
)
async def test_names_are_what_they_are_whatever_they_hold(edge: Edge, name: str):
    edge.node.runs(name, epoch=2)
    path = "/v1/processes/" + quote(name, safe="").replace("..", "%2E%2E")
    assert await edge.get(path) == row(name, epoch=2)
    assert (await edge.ask("DELETE", path))[0] == 204
    assert (await edge.ask("POST", path + "/cast", method="go"))[0] == 202
    assert [seen[1] for seen in edge.node.seen] == [name, name]


async def test_nothing_of_that_name(edge: Edge):
    for verb in ("GET", "DELETE"):
        error = await edge.refused(verb, "/v1/processes/m")
        assert (error["status"], error["type"], error["name"]) == (404, "NameNotFound", "m")


@pytest.mark.parametrize("name", ["%FF", "%C3", "x" * 513, "%C3%BC" * 257])
async def test_names_that_cannot_be_one(edge: Edge, name: str):
    error = await edge.refused("GET", f"/v1/processes/{name}")
    assert (error["status"], error["type"]) == (400, "InvalidName")


async def test_an_unencoded_slash_ends_the_name(edge: Edge):
    assert (await edge.refused("GET", "/v1/processes/a/b"))["type"] == "NotFound"
    assert (await edge.refused("GET", "/v1/processes/"))["type"] == "NotFound"


# ---- starting -----------------------------------------------------------------------------------


async def test_a_process_is_started(edge: Edge):
    started = await edge.ask("POST", "/v1/processes", type="Counter", name="v", args=[1])
    assert started == (201, row("v"))
    assert edge.node.seen == [("launch", "Counter", "v", [1], {})]


async def test_a_process_without_a_name_gets_one(edge: Edge):
    assert await edge.ask("POST", "/v1/processes", type="C") == (201, row("generated"))
    await edge.ask("POST", "/v1/processes", type="C", name=None, kwargs={"k": [None]})
    assert edge.node.seen[1] == ("launch", "C", None, [], {"k": [None]})


@pytest.mark.parametrize("name", ["", "x" * 513])
async def test_a_process_is_not_started_under_an_impossible_name(edge: Edge, name: str):
    error = await edge.refused("POST", "/v1/processes", type="C", name=name)
    assert (error["status"], error["type"]) == (400, "InvalidName")
    assert edge.node.seen == []


async def test_a_taken_name_tells_its_owner(edge: Edge):
    edge.node.fails = errors.NameTaken("v", "b")
    error = await edge.refused("POST", "/v1/processes", type="C", name="v")
    assert (error["status"], error["code"], error["owner"]) == (409, "name_taken", "b")
    assert error["data"] == {"name": "v", "owner": "b"}


async def test_a_start_is_answered_when_the_news_of_it_is_here(edge: Edge):
    launched = asyncio.Event()

    async def elsewhere(name: str) -> None:
        launched.set()

    edge.node.on_launch = elsewhere
    asking = asyncio.create_task(edge.ask("POST", "/v1/processes", type="C", name="v"))
    await launched.wait()
    edge.node.runs("v", on="b")
    assert await asking == (201, row("v", "b"))


async def test_a_process_that_ended_at_once_was_started_all_the_same(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
):
    async def nothing(name: str) -> None:
        pass

    monkeypatch.setattr("pyhorde.web.api.HEARSAY_TIMEOUT", 0.01)
    edge.node.on_launch = nothing
    status, started = await edge.ask("POST", "/v1/processes", type="app:C", name="v")
    assert (status, started["name"], started["type"], started["node"]) == (201, "v", "app:C", None)


# ---- calling ------------------------------------------------------------------------------------


async def test_a_call_has_defaults(edge: Edge):
    edge.node.result = {"count": 3}
    assert await edge.ask("POST", "/v1/processes/v/call", method="get") == (
        200,
        {"result": {"count": 3}},
    )
    assert edge.node.seen == [("call", "v", "get", [], {}, 5.0, None)]


async def test_a_call_passes_everything_on(edge: Edge):
    fields = {"method": "add", "args": [1], "kwargs": {"by": 2}, "timeout": 1, "request_id": "r"}
    status, _ = await edge.ask("POST", "/v1/processes/v/call", **fields)
    assert status == 200
    assert edge.node.seen == [("call", "v", "add", [1], {"by": 2}, 1.0, "r")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", 3600.5),
        ("timeout", 10**400),
        ("timeout", True),
        ("timeout", "5"),
        ("timeout", None),
        ("request_id", ""),
        ("request_id", "x" * 129),
        ("request_id", 7),
        ("method", ""),
        ("method", 7),
        ("args", {}),
        ("args", None),
        ("kwargs", []),
    ],
)
async def test_a_call_with_a_wrong_field(edge: Edge, field: str, value: object):
    error = await edge.refused("POST", "/v1/processes/v/call", **{"method": "get", field: value})
    assert (error["status"], error["type"]) == (400, "BadRequest")
    assert error["message"].startswith(f"{field!r} must be ")
    assert edge.node.seen == []


async def test_a_cast_is_accepted(edge: Edge):
    sent = await edge.ask("POST", "/v1/processes/v/cast", method="reset", args=[1])
    assert sent == (202, {"name": "v", "method": "reset"})
    assert edge.node.seen == [("cast", "v", "reset", [1], {})]


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (errors.NameNotFound("v"), 404),
        (errors.UnknownMethod("C", "get", ("put",)), 404),
        (errors.BadArguments("get", "too many"), 400),
        (errors.RemoteError("ValueError", "no"), 422),
        (errors.MailboxFull("v", 10), 429),
        (errors.ProcessExited("v", "killed"), 410),
        (errors.NodeDraining("a"), 503),
        (errors.Indeterminate("v", "get", "node b was lost"), 503),
        (errors.NoQuorum(1, 2), 503),
        (errors.NotReplicated("the answer", ("b",), 5.0), 503),
        (errors.CallTimeout("v", "get", 1.0), 504),
    ],
)
async def test_an_error_of_a_call_is_answered(edge: Edge, raised: errors.HordeError, status: int):
    edge.node.fails = raised
    error = await edge.refused("POST", "/v1/processes/v/call", method="get")
    assert (error["status"], error["type"]) == (status, type(raised).__name__)
    assert error["message"] == str(raised)
    assert set(error["data"]) == set(raised.data)
