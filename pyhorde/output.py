"""What the command prints: data on stdout, everything else on stderr.

With ``--json`` stdout holds exactly one JSON object, also when something went wrong. Otherwise it
holds short lines and tables; colours only on a terminal and never with ``NO_COLOR``. Text that
came from a node is shown with its control characters escaped.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from pyhorde.config import NodeConfig, is_loopback
from pyhorde.errors import ConfigError, HordeError, PeerUnreachable

Json = dict[str, Any]

STATE_STYLES: Final = {
    "alive": "green",
    "ready": "green",
    "joining": "yellow",
    "suspect": "yellow",
    "stalled": "yellow",
    "draining": "cyan",
    "left": "dim",
    "dead": "red",
}
INTERRUPTED: Final = 130
"""The exit code after Ctrl-C."""

STACK_LINES: Final = 6
"""Lines that are shown of a stack, the last two of a longer one among them."""

_TOLD: Final = frozenset("member address boot incarnation before cause reason stack".split())
"""Fields of an event that are shown in words, or not at all."""
_WIDE: Final = 10_000
_JSON: Final = "pyhorde.json"


def as_json(data: Json) -> None:
    """One JSON object on one line."""
    click.echo(json.dumps(data, ensure_ascii=False, default=str))


def note(text: str) -> None:
    """A message to the person at the terminal."""
    click.echo(printable(text), err=True)


def printable(text: object) -> str:
    """The text with everything that could steer a terminal escaped (line ends are kept)."""
    safe = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(text))
    return "".join(safe)


def status(data: Json) -> None:
    """A node's state in three lines, then its members."""
    state = click.style(data["state"], fg=_colour(data["state"]))
    node, cluster = printable(data["node"]), printable(data["cluster"])
    click.echo(f"node {node} is {state} in cluster {cluster} (pyhorde {data.get('version', '?')})")
    count, names = data["processes"], data["names"]
    click.echo(f"processes: {count['local']} here, {count['total']} in all; names: {names}")
    if drain := data.get("drain"):
        click.echo(progress(drain))
    if last := (data.get("loop") or {}).get("last"):
        _blockage(data["loop"], last)
    members(data["members"])


def progress(drain: Json) -> str:
    """How far a drain is, in one line."""
    waiting = [printable(name) for name in drain.get("remaining", ())]
    more = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
    left = f"; waiting: {', '.join(waiting[:5])}{more}" if waiting else ""
    return f"draining: {drain.get('moved', 0)} of {drain.get('total', 0)} handed off{left}"


def _blockage(loop: Json, last: Json) -> None:
    """What kept the event loop from running, and where."""
    count, seconds = loop.get("blockages", 1), last["seconds"]
    click.echo(f"event loop: blocked {count} times, the last time for {seconds:.1f} s by")
    lines = printable(last["stack"]).rstrip("\n").split("\n")
    if len(lines) > STACK_LINES:
        lines = [*lines[: STACK_LINES - 2], "  ...", *lines[-2:]]
    for line in lines:
        click.echo(f"  {line}")


def members(rows: Iterable[Json]) -> None:
    """The members, one a line."""
    columns = ("name", "address", "state", "incarnation", "processes", "labels")
    _table(columns, map(_member, rows))


def _member(row: Json) -> Json:
    """The row as it is shown: how long in which state, and what nobody knows left out."""
    state = row["state"]
    if row.get("since") is not None:
        state += f" {_age(row['since'])}"
    if row.get("cordoned"):
        state += ", cordoned"
    labels = ",".join(f"{key}={value}" for key, value in (row.get("labels") or {}).items())
    count = row.get("processes")
    processes = "" if count is None else count
    return {**row, "state": state, "processes": processes, "labels": labels}


def _age(seconds: float) -> str:
    for unit, size, most in (("s", 1, 60), ("min", 60, 60), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86400)} d"


def event(entry: Json) -> None:
    """Something that happened: when, its id, what, and to whom."""
    when = datetime.fromtimestamp(entry["wall"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    line = f"{when}  {entry['id']:<14}  {entry['kind']:<16}  {_story(entry['fields'])}"
    click.echo(printable(line).replace("\n", " ").rstrip())


def _story(fields: Mapping[str, Any]) -> str:
    """An event's fields in one line, and the reason last."""
    words = [str(fields["member"])] if "member" in fields else []
    if fields.get("address"):
        words.append(f"at {fields['address']}")
    if fields.get("before"):
        words.append(f"(was {fields['before']})")
    shown = {key: value for key, value in fields.items() if key not in _TOLD and value != []}
    words += [f"{key}={_word(value)}" for key, value in shown.items()]
    reason = fields.get("cause") or fields.get("reason")
    if stack := str(fields.get("stack") or "").strip():
        reason = stack.splitlines()[-1].strip()
    text = " ".join(words)
    return f"{text}: {reason}" if reason else text


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def processes(rows: Sequence[Json]) -> None:
    """The processes, one a line."""
    if rows:
        _table(("name", "type", "node", "epoch", "restart"), rows)
    else:
        note("no processes")


def place(process: Json) -> None:
    """Where one process runs."""
    name, node, kind = (printable(process.get(key, "?")) for key in ("name", "node", "type"))
    click.echo(f"{name} runs on {node} ({kind}, epoch {process.get('epoch', '?')})")


def value(result: Any) -> None:
    """An answer: text as it is, anything else as JSON."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2)
    click.echo(printable(text))


def _table(columns: Sequence[str], rows: Iterable[Json]) -> None:
    """Aligned columns; nothing is cut when the output goes to a file or a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.upper(), overflow="fold")
    for row in rows:
        cells = [(printable(row.get(column, "")), column) for column in columns]
        table.add_row(*(Text(c, _style(c) if k == "state" else "") for c, k in cells))
    terminal = sys.stdout.isatty()
    Console(
        color_system="auto" if terminal and not os.environ.get("NO_COLOR") else None,
        width=None if terminal else _WIDE,
        highlight=False,
        markup=False,
        emoji=False,
    ).print(table)


def _style(state: str) -> str:
    return STATE_STYLES.get(re.split(r"\W", state, maxsplit=1)[0], "")


def _colour(state: str) -> str | None:
    style = STATE_STYLES.get(state)
    return style if style != "dim" else None


# --- errors --------------------------------------------------------------------------------------


def failure(error: HordeError, *, as_object: bool) -> None:
    """An error: as an object on stdout, or as a line with its cause and one with the mend."""
    hint = hint_for(error)
    if as_object:
        body = {**error.data, "type": type(error).__name__, "code": error.code}
        as_json({"error": {**body, "message": str(error)} | ({"hint": hint} if hint else {})})
        return
    text = f"{error.option}: {error.problem}" if isinstance(error, ConfigError) else str(error)
    _complain(text, hint)


def usage(error: click.ClickException, *, as_object: bool) -> None:
    """A command line that cannot be understood."""
    if as_object:
        body = {"type": "UsageError", "code": "usage_error", "message": error.format_message()}
        as_json({"error": body})
    else:
        error.show()


def defect(error: Exception, *, as_object: bool) -> None:
    """A fault of pyhorde itself: its type, its text and its place, without a traceback."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = f"internal error: {type(error).__name__}: {error} at {frame.filename}:{frame.lineno}"
    if as_object:
        as_json({"error": {"type": "InternalError", "code": "internal_error", "message": text}})
    else:
        _complain(text, "set PYHORDE_TRACEBACK=1 for the whole traceback, and please report it")


def hint_for(error: HordeError) -> str:
    """What to do next, where that is known."""
    if isinstance(error, ConfigError):
        return error.hint
    if isinstance(error, PeerUnreachable):
        return f"is a node running there? start one with: pyhorde node --bind {error.address}"
    return ""


def _complain(text: str, hint: str) -> None:
    click.echo(f"{click.style('error:', fg='red')} {printable(text)}", err=True)
    if hint:
        click.echo(f"hint: {printable(hint)}", err=True)


def certificates(row: Mapping[str, Any]) -> None:
    """What was made, and what to do with it."""
    made = "a new authority" if row["new_ca"] else "the authority that was there"
    note(f"{row['cert']}: good for {row['days']} days, signed by {made}, {row['ca']}")
    note("give every node these three files, and keep ca.key where no node is:")
    options = f"--tls-cert {row['cert']} --tls-key {row['key']} --tls-ca {row['ca']}"
    note(f"  pyhorde node {options} ...")
    note(f"  pyhorde status --tls-ca {row['ca']}")
    if not row["new_ca"]:
        note("nodes whose files are these use the new certificate within some seconds")


class Horde(click.Group):
    """The group of commands, and the one place where errors become output and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are written."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for ``--json`` and ``NO_COLOR`` before anything can fail."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        ours = args[: args.index("--")] if "--" in args else args
        ctx.meta.setdefault(_JSON, "--json" in ours)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises becomes output and an exit code."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        wanted: bool = ctx.meta[_JSON]
        try:
            return super().invoke(ctx)
        except HordeError as error:
            failure(error, as_object=wanted)
            ctx.exit(error.exit_code)
        except click.UsageError as error:
            usage(error, as_object=wanted)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get("PYHORDE_TRACEBACK"):
                raise
            defect(error, as_object=wanted)
            ctx.exit(1)


def json_wanted() -> bool:
    """Whether the command that runs was given ``--json``."""
    wanted: bool = click.get_current_context().meta[_JSON]
    return wanted


# --- a running node ------------------------------------------------------------------------------


def banner(config: NodeConfig, types: Sequence[str], apps: Sequence[str]) -> str:
    """What somebody who has just started a node wants to know."""
    address = config.advertise or config.bind
    rows = {
        "api": f"{'https' if config.tls else 'http'}://{address}/v1/status",
        "peers": _peers(config) or "none: this node starts a cluster of its own",
        "types": ", ".join(types) or "none: give --app MODULE to offer some",
        "join": _join_line(config, apps),
        "talk": " ".join(["pyhorde status --address", address, *_tls_ca(config)]),
    }
    lines = [f"node {config.name} is up on {address} (cluster {config.cluster})"]
    return "\n".join(lines + [f"  {label:<6} {text}" for label, text in rows.items()])


def _tls_ca(config: NodeConfig) -> list[str]:
    return ["--tls-ca", config.tls.ca] if config.tls is not None else []


def _peers(config: NodeConfig) -> str:
    return ", ".join([*config.peers, *(f"whoever {url} knows" for url in config.discovery)])


def _join_line(config: NodeConfig, apps: Sequence[str]) -> str:
    """The command that adds one more node; on one machine it needs a free port."""
    address = config.advertise or config.bind
    parts = ["pyhorde node", f"--peers {address}"]
    if is_loopback(address):
        parts.append("--bind 127.0.0.1:0")
    if config.cluster != "horde":
        parts.append(f"--cluster {config.cluster}")
    if config.secret is not None:
        parts.append("--secret-file FILE")
    if config.tls is not None:
        parts.append(f"--tls-cert FILE --tls-key FILE --tls-ca {config.tls.ca}")
    return " ".join(parts + [f"--app {app}" for app in apps])
