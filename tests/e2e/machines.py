"""Nodes as OS processes, driven through their command line and over HTTP like a user would."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from pyhorde.demo.cluster import free_ports

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 40.0
POLL = 0.02
COUNTER = "examples.counter:Counter"


def environment(**more: str) -> dict[str, str]:
    """This environment without anything that would steer pyhorde."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PYHORDE_")}
    return {**plain, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", **more}


@dataclass(frozen=True)
class Ran:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until the condition (a function, or a coroutine function) holds."""
    end = time.monotonic() + DEADLINE
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return
        assert time.monotonic() < end, f"not within {DEADLINE:g} s: {what}"
        await asyncio.sleep(POLL)


class Machine:
    """One node: its command line, its OS process, and what it wrote."""

    def __init__(self, name: str, address: str, options: list[str], folder: Path) -> None:
        self.name = name
        self.address = address
        self.options = options
        self._files = {end: folder / f"{name}.{end}" for end in ("out", "err")}
        self._os: Process | None = None

    @property
    def out(self) -> str:
        return self._files["out"].read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._files["err"].read_text(encoding="utf-8")

    async def boot(self, **variables: str) -> None:
        """Start the OS process; does not wait for the node to be ready."""
        with self._files["out"].open("ab") as out, self._files["err"].open("ab") as err:
            self._os = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "pyhorde", "node", "--name", self.name],
                *["--bind", self.address, *self.options],
                cwd=ROOT,
                stdin=DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(**variables),
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        assert self._os is not None
        with suppress(ProcessLookupError):
            self._os.send_signal(number)

    async def kill(self) -> None:
        """``kill -9``, and wait until it is gone. Idempotent."""
        if self._os is not None:
            self.send(signal.SIGKILL)
            await self._os.wait()

    async def exit_code(self) -> int:
        """Wait until it has ended."""
        assert self._os is not None
        async with asyncio.timeout(DEADLINE):
            return await self._os.wait()


class Machines:
    """The nodes of one test, and an HTTP client. Leaving the context kills whatever still runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._commands: set[Process] = set()
        self.nodes: dict[str, Machine] = {}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=DEADLINE)
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        for command in self._commands:
            with suppress(ProcessLookupError):
                command.kill()
        for node in self.nodes.values():
            await node.kill()

    # ---- nodes ----------------------------------------------------------------------------------

    def prepare(self, *names: str, app: str = "examples.counter") -> list[Machine]:
        """Nodes that know each other's addresses; not started. ``app``: modules, with commas."""
        ports = free_ports(len(names))
        addresses = {n: f"127.0.0.1:{p}" for n, p in zip(names, ports, strict=True)}
        for name, address in addresses.items():
            peers = ",".join(other for n, other in addresses.items() if n != name)
            apps = [option for module in app.split(",") for option in ("--app", module)]
            options = [*apps, *(["--peers", peers] if peers else [])]
            self.nodes[name] = Machine(name, address, options, self._folder)
        return [self.nodes[name] for name in names]

    async def up(self, *names: str, **options: Any) -> list[Machine]:
        """Nodes that are ready and see each other alive."""
        machines = self.prepare(*names, **options)
        for machine in machines:
            await machine.boot()
        await self.all_see(dict.fromkeys(names, "alive"), machines)
        return machines

    async def all_see(self, states: dict[str, str], machines: list[Machine]) -> None:
        """Wait until each of these nodes is ready and believes this of its members."""
        for machine in machines:
            what = f"{machine.name} sees {states}"
            await until(lambda machine=machine: self.sees(machine, states), what)

    async def sees(self, machine: Machine, states: dict[str, str]) -> bool:
        status, body = await self.ask(machine, "GET", "/v1/status")
        if status != 200 or body["state"] != "ready":
            return False
        return states.items() <= {m["name"]: m["state"] for m in body["members"]}.items()

    # ---- talking to them ------------------------------------------------------------------------

    async def ask(self, node: Machine, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON answer; status 0 when the node cannot be reached."""
        url = f"http://{node.address}{path}"
        try:
            async with self._session.request(verb, url, json=body) as response:
                raw = await response.read()
                return response.status, json.loads(raw) if raw else None
        except (aiohttp.ClientError, OSError):
            return 0, None

    async def start(self, node: Machine, name: str, *args: Any) -> None:
        body = {"type": COUNTER, "name": name, "args": list(args)}
        status, answer = await self.ask(node, "POST", "/v1/processes", body)
        assert status == 201, answer

    async def call(self, node: Machine, name: str, method: str, *args: Any) -> Any:
        body = {"method": method, "args": list(args), "timeout": 30.0}
        status, answer = await self.ask(node, "POST", f"/v1/processes/{name}/call", body)
        assert status == 200, answer
        return answer["result"]

    async def owner(self, name: str) -> Machine:
        """The node that runs it."""
        for node in self.nodes.values():
            status, row = await self.ask(node, "GET", f"/v1/processes/{name}")
            if status == 200 and row["node"]:
                return self.nodes[row["node"]]
        raise AssertionError(f"nobody runs {name}")

    async def run(self, *arguments: str, node: Machine | None = None, **variables: str) -> Ran:
        """``pyhorde ARGUMENTS``, with the node as the one to talk to."""
        if node is not None:
            variables.setdefault("PYHORDE_ADDRESS", node.address)
        command = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "pyhorde", *arguments],
            cwd=ROOT,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=environment(**variables),
        )
        self._commands.add(command)
        async with asyncio.timeout(DEADLINE):
            out, err = await command.communicate()
        self._commands.discard(command)
        assert command.returncode is not None
        return Ran(command.returncode, out.decode(), err.decode())
