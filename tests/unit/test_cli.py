"""The command: what it prints where, and how it exits."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import click
import pytest
from click.testing import CliRunner, Result

from pyhorde import cli, errors, output
from pyhorde.config import NodeConfig
from pyhorde.settings import Settings

MEMBERS: list[dict[str, Any]] = [
    {
        "name": "a",
        "address": "127.0.0.1:7411",
        "state": "alive",
        "incarnation": 1,
        "since": 200.0,
        "labels": {"zone": "x", "disk": "fast"},
        "cordoned": True,
        "processes": 0,
    },
    {
        "name": "b",
        "address": "127.0.0.1:7412",
        "state": "dead",
        "incarnation": 2,
        "since": 4.2,
        "labels": {},
        "cordoned": False,
        "processes": None,
    },
]
EVENT = {
    "id": "cafecafe-7",
    "wall": 1_700_000_000.0,
    "kind": "member_dead",
    "fields": {
        "member": "b",
        "address": "127.0.0.1:7412",
        "boot": "b" * 32,
        "incarnation": 3,
        "before": "suspect",
        "cause": "re-dial refused, confirmed by c",
    },
}
PROCESS = {"name": "m-1", "type": "app:M", "node": "b", "epoch": 3, "restart": "permanent"}
STATUS = {
    "node": "a",
    "state": "ready",
    "cluster": "horde",
    "version": "0.1.0",
    "members": MEMBERS,
    "processes": {"local": 1, "total": 2},
    "names": 2,
}


class FakeClient:
    """Answers from a table; an exception in it is raised."""

    made: ClassVar[list[tuple[str, float]]] = []
    asked: ClassVar[list[tuple[Any, ...]]] = []
    answers: ClassVar[dict[str, Any]] = {}

    def __init__(self, address: str, timeout: float, *, tls_ca: str | None = None) -> None:
        self.made.append((address, timeout))
        self.timeout = timeout
        self.tls_ca = tls_ca

    def at(self, address: str) -> FakeClient:
        return FakeClient(address, self.timeout, tls_ca=self.tls_ca)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def answer(*args: Any, **kwargs: Any) -> Any:
            self.asked.append((method, *args, kwargs) if kwargs else (method, *args))
            given = self.answers.get(method)
            if isinstance(given, BaseException):
                raise given
            return given

        return answer


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    for variable in [name for name in os.environ if name.startswith("PYHORDE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr("pyhorde.client.Client", FakeClient)
    FakeClient.answers = {
        "status": STATUS,
        "members": MEMBERS,
        "processes": [PROCESS],
        "process": PROCESS,
        "start": PROCESS,
        "cordon": MEMBERS[0],
        "uncordon": MEMBERS[1],
        "events": [EVENT],
    }
    FakeClient.made.clear()
    FakeClient.asked.clear()
    return FakeClient


def run(*args: str, **kwargs: Any) -> Result:
    return CliRunner().invoke(cli.cli, args, prog_name="pyhorde", **kwargs)


def asked(*args: str) -> tuple[Any, ...]:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return FakeClient.asked[-1]


# --- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("hello", "hello"),
        ("[1, 2]", [1, 2]),
        ('"5"', "5"),
        ("null", None),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ("{bad", "{bad"),
        ("-5", -5),
        ("-.5x", "-.5x"),
    ],
)
def test_an_argument_is_json_or_else_text(text: str, value: Any) -> None:
    sent = asked("call", "m", "add", text)
    assert sent[:3] == ("call", "m", "add")
    assert sent[3] == (value,)


def test_text_that_looks_like_an_option_follows_two_dashes() -> None:
    assert asked("cast", "m", "add", "--", "--json", "-x")[3] == ("--json", "-x")


def test_keyword_arguments() -> None:
    sent = asked("cast", "m", "add", "--kwarg", "by=-2", "--kwarg", "who=you=me")
    assert sent == ("cast", "m", "add", (), {"by": -2, "who": "you=me"})
    result = run("cast", "m", "add", "--kwarg", "nothing")
    assert result.exit_code == 2
    assert "no KEY=JSON" in result.stderr


def test_the_node_talked_to_and_the_timeout(fake: type[FakeClient]) -> None:
    run("status")
    run("status", "--address", "h:1", "--timeout", "2")
    run("status", env={"PYHORDE_ADDRESS": "e:1", "PYHORDE_TIMEOUT": "3"})
    assert fake.made == [("127.0.0.1:7411", 5.0), ("h:1", 2.0), ("e:1", 3.0)]
    assert run("status", "--timeout", "0").exit_code == 2


def test_each_command_asks_its_question() -> None:
    none = {"local": False, "node": None, "prefix": None}
    assert asked("ps") == ("processes", none)
    assert asked("ps", "--local", "--node", "a", "--prefix", "m")[1]["prefix"] == "m"
    assert asked("whereis", "m-1") == ("process", "m-1")
    assert asked("start", "app:M", "m-1", "-3") == ("start", "app:M", "m-1", (-3,), {})
    assert asked("stop", "m-1") == ("stop", "m-1")
    assert asked("call", "m", "x", "--request-id", "r")[-1] == {"request_id": "r"}
    assert asked("meta", "get", "k") == ("meta_get", "k")
    assert asked("meta", "put", "k", '{"a": 1}') == ("meta_put", "k", {"a": 1})
    assert asked("meta", "put", "k", "-1") == ("meta_put", "k", -1)
    assert asked("meta", "delete", "k") == ("meta_delete", "k")
    assert asked("cordon", "b") == ("cordon", "b")
    assert asked("uncordon", "b") == ("uncordon", "b")
    every = {"after": None, "kind": None, "follow": True}
    assert asked("events") == ("events", every)
    some = asked("events", "--after", "x-1", "--kind", "member_", "--no-follow")
    assert some == ("events", {"after": "x-1", "kind": "member_", "follow": False})


# --- what is printed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["status"], STATUS),
        (["members"], {"members": MEMBERS}),
        (["ps"], {"processes": [PROCESS]}),
        (["whereis", "m-1"], PROCESS),
        (["start", "app:M", "m-1"], PROCESS),
        (["stop", "m-1"], {"name": "m-1", "stopped": True}),
        (["call", "m-1", "x"], {"result": None}),
        (["cast", "m-1", "x"], {"name": "m-1", "sent": True}),
        (["meta", "get", "k"], {"key": "k", "value": None}),
        (["meta", "put", "k", "1"], {"key": "k", "value": 1}),
        (["meta", "delete", "k"], {"key": "k", "deleted": True}),
        (["cordon", "a"], MEMBERS[0]),
        (["uncordon", "b"], MEMBERS[1]),
        (["events"], EVENT),
    ],
)
def test_json_is_one_object_on_stdout(args: list[str], expected: Any) -> None:
    result = run(*args, "--json")
    assert json.loads(result.stdout) == expected
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""
    assert result.exit_code == 0


def test_tables_are_plain_and_whole_when_piped(fake: type[FakeClient]) -> None:
    long = {**PROCESS, "name": "n" * 300, "node": "evil\x1b[2J"}
    fake.answers["processes"] = [PROCESS, long]
    result = run("ps")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "NODE", "EPOCH", "RESTART"]
    assert lines[1].split() == ["m-1", "app:M", "b", "3", "permanent"]
    assert "n" * 300 in lines[2]
    assert "\x1b" not in result.stdout


def test_members_show_for_how_long_what_runs_and_what_their_operator_says(
    fake: type[FakeClient],
) -> None:
    head, a, b = run("members").stdout.splitlines()
    assert head.split() == ["NAME", "ADDRESS", "STATE", "INCARNATION", "PROCESSES", "LABELS"]
    assert a.split() == [
        *["a", "127.0.0.1:7411", "alive", "3", "min,", "cordoned"],
        *["1", "0", "zone=x,disk=fast"],
    ]
    assert b.split() == ["b", "127.0.0.1:7412", "dead", "4", "s", "2"]
    only = {key: MEMBERS[0][key] for key in ("name", "address", "state", "incarnation")}
    fake.answers["members"] = [only]
    assert run("members").stdout.splitlines()[1].split() == ["a", "127.0.0.1:7411", "alive", "1"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_an_age_is_a_number_and_a_unit(fake: type[FakeClient], seconds: float, text: str) -> None:
    fake.answers["members"] = [{**MEMBERS[1], "state": "stalled", "since": seconds}]
    assert f" stalled {text} " in run("members").stdout


def test_status_shows_what_blocked_the_event_loop_last(fake: type[FakeClient]) -> None:
    stack = "".join(f"  line {n}\x1b\n" for n in range(1, 10))
    loop = {"lag_ms": 3, "blockages": 2, "last": {"seconds": 1.234, "stack": stack}}
    fake.answers["status"] = {**STATUS, "loop": loop}
    lines = run("status").stdout.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith("event loop: ")]
    assert lines[at] == "event loop: blocked 2 times, the last time for 1.2 s by"
    shown = [line.strip() for line in lines[at + 1 : at + 8]]
    assert shown[:4] == [f"line {n}\\x1b" for n in (1, 2, 3, 4)]
    assert shown[4:] == ["...", "line 8\\x1b", "line 9\\x1b"]
    loop["last"] = None
    assert "event loop" not in run("status").stdout


def test_an_event_is_one_line(fake: type[FakeClient]) -> None:
    blocked = {"seconds": 0.7, "stack": '  File "app.py", line 3, in go\n    sleep(1)\n'}
    fake.answers["events"] = [
        EVENT,
        {**EVENT, "kind": "loop_blocked", "fields": blocked},
        {**EVENT, "kind": "drained", "fields": {"total": 3, "left_behind": ["x", "y"]}},
        {**EVENT, "kind": "in_sync", "fields": {"members": 3, "unreachable": []}},
        {**EVENT, "kind": "evil", "fields": {"member": "x\ny\x1b[2J"}},
    ]
    result = run("events", env={"TZ": "UTC"})
    lines = [line.split(None, 2)[2].split(None, 2)[1:] for line in result.stdout.splitlines()]
    assert lines == [
        [
            "member_dead",
            "b at 127.0.0.1:7412 (was suspect): re-dial refused, confirmed by c",
        ],
        ["loop_blocked", "seconds=0.7: sleep(1)"],
        ["drained", "total=3 left_behind=x,y"],
        ["in_sync", "members=3"],
        ["evil", "x y\\x1b[2J"],
    ]
    assert result.stdout.startswith("2023-11-1")
    assert result.stderr == "the node has stopped\n"
    assert run("events", "--no-follow").stderr == ""


def test_events_as_json_are_one_object_a_line(fake: type[FakeClient]) -> None:
    fake.answers["events"] = [EVENT, {**EVENT, "id": "cafecafe-8"}]
    result = run("events", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["id"] for event in events] == ["cafecafe-7", "cafecafe-8"]
    assert (events[0], result.stderr) == (EVENT, "")


def test_human_output_of_each_command(fake: type[FakeClient]) -> None:
    assert "node a is ready in cluster horde" in run("status").stdout
    assert "dead" in run("members").stdout
    assert run("whereis", "m-1").stdout == "m-1 runs on b (app:M, epoch 3)\n"
    fake.answers |= {"call": {"a": [1]}, "meta_get": "text", "processes": []}
    assert json.loads(run("call", "m", "x").stdout) == {"a": [1]}
    assert run("meta", "get", "k").stdout == "text\n"
    assert run("ps").stdout == ""
    assert run("ps").stderr == "no processes\n"
    assert run("stop", "m").stdout == ""


# --- how it exits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RemoteError("ValueError", "no"), 1),
        (errors.BadArguments("m", "one too many"), 2),
        (errors.NameNotFound("x"), 3),
        (errors.PeerUnreachable("127.0.0.1:7411", "connection refused"), 4),
        (errors.CallTimeout("x", "m", 5.0), 5),
    ],
)
def test_an_error_is_a_line_or_an_object_and_an_exit_code(
    fake: type[FakeClient], error: errors.HordeError, code: int
) -> None:
    fake.answers["call"] = error
    result = run("call", "x", "m")
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {error}\n")
    result = run("call", "x", "m", "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["error"]["code"] == error.code
    assert json.loads(result.stdout)["error"]["message"] == str(error)


def test_an_unreachable_node_comes_with_a_hint(fake: type[FakeClient]) -> None:
    fake.answers["status"] = errors.PeerUnreachable("127.0.0.1:7411", "connection refused")
    assert "hint: is a node running there? start one with" in run("status").stderr
    assert "pyhorde node" in json.loads(run("status", "--json").stdout)["error"]["hint"]


def test_status_of_a_node_that_is_not_ready_is_unhealthy(fake: type[FakeClient]) -> None:
    drain = {"total": 9, "moved": 2, "remaining": [f"p{i}" for i in range(7)]}
    fake.answers["status"] = {**STATUS, "state": "draining", "drain": drain}
    result = run("status")
    assert result.exit_code == 6
    assert "2 of 9 handed off; waiting: p0, p1, p2, p3, p4 and 2 more" in result.stdout
    assert run("status", "--json").exit_code == 6


def test_usage_errors_exit_with_2_and_suggest() -> None:
    result = run("status", "--adress", "x")
    assert result.exit_code == 2
    assert "--address" in result.stderr
    result = run("statsu")
    assert result.exit_code == 2
    assert "status" in result.stderr
    result = run("whereis", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "UsageError"


def test_a_fault_of_pyhorde_is_one_line(
    fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["members"] = KeyError("name")
    result = run("members")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: internal error: KeyError: 'name' at ")
    assert json.loads(run("members", "--json").stdout)["error"]["type"] == "InternalError"
    monkeypatch.setenv("PYHORDE_TRACEBACK", "1")
    assert isinstance(run("members").exception, KeyError)


def test_ctrl_c_exits_with_130(fake: type[FakeClient]) -> None:
    fake.answers["status"] = KeyboardInterrupt()
    assert run("status").exit_code == 130


def test_version_and_help_name_only_what_exists() -> None:
    assert run("--version").stdout.startswith("pyhorde 0.")
    text = run("--help").stdout
    assert all(f"\n  {name}" in text for name in ("node", "demo", "status", "drain", "meta"))
    assert all(f"\n  {name}" in text for name in ("events", "cordon", "uncordon"))
    assert not any(f"\n  {name} " in text for name in ("explain", "top"))


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nimport pyhorde.cli as c\n"
        "assert CliRunner().invoke(c.cli, ['node', '--help']).exit_code == 0\n"
        "print([m for m in ('aiohttp', 'rich', 'uvloop', 'pyhorde.web') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_demo_exits_with_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def main(**kwargs: Any) -> int:
        seen.append(kwargs)
        return 1

    monkeypatch.setitem(sys.modules, "pyhorde.demo", SimpleNamespace(main=main))
    assert run("demo", "--base-port", "9000").exit_code == 1
    assert seen == [{"base_port": 9000, "keep_logs": None}]


# --- drain ---------------------------------------------------------------------------------------


def step(state: str, moved: int, *remaining: str) -> dict[str, Any]:
    return {"node": "b", "state": state, "total": 2, "moved": moved, "remaining": [*remaining]}


def test_drain_of_a_member_talks_to_it_and_shows_progress(fake: type[FakeClient]) -> None:
    fake.answers["drained"] = [step("draining", 0, "x", "y"), step("draining", 1, "y")] * 2
    fake.answers["drained"] += [step("left", 2)]
    result = run("drain", "b")
    assert result.exit_code == 0
    assert fake.made[-1][0] == "127.0.0.1:7412"
    assert "1 of 2 handed off; waiting: y" in result.stderr
    assert result.stderr.endswith("b has left\n")
    assert json.loads(run("drain", "--json").stdout)["state"] == "left"


def test_drain_of_an_unknown_member_is_not_found() -> None:
    assert run("drain", "zebra").exit_code == 3


def test_drain_that_leaves_something_behind_has_failed(fake: type[FakeClient]) -> None:
    fake.answers["drained"] = [step("left", 1, "y")]
    result = run("drain")
    assert result.exit_code == 1
    assert "not handed off: y" in result.stderr


# --- node ----------------------------------------------------------------------------------------


class FakeNode:
    """A node whose methods can be told what to do."""

    last: ClassVar[FakeNode]
    start_does: ClassVar[Any] = None
    runs: ClassVar[Any] = None
    drain_does: ClassVar[Any] = None
    left_behind: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, config: NodeConfig, processes: dict[str, Any]) -> None:
        self.config, self.processes, self.log = config, processes, list[str]()
        type(self).last = self

    async def start(self) -> None:
        await self._do("start", self.start_does)
        self.config = self.config.bound_to("127.0.0.1:7555")

    async def wait_closed(self) -> errors.HordeError | None:
        await self._do("wait_closed", self.runs)
        return None

    async def drain(self) -> Any:
        await self._do("drain", self.drain_does)
        return SimpleNamespace(moved=3, left_behind=self.left_behind)

    async def aclose(self) -> None:
        self.log.append("aclose")

    async def _do(self, name: str, what: Any) -> None:
        self.log.append(name)
        if isinstance(what, Exception):
            raise what
        if what is not None:
            for number in what:
                os.kill(os.getpid(), number)
                await asyncio.sleep(0)
            await asyncio.Event().wait()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Let ``pyhorde node`` run a fake; its log and its path do not outlive the test."""
    monkeypatch.setitem(sys.modules, "pyhorde.web", SimpleNamespace(Node=FakeNode))
    monkeypatch.setitem(sys.modules, "pyhorde.apps", SimpleNamespace(load_app=lambda a: {a: int}))
    monkeypatch.setattr(sys, "path", list(sys.path))
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    for name in ("start_does", "runs", "drain_does"):
        monkeypatch.setattr(FakeNode, name, None)
    monkeypatch.setattr(FakeNode, "left_behind", ())
    yield FakeNode
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_node_says_where_it_is_and_how_to_join(node: Any) -> None:
    result = run("node", "--name", "a", "--bind", "127.0.0.1:0", "--app", "x:Y")
    assert result.exit_code == 0
    assert node.last.processes == {"x:Y": int}
    assert "node a is up on 127.0.0.1:7555" in result.stderr
    assert (
        "join   pyhorde node --peers 127.0.0.1:7555 --bind 127.0.0.1:0 --app x:Y" in result.stderr
    )
    assert "talk   pyhorde status --address 127.0.0.1:7555" in result.stderr
    assert node.last.log == ["start", "wait_closed", "aclose"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_leaves(node: Any, number: signal.Signals) -> None:
    node.runs, node.left_behind = [number], ("y",)
    result = run("node", "--name", "a")
    assert result.exit_code == 0
    assert node.last.log == ["start", "wait_closed", "drain", "aclose"]
    assert "node a hands off what it runs" in result.stderr
    assert "3 processes handed off, not handed off: y" in result.stderr


def test_a_second_sigint_stops_at_once_and_a_second_sigterm_does_not(node: Any) -> None:
    node.runs, node.drain_does = [signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]
    result = run("node", "--name", "a")
    assert result.exit_code == 130
    assert node.last.log[-2:] == ["drain", "aclose"]


def test_a_signal_while_starting_stops_the_start(node: Any) -> None:
    node.start_does = [signal.SIGINT]
    assert run("node", "--name", "a").exit_code == 0
    assert node.last.log == ["start", "aclose"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("bind", "the port is busy", "choose another"), 2),
        (errors.HandshakeRefused("127.0.0.1:1", "name_in_use", "a"), 1),
    ],
)
def test_a_node_that_cannot_start(node: Any, error: errors.HordeError, code: int) -> None:
    node.start_does = error
    result = run("node", "--name", "a")
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert node.last.log == ["start", "aclose"]


def test_a_node_that_ends_by_itself_says_why(node: Any) -> None:
    node.runs = errors.HandshakeRefused("127.0.0.1:1", "name_in_use", "yielded")
    result = run("node", "--name", "a")
    assert result.exit_code == 1
    assert "yielded" in result.stderr


def test_with_json_logs_every_line_is_an_object(node: Any) -> None:
    node.runs = [signal.SIGTERM]
    result = run("node", "--name", "a", "--log-format", "json")
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["node_ready", "node_draining", "node_left"]
    assert lines[0]["address"] == "127.0.0.1:7555"
    assert lines[2]["moved"] == 3


def test_wrong_settings_exit_with_2_and_name_their_place(node: Any) -> None:
    result = run("node", env={"PYHORDE_BIND": "10.0.0.1:7411"})
    assert result.exit_code == 2
    assert result.stderr.startswith("error: PYHORDE_BIND: ")
    assert "hint: give --secret-file" in result.stderr


def test_the_join_line_carries_what_the_next_node_needs() -> None:
    secret = b"9f1c7a05d3e84b62a0c5718ee2d94f36"
    config = NodeConfig(name="a", bind="10.0.0.1:1", secret=secret, cluster="blue")
    text = output.banner(config, [], Settings(config).apps)
    assert "join   pyhorde node --peers 10.0.0.1:1 --cluster blue --secret-file FILE\n" in text
    assert "none: give --app MODULE" in text
    assert click.unstyle(text) == text


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "  peers  none: this node starts a cluster of its own"),
        ({"peers": ("a:1", "b:1")}, "  peers  a:1, b:1"),
        ({"discovery": ("dns://horde:7411",)}, "  peers  whoever dns://horde:7411 knows"),
    ],
)
def test_the_banner_says_where_peers_are_looked_for(settings: dict[str, Any], line: str) -> None:
    config = NodeConfig(name="a", bind="127.0.0.1:1", **settings)
    assert line in output.banner(config, [], ()).splitlines()
