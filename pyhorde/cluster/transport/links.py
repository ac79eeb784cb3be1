"""Links: one authenticated, multiplexed stream per pair of nodes.

A shell. It runs the handshake (decided in :mod:`~pyhorde.cluster.transport.handshake`), keeps at
most one link per boot, writes waiting messages lane by lane, several to a frame, and hands what
arrives to one callback. It decides nothing about members.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import KeysView
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from pyhorde.cluster.member import Member, View
from pyhorde.cluster.tasks import Tasks
from pyhorde.cluster.transport import handshake
from pyhorde.cluster.transport.handshake import HANDSHAKE, Confirm, Hello, Refusal, Welcome
from pyhorde.cluster.transport.wire import VERSION, Lane, Wire
from pyhorde.config import NodeConfig
from pyhorde.errors import ClusterError, HandshakeRefused, PeerUnreachable, ProtocolError
from pyhorde.errors import StreamClosed as Closed
from pyhorde.seam import Stream, World

log = logging.getLogger("pyhorde.links")

KEPT_ENCODED: Final = 8
PROOF_OF_LIFE: Final = 1.0
"""Seconds for the holder of a name to answer, before whoever wants the name is told to stop."""
FRAME_TARGET: Final = 64 * 1024
"""Messages are joined to one frame up to about this many bytes."""
QUEUE_BYTES: Final = 64 * 1024 * 1024
"""With more than this waiting a link takes no more calls: the peer does not read."""
BULK_BYTES: Final = 1024 * 1024 * 1024
"""With more than this waiting it is broken: not even replication gets through."""


class LinkEvents(Protocol):
    """What the owner of the links wants to know and is asked."""

    @property
    def view(self) -> View: ...

    def on_linked(self, member: Member) -> None: ...

    def on_unlinked(self, boot: str, reason: str) -> None: ...

    def on_message(self, boot: str, message: Any) -> None: ...

    @property
    def settled(self) -> bool: ...

    def ask(self, boot: str) -> None: ...

    def on_name_refused(self, holder: Member, *, settled: bool) -> None: ...

    def on_name_contested(self, guest: Member) -> None: ...


@dataclass(slots=True)
class LinkStatistics:
    """What went over all links since the start."""

    sent_messages: int = 0
    sent_bytes: int = 0
    received_messages: int = 0
    received_bytes: int = 0
    refused_frames: int = 0
    refused_handshakes: int = 0


class Link:
    """One stream to one boot, with its waiting messages."""

    def __init__(self, member: Member, stream: Stream, opening: bytes = b"") -> None:
        self.boot = member.boot
        self.opening = opening
        self.stream = stream
        self._lanes: tuple[deque[bytes], ...] = tuple(deque() for _ in Lane)
        self._waiting = 0
        self._idle: asyncio.Future[None] | None = None
        """What the writer waits for while there is nothing to send."""
        self.tasks: list[asyncio.Task[None]] = []
        self.dropped = False
        self.frames = 0
        """How many have come from there."""

    @property
    def waiting(self) -> int:
        """Bytes not handed to the network yet."""
        return self._waiting

    def enqueue(self, lane: Lane, data: bytes) -> bool:
        """Queue one encoded message; False when too much waits already."""
        limit = BULK_BYTES if lane is Lane.BULK else QUEUE_BYTES
        if self._waiting + len(data) > limit:
            return False
        self._lanes[lane].append(data)
        self._waiting += len(data)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        return True

    async def next_frame(self) -> bytes:
        """The next frame to send: the most urgent messages, in order within their lane."""
        while not self._waiting:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        parts: list[bytes] = []
        size = 0
        for lane in self._lanes:
            while lane and size < FRAME_TARGET:
                parts.append(lane.popleft())
                size += len(parts[-1])
        self._waiting -= size
        return b"".join(parts)


class Links:
    """All links of one node."""

    def __init__(self, config: NodeConfig, world: World, wire: Wire, events: LinkEvents) -> None:
        self._config = config
        self._world = world
        self._wire = wire
        self._events = events
        self._links: dict[str, Link] = {}
        self._incoming: dict[str, int] = {}
        self._encoded: dict[int, tuple[Any, bytes]] = {}
        """The messages sent last, and their bytes: what goes to many is encoded once."""
        self._tasks = Tasks()
        self._closing = Tasks()
        self._closed = False
        self.statistics = LinkStatistics()

    @property
    def boots(self) -> KeysView[str]:
        """The boots that are linked now."""
        return self._links.keys()

    def send(self, boot: str, message: Any) -> bool:
        """Queue a message; False when it provably will not arrive (no link, or it is full).

        A lost part of a bulk transfer would leave a hole in the rest, so that breaks the link.
        """
        link = self._links.get(boot)
        if link is None:
            return False
        if link.enqueue(message.lane, self._bytes_of(message)):
            return True
        if message.lane is Lane.BULK:
            self._drop(link, "it does not read what it is sent")
        return False

    def _bytes_of(self, message: Any) -> bytes:
        known = self._encoded.get(id(message))
        if known is None:
            known = message, self._wire.encode(message)
            if len(self._encoded) >= KEPT_ENCODED:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[id(message)] = known
        return known[1]

    def drop(self, boot: str, reason: str) -> None:
        """Break the link to this boot, if there is one."""
        link = self._links.get(boot)
        if link is not None:
            self._drop(link, reason)

    def host_silence(self, boot: str) -> float | None:
        """Seconds since this boot's machine confirmed anything; None when nobody can say."""
        link = self._links.get(boot)
        return link.stream.host_silence() if link is not None else None

    async def dial(self, address: str) -> Member:
        """Meet the node at this address. Returns its record, linked by now in any case.

        Raises ``DialRefused``, ``PeerUnreachable`` or ``HandshakeRefused``.
        """
        timeout = self._config.membership.dial_timeout
        stream = await self._world.network.dial(address, timeout)
        try:
            async with asyncio.timeout(timeout):
                member, opening = await self._greet(stream, address)
        except TimeoutError:
            await stream.close("handshake timed out")
            raise PeerUnreachable(address, "the handshake timed out") from None
        except asyncio.CancelledError:
            self._close(stream, "the node stops")
            raise
        except ClusterError as error:
            await stream.close(str(error))
            if isinstance(error, Closed):
                raise PeerUnreachable(address, str(error)) from error
            raise
        if opening is not None:
            _ = self._establish(member, stream, opening)
        else:
            await stream.close("duplicate")
        return member

    async def accept(self, stream: Stream) -> None:
        """Serve one incoming stream until it ends."""
        try:
            async with asyncio.timeout(self._config.membership.dial_timeout):
                member = await self._welcome(stream)
        except (TimeoutError, ClusterError) as error:
            await stream.close(str(error) or "handshake timed out")
            return
        if member is not None and not self._closed:
            await asyncio.wait([self._establish(member, stream)])

    async def aclose(self) -> None:
        """Close every link. Idempotent."""
        self._closed = True
        links, self._links = list(self._links.values()), {}
        await self._tasks.aclose()
        for link in links:
            self._close(link.stream, "the node has stopped")
        await self._closing.settled()

    async def flush(self, timeout: float) -> None:
        """Wait until what is queued now has been handed to the network, or ``timeout`` is over."""
        deadline = self._world.now() + timeout
        while any(link.waiting for link in self._links.values()):
            if self._world.now() >= deadline:
                return
            await asyncio.sleep(0.005)

    # ---- handshake ---------------------------------------------------------------------------

    async def _greet(self, stream: Stream, address: str) -> tuple[Member, bytes | None]:
        """Who is there, and the last frame of the handshake; None to give this attempt up."""
        me = self._events.view.me
        hello = Hello(VERSION, self._config.cluster, me.to_wire(), self._world.token())
        hello = handshake.signed(self._config.secret, hello)
        await stream.send(HANDSHAKE.encode(hello))
        answer = await _receive(stream)
        if isinstance(answer, Refusal):
            raise self._refused(answer, hello, address)
        if not isinstance(answer, Welcome):
            raise ProtocolError("something else than Welcome")
        peer = _member(answer.member)
        secret = self._config.secret
        if not handshake.proves(
            answer.proof, handshake.proof(secret, "accept", hello, answer.nonce)
        ):
            raise HandshakeRefused(address, "secret", "it does not know this cluster's secret")
        incoming = peer.boot in self._incoming
        linked = peer.boot in self._links
        if handshake.gives_up(
            me.boot, peer.boot, linked=linked, incoming=incoming, have=answer.have
        ):
            return peer, None
        mine = handshake.proof(secret, "dial", hello, answer.nonce)
        return peer, HANDSHAKE.encode(Confirm(self._events.view.me.to_wire(), mine))

    async def _welcome(self, stream: Stream) -> Member | None:
        hello = await _receive(stream)
        if not isinstance(hello, Hello):
            raise ProtocolError("something else than Hello")
        wrong = handshake.mismatch(hello, self._config.cluster)
        if wrong is not None:
            await self._refuse(stream, wrong, {"from": stream.remote, "detail": wrong.detail})
            return None
        guest = _member(hello.member)
        view = self._events.view
        refusal = handshake.refusal(hello, self._config.cluster, view, self._links.keys())
        if refusal is not None:
            expected = handshake.hello_proof(self._config.secret, hello)
            known = handshake.proves(hello.proof, expected)
            if known and refusal.why == "name" and guest.name == view.me.name:
                self._events.on_name_contested(guest)
            settled = known and self._events.settled and await self._is_there(refusal)
            refusal = replace(refusal, settled=settled)
            proof = handshake.refusal_proof(self._config.secret, hello, refusal)
            refusal = replace(refusal, proof=proof)
            fields = {"from": guest.name, "address": guest.address, "detail": refusal.detail}
            await self._refuse(stream, refusal, fields)
            return None
        self._incoming[guest.boot] = self._incoming.get(guest.boot, 0) + 1
        try:
            return await self._confirmed(stream, hello, guest)
        finally:
            self._incoming[guest.boot] -= 1
            if not self._incoming[guest.boot]:
                del self._incoming[guest.boot]

    async def _confirmed(self, stream: Stream, hello: Hello, guest: Member) -> Member | None:
        nonce = self._world.token()
        secret = self._config.secret
        proof = handshake.proof(secret, "accept", hello, nonce)
        have = guest.boot in self._links
        me = self._events.view.me.to_wire()
        await stream.send(HANDSHAKE.encode(Welcome(me, nonce, proof, have)))
        confirm = await _receive(stream)
        if not isinstance(confirm, Confirm):
            raise ProtocolError("something else than Confirm")
        expected = handshake.proof(secret, "dial", hello, nonce)
        member = _member(confirm.member)
        if not handshake.proves(confirm.proof, expected) or member.boot != guest.boot:
            self.statistics.refused_handshakes += 1
            fields = {"from": guest.name, "address": guest.address, "why": "secret"}
            log.warning("handshake_refused", extra={"fields": fields})
            detail = "the proof of the cluster's secret is wrong"
            await stream.send(HANDSHAKE.encode(Refusal("secret", detail, None)))
            return None
        return member

    async def _refuse(self, stream: Stream, refusal: Refusal, fields: dict[str, Any]) -> None:
        self.statistics.refused_handshakes += 1
        if refusal.why != "self":
            fields = {**fields, "why": refusal.why}
            log.warning("handshake_refused", extra={"fields": fields})
        await stream.send(HANDSHAKE.encode(refusal))
        await self._linger(stream)

    async def _is_there(self, refusal: Refusal) -> bool:
        """Whether the holder of the name shows that it lives: it may be gone without a trace.

        A newcomer that is told so stops; one that is not comes again.
        """
        holder = _member(refusal.holder) if refusal.holder is not None else None
        link = self._links.get(holder.boot) if holder is not None else None
        if holder is None or link is None:
            return True
        heard, deadline = link.frames, self._world.now() + PROOF_OF_LIFE
        self._events.ask(holder.boot)
        while link.frames == heard and not link.dropped:
            if self._world.now() >= deadline:
                break
            await asyncio.sleep(0.02)
        return link.frames != heard

    def _refused(self, refusal: Refusal, hello: Hello, address: str) -> HandshakeRefused:
        """What somebody at this address says counts only as far as it proves to know the secret."""
        if refusal.why != "name":
            return HandshakeRefused(address, refusal.why, refusal.detail)
        expected = handshake.refusal_proof(self._config.secret, hello, refusal)
        holder = _member(refusal.holder) if refusal.holder is not None else None
        proven = handshake.proves(refusal.proof, expected)
        if not proven or holder is None or holder.name != self._events.view.me.name:
            return HandshakeRefused(address, "secret", "it refuses without a proof that it may")
        self._events.on_name_refused(holder, settled=refusal.settled)
        return HandshakeRefused(address, refusal.why, refusal.detail)

    async def _linger(self, stream: Stream) -> None:
        """Let the other side read the refusal and close first."""
        try:
            await stream.receive()
        finally:
            await stream.close("refused")

    # ---- running links -----------------------------------------------------------------------

    def _establish(
        self, member: Member, stream: Stream, opening: bytes = b""
    ) -> asyncio.Task[None]:
        """The link counts as up from now on; ``opening`` is what goes over it first."""
        old = self._links.get(member.boot)
        if old is not None:
            self._drop(old, "replaced")
        link = self._links[member.boot] = Link(member, stream, opening)
        self._events.on_linked(member)
        reading = self._tasks.spawn(self._read(link), f"read from {member.name}")
        link.tasks = [reading, self._tasks.spawn(self._write(link), f"write to {member.name}")]
        return reading

    async def _write(self, link: Link) -> None:
        try:
            if link.opening:
                await link.stream.send(link.opening)
            while True:
                frame = await link.next_frame()
                await link.stream.send(frame)
                self.statistics.sent_messages += 1
                self.statistics.sent_bytes += len(frame)
        except Closed as error:
            self._drop(link, error.reason)

    async def _read(self, link: Link) -> None:
        reason = ""
        try:
            while True:
                frame = await link.stream.receive()
                link.frames += 1
                self.statistics.received_bytes += len(frame)
                messages = list(self._wire.decode(frame))
                for message in messages:
                    if link.dropped:  # what comes next may be part of something lost
                        return
                    self.statistics.received_messages += 1
                    self._events.on_message(link.boot, message)
                    if message.lane is Lane.BULK and len(frame) > FRAME_TARGET // 4:
                        await asyncio.sleep(0)  # the next one may be here already
        except Closed as error:
            reason = error.reason
        except (ProtocolError, ValueError) as error:
            reason = f"refused what it sent: {error}"
            self.statistics.refused_frames += 1
            fields = {"boot": link.boot[:8], "remote": link.stream.remote, "error": str(error)}
            log.warning("frame_refused", extra={"fields": fields})
        finally:
            self._drop(link, reason)

    def _drop(self, link: Link, reason: str) -> None:
        if link.dropped or self._closed:
            return
        link.dropped = True
        for task in link.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._close(link.stream, reason)
        if self._links.get(link.boot) is link:
            del self._links[link.boot]
            self._events.on_unlinked(link.boot, reason)

    def _close(self, stream: Stream, reason: str) -> None:
        """Close in the background; ``aclose`` waits for it, so that no connection is left open."""
        _ = self._closing.spawn(stream.close(reason), "close a stream")


async def _receive(stream: Stream) -> Any:
    messages = list(HANDSHAKE.decode(await stream.receive()))
    if len(messages) != 1:
        raise ProtocolError("not exactly one handshake message")
    return messages[0]


def _member(raw: Any) -> Member:
    try:
        return Member.from_wire(raw)
    except ValueError as error:
        raise ProtocolError(str(error)) from error
