"""The network of production: one HTTP address per node, peers upgraded to WebSockets.

aiohttp serves ``/_cluster/v1/stream`` to peers; other routes (the JSON API) are mounted on the same
application before the node listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp import WSMsgType, web

from pyhorde.cluster.transport import tcp as sockets
from pyhorde.cluster.transport import udp
from pyhorde.cluster.transport.wire import MAX_FRAME_BYTES
from pyhorde.config import split_address
from pyhorde.errors import ConfigError, DialRefused, PeerUnreachable, StreamClosed
from pyhorde.seam import Stream

STREAM_PATH: Final = "/_cluster/v1/stream"
HEARTBEAT: Final = 5.0
"""Seconds of silence after which a peer is asked for a sign of life; half of it later the stream is
broken. Only where the kernel does not do it (:func:`~pyhorde.cluster.sockets.kernel_breaks`): it
asks a machine, and this asks its event loop, which may be blocked."""
LOOK: Final = 2.0
"""Seconds between two looks for streams behind which no machine answers any more. Else one that a
cut cable has stopped goes on only when TCP tries again: the longer the cut was, the later."""
MAX_BODY_BYTES: Final = 1024 * 1024
_CLOSED: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


class HttpStream:
    """A :class:`~pyhorde.seam.Stream` over one WebSocket, of either side."""

    def __init__(
        self, socket: web.WebSocketResponse | aiohttp.ClientWebSocketResponse, remote: str
    ) -> None:
        self._socket = socket
        self._remote = remote
        self._broken = ""
        """Why this end has broken it."""
        if (connection := self._connection()) is not None:
            sockets.tune(connection)

    @property
    def remote(self) -> str:
        return self._remote

    async def send(self, frame: bytes) -> None:
        try:
            await self._socket.send_bytes(frame)
        except (OSError, RuntimeError) as error:
            raise StreamClosed(self._broken or str(error)) from error

    async def receive(self) -> bytes:
        try:
            message = await self._socket.receive()
        except (OSError, RuntimeError) as error:  # the kernel has given up; or asked too often
            raise StreamClosed(self._broken or str(error)) from error
        if message.type is WSMsgType.BINARY:
            data: bytes = message.data
            return data
        if message.type in _CLOSED:
            raise StreamClosed(self._why(message))
        raise StreamClosed(f"the peer sent a {message.type.name} frame")

    async def close(self, reason: str = "") -> None:
        try:
            text = reason.encode()[:100]
            await self._socket.close(message=text)
        except Exception:  # noqa: BLE001, S110 - closing never raises; there is nobody to tell
            pass

    def host_silence(self) -> float | None:
        connection = self._connection()
        return None if connection is None else sockets.host_silence(connection)

    def break_if_deaf(self) -> None:
        """Break the stream if the other machine's kernel does not confirm what is sent."""
        connection = self._connection()
        if connection is not None and sockets.is_deaf(connection):
            self._broken = f"the host has been silent for {sockets.DEAF_AFTER:g} s"
            sockets.shut(connection)

    def _connection(self) -> Any:
        """The TCP socket; None once it is gone."""
        return self._socket.get_extra_info("socket")

    def _why(self, message: aiohttp.WSMessage) -> str:
        if message.type is WSMsgType.CLOSE and message.extra:
            return f"closed by the peer: {message.extra}"
        if self._broken:
            return self._broken
        return "lost" if self._socket.exception() is None else str(self._socket.exception())


class HttpListener:
    """The bound address."""

    def __init__(self, runner: web.AppRunner, address: str, sockets: set[Any]) -> None:
        self._runner = runner
        self._address = address
        self._sockets = sockets

    @property
    def address(self) -> str:
        return self._address

    async def close(self) -> None:
        for site in list(self._runner.sites):  # first: who loses a stream dials again at once
            await site.stop()
        for socket in list(self._sockets):
            await socket.close()
        await self._runner.cleanup()


class HttpNetwork:
    """Listens and dials. ``mount`` adds routes before ``listen``."""

    def __init__(self) -> None:
        self.app = web.Application(client_max_size=MAX_BODY_BYTES)
        self._session: aiohttp.ClientSession | None = None
        self._sockets: set[Any] = set()
        self._streams: WeakSet[HttpStream] = WeakSet()
        self._looking: asyncio.TimerHandle | None = None
        self._endpoints: list[udp.UdpEndpoint] = []

    async def listen(
        self, address: str, accept: Callable[[Stream], Awaitable[None]]
    ) -> HttpListener:
        async def upgrade(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(
                max_msg_size=MAX_FRAME_BYTES, compress=False, timeout=0.5, heartbeat=_heartbeat()
            )
            try:
                await socket.prepare(request)
            except ConnectionError:  # whoever dialled has given up meanwhile
                return web.Response(status=503)
            self._sockets.add(socket)
            try:
                await accept(self._opened(HttpStream(socket, request.remote or "?")))
            finally:
                self._sockets.discard(socket)
            return socket

        self.app.router.add_get(STREAM_PATH, upgrade)
        host, port = split_address(address, "bind")
        runner = web.AppRunner(
            self.app, access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                "bind",
                f"cannot listen on {address}: {error.strerror or error}",
                "is another node running there? choose another --bind HOST:PORT",
            ) from error
        bound = runner.addresses[0]
        name = f"[{bound[0]}]" if ":" in bound[0] else host
        return HttpListener(runner, f"{name}:{bound[1]}", self._sockets)

    async def dial(self, address: str, timeout: float) -> Stream:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        try:
            async with asyncio.timeout(timeout):
                socket = await self._session.ws_connect(
                    f"http://{address}{STREAM_PATH}",
                    max_msg_size=MAX_FRAME_BYTES,
                    compress=0,
                    heartbeat=_heartbeat(),
                    timeout=aiohttp.ClientWSTimeout(ws_close=0.5),
                )
        except TimeoutError:
            raise PeerUnreachable(address, f"no answer within {timeout:g} s") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ConnectionRefusedError):
                raise DialRefused(address, "connection refused") from error
            raise PeerUnreachable(address, str(error.os_error)) from error
        except aiohttp.WSServerHandshakeError as error:
            raise PeerUnreachable(
                address, f"no pyhorde node answers there (HTTP {error.status})"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PeerUnreachable(address, str(error) or type(error).__name__) from error
        return self._opened(HttpStream(socket, address))

    async def datagrams(
        self, address: str, received: Callable[[bytes], None]
    ) -> udp.UdpEndpoint | None:
        endpoint = await udp.bind(address, received)
        if endpoint is not None:
            self._endpoints.append(endpoint)
        return endpoint

    async def aclose(self) -> None:
        """Release the client side and the packets. Idempotent."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        while self._endpoints:
            await self._endpoints.pop().close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self, stream: HttpStream) -> HttpStream:
        self._streams.add(stream)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK, self._look)
        return stream

    def _look(self) -> None:
        for stream in self._streams:
            stream.break_if_deaf()
        again = asyncio.get_running_loop().call_later
        self._looking = again(LOOK, self._look) if self._streams else None


def _heartbeat() -> float | None:
    return None if sockets.kernel_breaks() else HEARTBEAT
