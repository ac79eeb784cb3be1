"""The network of production: one HTTP address per node, and streams between nodes.

Whoever connects is met by a :class:`Door`. It reads the head of the first request, within bounds,
and hands the connection on: to aiohttp, which serves the JSON API, or to a :class:`PeerStream`
(:mod:`~pyhorde.cluster.transport.upgrade` says how). A dialler's end begins as a :class:`_Caller`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import web

from pyhorde.cluster.transport import tcp, tls, udp, upgrade
from pyhorde.cluster.transport.admission import DESCRIPTORS, MAX_CONNECTIONS, Admission, Kind
from pyhorde.cluster.transport.framing import (
    PING,
    PONG,
    Deframer,
)
from pyhorde.config import TlsFiles, split_address
from pyhorde.errors import ConfigError, DialRefused, PeerUnreachable, ProtocolError
from pyhorde.seam import Stream, StreamOwner

HEARTBEAT: Final = 5.0
"""Seconds of silence after which a peer is asked for a sign of life; half of it later the stream is
broken. Only where the kernel does not do it (:func:`~pyhorde.cluster.transport.tcp.kernel_breaks`):
it asks a machine, and this asks its event loop, which may be blocked."""
LOOK: Final = 2.0
"""Seconds between two looks for streams behind which no machine answers any more. Else one that a
cut cable has stopped goes on only when TCP tries again: the longer the cut was, the later."""
MAX_BODY_BYTES: Final = 1024 * 1024
HEAD_TIMEOUT: Final = 5.0
"""Seconds in which the head of a connection's first request has to be there."""
IDLE_TIMEOUT: Final = 15.0
"""Seconds for which a client's connection stays open between two requests."""
WRITE_TIMEOUT: Final = 30.0
"""Seconds in which a client has to read some of what it is sent."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds in which what was sent before a close has to leave."""
HIGH_WATER: Final = 256 * 1024
"""Bytes that are handed to the network although it has not sent those before; what comes after
them waits in its lane, where urgent messages can overtake it."""
BACKLOG: Final = 512
EARLY_FRAMES: Final = 8
"""Frames kept for an owner that is not there yet."""

log = logging.getLogger("pyhorde.http")


def _ignore(remote: str, why: str, text: str) -> None:
    """Nobody is told who was turned away."""


class PeerStream(asyncio.Protocol):
    """A :class:`~pyhorde.seam.Stream` over one TCP or TLS connection, of either side."""

    def __init__(
        self, network: HttpNetwork, transport: asyncio.Transport, remote: str, *, dialled: bool
    ) -> None:
        self._network = network
        self._transport = transport
        self._remote = remote
        self._kind: Kind | None = None
        """What it counts as; what this node has dialled itself counts once it has proven itself."""
        if not dialled:
            self._count_as(Kind.HANDSHAKE)
        self._deframer = Deframer()
        self._owner: StreamOwner | None = None
        self._early: list[bytes] = []
        self._is_trusted = False
        """Whether what comes are frames of a proven peer, and nothing else is of interest."""
        self.writable = True
        self._over: str | None = None
        """Why it has ended."""
        self._told = False
        """Whether the owner knows, or does not have to be told any more."""
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard = self._asked = asyncio.get_running_loop().time()
        self.on_lost: Callable[[], None] = lambda: None
        if (connection := self._connection()) is not None:
            tcp.tune(connection)
        transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 4)

    # ---- for the owner -----------------------------------------------------------------------

    @property
    def remote(self) -> str:
        return self._remote

    @property
    def ends(self) -> tuple[str, str]:
        info = self._transport.get_extra_info
        return _address(info("sockname")), _address(info("peername"))

    @property
    def is_sealed(self) -> bool:
        return self._transport.get_extra_info("ssl_object") is not None

    def attach(self, owner: StreamOwner) -> None:
        self._owner = owner
        early, self._early = self._early, []
        if early:
            owner.frames_received(early)
        if self._over is not None:
            self._tell()

    def trust(self) -> None:
        self._deframer.trust()
        # Where its event loop is asked for signs of life, they are looked for among the frames.
        self._is_trusted = self._network.kernel_breaks
        if not self._lost.done():
            self._count_as(Kind.PEER)

    def send(self, frame: bytes) -> None:
        if self._over is None:
            self._transport.write(len(frame).to_bytes(4, "big") + frame)

    def pause_reading(self) -> None:
        if self._over is None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._over is None:
            with suppress(RuntimeError):  # it reads, or it is closing
                self._transport.resume_reading()
            self.data_received(b"")

    def close(self) -> None:
        self._told = True
        self._end("closed")

    def host_silence(self) -> float | None:
        connection = self._connection() if self._over is None else None
        return None if connection is None else tcp.host_silence(connection)

    # ---- for the network ---------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Break the stream if the other machine's kernel does not confirm what is sent.

        Where the kernel does not say, its event loop has to answer.
        """
        connection = self._connection()
        if self._over is not None or connection is None:
            return
        if tcp.kernel_breaks():
            if tcp.is_deaf(connection):
                self.abort(f"the host has been silent for {tcp.DEAF_AFTER:g} s")
        elif now - self._heard >= HEARTBEAT * 1.5:
            self.abort(f"the peer has been silent for {HEARTBEAT * 1.5:g} s")
        elif now - max(self._heard, self._asked) >= HEARTBEAT:
            self._asked = now
            self._transport.write(PING)

    def abort(self, reason: str) -> None:
        """Break it now, whatever is on its way."""
        if self._over is None:
            self._over, self.writable = reason, False
            self._transport.abort()
            self._tell()

    async def closed(self) -> None:
        """Wait until the connection is gone."""
        await asyncio.shield(self._lost)

    def _count_as(self, kind: Kind | None) -> None:
        admission = self._network.admission
        if self._kind is not None:
            admission.leave(self._kind, self._remote)
        self._kind = kind
        if kind is not None:
            admission.enter(kind, self._remote)

    def _end(self, reason: str) -> None:
        """Close after what was sent, but do not wait for that for ever."""
        if self._over is None:
            self._over, self.writable = reason, False
            self._transport.close()
            if not self._lost.done():
                loop = asyncio.get_running_loop()
                timer = loop.call_later(CLOSE_TIMEOUT, self._transport.abort)
                self._lost.add_done_callback(lambda _: timer.cancel())

    def _tell(self) -> None:
        if self._owner is not None and not self._told:
            self._told = True
            self._owner.stream_closed(self._over or "lost")

    def _connection(self) -> Any:
        """The TCP socket; None once it is gone."""
        return self._transport.get_extra_info("socket")

    # ---- what the connection tells -----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._over is not None:
            return
        deframer = self._deframer
        try:
            frames = deframer.feed(data)
        except ProtocolError as error:
            self.refuse(error.problem)
            return
        if self._is_trusted and frames and not deframer.is_pinged and self._owner is not None:
            self._owner.frames_received(frames)
            return
        self._heard_from(data, frames)

    def _heard_from(self, data: bytes, frames: list[bytes]) -> None:
        """What is not just frames of a peer that has proven itself."""
        if self._deframer.is_pinged:
            self._deframer.is_pinged = False
            self._transport.write(PONG)
        if data and not self._network.kernel_breaks:
            self._heard = asyncio.get_running_loop().time()
        if not frames:
            return
        if not self._deframer.is_trusted:
            self._transport.pause_reading()
        if self._owner is not None:
            self._owner.frames_received(frames)
            return
        self._early += frames
        if len(self._early) > EARLY_FRAMES:
            self.refuse("frames before they were asked for")

    def refuse(self, problem: str) -> None:
        """What came breaks the stream."""
        self._network.admission.statistics.bad_requests += 1
        self._end(f"refused what it sent: {problem}")
        self._tell()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        if self._over is None:
            self.writable = True
            if self._owner is not None:
                self._owner.resume_writing()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
            self._count_as(None)
        if self._over is None:
            self._over, self.writable = str(error) if error is not None else "lost", False
        self.on_lost()
        self._tell()


class Door(asyncio.Protocol):
    """Meets whoever connects; stays between aiohttp and its clients."""

    def __init__(self, network: HttpNetwork) -> None:
        self._network = network
        self._head = bytearray()
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._kind = Kind.HEAD
        self._host = "?"
        self._is_counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        peer = self._transport.get_extra_info("peername")
        self._host = str(peer[0]) if peer else "?"
        if not self._network.admission.may_connect():
            self._transport.abort()
            return
        self._become(Kind.HEAD)
        self._network.heads[self] = None
        if self._network.admission.must_evict:
            self._network.admission.statistics.evicted += 1
            next(iter(self._network.heads)).abort()
        self._arm(HEAD_TIMEOUT)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)
            return
        if not self._is_counted or self._transport.is_closing():
            return
        self._head += data
        end = self._head.find(upgrade.END)
        if end < 0 and len(self._head) > upgrade.MAX_HEAD_BYTES:
            self._refuse(431, "Request Header Fields Too Large", "the request's head is too large")
        elif end >= 0:
            self._disarm()
            self._network.heads.pop(self, None)
            self._serve(upgrade.read_request(bytes(self._head[:end])), end + len(upgrade.END))

    def _serve(self, request: upgrade.Request | None, end: int) -> None:
        admission = self._network.admission
        if request is not None and request.is_for_peers:
            self._upgrade(request, bytes(self._head[end:]))
        elif not admission.may_serve(probe=request is not None and request.is_probe):
            busy = "there are too many connections; come again"
            self._refuse(503, "Service Unavailable", busy)
        else:
            self._become(Kind.HTTP)
            self._inner = self._network.handler()
            self._network.clients.add(self)
            self._inner.connection_made(self._transport)
            self._inner.data_received(bytes(self._head))
            self._head.clear()

    def _upgrade(self, request: upgrade.Request, early: bytes) -> None:
        network = self._network
        if request.upgrade != upgrade.PROTOCOL:
            network.admission.statistics.bad_requests += 1
            said = request.upgrade or "nothing"
            text = f"this node speaks {upgrade.PROTOCOL} here, not {said}"
            network.on_refused(self._host, "version", text)
            self._refuse(426, "Upgrade Required", text)
        elif early:
            self._refuse(400, "Bad Request", "frames come after the answer")
        elif network.needs_certificate and not self._transport.get_extra_info("peercert"):
            text = "this node lets in peers that show a certificate of its authority"
            network.on_refused(self._host, "certificate", text)
            self._refuse(403, "Forbidden", text)
        elif not network.admission.may_shake_hands(self._host):
            text = "too many handshakes are under way"
            network.on_refused(self._host, "busy", text)
            self._refuse(503, "Service Unavailable", text)
        else:
            self._transport.write(upgrade.accepted())
            self._leave()
            network.opened_by(self._transport, self._host)

    def _refuse(self, status: int, phrase: str, text: str) -> None:
        if status in (400, 431):
            self._network.admission.statistics.bad_requests += 1
        self._transport.write(upgrade.refused(status, phrase, text))
        self._transport.close()
        self._arm(CLOSE_TIMEOUT)

    def abort(self) -> None:
        """End it now."""
        self._network.heads.pop(self, None)
        self._transport.abort()

    def _slow(self) -> None:
        self._network.admission.statistics.slow += 1
        if self._inner is None and not self._transport.is_closing():
            self._transport.write(upgrade.refused(408, "Request Timeout", "the request is late"))
            self._transport.close()
            self._arm(CLOSE_TIMEOUT)
        else:
            self.abort()

    def _become(self, kind: Kind) -> None:
        self._leave()
        self._kind, self._is_counted = kind, True
        self._network.admission.enter(kind, self._host)

    def _leave(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self._network.admission.leave(self._kind, self._host)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._arm(WRITE_TIMEOUT)
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._disarm()
            self._inner.resume_writing()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, error: Exception | None) -> None:
        self._disarm()
        self._leave()
        self._network.heads.pop(self, None)
        self._network.clients.discard(self)
        if self._inner is not None:
            self._inner.connection_lost(error)


class _Caller(asyncio.Protocol):
    """The dialler's end until the other one has answered."""

    def __init__(self, address: str) -> None:
        self._request = upgrade.request(address)
        self._kept = b""
        self.is_lost = False
        self.transport: asyncio.Transport
        self.answer: asyncio.Future[tuple[upgrade.Response, bytes]] = (
            asyncio.get_running_loop().create_future()
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            self._kept += data
            return
        self._kept += data
        try:
            read = upgrade.read_response(self._kept)
        except ProtocolError as error:
            self.answer.set_exception(error)
            return
        if read is not None:
            response, self._kept = read
            self.transport.pause_reading()
            self.answer.set_result((response, self._kept))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        if not self.answer.done():
            self.answer.set_exception(error or ProtocolError("it hung up"))


class HttpListener:
    """The bound address."""

    def __init__(self, network: HttpNetwork, address: str) -> None:
        self._network = network
        self._address = address

    @property
    def address(self) -> str:
        return self._address

    async def close(self) -> None:
        await self._network.stop_listening()


class HttpNetwork:
    """Listens and dials. ``app`` takes routes before ``listen``."""

    def __init__(self) -> None:
        self.app = web.Application(client_max_size=MAX_BODY_BYTES)
        self.admission = Admission()
        self.heads: dict[Door, None] = {}
        """Connections whose first request is not complete, the oldest first."""
        self.clients: set[Door] = set()
        self.on_refused: Callable[[str, str, str], None] = _ignore
        self._tls: tls.TlsContexts | None = None
        self.kernel_breaks = tcp.kernel_breaks()
        self._accept: Callable[[Stream], None] = lambda stream: stream.close()
        self._runner: web.AppRunner | None = None
        self._servers: list[asyncio.Server] = []
        self._streams: dict[PeerStream, None] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._endpoints: list[udp.UdpEndpoint] = []

    @property
    def needs_certificate(self) -> bool:
        """Whether peers have to show one."""
        return self._tls is not None

    async def use_tls(self, files: TlsFiles) -> None:
        self._tls = tls.contexts(files)
        old, self._servers = self._servers, []
        for server in old:
            # The same sockets, so that nobody finds the address closed meanwhile.
            for sock in server.sockets:
                await self._serve(sock=socket.socket(fileno=os.dup(sock.fileno())))
            server.close()

    async def _serve(self, **where: Any) -> None:
        if self._tls is not None:
            where |= {"ssl": self._tls.serving, "ssl_handshake_timeout": HEAD_TIMEOUT}
        serve: Any = asyncio.get_running_loop().create_server
        self._servers.append(await serve(lambda: Door(self), backlog=BACKLOG, **where))

    async def listen(
        self,
        address: str,
        accept: Callable[[Stream], None],
        refused: Callable[[str, str, str], None] = _ignore,
    ) -> HttpListener:
        self._accept, self.on_refused = accept, refused
        self.admission.limit = min(MAX_CONNECTIONS, _descriptors() - DESCRIPTORS)
        host, port = split_address(address, "bind")
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
            keepalive_timeout=IDLE_TIMEOUT,
        )
        await self._runner.setup()
        try:
            await self._serve(host=host, port=port)
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                "bind",
                f"cannot listen on {address}: {error.strerror or error}",
                "is another node running there? choose another --bind HOST:PORT",
            ) from error
        bound = self._servers[0].sockets[0].getsockname()
        name = f"[{bound[0]}]" if ":" in bound[0] else host
        return HttpListener(self, f"{name}:{bound[1]}")

    async def stop_listening(self) -> None:
        """Accept nobody any more, and end what was accepted. Idempotent."""
        runner, self._runner = self._runner, None
        while self._servers:  # first: who loses a stream dials again at once
            self._servers.pop().close()
        if runner is None:
            return
        for door in list(self.heads):
            door.abort()
        await self._end_streams()
        await runner.cleanup()
        for door in list(self.clients):
            door.abort()

    def handler(self) -> asyncio.Protocol:
        """What serves a new client of the API."""
        assert self._runner is not None and self._runner.server is not None
        handler: asyncio.Protocol = self._runner.server()
        return handler

    def opened_by(self, transport: asyncio.Transport, host: str) -> None:
        """Somebody who dialled this node has been let through to the handshake."""
        self._accept(self._opened(transport, host, dialled=False))

    async def dial(self, address: str, timeout: float) -> Stream:
        host, port = split_address(address)
        caller: _Caller | None = None
        try:
            async with asyncio.timeout(timeout):
                caller = await self._connect(address, host, port)
                response, early = await caller.answer
        except TimeoutError:
            _abort(caller)
            raise PeerUnreachable(address, f"no answer within {timeout:g} s") from None
        except asyncio.CancelledError:
            _abort(caller)
            raise
        except ConnectionRefusedError as error:
            raise DialRefused(address, "connection refused") from error
        except (OSError, UnicodeError, ProtocolError) as error:
            _abort(caller)
            why = error.problem if isinstance(error, ProtocolError) else _strerror(error)
            raise PeerUnreachable(address, why) from error
        if not response.is_accepted:
            _abort(caller)
            raise PeerUnreachable(address, _explained(response))
        stream = self._opened(caller.transport, host, dialled=True)
        with suppress(RuntimeError):  # it is closing already
            caller.transport.resume_reading()
        if early:
            stream.data_received(early)
        if caller.is_lost:
            stream.connection_lost(None)
        return stream

    async def _connect(self, address: str, host: str, port: int) -> _Caller:
        """Try each place that the address stands for. It refuses only if each of them does."""
        loop = asyncio.get_running_loop()
        errors: list[OSError] = []
        secure: dict[str, Any] = {}
        if self._tls is not None:
            secure = {"ssl": self._tls.dialling, "server_hostname": host.partition("%")[0]}
        for place in await _places(host, port):
            try:
                _, caller = await loop.create_connection(
                    lambda: _Caller(address), place, port, **secure
                )
            except OSError as error:
                errors.append(error)
            else:
                return caller
        others = [error for error in errors if not isinstance(error, ConnectionRefusedError)]
        raise (others or errors)[0]

    async def datagrams(
        self, address: str, received: Callable[[bytes], None]
    ) -> udp.UdpEndpoint | None:
        endpoint = await udp.bind(address, received)
        if endpoint is not None:
            self._endpoints.append(endpoint)
        return endpoint

    def statistics(self) -> dict[str, int]:
        refused = self.admission.statistics
        return {
            **{f"connections_{kind.value}": self.admission.count(kind) for kind in Kind},
            "connections_full_total": refused.full,
            "connections_evicted_total": refused.evicted,
            "connections_slow_total": refused.slow,
            "connections_busy_total": refused.handshakes,
            "connections_bad_total": refused.bad_requests,
        }

    async def aclose(self) -> None:
        """Release everything. Idempotent."""
        await self.stop_listening()
        await self._end_streams()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        while self._endpoints:
            await self._endpoints.pop().close()

    async def _end_streams(self) -> None:
        streams = list(self._streams)
        for stream in streams:
            stream.close()
        await asyncio.gather(*(stream.closed() for stream in streams))

    def _opened(self, transport: asyncio.Transport, remote: str, *, dialled: bool) -> PeerStream:
        stream = PeerStream(self, transport, remote, dialled=dialled)
        self._streams[stream] = None
        stream.on_lost = lambda: self._streams.pop(stream, None)
        transport.set_protocol(stream)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK, self._look)
        return stream

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for stream in list(self._streams):
            stream.look(loop.time())
        self._looking = loop.call_later(LOOK, self._look) if self._streams else None


async def _places(host: str, port: int) -> list[str]:
    """The numeric addresses that a host's name stands for."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(info[4][0]) for info in found))
    return [host]


def _explained(response: upgrade.Response) -> str:
    said = f": {response.reason}" if response.reason else ""
    if response.status in (403, 426, 503) and response.reason:
        return f"refused (HTTP {response.status}){said}"
    if response.status in (400, 426):
        other = "no pyhorde node, or one of an older version, answers there"
        return f"{other} (HTTP {response.status})"
    return f"no pyhorde node answers there (HTTP {response.status})"


def _abort(caller: _Caller | None) -> None:
    if caller is not None:
        caller.transport.abort()
        if not caller.answer.done():
            caller.answer.cancel()


def _strerror(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with it ({error.reason or error}); do both have --tls-cert?"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _address(name: Sequence[Any] | None) -> str:
    """A socket's name as ``HOST:PORT``."""
    if not name or isinstance(name, str):
        return ""
    host = str(name[0]).removeprefix("::ffff:")
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"


def _descriptors() -> int:
    """How many file descriptors this OS process may have; raised as far as that is allowed."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource  # noqa: PLC0415 - not everywhere

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or soft < hard):
        wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft if soft != resource.RLIM_INFINITY else 1_048_576
