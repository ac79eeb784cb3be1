"""The demo behind ``pyhorde demo``: does a meeting survive the machine it runs on?

It starts three nodes on this machine and talks to them as any client would, over HTTP: six
meetings are fed line by line while one node is killed and another one is rolled. The exit code is
0 only if continuity held. Everything here is a client; none of it runs inside a node.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from pyhorde.demo import timeline as words
from pyhorde.demo.accounting import Account, Ledger
from pyhorde.demo.app import App, find_app
from pyhorde.demo.client import Client
from pyhorde.demo.cluster import Trio
from pyhorde.demo.screen import Screen
from pyhorde.demo.story import Pace, Story
from pyhorde.demo.timeline import Timeline, Tone
from pyhorde.demo.watch import StoryBroken
from pyhorde.errors import ConfigError

MEETINGS = ("standup", "planning", "budget", "hiring", "customer", "incident")
TIME_LIMIT = 45.0
QUICK = Pace(gap=0.02, calm=25)

__all__ = ["main", "run"]


def main(
    *,
    console: Console | None = None,
    base_port: int | None = None,
    fast: bool = False,
    keep_logs: Path | None = None,
) -> int:
    """Run the demo and return its exit code: 0 held, 1 not, 2 it cannot run here."""
    console = console or Console()
    try:
        return asyncio.run(
            run(console=console, base_port=base_port, fast=fast, keep_logs=keep_logs)
        )
    except ConfigError as error:
        Screen(console).line(str(error), Tone.BAD)
        return error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        Screen(console).line("interrupted; all nodes have been stopped")
        return 1


async def run(
    *,
    console: Console,
    base_port: int | None = None,
    fast: bool = False,
    keep_logs: Path | None = None,
) -> int:
    """The demo; ports ``base_port`` to ``base_port + 2``, or free ones.

    ``keep_logs``: a directory for the nodes' logs; otherwise they are kept only after a failure.
    Raises :class:`~pyhorde.errors.ConfigError` where the meeting app is not installed.
    """
    app = find_app()
    logs = _log_directory(keep_logs)
    screen = Screen(console)
    ledgers = {name: Ledger(name, durable=i % 2 == 0) for i, name in enumerate(MEETINGS)}
    account = Account(ledgers)
    _end_on_signals()
    trio = Trio(app, logs, base_port)
    try:
        with screen.live(lambda: words.progress(ledgers.values())):
            summaries = await _tell(app, trio, account, screen, QUICK if fast else Pace())
    except asyncio.CancelledError:
        _discard(logs, keep_logs)
        raise
    _conclude(screen, account, summaries)
    if not account.verdict.held:
        _show_logs(screen, trio, logs)
    else:
        _discard(logs, keep_logs)
    return 0 if account.verdict.held else 1


async def _tell(
    app: App, trio: Trio, account: Account, screen: Screen, pace: Pace
) -> Mapping[str, Mapping[str, Any]]:
    """Run the story; what breaks it becomes a reason in the account."""
    timeline = Timeline(asyncio.get_running_loop().time, screen.event)
    summaries: Mapping[str, Mapping[str, Any]] = {}
    try:
        async with asyncio.timeout(TIME_LIMIT), aiohttp.ClientSession() as session, trio:
            story = Story(app, trio, Client(session), account, timeline, pace)
            summaries = await story.tell()
    except* StoryBroken as broken:
        for error in broken.exceptions:
            account.blame(str(error))
    except* TimeoutError:
        account.blame(f"the demo did not come to its end within {TIME_LIMIT:g} s")
    return summaries


def _conclude(screen: Screen, account: Account, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    screen.line()
    if summaries:
        rows = [words.row(account.ledgers[name], summary) for name, summary in summaries.items()]
        screen.table([words.HEADER, *rows])
        screen.line()
    tone = Tone.GOOD if account.verdict.held else Tone.BAD
    for text in words.verdict(account):
        screen.line(text, tone)


def _show_logs(screen: Screen, trio: Trio, logs: Path) -> None:
    for node in trio.nodes.values():
        if tail := node.log_tail():
            screen.line(f"the last lines of node {node.name}:")
        for text in tail:
            screen.line(f"  {text}")
    screen.line(f"complete logs: {logs}")


def _log_directory(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="pyhorde-demo-"))
    keep.mkdir(parents=True, exist_ok=True)
    return keep.resolve()


def _discard(logs: Path, keep: Path | None) -> None:
    if keep is None:
        shutil.rmtree(logs, ignore_errors=True)


def _end_on_signals() -> None:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does: with its nodes stopped."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, lambda: task and task.cancel())
