"""What somebody on the network has: raw connections, proxies, and whatever it has recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from pyhorde.cluster.transport import upgrade
from pyhorde.cluster.transport.framing import Deframer, framed

SECRET = b"9f1c7a05d3e84b62a0c5718ee2d94f36"
OTHER = b"77e0d41b9c2f4a63b58e0d17fa6c3920"


_OPEN: list[asyncio.StreamWriter] = []


def hang_up() -> None:
    """End every connection of every stranger."""
    while _OPEN:
        _OPEN.pop().transport.abort()


class Raw:
    """A TCP connection to a node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        _OPEN.append(writer)
        self._deframer = Deframer()

    @classmethod
    async def to(cls, address: str) -> Raw:
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    @classmethod
    async def upgraded(cls, address: str) -> Raw:
        """One over which frames are spoken."""
        raw = await cls.to(address)
        raw.writer.write(upgrade.request(address))
        assert await raw.head() == 101
        return raw

    async def head(self) -> int:
        """The status of the answer that comes next; 0 when none comes."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0
        return int(head.split(b" ", 2)[1])

    def send(self, frame: bytes) -> None:
        self.writer.write(framed(frame))

    async def frame(self) -> bytes:
        """The next frame; empty at the end."""
        while True:
            data = await self.read()
            if not data:
                return b""
            if found := self._deframer.feed(data):
                return found[0]

    async def read(self) -> bytes:
        try:
            return await self.reader.read(65536)
        except ConnectionError:
            return b""

    async def ended(self, timeout: float = 20.0) -> None:
        """Wait until the node has hung up."""
        async with asyncio.timeout(timeout):
            while await self.read():
                pass

    def close(self) -> None:
        with suppress(OSError):
            self.writer.close()


async def status(address: str, path: str = "/healthz") -> int:
    """What a client is answered."""
    raw = await Raw.to(address)
    raw.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(20):
        found = await raw.head()
    raw.close()
    return found


Change = Callable[[bytes, bool], bytes]
"""Makes other bytes of those that pass; True: they go to the one that was dialled."""


@asynccontextmanager
async def relay(target: str, change: Change = lambda data, _: data) -> AsyncIterator[str]:
    """Somebody on the path to ``target``, at an address of its own."""
    tasks: set[asyncio.Task[None]] = set()

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, onwards: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(change(data, onwards))
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _OPEN.append(writer)
        far = await Raw.to(target)
        for one, two, onwards in ((reader, far.writer, True), (far.reader, writer, False)):
            tasks.add(asyncio.create_task(carry(one, two, onwards=onwards)))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    yield f"{host}:{port}"
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def answering(answer: bytes, port: int = 0) -> AsyncIterator[str]:
    """Somebody who upgrades, and answers every greeting with this frame."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _OPEN.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(upgrade.accepted())
            await reader.readexactly(4)
            writer.write(framed(answer))
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    host, bound = server.sockets[0].getsockname()[:2]
    yield f"{host}:{bound}"
    server.close()
    hang_up()
