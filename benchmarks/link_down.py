"""Two nodes, 20 names, and a cable that is pulled again and again.

::

    python benchmarks/link_down.py [--rounds 10] [--names 20]

Real nodes over HTTP; each reaches the other through a relay in this program, which can go silent
without closing anything, as a pulled cable does. Each round: silent until both nodes have declared
each other dead, and one second more; then the cable is back, until both see each other. After each
round every name resolves on both nodes, and every process that runs has a name. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from typing import Any

from registry import Cluster

HEAL = 30.0


class Cable:
    """Relays connections to one address; silent while it is pulled."""

    def __init__(self, target: str = "") -> None:
        self.target = target
        self.address = ""
        self._up = asyncio.Event()
        self._up.set()
        self._streams: set[asyncio.StreamWriter] = set()
        self._server: Any = None

    async def lay(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    def pull(self) -> None:
        self._up.clear()

    def mend(self) -> None:
        """What was under way is lost: its connections break."""
        for writer in list(self._streams):
            writer.transport.abort()
        self._up.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(writer)
        try:
            await self._up.wait()
            if not self.target:
                return
            host, _, port = self.target.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            self._streams.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except OSError:
            pass
        finally:
            self._streams.discard(writer)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                await self._up.wait()
                writer.write(data)
                await writer.drain()
        self._streams.discard(writer)
        writer.close()


async def until(made: Cluster, state: str) -> float:
    """Seconds until both nodes see the other one so."""
    began = time.monotonic()
    while time.monotonic() - began < HEAL:
        views = await made.all("members")
        if all(view[1 - number] == state for number, view in enumerate(views)):
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    raise SystemExit(f"the nodes do not see each other {state}: {views}")


async def troubles(made: Cluster, names: int) -> list[str]:
    """What is wrong with the names."""
    found = []
    resolved = await made.all("resolve")
    running = [name for mine in await made.all("running") for name in mine]
    for number, known in enumerate(resolved):
        missing = [f"name-{n}" for n in range(names) if f"name-{n}" not in known]
        if missing:
            found.append(f"node {number} does not resolve {missing}")
        found += [f"node {number} does not know {name}" for name in running if name not in known]
    twice = {name for name in running if running.count(name) > 1}
    return found + [f"{name} runs twice" for name in sorted(twice)]


async def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--names", type=int, default=20)
    options = parser.parse_args()
    made, cables = Cluster(), [Cable(), Cable()]
    bad = 0
    try:
        for cable in cables:
            await cable.lay()
        for number, cable in enumerate(cables):
            peers = [cables[1 - number].address]
            started = await made.add(advertise=cable.address, peers=peers)
            cable.target = started["bound"]
        await made.all("meet", members=2)
        await made.workers[0].ask("start_children", count=options.names)
        print(f"{'round':>6} {'dead after':>11} {'back after':>11} {'settled after':>14}")
        for number in range(1, options.rounds + 1):
            for cable in cables:
                cable.pull()
            dead = await until(made, "dead")
            await asyncio.sleep(1.0)
            for cable in cables:
                cable.mend()
            back = await until(made, "alive")
            began, wrong = time.monotonic(), ["not looked yet"]
            while wrong and time.monotonic() - began < HEAL:
                wrong = await troubles(made, options.names)
                await asyncio.sleep(0.02)
            settled = time.monotonic() - began
            print(f"{number:>6} {dead:>10.2f}s {back:>10.2f}s {settled:>13.2f}s", flush=True)
            for line in wrong:
                print(f"       {line}")
            bad += bool(wrong)
    finally:
        await made.close()
    print("every name resolves, no process is unnamed" if not bad else f"{bad} ROUNDS WENT WRONG")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
