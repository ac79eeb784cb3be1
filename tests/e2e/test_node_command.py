"""``pyhorde node``: what it says, how it refuses, how it ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.machines import Machines, until


async def test_the_banner_tells_what_to_do_next(machines: Machines):
    a, b = await machines.up("a", "b")
    for line in (
        f"node a is up on {a.address} (cluster horde)",
        f"  api    http://{a.address}/v1/status",
        f"  peers  {b.address}",
        "  types  examples.counter:Counter",
        f"  join   pyhorde node --peers {a.address} --bind 127.0.0.1:0 --app examples.counter",
        f"  talk   pyhorde status --address {a.address}",
    ):
        assert line in a.err.splitlines()
    assert a.out == "", "stdout is for data"


async def test_logs_as_json_are_json_line_by_line(machines: Machines):
    (a,) = machines.prepare("a")
    a.options += ["--log-format", "json"]
    await a.boot()
    await machines.all_see({"a": "alive"}, [a])
    a.send(signal.SIGTERM)
    assert await a.exit_code() == 0
    lines = [json.loads(line) for line in (a.out + a.err).splitlines()]
    assert {"ts", "level", "logger", "event"} <= set.intersection(*(set(line) for line in lines))
    events = [line["event"] for line in lines]
    assert [e for e in events if e.startswith("node_")] == [
        "node_ready",
        "node_draining",
        "node_left",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_hands_everything_over_and_ends_with_0(
    machines: Machines, number: signal.Signals
):
    nodes = await machines.up("a", "b", "c")
    for n in range(12):
        await machines.start(nodes[0], f"n{n}", n)
        await machines.call(nodes[1], f"n{n}", "increment")
    going = await machines.owner("n0")
    staying = [node for node in nodes if node is not going]
    going.send(number)
    assert await going.exit_code() == 0
    assert f"node {going.name} has left;" in going.err
    assert "not handed off" not in going.err
    assert "Traceback" not in going.err
    await machines.all_see({going.name: "left"}, staying)
    for n in range(12):
        assert await machines.call(staying[n % 2], f"n{n}", "get") == n + 1


async def test_a_node_that_is_alone_ends_with_0_too(machines: Machines):
    (a,) = await machines.up("a")
    await machines.start(a, "visits")
    a.send(signal.SIGTERM)
    assert await a.exit_code() == 0
    assert "not handed off: visits" in a.err


async def test_a_node_that_still_joins_ends_with_0(machines: Machines):
    (a,) = machines.prepare("a")
    a.options += ["--peers", "127.0.0.1:1"]
    await a.boot()
    await until(lambda: "peer_unreachable" in a.err, "it tries to join")
    a.send(signal.SIGTERM)
    assert await a.exit_code() == 0


async def test_a_busy_port_is_refused(machines: Machines):
    (a,) = await machines.up("a")
    ran = await machines.run("node", "--name", "b", "--bind", a.address)
    assert (ran.code, ran.out) == (2, "")
    problem, hint = ran.err.splitlines()[-2:]
    assert f"bind: cannot listen on {a.address}: " in problem
    assert hint == "hint: is another node running there? choose another --bind HOST:PORT"


async def test_a_name_that_a_live_node_has_is_refused(machines: Machines):
    (a,) = await machines.up("a")
    ran = await machines.run("node", "--name", "a", "--bind", "127.0.0.1:0", "--peers", a.address)
    assert ran.code == 2
    assert f"'a' is the name of a live node at {a.address}" in ran.err
    assert "hint: give every node a name of its own with --name" in ran.err
    assert await machines.sees(a, {"a": "alive"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--app", "no.such.module"], "no module named 'no'"),
        (["--app", "examples.counter:Nobody"], "has no class 'Nobody'"),
        (["--app", "json"], "the module json has no process in it"),
        (["--app", "examples/counter.py"], "hint: did you mean examples.counter?"),
        (["--no-such-option"], "No such option"),
        (["--bind", "nowhere"], "'nowhere' is no HOST:PORT"),
        (["--bind", "0.0.0.0:0", "--advertise", "127.0.0.1:1"], "the cluster has no secret"),
        (["--bind", "0.0.0.0:0", "--insecure"], "says nothing about how peers reach this node"),
        (["--secret-file", "/no/such/file"], "cannot read /no/such/file"),
        (["--config", "/no/such/file"], "cannot read /no/such/file"),
        (["--name", "no spaces"], "'no spaces' cannot name a node"),
        (["--log-format", "xml"], "must be one of text, json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_what_cannot_be_is_refused_with_2(machines: Machines, options: list[str], said: str):
    ran = await machines.run("node", *options, PYHORDE_BIND="127.0.0.1:0")
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert said in ran.err
    assert "Traceback" not in ran.err


async def test_an_app_that_fails_on_import_is_shown_where(machines: Machines, tmp_path: Path):
    (tmp_path / "broken_app.py").write_text("x = 1\nraise RuntimeError('oh no')\n")
    ran = await machines.run("node", "--app", "broken_app", PYTHONPATH=f"{tmp_path}:.")
    assert ran.code == 2
    assert "RuntimeError: oh no at " in ran.err
    assert "broken_app.py:2" in ran.err
    assert "Traceback" not in ran.err


async def test_environment_and_file_say_the_same_as_flags(machines: Machines, tmp_path: Path):
    (a,) = machines.prepare("a")
    (tmp_path / "secret").write_text("9f1c7a05d3e84b62a0c5718ee2d94f36")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "horde.toml").write_text('cluster = "red"\nsecret_file = "secret"\n')
    await a.boot(PYHORDE_CONFIG=str(tmp_path / "horde.toml"), PYHORDE_CLUSTER="blue")
    await machines.all_see({"a": "alive"}, [a])
    _, body = await machines.ask(a, "GET", "/v1/status")
    assert body["cluster"] == "blue", "the environment beats the file"
    (b,) = machines.prepare("b")
    b.options += ["--cluster", "blue", "--peers", a.address]
    await b.boot()
    await until(lambda: "does not know this cluster's secret" in b.err, "b says what is wrong")
    assert not await machines.sees(a, {"b": "alive"})
