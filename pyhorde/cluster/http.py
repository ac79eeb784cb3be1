"""The network of production: one HTTP address per node, peers upgraded to WebSockets.

aiohttp serves ``/_cluster/v1/stream`` to peers; other routes (the JSON API) are mounted on the same
application before the node listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp
from aiohttp import WSMsgType, web

from pyhorde.cluster.wire import MAX_FRAME_BYTES
from pyhorde.config import split_address
from pyhorde.errors import ConfigError, DialRefused, PeerUnreachable, StreamClosed
from pyhorde.seam import Stream

STREAM_PATH: Final = "/_cluster/v1/stream"
HEARTBEAT: Final = 5.0
"""Seconds of silence after which a peer is asked for a sign of life; half of it later the stream is
broken. Else a stream that a cut cable has stopped goes on only when TCP tries again: the longer the
cut was, the later."""
MAX_BODY_BYTES: Final = 1024 * 1024
_CLOSED: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


class HttpStream:
    """A :class:`~pyhorde.seam.Stream` over one WebSocket, of either side."""

    def __init__(
        self, socket: web.WebSocketResponse | aiohttp.ClientWebSocketResponse, remote: str
    ) -> None:
        self._socket = socket
        self._remote = remote

    @property
    def remote(self) -> str:
        return self._remote

    async def send(self, frame: bytes) -> None:
        try:
            await self._socket.send_bytes(frame)
        except (ConnectionError, RuntimeError) as error:
            raise StreamClosed(str(error)) from error

    async def receive(self) -> bytes:
        message = await self._socket.receive()
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

    def _why(self, message: aiohttp.WSMessage) -> str:
        if message.type is WSMsgType.CLOSE and message.extra:
            return f"closed by the peer: {message.extra}"
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

    async def listen(
        self, address: str, accept: Callable[[Stream], Awaitable[None]]
    ) -> HttpListener:
        async def upgrade(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(
                max_msg_size=MAX_FRAME_BYTES, compress=False, timeout=0.5, heartbeat=HEARTBEAT
            )
            try:
                await socket.prepare(request)
            except ConnectionError:  # whoever dialled has given up meanwhile
                return web.Response(status=503)
            self._sockets.add(socket)
            try:
                await accept(HttpStream(socket, request.remote or "?"))
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
                    heartbeat=HEARTBEAT,
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
        return HttpStream(socket, address)

    async def aclose(self) -> None:
        """Release the client side. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None
