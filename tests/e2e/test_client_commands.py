"""The commands that talk to a node: what they print where, and their exit codes."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path

from tests.e2e.machines import COUNTER, Machine, Machines, until


async def test_a_counter_through_the_command_line(machines: Machines):
    a, b = await machines.up("a", "b")
    started = await machines.run("start", COUNTER, "visits", "10", node=a)
    assert (started.code, started.err) == (0, "")
    assert started.out.startswith("visits runs on ")
    called = await machines.run("call", "visits", "increment", "5", node=b)
    assert (called.code, called.out, called.err) == (0, "15\n", "")
    called = await machines.run("call", "visits", "increment", "-20", "--json", node=a)
    assert called.json == {"result": -5}
    called = await machines.run("call", "visits", "increment", "--kwarg", "by=7", node=a)
    assert called.out == "2\n"
    cast = await machines.run("cast", "visits", "reset", node=b)
    assert (cast.code, cast.out, cast.err) == (0, "", "sent\n")
    await until(lambda: zero(machines), "the cast has run")
    stopped = await machines.run("stop", "visits", node=a)
    assert (stopped.code, stopped.out, stopped.err) == (0, "", "visits has ended\n")
    gone = await machines.run("call", "visits", "get", node=b)
    assert (gone.code, gone.out) == (3, "")
    assert gone.err == "error: nothing is named 'visits'\n"


async def zero(machines: Machines) -> bool:
    return await machines.call(machines.nodes["a"], "visits", "get") == 0


async def test_looking_around(machines: Machines):
    a, b = await machines.up("a", "b")
    for n in range(6):
        await machines.start(a, f"n{n}")
    status = await machines.run("status", node=a)
    assert status.code == 0
    assert "node a is ready in cluster horde" in status.out
    as_json = (await machines.run("status", "--json", node=b)).json
    assert (as_json["node"], as_json["state"], as_json["processes"]["total"]) == ("b", "ready", 6)
    members = await machines.run("members", "--json", node=a)
    assert [(m["name"], m["state"]) for m in members.json["members"]] == [
        ("a", "alive"),
        ("b", "alive"),
    ]
    listed = await machines.run("ps", "--json", node=b)
    assert [p["name"] for p in listed.json["processes"]] == [f"n{n}" for n in range(6)]
    here = [
        p["name"]
        for node in (a, b)
        for p in (await machines.run("ps", "--local", "--json", node=node)).json["processes"]
    ]
    assert sorted(here) == [f"n{n}" for n in range(6)]
    where = await machines.run("whereis", "n3", "--json", node=a)
    assert where.json["node"] == (await machines.owner("n3")).name
    assert (await machines.run("whereis", "nobody", node=a)).code == 3


async def test_metadata(machines: Machines):
    a, b = await machines.up("a", "b")
    assert (await machines.run("meta", "put", "colour", '{"hue": 7}', node=a)).code == 0
    got = await machines.run("meta", "get", "colour", "--json", node=b)
    assert got.json == {"key": "colour", "value": {"hue": 7}}
    assert (await machines.run("meta", "delete", "colour", node=b)).code == 0
    assert (await machines.run("meta", "get", "colour", node=a)).code == 3


async def test_drain_shows_how_far_it_is_and_the_node_ends(machines: Machines):
    a, b = await machines.up("a", "b")
    for n in range(8):
        await machines.start(a, f"n{n}", n)
    drained = await machines.run("drain", "b", "--json", node=a)
    assert (drained.code, drained.json["node"]) == (0, "b"), drained.err
    assert await b.exit_code() == 0
    assert [await machines.call(a, f"n{n}", "get") for n in range(8)] == list(range(8))
    assert (await machines.run("drain", "nobody", node=a)).code == 3


async def test_a_cordon_keeps_new_processes_away(machines: Machines):
    a, b = await machines.up("a", "b")
    done = await machines.run("cordon", "b", node=a)
    assert (done.code, done.out) == (0, ""), done.err
    assert done.err == "nothing new will be placed on b\n"
    await until(lambda: cordoned(machines, "b"), "b is cordoned")
    shown = await machines.run("members", node=a)
    assert next(line for line in shown.out.splitlines() if ", cordoned" in line).startswith("b ")
    for n in range(10):
        await machines.start(b, f"n{n}")
    status, body = await machines.ask(b, "GET", "/v1/processes?local=1")
    assert (status, body["processes"]) == (200, [])
    assert (await machines.run("uncordon", "b", node=b)).code == 0
    await until(lambda: not_cordoned(machines, "b"), "b is not cordoned any more")
    assert (await machines.run("cordon", "nobody", node=a)).code == 3


async def cordoned(machines: Machines, name: str) -> bool:
    """Whether every node says so."""
    for node in machines.nodes.values():
        _, body = await machines.ask(node, "GET", "/v1/members")
        if not {m["name"]: m["cordoned"] for m in body["members"]}[name]:
            return False
    return True


async def not_cordoned(machines: Machines, name: str) -> bool:
    return not await cordoned(machines, name)


async def test_events_tell_of_a_death_and_are_resumed(machines: Machines):
    a, b = await machines.up("a", "b")
    kept = await machines.run("events", "--no-follow", "--json", node=a)
    last = json.loads(kept.out.splitlines()[-1])["id"]
    await b.kill()
    await machines.all_see({"b": "dead"}, [a])
    since = await machines.run("events", "--after", last, "--no-follow", "--json", node=a)
    events = [json.loads(line) for line in since.out.splitlines()]
    (dead,) = [event for event in events if event["kind"] == "member_dead"]
    assert dead["fields"]["cause"] == "re-dial refused"
    assert all(event["id"] != last for event in events)
    shown = await machines.run("events", "--kind", "member_dead", "--no-follow", node=a)
    (line,) = shown.out.splitlines()
    assert line.endswith(f"  member_dead       b at {b.address} (was suspect): re-dial refused")


async def test_events_are_followed_until_the_node_stops(machines: Machines):
    (a,) = await machines.up("a")
    following = asyncio.ensure_future(machines.run("events", "--kind", "drain", node=a))
    await until(lambda: is_followed(a), "somebody follows")
    a.send(signal.SIGTERM)
    ran = await following
    assert (ran.code, ran.err) == (0, "the node has stopped\n"), ran
    assert [line.split()[3] for line in ran.out.splitlines()] == ["draining", "drained"]


async def is_followed(node: Machine) -> bool:
    host, _, port = node.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
    text = await reader.read()
    writer.close()
    await writer.wait_closed()
    return b"\npyhorde_event_streams 1.0\n" in text


async def test_exit_codes_and_errors(machines: Machines):
    (a,) = await machines.up("a")
    await machines.start(a, "visits")
    nowhere = "127.0.0.1:1"
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        silent = f"127.0.0.1:{deaf.getsockname()[1]}"
        cases = {
            ("start", COUNTER, "visits"): (1, "name_taken"),
            ("call", "visits", "increment", '"x"'): (1, "remote_error"),
            ("start", COUNTER): (2, "usage_error"),
            ("frobnicate",): (2, "usage_error"),
            ("call", "visits", "increment", "1", "2", "3"): (2, "bad_arguments"),
            ("whereis", "x" * 600): (2, "invalid_name"),
            ("stop", "nobody"): (3, "name_not_found"),
            ("call", "visits", "no_such_method"): (3, "unknown_method"),
            ("start", "no:Such", "name"): (3, "unknown_type"),
            ("status", "--address", nowhere): (4, "dial_refused peer_unreachable"),
            ("status", "--address", silent, "--timeout", "0.5"): (5, "call_timeout"),
        }
        results = await asyncio.gather(
            *(machines.run(*arguments, "--json", node=a) for arguments in cases)
        )
        plain = await asyncio.gather(*(machines.run(*arguments, node=a) for arguments in cases))
    for (arguments, (code, name)), ran in zip(cases.items(), results, strict=True):
        assert ran.code == code, (arguments, ran)
        assert ran.json["error"]["code"] in name.split(), (arguments, ran)
        assert ran.json["error"]["message"]
        assert ran.err == "", (arguments, ran)
    for (arguments, (code, _)), ran in zip(cases.items(), plain, strict=True):
        assert (ran.code, ran.out) == (code, ""), (arguments, ran)
        assert "rror" in ran.err, (arguments, ran)
        assert "Traceback" not in ran.err


async def test_a_node_that_is_not_ready_is_unhealthy(machines: Machines, tmp_path: Path):
    (a,) = machines.prepare("a")
    patient = tmp_path / "patient.toml"
    patient.write_text("[membership]\ndial_timeout = 60.0\n")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        peer = f"127.0.0.1:{deaf.getsockname()[1]}"
        a.options += ["--peers", peer, "--config", str(patient)]
        await a.boot()
        await until(lambda: answers(machines), "the node answers")
        ran = await machines.run("status", "--json", node=a)
        assert (ran.code, ran.json["state"]) == (6, "joining")
        assert (await machines.ask(a, "GET", "/healthz"))[0] == 200
        status, body = await machines.ask(a, "GET", "/readyz")
        assert (status, body["reason"]) == (503, "it has not joined yet")


async def answers(machines: Machines) -> bool:
    return (await machines.ask(machines.nodes["a"], "GET", "/healthz"))[0] == 200


async def test_help_and_version(machines: Machines):
    for arguments in (["--help"], ["node", "--help"], ["meta", "put", "-h"], ["--version"]):
        ran = await machines.run(*arguments)
        assert (ran.code, ran.err) == (0, "")
        assert "pyhorde" in ran.out
