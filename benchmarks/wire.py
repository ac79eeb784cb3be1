"""What a message between two nodes costs, beside what the loopback and the event loop allow.

::

    python benchmarks/wire.py [--rounds 5] [--trips 4000]

Two OS processes on this machine, for each of four ways that take turns in one run:

- *floor*: an asyncio protocol with length-prefixed msgpack and a dictionary of handlers, no more;
- *websocket*: aiohttp's, at both ends, the same messages;
- *open* and *sealed*: two nodes' links, without and with a secret.

Each asks for an echo of 64 bytes: one at a time, for which the CPU time of both ends counts (the
wall clock shows how long an idle machine takes to wake up), and 100 at a time, for which the rate
counts. The median of all rounds is shown, and how it relates to the floor of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
import msgpack  # noqa: E402
import uvloop  # noqa: E402
from aiohttp import web  # noqa: E402

from pyhorde.cluster.member import Member, View  # noqa: E402
from pyhorde.cluster.real import RealWorld  # noqa: E402
from pyhorde.cluster.transport.handshake import Goodbye  # noqa: E402
from pyhorde.cluster.transport.keyring import Keyring  # noqa: E402
from pyhorde.cluster.transport.links import Links  # noqa: E402
from pyhorde.cluster.transport.wire import Lane, Wire  # noqa: E402
from pyhorde.config import NodeConfig  # noqa: E402

AT_ONCE = 100
PAYLOAD = bytes(64)
SECRET = b"kQ7vT2mZx9LwB4sRj1NcHf8YpE6uDa30"
WAYS = ("floor", "websocket", "open", "sealed")


@dataclass(frozen=True, slots=True)
class Ask:
    """Echo this; without a payload, say how much CPU time you have used."""

    tag: ClassVar[int] = 20
    lane: ClassVar[Lane] = Lane.CALL
    seq: int
    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The echo."""

    tag: ClassVar[int] = 21
    lane: ClassVar[Lane] = Lane.CALL
    seq: int
    payload: bytes
    cpu: float


def echo(seq: int, payload: bytes) -> tuple[int, bytes, float]:
    return seq, payload, 0.0 if payload else time.process_time()


# ---- the ways: each has `serve`, which returns a port, and `connect`, which returns `ask` --------


class Framed(asyncio.Protocol):
    """The floor, of either side."""

    def __init__(self, on_answer: Callable[[int, float], None] | None = None) -> None:
        self.on_answer = on_answer
        self.handlers: dict[int, Callable[..., None]] = {20: self.asked, 21: self.answered}
        self.kept = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def asked(self, seq: int, name: str, payload: bytes) -> None:
        self.say([21, *echo(seq, payload)])

    def answered(self, seq: int, payload: bytes, cpu: float) -> None:
        assert self.on_answer is not None
        self.on_answer(seq, cpu)

    def say(self, message: list[Any]) -> None:
        data = msgpack.packb(message)
        self.transport.write(len(data).to_bytes(4, "big") + data)

    def data_received(self, data: bytes) -> None:
        data = self.kept + data
        start, end = 0, len(data)
        while end - start >= 4:
            after = start + 4 + int.from_bytes(data[start : start + 4], "big")
            if after > end:
                break
            tag, *fields = msgpack.unpackb(data[start + 4 : after])
            self.handlers[tag](*fields)
            start = after
        self.kept = data[start:]


async def serve_floor() -> int:
    server = await asyncio.get_running_loop().create_server(Framed, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]


async def connect_floor(port: int, on_answer: Callable[[int, float], None]) -> Any:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(lambda: Framed(on_answer), "127.0.0.1", port)
    return lambda seq, payload: protocol.say([20, seq, "echo", payload])


async def serve_websocket() -> int:
    async def upgrade(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            _, seq, _, payload = msgpack.unpackb(message.data)
            await socket.send_bytes(msgpack.packb([21, *echo(seq, payload)]))
        return socket

    app = web.Application()
    app.router.add_get("/", upgrade)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner.addresses[0][1]


async def connect_websocket(port: int, on_answer: Callable[[int, float], None]) -> Any:
    session = aiohttp.ClientSession()
    socket = await session.ws_connect(f"http://127.0.0.1:{port}/", compress=0, autoping=False)
    waiting: asyncio.Queue[bytes] = asyncio.Queue()

    async def read() -> None:
        async for message in socket:
            _, seq, _, cpu = msgpack.unpackb(message.data)
            on_answer(seq, cpu)

    async def write() -> None:
        while True:
            await socket.send_bytes(await waiting.get())

    tasks = asyncio.create_task(read()), asyncio.create_task(write())

    def ask(seq: int, payload: bytes) -> None:
        waiting.put_nowait(msgpack.packb([20, seq, "echo", payload]))

    ask.tasks = tasks  # type: ignore[attr-defined]
    return ask


class End:
    """What owns the links of one end."""

    settled = True

    def __init__(self, name: str, *, sealed: bool, on_answer: Any = None) -> None:
        self.world = RealWorld()
        me = Member(name=name, address="127.0.0.1:1", boot=self.world.token(), generation=1)
        self.view = View(me, (me,))
        self.on_answer = on_answer
        self.config = NodeConfig(name=name)
        keyring = Keyring((SECRET,) if sealed else ())
        self.links = Links(self.config, self.world, keyring, Wire((Ask, Answer, Goodbye)), self)

    async def listen(self) -> int:
        listener = await self.world.network.listen("127.0.0.1:0", self.links.accept)
        return int(listener.address.rpartition(":")[2])

    def on_linked(self, member: Member) -> None: ...

    def on_unlinked(self, boot: str, reason: str) -> None: ...

    def on_message(self, boot: str, message: Any) -> None:
        if type(message) is Ask:
            self.links.send(boot, Answer(*echo(message.seq, message.payload)))
        else:
            self.on_answer(message.seq, message.cpu)


async def connect_links(port: int, on_answer: Callable[[int, float], None], *, sealed: bool) -> Any:
    end = End("here", sealed=sealed, on_answer=on_answer)
    peer = await end.links.dial(f"127.0.0.1:{port}")
    return lambda seq, payload: end.links.send(peer.boot, Ask(seq, "echo", payload))


async def serve(way: str) -> None:
    if way == "floor":
        port = await serve_floor()
    elif way == "websocket":
        port = await serve_websocket()
    else:
        end = End("there", sealed=way == "sealed")
        port = await end.listen()
    print(port, flush=True)
    await asyncio.Event().wait()


# ---- measuring -----------------------------------------------------------------------------------


class Trips:
    """Round trips over one way, driven by its answers."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._left = 0
        self._under_way = 0
        self._cpu: asyncio.Future[float]
        self._done: asyncio.Future[None]
        self.ask: Callable[[int, bytes], Any]

    def answered(self, seq: int, cpu: float) -> None:
        if cpu:
            self._cpu.set_result(cpu)
        elif self._left:
            self._left -= 1
            self.ask(next(self._numbers), PAYLOAD)
        else:
            self._under_way -= 1
            if not self._under_way:
                self._done.set_result(None)

    async def run(self, trips: int, at_once: int) -> tuple[float, float]:
        """Microseconds of CPU time of both ends for a round trip, and round trips a second."""
        there = await self._far_cpu()
        began, here = time.perf_counter(), time.process_time()
        self._done = asyncio.get_running_loop().create_future()
        self._left, self._under_way = trips - at_once, at_once
        for _ in range(at_once):
            self.ask(next(self._numbers), PAYLOAD)
        await self._done
        here, elapsed = time.process_time() - here, time.perf_counter() - began
        there = await self._far_cpu() - there
        return (here + there) / trips * 1e6, trips / elapsed

    async def _far_cpu(self) -> float:
        self._cpu = asyncio.get_running_loop().create_future()
        self.ask(0, b"")
        return await self._cpu


async def measure(ports: dict[str, int], rounds: int, trips: int) -> None:
    ways: dict[str, Trips] = {}
    for way, port in ports.items():
        made = ways[way] = Trips()
        if way == "floor":
            made.ask = await connect_floor(port, made.answered)
        elif way == "websocket":
            made.ask = await connect_websocket(port, made.answered)
        else:
            made.ask = await connect_links(port, made.answered, sealed=way == "sealed")
        await made.run(500, 1)
    alone: dict[str, list[float]] = {way: [] for way in WAYS}
    many: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, made in ways.items():
            alone[way].append((await made.run(trips, 1))[0])
        for way, made in ways.items():
            many[way].append((await made.run(10 * trips, AT_ONCE))[1])
    floor_alone, floor_many = (statistics.median(each["floor"]) for each in (alone, many))
    print(
        f"{'':<12} {'CPU us/trip':>12} {'of floor':>9} {'trips/s, 100 at once':>22} {'of floor':>9}"
    )
    for way in WAYS:
        cpu, rate = statistics.median(alone[way]), statistics.median(many[way])
        print(
            f"{way:<12} {cpu:>12.1f} {cpu / floor_alone:>8.2f}x {rate:>22,.0f}"
            f" {rate / floor_many:>8.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trips", type=int, default=4000)
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
        return
    commands = {way: [sys.executable, __file__, "--serve", way] for way in WAYS}
    servers = {w: subprocess.Popen(c, stdout=subprocess.PIPE) for w, c in commands.items()}
    try:
        ports = {way: int(server.stdout.readline()) for way, server in servers.items()}
        uvloop.run(measure(ports, options.rounds, options.trips))
    finally:
        for server in servers.values():
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
