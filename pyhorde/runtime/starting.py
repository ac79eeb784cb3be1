"""Starting processes: from any node, on the node that placement names, at most once per name.

Starts of one name meet on its home and are taken one after the other; the later ones hear
``NameTaken``. A start that fails or is ignored leaves nothing behind. A start that has been
answered is known to every live member: the name can be used through any of them, and survives its
node.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from pyhorde.errors import (
    Indeterminate,
    NameTaken,
    NodeClosed,
    NodeDraining,
    NotHere,
    NotReady,
    NotReplicated,
    ProcessExited,
    StreamClosed,
    UnknownType,
)
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.messages import StartRequest
from pyhorde.runtime.offers import full_type
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.phase import Phase
from pyhorde.runtime.reconcile import CellPhase
from pyhorde.runtime.record import Spec, check_name
from pyhorde.runtime.supervisor import Supervisor

PAUSE: Final = 0.05
SPREAD: Final = 1.0
"""Longest wait, seconds, for every live member to know of a start before it is answered."""


class Starter:
    """The way in for new processes."""

    def __init__(self, parts: Parts, supervisor: Supervisor) -> None:
        self._parts = parts
        self._supervisor = supervisor
        self._first: dict[str, asyncio.Future[None]] = {}
        parts.cluster.route(StartRequest, self._on_start)

    async def launch(
        self, type_name: str, name: str | None, args: list[Any], kwargs: dict[str, Any]
    ) -> str:
        """Start a process somewhere in the cluster; returns its name once it runs.

        Raises ``NameTaken``, ``InvalidName``, ``UnknownType``, ``BadArguments``, ``StartFailed``,
        ``Ignore``, ``NodeDraining`` (nobody else could take it), ``CannotTravel``, ``NotReady``.
        """
        parts = self._parts
        type_name = full_type(type_name, {*parts.cluster.view.offered(), *parts.offers.types})
        if name is None:
            name = f"{type_name.rpartition(':')[2].lower()}-{parts.world.token()[:12]}"
        check_name(name)
        arguments = parts.codec.encode([args, kwargs], "the constructor's arguments")
        start_id = parts.world.token()
        try:
            async with asyncio.timeout(parts.config.runtime.start_timeout):
                while not await self._attempt(name, type_name, arguments, start_id):
                    await parts.names.changed(name, PAUSE)
        except TimeoutError:
            if not parts.cluster.in_sync:
                raise NotReady(parts.config.name, "it has not joined yet") from None
            raise Indeterminate(name, "its start", "no node answered in time") from None
        return name

    async def _attempt(self, name: str, type_name: str, arguments: bytes, start_id: str) -> bool:
        """One try; False when it certainly, or possibly, did not start and may be tried again."""
        parts = self._parts
        if parts.cluster.closed:
            raise NodeClosed(parts.config.name)
        if not parts.cluster.in_sync:
            return False
        if self._started_by(name, start_id):
            return True
        home = parts.home(name, type_name)
        if home is None:
            self._nobody(type_name)
            return False
        try:
            if home == parts.config.name:
                await self._start_here(name, type_name, arguments, start_id)
                return True
            member = parts.cluster.view.by_name[home]
            await parts.requests.ask(
                member.boot,
                lambda number: StartRequest(number, name, type_name, arguments, start_id),
            )
        except (NotHere, NodeDraining, ConnectionError, StreamClosed):
            return False
        return True

    def _nobody(self, type_name: str) -> None:
        view = self._parts.cluster.view
        if view.me.draining and type_name in view.me.types:
            raise NodeDraining(view.me.name)
        if type_name not in view.offered():
            raise UnknownType(type_name, view.offered())

    def _started_by(self, name: str, start_id: str) -> bool:
        """Whether this very start is done. Raises ``NameTaken`` for another one."""
        names = self._parts.names
        spec, ended = names.spec(name), names.ended(name)
        if spec is not None and spec.life.start_id == start_id:
            return True
        if ended is not None and ended.life.start_id == start_id:
            raise ProcessExited(name, ended.reason)
        owner, holder = names.owner(name), self._parts.keys.default.holder(name)
        node = owner.node if owner is not None else (holder.node if holder is not None else "")
        if spec is not None or owner is not None or holder is not None:
            raise NameTaken(name, node or names.last_owner(name))
        return False

    async def _start_here(self, name: str, type_name: str, arguments: bytes, start_id: str) -> None:
        if self._supervisor.draining:
            raise NodeDraining(self._parts.config.name)
        while name in self._first:
            await asyncio.shield(self._first[name])
        if self._started_by(name, start_id):
            return
        if name in self._supervisor.cells or name in self._supervisor.adopting:
            raise NotHere(name, self._parts.config.name)
        done = self._first[name] = asyncio.get_running_loop().create_future()
        try:
            await self._start(name, type_name, arguments, start_id)
        finally:
            del self._first[name]
            done.set_result(None)
        await self._spread(name)

    async def _start(self, name: str, type_name: str, arguments: bytes, start_id: str) -> None:
        supervisor, names = self._supervisor, self._parts.names
        cls = self._parts.offers.get(type_name)
        epoch, life = names.floor(name) + 1, names.next_life(name, start_id)
        spec = Spec(type_name, arguments, cls.restart, cls.durability, epoch, life)
        cell = supervisor.new_cell(name, spec, CellPhase.FIRST)
        try:
            await supervisor.run(cell, None, [])
            self._check_wanted(cell, start_id)
            if not supervisor.publish(cell):
                raise NotHere(name, self._parts.config.name)
        except BaseException:
            await cell.finish("it is not needed here")
            await supervisor.release_keys(cell)
            cell.end(NotHere(name, self._parts.config.name))
            supervisor.remove(cell)
            raise

    def _check_wanted(self, cell: Cell, start_id: str) -> None:
        """Much may have happened while ``init`` ran."""
        node = self._parts.config.name
        if self._supervisor.draining:
            raise NodeDraining(node)
        if cell.phase is Phase.ENDED:
            raise NodeClosed(node)
        if self._started_by(cell.name, start_id):
            raise NotHere(cell.name, node)

    async def _spread(self, name: str) -> None:
        """Wait until every live member knows; after a while, until one does.

        Raises ``NotReplicated`` when nobody else learns of it in time (it runs all the same).
        """
        cluster, seq = self._parts.cluster, self._parts.names.seq
        timeout = self._parts.config.runtime.replicate_timeout
        with contextlib.suppress(NotReplicated):
            await cluster.acks.replicated(seq, None, SPREAD, f"the start of {name!r}")
            return
        await cluster.acks.replicated(seq, 1, timeout, f"the start of {name!r}")

    def _on_start(self, boot: str, request: StartRequest) -> None:
        self._parts.requests.serve(boot, request.id, self._serve(request))

    async def _serve(self, request: StartRequest) -> bytes:
        check_name(request.name)
        if not self._parts.cluster.in_sync:
            raise NotHere(request.name, self._parts.config.name)
        await self._start_here(request.name, request.type, request.arguments, request.start_id)
        return b""
