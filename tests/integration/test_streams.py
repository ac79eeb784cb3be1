"""Streams of the real network that stand still, or whose other end has gone before they began."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from pyhorde.cluster import http
from pyhorde.cluster.http import HttpListener, HttpNetwork
from pyhorde.errors import PeerUnreachable, StreamClosed
from pyhorde.seam import Stream


class Cable:
    """A proxy that passes bytes on until it is cut; then it is silent, and closes nothing."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._through = asyncio.Event()
        self._through.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def lay(self) -> str:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def cut(self) -> None:
        self._through.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, far_writer]
        for one, two in ((reader, far_writer), (far_reader, writer)):
            self._tasks.append(asyncio.create_task(self._carry(one, two)))

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._through.wait()
            target.write(data)

    async def remove(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()


@pytest.fixture
async def network() -> AsyncIterator[HttpNetwork]:
    made = HttpNetwork()
    yield made
    await made.aclose()


async def serve(network: HttpNetwork) -> tuple[HttpListener, asyncio.Future[str]]:
    """A listener, and how its first stream ends."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def accept(stream: Stream) -> None:
        try:
            while True:
                await stream.receive()
        except StreamClosed as error:
            ended.set_result(str(error))

    return await network.listen("127.0.0.1:0", accept), ended


async def test_a_stream_that_a_cut_cable_has_stopped_is_broken_at_both_ends(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http, "HEARTBEAT", 0.2)
    listener, ended = await serve(network)
    cable = Cable(listener.address)
    stream = await network.dial(await cable.lay(), 5)
    try:
        cable.cut()
        async with asyncio.timeout(20):
            with pytest.raises(StreamClosed):
                await stream.receive()
            await ended
    finally:
        await cable.remove()
        await listener.close()


async def test_a_dialler_that_has_gone_before_the_stream_began_is_no_error(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def gone(*_: object) -> None:
        raise ConnectionResetError("Cannot write to closing transport")

    listener, _ = await serve(network)
    monkeypatch.setattr(web.WebSocketResponse, "prepare", gone)
    with caplog.at_level(logging.ERROR), pytest.raises(PeerUnreachable):
        await network.dial(listener.address, 5)
    assert caplog.records == []
    await listener.close()
