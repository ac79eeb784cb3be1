"""Errors at the edge: what is nowhere, what is not allowed, what broke."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from aiohttp import web

from pyhorde import errors
from pyhorde.client import rebuild
from pyhorde.web.failures import render
from tests.unit.web.conftest import Edge

CAST = "/v1/processes/v/cast"


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/explain/m", "/v1/status/", "/_cluster/x"])
async def test_a_path_that_does_not_exist_is_answered_with_those_that_do(edge: Edge, path: str):
    error = await edge.refused("GET", path)
    assert (error["status"], error["type"], error["code"]) == (404, "NotFound", "not_found")
    assert error["path"] == path
    for call in ("GET /healthz", "POST /v1/processes/{name}/call", "PUT /v1/meta/{key}"):
        assert call in error["hint"]


@pytest.mark.parametrize(
    ("verb", "path", "allow"),
    [
        ("POST", "/v1/status", "GET, HEAD"),
        ("PUT", "/v1/processes/m", "DELETE, GET, HEAD"),
        ("GET", "/v1/drain", "POST"),
        ("OPTIONS", "/v1/processes", "GET, HEAD, POST"),
    ],
)
async def test_a_wrong_verb_is_told_the_right_ones(edge: Edge, verb: str, path: str, allow: str):
    error = await edge.refused(verb, path)
    assert (error["status"], error["type"]) == (405, "MethodNotAllowed")
    assert edge.headers["Allow"] == allow
    assert allow in error["message"]


async def test_what_nobody_expected_is_logged_and_not_shown(
    edge: Edge, caplog: pytest.LogCaptureFixture
):
    edge.node.fails = ZeroDivisionError("secret detail")
    error = await edge.refused("POST", CAST, method="go")
    assert (error["status"], error["type"], error["code"]) == (
        500,
        "InternalError",
        "internal_error",
    )
    assert "secret" not in str(error)
    (record,) = [r for r in caplog.records if r.name == "pyhorde.web"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


async def test_what_the_http_library_refuses_is_a_bad_request(edge: Edge):
    edge.node.fails = web.HTTPBadRequest(reason="oddly said")
    error = await edge.refused("POST", CAST, method="go")
    assert (error["status"], error["type"], error["message"]) == (400, "BadRequest", "oddly said")


async def test_a_cancelled_request_is_no_error_of_the_node(
    edge: Edge, caplog: pytest.LogCaptureFixture
):
    edge.node.fails = asyncio.CancelledError()
    with pytest.raises(Exception, match="disconnect"):
        await edge.ask("POST", CAST, method="go")
    assert [r for r in caplog.records if r.name == "pyhorde.web"] == []


def body_of(error: errors.HordeError) -> dict[str, object]:
    return json.loads(render(error).body)["error"]


@pytest.mark.parametrize(
    "error",
    [
        errors.NameTaken("n", "b"),
        errors.UnknownType("a:B", ("a:C",)),
        errors.RemoteError("ValueError", "no"),
        errors.StartFailed("n", "KeyError", "'x'"),
        errors.NotReplicated("x", ("a", "b"), 2.0),
        errors.CallTimeout("n", "m", 1.5, "nobody runs it"),
        errors.ConfigError("name", "is wrong", "choose another"),
    ],
)
def test_the_client_gets_the_same_error_out_of_the_body(error: errors.HordeError):
    rebuilt = rebuild(body_of(error))
    assert type(rebuilt) is type(error)
    assert rebuilt.data == error.data


def test_fields_stand_beside_the_envelope_unless_it_has_their_name():
    body = body_of(errors.UnknownType("a:B", ("a:C",)))
    assert (body["type"], body["offered"]) == ("UnknownType", ["a:C"])
    assert body["data"] == {"type": "a:B", "offered": ["a:C"]}
    body = body_of(errors.RemoteError("ValueError", "no"))
    assert (body["message"], body["type_name"]) == ("ValueError: no", "ValueError")
    assert "hint" not in body
    assert body_of(errors.ConfigError("o", "p", "h"))["hint"] == "h"
    assert "hint" not in body_of(errors.ConfigError("o", "p"))


# ---- web pages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "origin", "is_allowed"),
    [
        ("127.0.0.1:7411", "http://127.0.0.1:7411", True),
        ("node.example", "http://node.example", True),
        ("node.example", "https://NODE.example:443", True),
        ("node.example:80", "http://node.example", True),
        ("[::1]:7411", "http://[::1]:7411", True),
        ("127.0.0.1:7411", "http://127.0.0.1:7412", False),
        ("127.0.0.1:7411", "http://localhost:7411", False),
        ("127.0.0.1:7411", "https://evil.example", False),
        ("127.0.0.1:7411", "null", False),
        ("127.0.0.1:7411", "", False),
        ("127.0.0.1:7411", "http://[", False),
        ("node.example:443", "http://node.example", False),
    ],
)
async def test_only_pages_of_the_node_itself_may_drive_it(
    edge: Edge, host: str, origin: str, is_allowed: bool
):
    headers = {"Host": host, "Origin": origin}
    status, body = await edge.ask("POST", CAST, method="go", headers=headers)
    if is_allowed:
        assert status == 202
    else:
        assert (status, body["error"]["type"]) == (403, "CrossSite")
        assert edge.node.seen == []


@pytest.mark.parametrize("verb", ["PUT", "DELETE"])
async def test_no_verb_that_changes_something_is_open_to_other_pages(edge: Edge, verb: str):
    edge.node.shared["k"] = 1
    headers = {"Origin": "http://evil.example"}
    error = await edge.refused(verb, "/v1/meta/k", b'{"value": 2}', headers=headers)
    assert (error["status"], error["origin"]) == (403, "http://evil.example")
    assert edge.node.shared == {"k": 1}


async def test_reading_is_open_because_the_page_does_not_see_the_answer(edge: Edge):
    headers = {"Origin": "http://evil.example"}
    assert (await edge.ask("GET", "/v1/status", headers=headers))[0] == 200
    assert "Access-Control-Allow-Origin" not in edge.headers
