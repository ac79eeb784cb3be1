"""Calls by name, from any node to wherever the process runs by then.

Every call ends in exactly one of: one reply, an error naming the cause, its deadline. What certainly
did not run is sent on to the next owner. When the link to the owner is lost with the request under
way, its fate is unknown; then

* the owner's boot is still there, or left in an orderly way: the same request id is sent again, and
  the process answers it once;
* the owner died and the process is ``replicated``: likewise, since the answer is part of its state;
* the owner died and the process is not: ``Indeterminate``, never a guess.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from pyhorde.cluster.member import Status
from pyhorde.errors import (
    CallTimeout,
    HordeError,
    Indeterminate,
    NameNotFound,
    NotHere,
    StreamClosed,
)
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.messages import CallRequest, CastMessage
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.record import Claim, check_name

FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.1


class Router:
    """Finds the owner of a name and talks to it."""

    def __init__(self, parts: Parts, cells: dict[str, Cell]) -> None:
        self._parts = parts
        self._cells = cells
        parts.cluster.route(CallRequest, self._on_call)
        parts.cluster.route(CastMessage, self._on_cast)
        self._forwarding: set[asyncio.Task[None]] = set()

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
        arguments = codec.encode([args, kwargs], f"the arguments of {method}")
        request_id = request_id or self._parts.world.token()
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
        arguments = self._parts.codec.encode([args, kwargs], f"the arguments of {method}")
        timeout = self._parts.config.runtime.call_timeout
        try:
            async with asyncio.timeout(timeout):
                while not self._cast_now(name, method, arguments):
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
            owner = names.owner(name)
            if owner is None and names.spec(name) is None:
                raise NameNotFound(name)
            if owner is not None:
                try:
                    return await self._attempt(owner, method, arguments, request_id, deadline)
                except NotHere as error:
                    waiting.why = str(error)
                except ConnectionError:
                    waiting.why = f"no connection to node {owner.node!r}"
                except StreamClosed as lost:
                    await self._after_loss(owner, method, lost)
            else:
                waiting.why = "no node runs it now"
            await names.changed(name, pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _attempt(
        self, owner: Claim, method: str, arguments: bytes, request_id: str, deadline: float
    ) -> bytes:
        if owner.boot == self._parts.boot:
            return await self._here(owner.key, method, arguments, request_id)
        left = max(0.0, deadline - self._parts.world.now())
        result = await self._parts.requests.ask(
            owner.boot,
            lambda number: CallRequest(
                number, owner.key, method, arguments, request_id, left
            ),
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
        spec = self._parts.names.spec(owner.key)
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
                raise Indeterminate(owner.key, method, reason) from lost
            await cluster.changed(LONGEST_PAUSE)

    def _cast_now(self, name: str, method: str, arguments: bytes) -> bool:
        owner = self._parts.names.owner(name)
        if owner is None:
            if self._parts.names.spec(name) is None:
                raise NameNotFound(name)
            return False
        if owner.boot != self._parts.boot:
            return self._parts.cluster.send(owner.boot, CastMessage(name, method, arguments))
        cell = self._cells.get(name)
        if cell is None:
            return False
        try:
            cell.cast(method, arguments)
        except NotHere:
            return False
        return True

    # ---- what other nodes ask -------------------------------------------------------------------

    def _on_call(self, boot: str, request: CallRequest) -> None:
        answer = self._here(request.name, request.method, request.arguments, request.request_id)
        self._parts.requests.serve(boot, request.id, answer)

    def _on_cast(self, boot: str, message: CastMessage) -> None:
        try:
            if self._cast_now(message.name, message.method, message.arguments):
                return
        except HordeError:
            return
        task = asyncio.get_running_loop().create_task(self._forward(message))
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)

    async def _forward(self, message: CastMessage) -> None:
        """A cast that came while the process moves: wait for its new owner."""
        names = self._parts.names
        await names.changed(message.name, self._parts.config.runtime.call_timeout)
        owner = names.owner(message.name)
        if owner is not None and owner.boot != self._parts.boot:
            self._parts.cluster.send(owner.boot, message)

    async def aclose(self) -> None:
        """Drop what was to be forwarded. Idempotent."""
        for task in list(self._forwarding):
            task.cancel()
        await asyncio.gather(*self._forwarding, return_exceptions=True)


class _Waiting:
    """Why a call has not been answered yet, for the text of its time-out."""

    why = "the handler has not finished"
