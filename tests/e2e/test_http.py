"""HTTP as curl would speak it: good requests, bad ones, and broken ones."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from tests.e2e.machines import COUNTER, Machine, Machines


async def raw(node: Machine, *parts: bytes) -> tuple[int, dict[str, str], Any]:
    """Send these bytes over a fresh connection; status, headers and JSON body of the answer."""
    host, _, port = node.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(30):
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    await closed(writer)
    status = int(first.split()[1])
    return status, headers, json.loads(body) if body else None


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def request(verb: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{verb} {path} HTTP/1.1", "Host: node", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_the_life_of_a_process(machines: Machines):
    a, b = await machines.up("a", "b")
    body = json.dumps({"type": COUNTER, "name": "visits", "args": [10]}).encode()
    status, headers, started = await raw(a, request("POST", "/v1/processes", body))
    assert (status, headers["content-type"].partition(";")[0]) == (201, "application/json")
    assert (started["name"], started["type"], started["restart"]) == (
        "visits",
        COUNTER,
        "permanent",
    )
    call = json.dumps({"method": "increment", "args": [5], "request_id": "one"}).encode()
    for node in (a, b, a):
        status, _, answer = await raw(node, request("POST", "/v1/processes/visits/call", call))
        assert (status, answer) == (200, {"result": 15})
    cast = json.dumps({"method": "reset"}).encode()
    assert (await raw(b, request("POST", "/v1/processes/visits/cast", cast)))[0] == 202
    status, _, row = await raw(b, request("GET", "/v1/processes/visits"))
    assert (status, row) == (200, started)
    status, _, entry = await raw(b, request("GET", "/v1/registry/visits"))
    assert (status, entry["process"], entry["node"]) == (200, "visits", started["node"])
    assert (await raw(b, request("DELETE", "/v1/processes/visits")))[0] == 204
    for node in (a, b):
        assert (await raw(node, request("GET", "/v1/processes/visits")))[0] == 404


async def test_names_are_percent_encoded(machines: Machines):
    a, b = await machines.up("a", "b")
    for name, path in {
        "a/b c": "a%2Fb%20c",
        "größe": "gr%C3%B6%C3%9Fe",
        "..": "%2E%2E",
        "100%": "100%25",
    }.items():
        body = json.dumps({"type": COUNTER, "name": name}).encode()
        assert (await raw(a, request("POST", "/v1/processes", body)))[0] == 201
        status, _, row = await raw(b, request("GET", f"/v1/processes/{path}"))
        assert (status, row["name"]) == (200, name)


async def test_bad_requests(machines: Machines):
    (a,) = await machines.up("a")
    await machines.start(a, "visits")
    call, start = "/v1/processes/visits/call", "/v1/processes"
    taken = json.dumps({"type": COUNTER, "name": "visits"}).encode()
    cases: list[tuple[str, str, bytes, int, str]] = [
        ("POST", call, b"{not json", 400, "BadRequest"),
        ("POST", call, b"[1, 2]", 400, "BadRequest"),
        ("POST", call, b"", 400, "BadRequest"),
        ("POST", call, b"\xff\xfe", 400, "BadRequest"),
        ("POST", call, b'{"method": NaN}', 400, "BadRequest"),
        ("POST", call, b"[" * 100_000, 400, "BadRequest"),
        ("POST", call, b'{"args": []}', 400, "BadRequest"),
        ("POST", call, b'{"method": "get", "timeout": -1}', 400, "BadRequest"),
        ("POST", call, b'{"method": "get", "tmeout": 1}', 400, "BadRequest"),
        ("POST", call, b'{"method": "increment", "args": [1, 2, 3]}', 400, "BadArguments"),
        ("POST", call, b'{"method": "increment", "args": ["x"]}', 422, "RemoteError"),
        ("POST", call, b'{"method": "no_such"}', 404, "UnknownMethod"),
        ("POST", call, b'{"method": "__init__"}', 404, "UnknownMethod"),
        ("POST", call, b'{"method": "reset"}', 404, "UnknownMethod"),
        ("POST", "/v1/processes/nobody/call", b'{"method": "get"}', 404, "NameNotFound"),
        ("POST", start, taken, 409, "NameTaken"),
        ("POST", start, b'{"type": "os:system", "name": "x"}', 404, "UnknownType"),
        ("POST", start, b'{"type": "x", "name": ""}', 400, "InvalidName"),
        ("GET", "/v1/processes?limit=0", b"", 400, "BadRequest"),
        ("GET", "/v1/processes/%FF", b"", 400, "InvalidName"),
        ("GET", "/v1/nothing", b"", 404, "NotFound"),
        ("GET", "/v1/meta/nothing", b"", 404, "NameNotFound"),
        ("PATCH", "/v1/status", b"", 405, "MethodNotAllowed"),
        ("DELETE", "/v1/nothing/here", b"", 404, "NotFound"),
    ]
    for verb, path, body, status, kind in cases:
        got, _, answer = await raw(a, request(verb, path, body))
        assert (got, answer["error"]["type"]) == (status, kind), (verb, path, body[:40], answer)
        assert answer["error"]["message"]
    _, _, answer = await raw(a, request("POST", start, taken))
    assert answer["error"]["owner"] == "a"
    assert await machines.call(a, "visits", "get") == 0
    assert "Traceback" not in a.err


async def test_a_body_of_more_than_a_mebibyte_is_refused(machines: Machines):
    (a,) = await machines.up("a")
    for size in (1024 * 1024 + 1, 20 * 1024 * 1024):
        body = json.dumps({"value": "x" * size}).encode()
        status, _, answer = await raw(a, request("PUT", "/v1/meta/big", body))
        assert (status, answer["error"]["type"]) == (413, "TooLarge")
    status, _, answer = await raw(a, request("GET", "/v1/status"))
    assert (status, answer["state"]) == (200, "ready")


async def test_what_is_no_http_does_not_disturb_the_node(machines: Machines):
    (a,) = await machines.up("a")
    for broken in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\xc1" * 99,
    ):
        host, _, port = a.address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(broken)
        writer.write_eof()
        async with asyncio.timeout(30):
            assert b"Traceback" not in await reader.read()
        await closed(writer)
    assert await machines.sees(a, {"a": "alive"})
    assert "Traceback" not in a.err


async def test_a_page_of_another_site_cannot_drive_the_node(machines: Machines):
    (a,) = await machines.up("a")
    foreign = request("POST", "/v1/drain", b"{}", Origin="http://evil.example")
    status, _, answer = await raw(a, foreign)
    assert (status, answer["error"]["type"]) == (403, "CrossSite")
    assert await machines.sees(a, {"a": "alive"})


async def test_metrics_and_index(machines: Machines):
    (a,) = await machines.up("a")
    host, _, port = a.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request("GET", "/metrics"))
    text = (await reader.read()).decode()
    await closed(writer)
    assert "pyhorde_members_present 1.0" in text
    status, _, index = await raw(a, request("GET", "/"))
    assert (status, index["node"]) == (200, "a")
