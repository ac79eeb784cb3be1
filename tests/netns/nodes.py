"""Nodes on their hosts: the real command as OS processes, and clients beside them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from tests.netns.hosts import Hosts
from tests.netns.logs import Logs

ROOT: Final = Path(__file__).resolve().parents[2]
APP: Final = "pyhorde.testing.workloads:Ledger"
BLOCKER: Final = "tests.netns.blocking:Blocker"
SECRET: Final = "9f1c7a05d3e84b62a0c5718ee2d94f36"
DEADLINE: Final = 60.0
"""Seconds after which whatever is still waited for counts as failed."""
ASKING: Final = 5.0
"""Seconds that a node may take for an answer, unless said otherwise."""
POLL: Final = 0.1

Complaint = Callable[[], Awaitable[str]]
"""What is not yet, or no more, as it should be; empty when all is."""


class Node:
    """One node on one host: its OS process, and what it wrote."""

    def __init__(self, name: str, hosts: Hosts, log: Path, secret: Path) -> None:
        self._log = log
        address = hosts.addresses[name]
        peers = ",".join(other for other in hosts.addresses.values() if other != address)
        self._command = hosts.command(
            name,
            *[sys.executable, "-m", "pyhorde", "node", "--name", name],
            *["--bind", address, "--peers", peers, "--secret-file", str(secret)],
            *["--app", APP, "--app", BLOCKER, "--log-format", "json"],
        )
        self._os: Process | None = None

    async def boot(self) -> None:
        """Start the OS process; does not wait for the node to be ready."""
        with self._log.open("ab") as log:
            self._os = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=ROOT,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of its OS process."""
        assert self._os is not None
        return self._os.pid

    def send(self, number: signal.Signals) -> None:
        assert self._os is not None
        with suppress(ProcessLookupError):
            self._os.send_signal(number)

    async def kill(self) -> None:
        """``kill -9``, and wait until it is gone. Idempotent."""
        if self._os is not None:
            self.send(signal.SIGKILL)
            await self._os.wait()


class Horde:
    """A node for every host, not started yet. Leaving the context kills them all."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.hosts = hosts
        self.names = hosts.names
        secret = folder / "secret"
        secret.write_text(SECRET, encoding="utf-8")
        secret.chmod(0o600)
        files = {name: folder / f"{name}.log" for name in self.names}
        self.nodes = {name: Node(name, hosts, files[name], secret) for name in self.names}
        self.logs = Logs(files)
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        for name in self.names:
            make = partial(self._socket, name)
            connector = aiohttp.TCPConnector(force_close=True, limit=0, socket_factory=make)
            self._sessions[name] = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes.values():
            await node.kill()
        for session in self._sessions.values():
            await session.close()

    def _socket(self, host: str, address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        return self.hosts.socket(host, family, kind, protocol)

    async def ask(
        self, node: str, verb: str, path: str, body: Any = None, timeout: float = ASKING
    ) -> tuple[int, Any]:
        """Ask a node from its own host: status and JSON; 0 and the reason without an answer."""
        url = f"http://{self.hosts.addresses[node]}{path}"
        limit = aiohttp.ClientTimeout(total=timeout)
        session = self._sessions[node]
        try:
            async with session.request(verb, url, json=body, timeout=limit) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return 0, type(error).__name__

    async def text(self, node: str, path: str) -> str:
        """What a node answers to this, asked from its own host."""
        url = f"http://{self.hosts.addresses[node]}{path}"
        limit = aiohttp.ClientTimeout(total=ASKING)
        async with self._sessions[node].get(url, timeout=limit) as response:
            assert response.status == 200
            return await response.text()

    async def ask_all(self, path: str, nodes: Iterable[str] = ()) -> dict[str, Any]:
        """The answers of these nodes (of all: none named); None for who gives none."""
        asked = list(nodes) or list(self.names)
        answers = await asyncio.gather(*(self.ask(node, "GET", path) for node in asked))
        bodies = (body if status == 200 else None for status, body in answers)
        return dict(zip(asked, bodies, strict=True))

    async def until(self, complaint: Complaint, what: str, within: float = DEADLINE) -> None:
        """Wait until there is no complaint any more."""
        start = time.monotonic()
        while said := await complaint():
            assert time.monotonic() - start < within, f"not within {within:g} s: {what}; {said}"
            await asyncio.sleep(POLL)

    async def hold(self, complaint: Complaint, what: str, seconds: float) -> None:
        """See that there is no complaint for so many seconds."""
        start = time.monotonic()
        while (passed := time.monotonic() - start) < seconds:
            said = await complaint()
            assert not said, f"only for {passed:.1f} of {seconds:g} s: {what}; {said}"
            await asyncio.sleep(POLL)


def environment() -> dict[str, str]:
    """This environment without what would steer pyhorde, or measure it and so slow it down."""
    steering = ("PYHORDE_", "COVERAGE_")
    return {k: v for k, v in os.environ.items() if not k.startswith(steering)}
