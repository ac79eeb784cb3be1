"""Three nodes as OS processes on this machine: started, killed, stopped, and always cleaned up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process as OsProcess
from contextlib import suppress
from pathlib import Path
from typing import Self

from pyhorde.demo.app import App

NAMES = ("a", "b", "c")
_TAIL = 12


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listened on a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class NodeProcess:
    """One node; after :meth:`kill` or :meth:`stop` it can be started again at its address."""

    def __init__(self, name: str, address: str, peers: list[str], app: App, log: Path) -> None:
        self.name = name
        self.address = address
        self.log = log
        self.ready = False
        self._peers = peers
        self._app = app
        self._os: OsProcess | None = None

    @property
    def up(self) -> bool:
        """Whether its OS process exists."""
        return self._os is not None and self._os.returncode is None

    @property
    def exit_code(self) -> int | None:
        return self._os.returncode if self._os is not None else None

    def command(self) -> list[str]:
        """The command line that starts this node."""
        options = {
            "--name": self.name,
            "--bind": self.address,
            "--peers": ",".join(self._peers),
            "--app": self._app.module,
            "--log-format": "json",
        }
        flat = [part for option in options.items() for part in option]
        return [sys.executable, "-m", "pyhorde", "node", *flat]

    async def start(self) -> None:
        """Start it, in a session of its own: a Ctrl-C at the terminal is for the demo alone."""
        self.ready = False
        with self.log.open("ab") as log:
            self._os = await asyncio.create_subprocess_exec(
                *self.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env=self._app.environment(os.environ),
                start_new_session=True,
            )

    def kill(self) -> None:
        """``kill -9``: no goodbye, no flush. Idempotent."""
        self._send(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: the node hands its processes over and leaves."""
        self._send(signal.SIGTERM)

    async def ended(self) -> None:
        """Wait until its OS process is gone."""
        if self._os is not None:
            await self._os.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._os is not None:
            with suppress(ProcessLookupError):
                self._os.send_signal(number)

    def log_tail(self) -> list[str]:
        """The last lines it wrote."""
        if not self.log.exists():
            return []
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]


class Trio:
    """The three nodes. Leaving the context kills whatever still runs."""

    def __init__(self, app: App, logs: Path, base_port: int | None = None) -> None:
        ports = free_ports(3) if base_port is None else [base_port + i for i in range(3)]
        self.addresses = {n: f"127.0.0.1:{p}" for n, p in zip(NAMES, ports, strict=True)}
        self.nodes = {name: self._node(name, app, logs) for name in NAMES}

    def _node(self, name: str, app: App, logs: Path) -> NodeProcess:
        peers = [address for other, address in self.addresses.items() if other != name]
        log = logs / f"{name}.log"
        log.unlink(missing_ok=True)
        return NodeProcess(name, self.addresses[name], peers, app, log)

    @property
    def live(self) -> dict[str, str]:
        """Name and address of every node that has been ready and has not ended.

        A load balancer would send callers to just these.
        """
        return {name: node.address for name, node in self.nodes.items() if node.up and node.ready}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.kill()
        for node in self.nodes.values():
            await node.ended()
