"""Calls by name, from any node to wherever the process runs by then.

Every call ends in exactly one of: one reply, an error naming the cause, its deadline. What
certainly did not run is sent on to the next owner. When the link to the owner is lost with the
request under way, its fate is unknown; then

* the owner's boot is still there, or left in an orderly way: the same request id is sent again, and
  the process answers it once;
* the owner died and the process is ``replicated``: likewise, since the answer is part of its state;
* the owner died and the process is not: ``Indeterminate``, never a guess.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from pyhorde.cluster.member import Status
from pyhorde.cluster.tasks import Tasks
from pyhorde.errors import (
    CallTimeout,
    CannotTravel,
    HordeError,
    Indeterminate,
    NameNotFound,
    NodeClosed,
    NotHere,
    StreamClosed,
)
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.messages import CallRequest, CastMessage
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.record import Claim, check_name

log = logging.getLogger("pyhorde.router")

FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.1


class Router:
    """Finds the owner of a name and talks to it."""

    def __init__(self, parts: Parts, cells: dict[str, Cell]) -> None:
        self._parts = parts
        self._cells = cells
        parts.cluster.route(CallRequest, self._on_call)
        parts.cluster.route(CastMessage, self._on_cast)
        self._forwarding = Tasks()

    async def call(
        self,
        name: str,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Any:
        """Run a method of the named process and return its result; see :class:`Ref`."""
        check_name(name)
        if timeout is None:
            timeout = self._parts.config.runtime.call_timeout
        codec = self._parts.codec
        arguments = codec.encode([args, kwargs], f"the arguments of {_checked(method)}")
        request_id = _checked(request_id or self._parts.world.token())
        waiting = _Waiting()
        deadline = self._parts.world.now() + timeout
        try:
            async with asyncio.timeout(timeout):
                result = await self._route(name, method, arguments, request_id, deadline, waiting)
        except TimeoutError:
            raise CallTimeout(name, method, timeout, waiting.why) from None
        return codec.decode(result, f"the result of {method}")

    async def cast(self, name: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Send a message to the named process, once; waits only while nobody runs it."""
        check_name(name)
        arguments = self._parts.codec.encode([args, kwargs], f"the arguments of {_checked(method)}")
        await self._cast_soon(name, method, arguments)

    async def _cast_soon(self, name: str, method: str, arguments: bytes) -> None:
        timeout = self._parts.config.runtime.call_timeout
        try:
            async with asyncio.timeout(timeout):
                while not self._cast_now(name, method, arguments):
                    self._check_open()
                    await self._parts.names.changed(name, LONGEST_PAUSE)
        except TimeoutError:
            raise CallTimeout(name, method, timeout, "no node runs it now") from None

    async def _route(
        self,
        name: str,
        method: str,
        arguments: bytes,
        request_id: str,
        deadline: float,
        waiting: _Waiting,
    ) -> bytes:
        names = self._parts.names
        pause = FIRST_PAUSE
        while True:
            self._check_open()
            owner = self._owner(name)
            if owner is None and self._is_unknown(name):
                raise NameNotFound(name)
            if owner is not None:
                waiting.why = _Waiting.why
                try:
                    return await self._attempt(owner, method, arguments, request_id, deadline)
                except NotHere as error:
                    waiting.why = str(error)
                except ConnectionError:
                    waiting.why = f"no connection to node {owner.node!r}"
                except StreamClosed as lost:
                    waiting.why = f"the connection to node {owner.node!r} was lost during the call"
                    await self._after_loss(owner, method, lost)
            else:
                waiting.why = "no node runs it now"
            await names.changed(name, pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _attempt(
        self, owner: Claim, method: str, arguments: bytes, request_id: str, deadline: float
    ) -> bytes:
        if owner.boot == self._parts.boot:
            return await self._here(owner.name, method, arguments, request_id)
        left = max(0.0, deadline - self._parts.world.now())
        result = await self._parts.requests.ask(
            owner.boot,
            lambda number: CallRequest(number, owner.name, method, arguments, request_id, left),
        )
        return result or b""

    async def _here(self, name: str, method: str, arguments: bytes, request_id: str) -> bytes:
        cell = self._cells.get(name)
        if cell is None:
            raise NotHere(name, self._parts.config.name)
        return await cell.call(method, arguments, request_id)

    async def _after_loss(self, owner: Claim, method: str, lost: StreamClosed) -> None:
        """Return when sending the same request again is safe. Raises ``Indeterminate``."""
        cluster = self._parts.cluster
        spec = self._parts.names.spec(owner.name)
        if spec is not None and spec.durability == "replicated":
            return
        while True:
            member = cluster.view.by_boot.get(owner.boot)
            if owner.boot in cluster.links.boots:
                return
            if member is not None and member.status is Status.LEFT:
                return
            if member is None or not member.present:
                reason = f"node {owner.node!r} was lost during the call"
                raise Indeterminate(owner.name, method, reason) from lost
            self._check_open()
            await cluster.acks.changed(LONGEST_PAUSE)

    def _check_open(self) -> None:
        """Nobody waits for what a stopped node will never learn."""
        if self._parts.cluster.closed:
            raise NodeClosed(self._parts.config.name)

    def _owner(self, name: str) -> Claim | None:
        """Who runs the process of this name, or the one that holds this key."""
        names = self._parts.names
        owner = names.owner(name)
        if owner is None and names.spec(name) is None:
            held = self._parts.keys.default.holder(name)
            owner = names.owner(held.process) if held is not None else None
        return owner

    def _is_unknown(self, name: str) -> bool:
        """Whether nothing has this name; a node that has not joined yet cannot say so."""
        if not self._parts.cluster.in_sync or self._parts.names.spec(name) is not None:
            return False
        held = self._parts.keys.default.holder(name)
        return held is None or self._parts.names.spec(held.process) is None

    def _cast_now(self, name: str, method: str, arguments: bytes) -> bool:
        owner = self._owner(name)
        if owner is None:
            if self._is_unknown(name):
                raise NameNotFound(name)
            return False
        if owner.boot != self._parts.boot:
            return self._parts.cluster.send(owner.boot, CastMessage(owner.name, method, arguments))
        cell = self._cells.get(owner.name)
        if cell is None:
            return False
        try:
            cell.cast(method, arguments)
        except NotHere:
            return False
        return True

    # ---- what other nodes ask ----------------------------------------------------------------

    def _on_call(self, boot: str, request: CallRequest) -> None:
        answer = self._here(request.name, request.method, request.arguments, request.request_id)
        self._parts.requests.serve(boot, request.id, answer)

    def _on_cast(self, boot: str, message: CastMessage) -> None:
        try:
            if self._cast_now(message.name, message.method, message.arguments):
                return
        except HordeError:
            return
        _ = self._forwarding.spawn(self._forward(message), "forward a cast")

    async def _forward(self, message: CastMessage) -> None:
        """A cast that came while the process moves: wait for its new owner."""
        try:
            await self._cast_soon(message.name, message.method, message.arguments)
        except HordeError as error:
            fields = {"name": message.name, "error": str(error)}
            log.info("cast_dropped", extra={"fields": fields})

    async def aclose(self) -> None:
        """Drop what was to be forwarded. Idempotent."""
        await self._forwarding.aclose()


def _checked(text: str) -> str:
    """A method's name or a request id, if it can travel. Raises ``CannotTravel``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CannotTravel(repr(text), "it is not valid UTF-8") from None
    return text


class _Waiting:
    """Why a call has not been answered yet, for the text of its time-out."""

    why = "the handler has not finished"
