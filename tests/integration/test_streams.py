"""Streams of the real network that stand still, or whose other end has gone before they began."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from pyhorde.cluster.transport import http
from pyhorde.cluster.transport import tcp as sockets
from pyhorde.cluster.transport.http import HttpListener, HttpNetwork, HttpStream
from pyhorde.errors import PeerUnreachable, StreamClosed
from pyhorde.seam import Stream
from tests.integration.deafness import deafen, linux_only, until


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


async def connect(network: HttpNetwork) -> tuple[HttpListener, HttpStream, HttpStream]:
    """A listener, and both ends of a stream to it, which stays until one of them closes it."""
    accepted: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()

    async def accept(stream: Stream) -> None:
        accepted.set_result(stream)
        await asyncio.Event().wait()

    listener = await network.listen("127.0.0.1:0", accept)
    near, far = await network.dial(listener.address, 5), await accepted
    assert isinstance(near, HttpStream)
    assert isinstance(far, HttpStream)
    return listener, near, far


async def reason(stream: Stream) -> str:
    """Receive until the stream ends."""
    try:
        while True:
            await stream.receive()
    except StreamClosed as error:
        return error.reason


def cut(*ends: HttpStream) -> None:
    for end in ends:
        deafen(end._connection())


@linux_only
async def test_an_idle_stream_that_a_cut_cable_has_stopped_is_broken_at_both_ends(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    for name in ("KEEPALIVE_IDLE", "KEEPALIVE_INTERVAL", "KEEPALIVE_COUNT"):
        monkeypatch.setattr(sockets, name, 1)
    listener, near, far = await connect(network)
    cut(near, far)
    async with asyncio.timeout(20):
        await asyncio.gather(reason(near), reason(far))
    for stream in (near, far):
        for _ in range(10):
            with pytest.raises(StreamClosed):
                await stream.receive()
    await listener.close()


@linux_only
async def test_a_stream_with_data_on_its_way_over_a_cut_cable_is_broken_at_both_ends(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sockets, "DEAF_AFTER", 0.3)
    monkeypatch.setattr(http, "LOOK", 0.1)
    listener, near, far = await connect(network)
    cut(near, far)
    await near.send(b"lost")
    await far.send(b"lost")
    async with asyncio.timeout(4):  # keepalive would be later
        reasons = await asyncio.gather(reason(near), reason(far))
    assert reasons == ["the host has been silent for 0.3 s"] * 2
    with pytest.raises(StreamClosed):
        await near.send(b"late")
    assert near.host_silence() is None
    await listener.close()


@linux_only
async def test_a_peer_that_reads_nothing_keeps_its_stream_because_its_host_answers(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    looked: list[HttpStream] = []
    really_look = HttpStream.break_if_deaf

    def look(stream: HttpStream) -> None:
        really_look(stream)
        looked.append(stream)

    monkeypatch.setattr(HttpStream, "break_if_deaf", look)
    monkeypatch.setattr(sockets, "DEAF_AFTER", 0.0)
    monkeypatch.setattr(http, "LOOK", 0.05)
    listener, near, far = await connect(network)
    frames, size = 64, 256 * 1024

    async def send_all() -> None:
        for _ in range(frames):
            await near.send(bytes(size))

    sending = asyncio.create_task(send_all())
    await until(lambda: looked.count(near) >= 40)
    assert not sending.done()
    silence = near.host_silence()
    assert silence is not None
    for _ in range(frames):
        assert len(await far.receive()) == size
    await sending
    await near.close()
    await listener.close()


@linux_only
async def test_peers_whose_kernel_breaks_silent_streams_send_no_heartbeats(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    beats: list[float | None] = []
    really_respond, really_connect = web.WebSocketResponse, aiohttp.ClientSession.ws_connect

    def respond(**options: Any) -> web.WebSocketResponse:
        beats.append(options["heartbeat"])
        return really_respond(**options)

    def connect_to(self: aiohttp.ClientSession, url: str, **options: Any) -> Any:
        beats.append(options["heartbeat"])
        return really_connect(self, url, **options)

    monkeypatch.setattr(web, "WebSocketResponse", respond)
    monkeypatch.setattr(aiohttp.ClientSession, "ws_connect", connect_to)
    listener, near, _ = await connect(network)
    assert beats == [None, None]
    await near.close()
    await listener.close()


async def test_where_the_kernel_does_not_a_cut_cable_is_noticed_by_heartbeats(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sockets, "kernel_breaks", lambda: False)
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
