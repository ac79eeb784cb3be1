"""The commands that talk to a node: each asks one question through :class:`Client` and prints."""

from __future__ import annotations

import functools
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyhorde import output
from pyhorde.config import DEFAULT_ADDRESS
from pyhorde.errors import NameNotFound
from pyhorde.output import Horde

if TYPE_CHECKING:
    from pyhorde.client import Client

UNHEALTHY: Final = 6
"""The exit code of ``status`` for a node that is not ready."""

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
        @click.option(
            "--tls-ca",
            metavar="FILE",
            envvar="PYHORDE_TLS_CA",
            show_envvar=True,
            help="Speak TLS with nodes that this authority stands behind.",
        )
        @click.option("--json", is_flag=True, expose_value=False, help="Print one JSON object.")
        @functools.wraps(command)
        def run(address: str, timeout: float, tls_ca: str | None, **rest: Any) -> Any:
            from pyhorde.client import Client  # noqa: PLC0415 - not for --help

            return command(Client(address, timeout, tls_ca=tls_ca), **rest)

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


@click.command()
@_talks()
def status(client: Client) -> None:
    """The node's state and its members. Exit code 6 when it is not ready."""
    data = client.status()
    _show(data, lambda: output.status(data))
    if data["state"] != "ready":
        click.get_current_context().exit(UNHEALTHY)


@click.command()
@_talks()
def members(client: Client) -> None:
    """The members, as the node sees them."""
    rows = client.members()
    _show({"members": rows}, lambda: output.members(rows))


@click.command()
@_talks()
@click.option("--local", is_flag=True, help="Only what really runs in the node talked to.")
@click.option("--node", metavar="NAME", help="Only processes of this node.")
@click.option("--prefix", metavar="TEXT", help="Only names that begin so.")
def ps(client: Client, *, local: bool, node: str | None, prefix: str | None) -> None:
    """The processes, as the node sees them."""
    rows = client.processes(local=local, node=node, prefix=prefix)
    _show({"processes": rows}, lambda: output.processes(rows))


@click.command()
@_talks()
@click.argument("name")
def whereis(client: Client, name: str) -> None:
    """Where NAME runs. Exit code 3 when nothing has this name."""
    process = client.process(name)
    _show(process, lambda: output.place(process))


@click.command(cls=ArgsCommand)
@_talks(timeout=35.0)
@click.argument("class_", metavar="CLASS")
@click.argument("name")
@_with_arguments
def start(client: Client, class_: str, name: str, args: tuple[Any, ...], kwargs: Any) -> None:
    """Start a process. Its type is CLASS (MODULE:CLASS); arguments go to its constructor."""
    process = client.start(class_, name, args, dict(kwargs))
    _show(process, lambda: output.place(process))


@click.command()
@_talks(timeout=15.0)
@click.argument("name")
def stop(client: Client, name: str) -> None:
    """End the process NAME for good."""
    client.stop(name)
    _show({"name": name, "stopped": True}, lambda: output.note(f"{name} has ended"))


@click.command(cls=ArgsCommand)
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


@click.command(cls=ArgsCommand)
@_talks()
@click.argument("name")
@click.argument("method")
@_with_arguments
def cast(client: Client, name: str, method: str, args: tuple[Any, ...], kwargs: Any) -> None:
    """Send METHOD to the process NAME; there is no answer."""
    client.cast(name, method, args, dict(kwargs))
    _show({"name": name, "sent": True}, lambda: output.note("sent"))


@click.group(cls=Horde)
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


@click.command()
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


@click.command()
@_talks()
@click.argument("node")
def cordon(client: Client, node: str) -> None:
    """Place nothing new on NODE; what runs there stays."""
    row = client.cordon(node)
    _show(row, lambda: output.note(f"nothing new will be placed on {node}"))


@click.command()
@_talks()
@click.argument("node")
def uncordon(client: Client, node: str) -> None:
    """Take a cordon back."""
    row = client.uncordon(node)
    _show(row, lambda: output.note(f"{node} takes new processes again"))


@click.command()
@_talks()
@click.option("--after", metavar="ID", help="What came after this event  [default: all kept].")
@click.option("--kind", metavar="TEXT", help="Only kinds that begin so, such as member_.")
@click.option("--follow/--no-follow", default=True, help="Wait for more  [default: --follow].")
def events(client: Client, after: str | None, kind: str | None, *, follow: bool) -> None:
    """What happened on the node, one line each; with --json one JSON object each."""
    for event in client.events(after=after, kind=kind, follow=follow):
        _show(event, functools.partial(output.event, event))
    if follow and not output.json_wanted():
        output.note("the node has stopped")


def _at(client: Client, node: str) -> Client:
    for member in client.members():
        if member["name"] == node:
            return client.at(member["address"])
    raise NameNotFound(node)


@click.group()
def certs() -> None:
    """Certificates for a cluster that speaks TLS."""


@certs.command("init")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", "hosts", multiple=True, metavar="NAME|IP", help="A node is reached so.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
@click.option("--json", is_flag=True, expose_value=False, help="Print one JSON object.")
def certs_init(directory: Path, hosts: tuple[str, ...], days: int) -> None:
    """Make an authority in DIR, and a certificate for all nodes.

    Where the authority is there already, only the nodes' certificate is made anew: so one is
    replaced. Certificates are for localhost, this machine's name, and each --host.
    """
    from pyhorde.cluster.transport import certificates  # noqa: PLC0415 - not for --help

    names = ("localhost", "127.0.0.1", "::1", socket.gethostname(), *hosts)
    files, is_new = certificates.init(directory, tuple(dict.fromkeys(names)), days)
    row = {"ca": files.ca, "cert": files.cert, "key": files.key, "new_ca": is_new, "days": days}
    _show(row, lambda: output.certificates(row))


ALL: Final[tuple[click.Command, ...]] = (
    status,
    members,
    ps,
    whereis,
    start,
    stop,
    call,
    cast,
    meta,
    drain,
    cordon,
    uncordon,
    events,
    certs,
)
"""In the order in which ``--help`` shows them."""
