"""Requests to other nodes and their replies, over the links."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from pyhorde.cluster.cluster import Cluster
from pyhorde.cluster.tasks import Tasks
from pyhorde.errors import HordeError, RemoteError, StreamClosed, from_wire, to_wire
from pyhorde.runtime.messages import Reply

log = logging.getLogger("pyhorde.requests")


class Requests:
    """Pairs requests with replies. Each ends: by reply, lost link, or the caller's timeout."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pending: dict[int, tuple[str, asyncio.Future[bytes | None]]] = {}
        self._next = 0
        self._serving = Tasks()
        cluster.route(Reply, self._on_reply)
        cluster.on_lost.append(self._on_lost)

    async def ask(self, boot: str, make: Callable[[int], Any]) -> bytes | None:
        """Send ``make(id)`` and wait for the reply; cancel to give up.

        Raises the error that was replied; ``ConnectionError`` when the request was certainly not
        sent; :class:`~pyhorde.errors.StreamClosed` when the link was lost before the reply.
        """
        self._next += 1
        number = self._next
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        if not self._cluster.send(boot, make(number)):
            raise ConnectionError("no link")
        self._pending[number] = (boot, future)
        try:
            return await future
        finally:
            self._pending.pop(number, None)

    def serve(self, boot: str, number: int, answer: Awaitable[bytes | None]) -> None:
        """Run ``answer`` and reply with its result or its error."""
        _ = self._serving.spawn(self._serve(boot, number, answer), "answer a request")

    async def aclose(self) -> None:
        """Fail what is waited for, stop what is being answered. Idempotent."""
        for _, future in self._pending.values():
            if not future.done():
                future.set_exception(StreamClosed("the node has stopped"))
        await self._serving.aclose()

    async def settled(self, timeout: float) -> None:
        """Wait until everything asked of this node has been answered."""
        await self._serving.settled(timeout)

    async def _serve(self, boot: str, number: int, answer: Awaitable[bytes | None]) -> None:
        try:
            reply = Reply(number, await answer, None)
        except HordeError as error:
            reply = Reply(number, None, to_wire(error))
        except Exception as error:
            log.exception("request_failed")
            reply = Reply(number, None, to_wire(RemoteError(type(error).__name__, str(error))))
        self._cluster.send(boot, reply)

    def _on_reply(self, boot: str, reply: Reply) -> None:
        expected = self._pending.get(reply.id)
        if expected is None or expected[0] != boot or expected[1].done():
            return
        if reply.error is not None:
            expected[1].set_exception(from_wire(reply.error))
        else:
            expected[1].set_result(reply.result)

    def _on_lost(self, boot: str) -> None:
        for asked, future in list(self._pending.values()):
            if asked == boot and not future.done():
                future.set_exception(StreamClosed("the link was lost"))
