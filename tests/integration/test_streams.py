"""Streams of the real network that stand still, or whose other end has gone before they began."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pyhorde.cluster.transport import http, tcp
from pyhorde.cluster.transport.framing import MAX_UNTRUSTED_BYTES
from pyhorde.cluster.transport.http import HttpListener, HttpNetwork, PeerStream
from pyhorde.errors import DialRefused, PeerUnreachable
from pyhorde.seam import Stream
from tests.integration.deafness import deafen, linux_only, until
from tests.integration.inbox import Inbox


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


async def connect(network: HttpNetwork) -> tuple[HttpListener, Inbox, Inbox]:
    """A listener, and both ends of a stream to it, which stays until one of them closes it."""
    accepted: asyncio.Future[Inbox] = asyncio.get_running_loop().create_future()

    def accept(stream: Stream) -> None:
        stream.trust()
        accepted.set_result(Inbox(stream))

    listener = await network.listen("127.0.0.1:0", accept)
    near = Inbox(await network.dial(listener.address, 5))
    near.stream.trust()
    return listener, near, await accepted


def cut(*ends: Inbox) -> None:
    for end in ends:
        deafen(end.stream._connection())


async def test_frames_arrive_whole_and_in_order_however_large(network: HttpNetwork):
    listener, near, far = await connect(network)
    sizes = [0, 1, 3, 70_000, 2, 8 * 1024 * 1024, 5]
    for size in sizes:
        near.stream.send(bytes([size % 251]) * size)
    for size in sizes:
        assert await far.receive() == bytes([size % 251]) * size
    near.stream.close()
    assert await far.ended() == "lost"
    await listener.close()


async def test_what_was_sent_before_a_close_arrives(network: HttpNetwork):
    listener, near, far = await connect(network)
    far.stream.send(b"bye")
    far.stream.close()
    assert await near.receive() == b"bye"
    assert await near.ended() == "lost"
    near.stream.send(b"into the void")
    assert near.stream.host_silence() is None
    await listener.close()


async def test_a_frame_that_is_too_large_is_refused_before_it_is_kept(network: HttpNetwork):
    accepted: asyncio.Future[Inbox] = asyncio.get_running_loop().create_future()
    listener = await network.listen("127.0.0.1:0", lambda s: accepted.set_result(Inbox(s)))
    near = Inbox(await network.dial(listener.address, 5))
    near.stream._transport.write((MAX_UNTRUSTED_BYTES + 1).to_bytes(4, "big"))
    far = await accepted
    assert "too large" in await far.ended()
    assert await near.ended() == "lost"
    assert network.admission.statistics.bad_requests == 1
    await listener.close()


@linux_only
async def test_an_idle_stream_that_a_cut_cable_has_stopped_is_broken_at_both_ends(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    for name in ("KEEPALIVE_IDLE", "KEEPALIVE_INTERVAL", "KEEPALIVE_COUNT"):
        monkeypatch.setattr(tcp, name, 1)
    listener, near, far = await connect(network)
    cut(near, far)
    async with asyncio.timeout(20):
        await asyncio.gather(near.ended(), far.ended())
    await listener.close()


@linux_only
async def test_a_stream_with_data_on_its_way_over_a_cut_cable_is_broken_at_both_ends(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tcp, "DEAF_AFTER", 0.3)
    monkeypatch.setattr(http, "LOOK", 0.1)
    listener, near, far = await connect(network)
    cut(near, far)
    near.stream.send(b"lost")
    far.stream.send(b"lost")
    async with asyncio.timeout(4):  # keepalive would be later
        reasons = await asyncio.gather(near.ended(), far.ended())
    assert reasons == ["the host has been silent for 0.3 s"] * 2
    near.stream.send(b"late")
    assert near.stream.host_silence() is None
    await listener.close()


@linux_only
async def test_a_peer_that_reads_nothing_keeps_its_stream_because_its_host_answers(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    looked: list[PeerStream] = []
    really_look = PeerStream.look

    def look(stream: PeerStream, now: float) -> None:
        really_look(stream, now)
        looked.append(stream)

    monkeypatch.setattr(PeerStream, "look", look)
    monkeypatch.setattr(tcp, "DEAF_AFTER", 0.0)
    monkeypatch.setattr(http, "LOOK", 0.05)
    listener, near, far = await connect(network)
    far.stream.pause_reading()
    frames, size = 64, 256 * 1024
    sent = 0
    while near.stream.writable:
        near.stream.send(bytes(size))
        sent += 1
        await asyncio.sleep(0)
    await until(lambda: looked.count(near.stream) >= 40)
    assert not near.stream.writable and sent < frames
    assert near.stream.host_silence() is not None
    far.stream.resume_reading()
    for _ in range(sent):
        assert len(await far.receive()) == size
    await until(lambda: near.stream.writable)
    assert near.resumed >= 1
    near.stream.close()
    await listener.close()


async def test_where_the_kernel_does_not_a_cut_cable_is_noticed_by_heartbeats(
    network: HttpNetwork, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tcp, "kernel_breaks", lambda: False)
    monkeypatch.setattr(http, "HEARTBEAT", 0.4)
    monkeypatch.setattr(http, "LOOK", 0.05)
    network.kernel_breaks = False
    accepted: asyncio.Future[Inbox] = asyncio.get_running_loop().create_future()
    listener = await network.listen("127.0.0.1:0", lambda s: accepted.set_result(Inbox(s)))
    cable = Cable(listener.address)
    near = Inbox(await network.dial(await cable.lay(), 5))
    far = await accepted
    try:
        asked = near.stream._asked
        await until(lambda: near.stream._asked > asked and near.stream._heard > near.stream._asked)
        cable.cut()
        async with asyncio.timeout(20):
            reasons = await asyncio.gather(near.ended(), far.ended())
        assert all("silent" in reason or reason == "lost" for reason in reasons)
    finally:
        await cable.remove()
        await listener.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "HTTP 302"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", "HTTP 101"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an older version"),
        (b"HTTP/1.1 426 Upgrade\r\n\r\nspeaks pyhorde/9", "speaks pyhorde/9"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer"),
        (b"HTTP/1.1 twohundred\r\n\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4000, "without an end"),
        (b"", "hung up"),
    ],
)
async def test_whoever_else_answers_is_no_peer(network: HttpNetwork, answer: bytes, why: str):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(PeerUnreachable, match=why):
        await network.dial(f"127.0.0.1:{port}", 5)
    server.close()


async def test_a_name_that_leads_nowhere_is_unreachable_and_a_closed_port_refuses(
    network: HttpNetwork,
):
    with pytest.raises(PeerUnreachable):
        await network.dial("no-such-host.invalid:7411", 5)
    with pytest.raises(DialRefused):
        await network.dial("127.0.0.1:1", 5)
    with pytest.raises(DialRefused):
        await network.dial("localhost:1", 5)
