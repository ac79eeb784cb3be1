"""The command ``pyhorde``: run a node, or talk to one.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not found, 4 unreachable, 5 timed out,
6 unhealthy, 130 interrupted. What a command needs is imported when it runs, so that ``--help``
stays fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyhorde import __version__, output
from pyhorde.collector import tune_collector
from pyhorde.config import DEFAULT_ADDRESS
from pyhorde.errors import NameNotFound
from pyhorde.output import INTERRUPTED, Horde

if TYPE_CHECKING:
    from pyhorde.client import Client
    from pyhorde.settings import Settings
    from pyhorde.web import Node

UNHEALTHY: Final = 6
CANCEL_TIMEOUT: Final = 1.0
"""Seconds that work which is no longer wanted may take to end."""

_NEGATIVE = re.compile(r"-\.?\d")
_HELD = "\0"


class ArgsCommand(click.Command):
    """A command with free arguments, among which ``-5`` is a number and no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Hold negative numbers back from the parser; :class:`JsonValue` lets them go."""
        before = ["", *args]
        held = [
            _HELD + arg if _NEGATIVE.match(arg) and not before[i].startswith("--") else arg
            for i, arg in enumerate(args)
        ]
        return super().parse_args(ctx, held)


class JsonValue(click.ParamType[Any]):
    """A JSON value; text that is none stands for itself."""

    name = "json"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """The value that the text stands for."""
        return _json_or_text(str(value).removeprefix(_HELD))


class KeyValue(click.ParamType[Any]):
    """``KEY=JSON``."""

    name = "key=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The key and its value."""
        key, equals, text = str(value).partition("=")
        if not equals or not key.isidentifier():
            self.fail(f"{value!r} is no KEY=JSON", param, ctx)
        return key, _json_or_text(text)


def _json_or_text(text: str) -> Any:
    try:
        parsed = json.loads(text)
        json.dumps(parsed, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return parsed


@click.group(cls=Horde, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pyhorde", message="%(prog)s %(version)s")
def cli() -> None:
    """A peer-to-peer cluster of long-lived processes."""


def main() -> None:
    """The entry point."""
    cli(prog_name="pyhorde")


# --- running nodes -------------------------------------------------------------------------------


@cli.command(epilog="Every option also reads PYHORDE_<OPTION>; flags beat it, it beats the file.")
@click.option("--name", metavar="NAME", help="Unique in the cluster [default: host name and port].")
@click.option("--bind", metavar="HOST:PORT", help=f"Listen here [default: {DEFAULT_ADDRESS}].")
@click.option("--advertise", metavar="HOST:PORT", help="How peers reach it [default: --bind].")
@click.option("--peers", metavar="HOST:PORT,...", multiple=True, help="Nodes to join through.")
@click.option("--cluster", metavar="NAME", help="Nodes of different clusters never connect.")
@click.option("--app", "apps", metavar="MODULE[:CLASS]", multiple=True, help="Offer its processes.")
@click.option("--secret-file", metavar="FILE", help="The secret that all nodes share.")
@click.option("--insecure", is_flag=True, default=None, help="Beyond loopback without a secret.")
@click.option("--config", metavar="FILE.toml", help="Read settings from a file.")
@click.option("--log-format", metavar="text|json", help="How logs look [default: text].")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning, error [default: info].")
@click.option("--profile", metavar="local|lan|wan", help="Failure detection for [default: lan].")
@click.option("--drain-timeout", metavar="SECONDS", help="The most a drain may take [default: 20].")
def node(**flags: Any) -> None:
    """Run a node. At SIGTERM or SIGINT it hands everything off, leaves, and exits with 0."""
    from pyhorde import logs, settings

    read = settings.load(flags)
    logs.configure(read.log_format, read.log_level)
    if (here := str(Path.cwd())) not in sys.path[:1]:
        sys.path.insert(0, here)
    from pyhorde.apps import load_app

    types = {name: kind for app in read.apps for name, kind in load_app(app).items()}
    tune_collector()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_serve(read, types))
    click.get_current_context().exit(code)


@cli.command()
@click.option("--base-port", type=click.IntRange(1, 65000), help="The first of three ports.")
@click.option("--keep-logs", type=click.Path(path_type=Path), metavar="DIR", help="Keep the logs.")
def demo(base_port: int | None, keep_logs: Path | None) -> None:
    """Start three nodes, kill one, roll one. Exit code 0 only if nothing was lost."""
    from pyhorde.demo import main as run_demo

    click.get_current_context().exit(run_demo(base_port=base_port, keep_logs=keep_logs))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class _Signals:
    """What SIGTERM and SIGINT ask for: first to leave in order, then (SIGINT) to stop at once."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()
        self.at_once = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        if not self.leave.is_set():
            self.leave.set()
        elif number == signal.SIGINT and self.at_once.is_set():
            os._exit(INTERRUPTED)
        elif number == signal.SIGINT:
            self.at_once.set()


async def _serve(settings: Settings, types: dict[str, Any]) -> int:
    """Run the node until it is told to leave or ends by itself; the exit code."""
    from pyhorde.web import Node

    signals = _Signals()
    node = Node(config=settings.config, processes=types)
    try:
        if not await _before(signals.leave, node.start()):
            return 0
        _welcome(node, settings, sorted(types))
        if await _before(signals.leave, _until_closed(node)):
            return 0
        return 0 if await _before(signals.at_once, _leave(node, settings)) else INTERRUPTED
    finally:
        await _before(signals.at_once, node.aclose())


async def _before(event: asyncio.Event, work: Coroutine[Any, Any, Any]) -> bool:
    """Whether ``work`` ended before the event came; if not, it is cancelled."""
    task, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return True
    finally:
        waiting.cancel()
        task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_TIMEOUT)
    if task.done() and not task.cancelled():
        task.exception()
    return False


async def _until_closed(node: Node) -> None:
    error = await node.wait_closed()
    if error is not None:
        raise error


async def _leave(node: Node, settings: Settings) -> None:
    name = node.config.name
    _say(settings, "node_draining", f"node {name} hands off what it runs, then leaves", node=name)
    result = await node.drain()
    text = f"node {name} has left; {result.moved} processes handed off"
    if result.left_behind:
        text += f", not handed off: {', '.join(result.left_behind)}"
    left = list(result.left_behind)
    _say(settings, "node_left", text, node=name, moved=result.moved, left_behind=left)


def _welcome(node: Node, settings: Settings, types: Sequence[str]) -> None:
    config = node.config
    address = config.advertise or config.bind
    fields = {"node": config.name, "address": address, "api": f"http://{address}/v1/status"}
    text = output.banner(config, types, settings.apps)
    _say(settings, "node_ready", text, **fields, peers=list(config.peers), types=list(types))


def _say(settings: Settings, event: str, text: str, **fields: Any) -> None:
    """Tell a person, or the log."""
    if settings.log_format == "json":
        logging.getLogger("pyhorde.node").info(event, extra={"fields": fields})
    else:
        output.note(text)


# --- talking to a node ---------------------------------------------------------------------------


def _talks(timeout: float = 5.0) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of every client, and its function a :class:`Client`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--address",
            metavar="HOST:PORT",
            envvar="PYHORDE_ADDRESS",
            default=DEFAULT_ADDRESS,
            show_default=True,
            show_envvar=True,
            help="The node to talk to.",
        )
        @click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True, max=86400),
            metavar="SECONDS",
            envvar="PYHORDE_TIMEOUT",
            default=timeout,
            show_default=True,
            help="How long to wait for the answer.",
        )
        @click.option("--json", is_flag=True, expose_value=False, help="Print one JSON object.")
        @functools.wraps(command)
        def run(address: str, timeout: float, **rest: Any) -> Any:
            from pyhorde.client import Client

            return command(Client(address, timeout), **rest)

        return run

    return decorate


def _with_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """``[JSON-ARGS...]`` and ``--kwarg KEY=JSON``."""
    command = click.argument("args", nargs=-1, type=JsonValue(), metavar="[JSON-ARGS]...")(command)
    return click.option(
        "--kwarg",
        "kwargs",
        multiple=True,
        type=KeyValue(),
        metavar="KEY=JSON",
        help="An argument by name; repeatable.",
    )(command)


def _show(data: output.Json, human: Callable[[], None]) -> None:
    if output.json_wanted():
        output.as_json(data)
    else:
        human()


@cli.command()
@_talks()
def status(client: Client) -> None:
    """The node's state and its members. Exit code 6 when it is not ready."""
    data = client.status()
    _show(data, lambda: output.status(data))
    if data["state"] != "ready":
        click.get_current_context().exit(UNHEALTHY)


@cli.command()
@_talks()
def members(client: Client) -> None:
    """The members, as the node sees them."""
    rows = client.members()
    _show({"members": rows}, lambda: output.members(rows))


@cli.command()
@_talks()
@click.option("--local", is_flag=True, help="Only what really runs in the node talked to.")
@click.option("--node", metavar="NAME", help="Only processes of this node.")
@click.option("--prefix", metavar="TEXT", help="Only names that begin so.")
def ps(client: Client, local: bool, node: str | None, prefix: str | None) -> None:
    """The processes, as the node sees them."""
    rows = client.processes(local=local, node=node, prefix=prefix)
    _show({"processes": rows}, lambda: output.processes(rows))


@cli.command()
@_talks()
@click.argument("name")
def whereis(client: Client, name: str) -> None:
    """Where NAME runs. Exit code 3 when nothing has this name."""
    process = client.process(name)
    _show(process, lambda: output.place(process))


@cli.command(cls=ArgsCommand)
@_talks(timeout=35.0)
@click.argument("class_", metavar="CLASS")
@click.argument("name")
@_with_arguments
def start(client: Client, class_: str, name: str, args: tuple[Any, ...], kwargs: Any) -> None:
    """Start a process. Its type is CLASS (MODULE:CLASS); arguments go to its constructor."""
    process = client.start(class_, name, args, dict(kwargs))
    _show(process, lambda: output.place(process))


@cli.command()
@_talks(timeout=15.0)
@click.argument("name")
def stop(client: Client, name: str) -> None:
    """End the process NAME for good."""
    client.stop(name)
    _show({"name": name, "stopped": True}, lambda: output.note(f"{name} has ended"))


@cli.command(cls=ArgsCommand)
@_talks()
@click.argument("name")
@click.argument("method")
@_with_arguments
@click.option("--request-id", metavar="ID", help="The same id again gives the same answer.")
def call(
    client: Client, name: str, method: str, args: tuple[Any, ...], kwargs: Any, request_id: str
) -> None:
    """Call METHOD of the process NAME and print its answer."""
    result = client.call(name, method, args, dict(kwargs), request_id=request_id)
    _show({"result": result}, lambda: output.value(result))


@cli.command(cls=ArgsCommand)
@_talks()
@click.argument("name")
@click.argument("method")
@_with_arguments
def cast(client: Client, name: str, method: str, args: tuple[Any, ...], kwargs: Any) -> None:
    """Send METHOD to the process NAME; there is no answer."""
    client.cast(name, method, args, dict(kwargs))
    _show({"name": name, "sent": True}, lambda: output.note("sent"))


@cli.group(cls=Horde)
def meta() -> None:
    """Values that every node shares; the last writer wins."""


@meta.command("get")
@_talks()
@click.argument("key")
def meta_get(client: Client, key: str) -> None:
    """Print the value of KEY."""
    value = client.meta_get(key)
    _show({"key": key, "value": value}, lambda: output.value(value))


@meta.command("put", cls=ArgsCommand)
@_talks()
@click.argument("key")
@click.argument("value", type=JsonValue(), metavar="JSON")
def meta_put(client: Client, key: str, value: Any) -> None:
    """Set KEY to a JSON value."""
    client.meta_put(key, value)
    _show({"key": key, "value": value}, lambda: output.note(f"{key} is set"))


@meta.command("delete")
@_talks()
@click.argument("key")
def meta_delete(client: Client, key: str) -> None:
    """Remove KEY."""
    client.meta_delete(key)
    _show({"key": key, "deleted": True}, lambda: output.note(f"{key} is gone"))


@cli.command()
@_talks(timeout=60.0)
@click.argument("node", required=False)
def drain(client: Client, node: str | None) -> None:
    """Hand off what NODE runs, and let it leave. Default: the node talked to."""
    if node is not None:
        client = _at(client, node)
    said, seen = "", {}
    for seen in client.drained():
        if (line := output.progress(seen)) != said:
            output.note(said := line)
    _show(seen, lambda: output.note(f"{seen['node']} has left"))
    if seen["remaining"]:
        output.note(f"not handed off: {', '.join(seen['remaining'])}")
        click.get_current_context().exit(1)


def _at(client: Client, node: str) -> Client:
    for member in client.members():
        if member["name"] == node:
            return type(client)(member["address"], client.timeout)
    raise NameNotFound(node)
