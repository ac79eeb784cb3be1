"""Links: one authenticated, multiplexed stream per pair of nodes.

A shell. It runs the handshake (decided in :mod:`~pyhorde.cluster.transport.handshake`), keeps at
most one link per boot, writes waiting messages lane by lane, several to a frame, and hands what
arrives to one callback. It decides nothing about members.

What is sent within one turn of the event loop leaves as one frame and one write; what arrives is
handled where it arrives, and the answers leave together.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import KeysView, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pyhorde.cluster.member import Member, View
from pyhorde.cluster.tasks import Tasks
from pyhorde.cluster.transport import handshake
from pyhorde.cluster.transport.handshake import (
    HANDSHAKE,
    Accepting,
    Confirm,
    Dialling,
    Goodbye,
    Hello,
    Refusal,
    Session,
    Unproven,
    Welcome,
)
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.cluster.transport.rate_limit import RateLimit
from pyhorde.cluster.transport.wire import Lane, Wire
from pyhorde.config import NodeConfig
from pyhorde.errors import ClusterError, HandshakeRefused, PeerUnreachable, ProtocolError
from pyhorde.errors import StreamClosed as Closed
from pyhorde.seam import Stream, World

log = logging.getLogger("pyhorde.links")

KEPT_ENCODED: Final = 8
HANDSHAKE_TIMEOUT: Final = 2.0
"""Seconds in which somebody who has dialled this node has to prove itself."""
PROOF_OF_LIFE: Final = 1.0
"""Seconds for the holder of a name to answer, before whoever wants the name is told to stop."""
STAND_BACK: Final = 1.0
"""Seconds for which a dialler waits for the end of an attempt of the other side."""
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 10.0
"""Seconds for which no link is made with somebody of whom a frame was refused: doubled each time,
so that a fault does not make and break links all the time."""
FORGIVEN: Final = 60.0
"""Seconds without another such frame after which it is as if there had been none."""
MAX_FAULTY: Final = 1024
FRAME_TARGET: Final = 64 * 1024
"""Messages are joined to one frame up to about this many bytes."""
QUEUE_BYTES: Final = 64 * 1024 * 1024
"""With more than this waiting a link takes no more calls: the peer does not read."""
BULK_BYTES: Final = 1024 * 1024 * 1024
"""With more than this waiting it is broken: not even replication gets through."""
_CALL, _BULK = Lane.CALL, Lane.BULK


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
    """One stream to one boot, with its waiting messages. Owns the stream."""

    __slots__ = (
        "_corked", "_decode", "_flushing", "_lanes", "_links", "_loop", "_session", "_statistics",
        "_unread", "_waiting",
        "boot", "dialled_at", "dropped", "frames", "had", "psk", "stream",
    )  # fmt: skip

    def __init__(
        self, links: Links, boot: str, stream: Stream, session: Session, psk: bytes | None
    ) -> None:
        self.boot = boot
        self.stream = stream
        self.psk = psk
        """The key by which its two ends have proven themselves to each other."""
        self.dialled_at: float | None = None
        """When this node has established it; None when the other one dialled."""
        self.had = False
        """Whether the other one counted an older link as up when it welcomed this node."""
        self.dropped = False
        self.frames = 0
        """How many have come from there."""
        self._links = links
        self._statistics = links.statistics
        self._decode = links.wire.decode
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._lanes: tuple[deque[bytes], ...] = tuple(deque() for _ in Lane)
        self._waiting = 0
        self._flushing = False
        """Whether ``flush`` will be called before this turn of the loop is over, or soon after."""
        self._corked = False
        """Whether what arrived is being handled: answers leave together after it."""
        self._unread: deque[bytes] = deque()
        """Frames that wait while something large has just been handled."""

    @property
    def waiting(self) -> int:
        """Bytes not handed to the network yet."""
        return self._waiting

    def enqueue(self, lane: Lane, data: bytes) -> bool:
        """Queue one encoded message; False when too much waits already."""
        waiting = self._waiting + len(data)
        if waiting > QUEUE_BYTES and (lane is not _BULK or waiting > BULK_BYTES):
            return False
        self._lanes[lane].append(data)
        self._waiting = waiting
        if not self._flushing:
            self._flushing = True
            if not self._corked:
                self._loop.call_soon(self.flush)
        return True

    def flush(self) -> None:
        """Send what waits: the most urgent messages first, in order within their lane."""
        self._flushing = False
        if self.dropped:
            return
        control, call, bulk = self._lanes
        while self._waiting and self.stream.writable:
            is_lone = len(call) == 1 and not (control or bulk)  # most often
            payload = call.popleft() if is_lone else self._joined()
            size = len(payload)
            self._waiting -= size
            self.stream.send(self._session.seal(payload))
            statistics = self._statistics
            statistics.sent_messages += 1
            statistics.sent_bytes += size

    def _joined(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        for lane in self._lanes:
            while lane and size < FRAME_TARGET:
                parts.append(lane.popleft())
                size += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def say(self, message: Any) -> None:
        """Send this one before everything else, now."""
        self.stream.send(self._session.seal(self._links.wire.encode(message)))

    # ---- what the stream tells ---------------------------------------------------------------

    def frames_received(self, frames: Sequence[bytes]) -> None:
        if self._unread:
            self._unread.extend(frames)
            return
        self._corked = True
        try:
            for position, frame in enumerate(frames, 1):
                if self.dropped:
                    break
                if self._take(frame) and position < len(frames):
                    self._unread.extend(frames[position:])
                    self.stream.pause_reading()
                    self._loop.call_soon(self._go_on)
                    break
        finally:
            self._corked = False
            if self._flushing:
                self.flush()

    def _go_on(self) -> None:
        """Something large has been handled, and others had their turn."""
        frames, self._unread = list(self._unread), deque()
        if not self.dropped:
            self.stream.resume_reading()
            self.frames_received(frames)

    def _take(self, frame: bytes) -> bool:
        """Handle one frame; whether others should have their turn before the next one."""
        links, boot, statistics = self._links, self.boot, self._statistics
        deliver = links.deliver
        self.frames += 1
        statistics.received_bytes += len(frame)
        try:
            messages = self._decode(self._session.open(frame))
            for message in messages:
                if self.dropped:  # what comes next may be part of something lost
                    return False
                statistics.received_messages += 1
                if type(message) is Goodbye:
                    links.lost(self, f"closed by the peer: {message.reason}")
                else:
                    deliver(boot, message)
        except (ProtocolError, ValueError) as error:
            links.refuse(self, error)
            return False
        return len(frame) > FRAME_TARGET // 4 and any(m.lane is _BULK for m in messages)

    def stream_closed(self, reason: str) -> None:
        self._links.lost(self, reason)

    def resume_writing(self) -> None:
        if self._waiting and not self._flushing:
            self.flush()


class _Frames:
    """The frames of a stream while its handshake goes on. Owns the stream until a link does."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._kept: deque[bytes] = deque()
        self._reason: str | None = None
        self._waiting: asyncio.Future[None] | None = None
        stream.attach(self)

    async def next(self) -> bytes:
        """The next frame. Raises ``StreamClosed``."""
        self._stream.resume_reading()
        while not self._kept:
            if self._reason is not None:
                raise Closed(self._reason)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._kept.popleft()

    def hand_over(self, link: Link) -> None:
        """The link owns the stream from now on, and gets what has come already."""
        kept, self._kept = list(self._kept), deque()
        self._stream.trust()
        if kept:
            link.frames_received(kept)
        self._stream.attach(link)
        self._stream.resume_reading()
        if self._reason is not None:
            link.stream_closed(self._reason)

    def frames_received(self, frames: Sequence[bytes]) -> None:
        self._kept.extend(frames)
        self._wake()

    def stream_closed(self, reason: str) -> None:
        self._reason = reason
        self._wake()

    def resume_writing(self) -> None:
        pass

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Links:
    """All links of one node."""

    def __init__(
        self, config: NodeConfig, world: World, keyring: Keyring, wire: Wire, events: LinkEvents
    ) -> None:
        self.wire = wire
        self.statistics = LinkStatistics()
        self._config = config
        self._world = world
        self._keyring = keyring
        self._events = events
        self.deliver = events.on_message
        self._links: dict[str, Link] = {}
        self._incoming: dict[str, dict[asyncio.Future[None], None]] = {}
        """Attempts of others that are under way, by boot; each is done when it is over."""
        self._encoded: dict[int, tuple[Any, bytes]] = {}
        """The messages sent last, and their bytes: what goes to many is encoded once."""
        self._faulty: dict[str, tuple[float, float]] = {}
        """Of whom a frame was refused: until when there is no link, and how long the pause is."""
        self._handshakes = Tasks()
        self._rate_limit = RateLimit()
        self._closed = False

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
        lane = message.lane
        # What is for one is encoded once anyway.
        data = self.wire.encode(message) if lane is _CALL else self._bytes_of(message)
        if link.enqueue(lane, data):
            return True
        if lane is _BULK:
            self._drop(link, "it does not read what it is sent")
        return False

    def _bytes_of(self, message: Any) -> bytes:
        known = self._encoded.get(id(message))
        if known is None:
            known = message, self.wire.encode(message)
            if len(self._encoded) >= KEPT_ENCODED:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[id(message)] = known
        return known[1]

    def drop(self, boot: str, reason: str) -> None:
        """Break the link to this boot, if there is one."""
        link = self._links.get(boot)
        if link is not None:
            self._drop(link, reason)

    def drop_unproven(self, psks: Sequence[bytes]) -> int:
        """Break the links that were made with other keys than these; how many there were."""
        old = [link for link in self._links.values() if link.psk not in (None, *psks)]
        for link in old:
            self._drop(link, "its secret counts no more")
        return len(old)

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
                return await self._greet(stream, address)
        except TimeoutError:
            stream.close()
            raise PeerUnreachable(address, "the handshake timed out") from None
        except asyncio.CancelledError:
            stream.close()
            raise
        except Unproven as error:
            stream.close()
            raise HandshakeRefused(address, error.why, error.detail) from error
        except (ClusterError, ValueError) as error:
            stream.close()
            if isinstance(error, Closed):
                raise PeerUnreachable(address, str(error)) from error
            if isinstance(error, ClusterError):
                raise
            raise PeerUnreachable(address, str(error)) from error

    def accept(self, stream: Stream) -> None:
        """Somebody has dialled this node."""
        if self._closed:
            stream.close()
            return
        _ = self._handshakes.spawn(self._accept(stream), "handshake")

    async def aclose(self) -> None:
        """Close every link. Idempotent."""
        self._closed = True
        await self._handshakes.aclose()
        links, self._links = list(self._links.values()), {}
        for link in links:
            self._end(link, "the node has stopped")

    async def flush(self, timeout: float) -> None:
        """Wait until what is queued now has been handed to the network, or ``timeout`` is over."""
        deadline = self._world.now() + timeout
        while any(link.waiting for link in self._links.values()):
            if self._world.now() >= deadline:
                return
            await asyncio.sleep(0.005)

    # ---- dialling ----------------------------------------------------------------------------

    async def _greet(self, stream: Stream, address: str) -> Member:
        frames = _Frames(stream)
        me = self._events.view.me
        psks = self._keyring.psks
        hello = Hello(self._config.cluster, me.to_wire(), address, stream.ends[1])
        core = Dialling(psks, self._ephemeral(), hello)
        stream.send(core.first)
        answer = core.answer(await frames.next())
        session = core.session(sealed=not stream.is_sealed)
        if isinstance(answer, Refusal):
            raise self._refused(stream, session, answer, address)
        peer = _member(answer.member)
        if self._is_shunned(peer.boot):
            self._confirm(stream, session, joins=False)
            stream.close()
            raise HandshakeRefused(address, "faulty", "what it sent was refused a moment ago")
        incoming = bool(self._incoming.get(peer.boot))
        if handshake.stands_back(me.boot, peer.boot, incoming=incoming, have=answer.have):
            await self._attempts_of(peer.boot)
        if self._closed or peer.boot in self._links:
            self._confirm(stream, session, joins=False)
            stream.close()
            return peer
        self._confirm(stream, session, joins=True)
        link = Link(self, peer.boot, stream, session, psks[0] if psks else None)
        link.dialled_at, link.had = self._world.now(), answer.have
        self._establish(peer, link, frames)
        return peer

    def _confirm(self, stream: Stream, session: Session, *, joins: bool) -> None:
        confirm = Confirm(self._events.view.me.to_wire(), joins)
        stream.send(session.seal(HANDSHAKE.encode(confirm)))

    async def _attempts_of(self, boot: str) -> None:
        """Wait until those attempts of this boot that are under way are over, but not for long."""
        attempts = self._incoming.get(boot)
        if attempts:
            await asyncio.wait(list(attempts), timeout=STAND_BACK)

    def _refused(
        self, stream: Stream, session: Session, refusal: Refusal, address: str
    ) -> HandshakeRefused:
        """What a proven node says against this one; it is told that this one has heard it."""
        holder = _member(refusal.holder) if refusal.holder is not None else None
        self._confirm(stream, session, joins=False)
        stream.close()
        if refusal.why == "name" and holder is not None:
            if holder.name != self._events.view.me.name:
                return HandshakeRefused(address, "malformed", "it refuses somebody else's name")
            self._events.on_name_refused(holder, settled=refusal.settled)
        return HandshakeRefused(address, refusal.why, refusal.detail)

    # ---- being dialled -----------------------------------------------------------------------

    async def _accept(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                await self._welcome(stream)
        except TimeoutError:
            self._turn_away(stream, "timeout", "the handshake timed out")
        except Unproven as error:
            self._turn_away(stream, error.why, error.detail)
        except (ProtocolError, ValueError) as error:
            self._turn_away(stream, "malformed", str(error))
        except asyncio.CancelledError:
            stream.close()
            raise
        except ClusterError:  # it has hung up
            stream.close()

    def _turn_away(self, stream: Stream, why: str, detail: str) -> None:
        stream.send(handshake.turned_away(why, detail))
        stream.close()
        self.turned_away(stream.remote, why, detail)

    async def _welcome(self, stream: Stream) -> None:
        frames, arrived = _Frames(stream), self._world.now()
        core = Accepting(self._keyring.psks, self._ephemeral())
        hello = core.hello(await frames.next())
        view = self._events.view
        here = {self._config.bind, view.me.address, stream.ends[0]} - {""}
        refusal = handshake.refusal(hello, self._config.cluster, view, self._links.keys(), here)
        if refusal is not None:
            await self._say_no(stream, frames, core, hello, refusal)
            return
        guest = _member(hello.member)
        if self._is_shunned(guest.boot):
            raise Unproven("busy", "what it sent was refused a moment ago")
        attempt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._incoming.setdefault(guest.boot, {})[attempt] = None
        try:
            have = guest.boot in self._links
            stream.send(core.answer(Welcome(view.me.to_wire(), have)))
            session = core.session(sealed=not stream.is_sealed)
            confirm = handshake.confirmation(session.open(await frames.next()))
            member = _member(confirm.member)
            if member.boot != guest.boot:
                raise ProtocolError("another boot than the one that dialled")
            link = Link(self, member.boot, stream, session, core.psk)
            if not confirm.joins or self._closed or self._is_mine(member.boot, arrived):
                link.say(Goodbye("duplicate"))
                stream.close()
            else:
                self._establish(member, link, frames)
        finally:
            attempt.set_result(None)
            del self._incoming[guest.boot][attempt]
            if not self._incoming[guest.boot]:
                del self._incoming[guest.boot]

    def _is_mine(self, boot: str, since: float) -> bool:
        """Whether the link that this node has dialled since then stays in place of another one."""
        link = self._links.get(boot)
        if link is None or link.dialled_at is None:
            return False
        me, meanwhile = self._events.view.me.boot, link.dialled_at >= since
        return handshake.keeps_own(me, boot, dialled_meanwhile=meanwhile, had=link.had)

    async def _say_no(
        self, stream: Stream, frames: _Frames, core: Accepting, hello: Hello, refusal: Refusal
    ) -> None:
        """Refuse somebody who knows the secret; what it said counts once it shows to be there."""
        settled = self._events.settled and await self._is_there(refusal)
        refusal = Refusal(refusal.why, refusal.detail, refusal.holder, settled)
        stream.send(core.answer(refusal))
        if refusal.why != "self":
            self.turned_away(stream.remote, refusal.why, refusal.detail)
        session = core.session(sealed=not stream.is_sealed)
        confirm = handshake.confirmation(session.open(await frames.next()))
        guest = _member(confirm.member)
        stream.close()
        if refusal.why == "name" and guest.name == self._events.view.me.name:
            self._events.on_name_contested(guest)

    def turned_away(self, remote: str, why: str, detail: str) -> None:
        """Somebody who wanted to be a peer was not let in."""
        self.statistics.refused_handshakes += 1
        self._warn("handshake_refused", remote, {"from": remote, "why": why, "detail": detail})

    def _warn(self, event: str, remote: str, fields: dict[str, Any]) -> None:
        """Log it, but not as often as strangers like."""
        told, suppressed = self._rate_limit.allow(event, remote, self._world.now())
        if told:
            more = {"suppressed": suppressed} if suppressed else {}
            log.warning(event, extra={"fields": {**fields, **more}})

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

    # ---- running links -----------------------------------------------------------------------

    def _establish(self, member: Member, link: Link, frames: _Frames) -> None:
        """The link counts as up from now on."""
        old = self._links.get(member.boot)
        if old is not None:
            self._drop(old, "replaced")
        self._links[member.boot] = link
        try:
            self._events.on_linked(member)
        except ValueError as error:
            del self._links[member.boot]
            raise ProtocolError(str(error)) from error
        frames.hand_over(link)

    def refuse(self, link: Link, error: Exception) -> None:
        """What came over the link was bad; that ends it."""
        self.statistics.refused_frames += 1
        fields = {"boot": link.boot[:8], "remote": link.stream.remote, "error": str(error)}
        self._warn("frame_refused", link.stream.remote, fields)
        self._shun(link.boot)
        self._drop(link, f"refused what it sent: {error}")

    def _shun(self, boot: str) -> None:
        now = self._world.now()
        until, pause = self._faulty.pop(boot, (0.0, 0.0))
        pause = min(LONGEST_PAUSE, pause * 2) if now < until + FORGIVEN and pause else FIRST_PAUSE
        self._faulty[boot] = now + pause, pause
        if len(self._faulty) > MAX_FAULTY:
            del self._faulty[next(iter(self._faulty))]

    def _is_shunned(self, boot: str) -> bool:
        return self._world.now() < self._faulty.get(boot, (0.0, 0.0))[0]

    def lost(self, link: Link, reason: str) -> None:
        """The stream of a link has ended."""
        self._drop(link, reason, told=True)

    def _drop(self, link: Link, reason: str, *, told: bool = False) -> None:
        if link.dropped or self._closed:
            return
        self._end(link, "" if told else reason)
        if self._links.get(link.boot) is link:
            del self._links[link.boot]
            self._events.on_unlinked(link.boot, reason)

    def _end(self, link: Link, reason: str) -> None:
        link.dropped = True
        if reason:
            link.say(Goodbye(reason[: handshake.MAX_TEXT]))
        link.stream.close()

    def _ephemeral(self) -> bytes:
        """A fresh private key."""
        return bytes.fromhex(self._world.token() + self._world.token())


def _member(raw: Any) -> Member:
    try:
        return Member.from_wire(raw)
    except ValueError as error:
        raise ProtocolError(str(error)) from error
