"""The command ``pyhorde``: run a node, or talk to one.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not found, 4 unreachable, 5 timed out,
6 unhealthy, 130 interrupted. What a command needs is imported when it runs, so that ``--help``
stays fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyhorde import __version__, commands, output
from pyhorde.collector import tune_collector
from pyhorde.config import DEFAULT_ADDRESS
from pyhorde.output import INTERRUPTED, Horde

if TYPE_CHECKING:
    from pyhorde.settings import Settings
    from pyhorde.web import Node

CANCEL_TIMEOUT: Final = 1.0
"""Seconds that work which is no longer wanted may take to end."""


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
@click.option("--discovery", metavar="URL", multiple=True, help="Find peers: dns://HOST:PORT, ...")
@click.option("--members", metavar="NAME,...|auto", multiple=True, help="The nodes that count.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="Say this of the node.")
@click.option("--cluster", metavar="NAME", help="Nodes of different clusters never connect.")
@click.option("--app", "apps", metavar="MODULE[:CLASS]", multiple=True, help="Offer its processes.")
@click.option("--data-dir", metavar="DIR", help="Remember peers here across restarts.")
@click.option("--secret-file", metavar="FILE", multiple=True, help="Secrets that all nodes share.")
@click.option("--insecure", is_flag=True, default=None, help="Beyond loopback without a secret.")
@click.option("--tls-cert", metavar="FILE", help="Speak TLS, with this certificate.")
@click.option("--tls-key", metavar="FILE", help="The certificate's key.")
@click.option("--tls-ca", metavar="FILE", help="The authority behind all nodes' certificates.")
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
    reloading: asyncio.Task[None] | None = None
    try:
        if not await _before(signals.leave, node.start()):
            return 0
        reloading = asyncio.create_task(_reload(node, settings))
        _welcome(node, settings, sorted(types))
        if await _before(signals.leave, _until_closed(node)):
            return 0
        return 0 if await _before(signals.at_once, _leave(node, settings)) else INTERRUPTED
    finally:
        if reloading is not None:
            reloading.cancel()
        await _before(signals.at_once, node.aclose())


async def _reload(node: Node, settings: Settings) -> None:
    """Read secrets and certificates again when they change, and at SIGHUP."""
    from pyhorde.reloading import Reloader

    reloader = Reloader(node, settings)
    with contextlib.suppress(NotImplementedError, AttributeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.hurry)
    await reloader.run()


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
    scheme = "https" if config.tls is not None else "http"
    fields = {"node": config.name, "address": address, "api": f"{scheme}://{address}/v1/status"}
    text = output.banner(config, types, settings.apps)
    _say(settings, "node_ready", text, **fields, peers=list(config.peers), types=list(types))


def _say(settings: Settings, event: str, text: str, **fields: Any) -> None:
    """Tell a person, or the log."""
    if settings.log_format == "json":
        logging.getLogger("pyhorde.node").info(event, extra={"fields": fields})
    else:
        output.note(text)


for command in commands.ALL:
    cli.add_command(command)
