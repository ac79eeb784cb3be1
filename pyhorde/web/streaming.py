"""The node's journal as server-sent events: one stream for each request, as long as it is read.

Source: the HTML standard, "Server-sent events". A stream has no queue; one that is read too slowly
waits in its socket, and is told how much it has lost.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

from aiohttp import web

from pyhorde.cluster.journal import ClusterEvent, Follower, Journal
from pyhorde.web import bodies
from pyhorde.web.failures import TooManyStreams

MAX_STREAMS: Final = 100
KEEP_ALIVE: Final = 15.0
"""Seconds without an event after which a comment is sent, so that nobody takes it for dead."""
LOOK: Final = 0.5
"""Seconds between two looks whether somebody still reads."""
STUCK: Final = 60.0
"""Seconds after which somebody who takes nothing of what is sent is hung up on."""
RETRY: Final = 1000
"""Milliseconds after which a browser comes back."""
ABOUT_THE_STREAM: Final = ("gap", "lost")
"""Kinds that no filter holds back."""
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


class Streams:
    """The streams of one node."""

    def __init__(self) -> None:
        self.open = 0

    async def serve(self, request: web.Request, journal: Journal) -> web.StreamResponse:
        """Answer with a stream. Raises ``BadRequest``, ``TooManyStreams``."""
        query = bodies.query_of(request, ("after", "kind", "follow"))
        after = request.headers.get("Last-Event-ID") or query.get("after") or None
        prefix = query.get("kind", "")
        follow = bodies.switch(query.get("follow", "1"), "follow")
        if self.open >= MAX_STREAMS:
            raise TooManyStreams(MAX_STREAMS)
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        self.open += 1
        try:
            return await _Stream(request, journal.follow(after), prefix).run(follow=follow)
        finally:
            self.open -= 1


class _Stream:
    def __init__(self, request: web.Request, follower: Follower, prefix: str) -> None:
        self._request = request
        self._follower = follower
        self._prefix = prefix
        self._response = web.StreamResponse(headers=_HEADERS)
        self._clock = asyncio.get_running_loop().time
        self._sent = self._clock()

    async def run(self, *, follow: bool) -> web.StreamResponse:
        """Until the node stops or nobody reads; else, unless ``follow``, until all was sent."""
        try:
            await self._response.prepare(self._request)
            await self._send(f"retry: {RETRY}\n\n")
            await self._send_ready()
            while follow and await self._more():
                await self._send_ready()
            await self._response.write_eof()
        except (ConnectionError, TimeoutError):
            pass  # whoever read has gone, or reads no more
        return self._response

    async def _send_ready(self) -> None:
        while (event := self._follower.take()) is not None:
            if event.kind.startswith(self._prefix) or event.kind in ABOUT_THE_STREAM:
                await self._send(encoded(event))

    async def _more(self) -> bool:
        """Wait for the next event; False when there will be none, or nobody reads."""
        while True:
            if self._clock() - self._sent >= KEEP_ALIVE:
                await self._send(": still here\n\n")
            try:
                async with asyncio.timeout(LOOK):
                    return await self._follower.ready()
            except TimeoutError:
                if self._request.transport is None:
                    return False

    async def _send(self, text: str) -> None:
        async with asyncio.timeout(STUCK):
            await self._response.write(text.encode())
        self._sent = self._clock()


def encoded(event: ClusterEvent) -> str:
    """The event on the wire. It has no ``event:`` line, so that ``onmessage`` gets all kinds."""
    return f"id: {event.id}\ndata: {json.dumps(as_json(event))}\n\n"


def as_json(event: ClusterEvent) -> dict[str, object]:
    """The event as people and programs outside see it."""
    return {
        "id": event.id,
        "wall": event.wall,
        "kind": event.kind,
        "fields": dict(event.fields),
    }
