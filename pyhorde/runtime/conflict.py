"""Two live copies of one name: the loser hands its final state to the winner and ends.

Which one loses is decided in :mod:`pyhorde.runtime.reconcile`; here it is carried out. The loser
takes no more messages (callers are routed on to the winner), sends its state, and ends only when
the winner has merged it. A winner that is gone before that leaves the loser in charge again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from pyhorde.errors import CannotTravel, HordeError, NotHere
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.copies import Copy
from pyhorde.runtime.durable import Durable, dumped
from pyhorde.runtime.messages import YieldRequest
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.process import Resume
from pyhorde.runtime.reconcile import CellPhase
from pyhorde.runtime.record import Claim

log = logging.getLogger("pyhorde.supervisor")

RETRY: Final = 0.2
CATCH_UP: Final = 2.0
"""Longest wait, seconds, for what other members know."""


class Cells(Protocol):
    """What is needed of the supervisor."""

    parts: Parts
    cells: dict[str, Cell]
    phases: dict[str, CellPhase]

    def durable(self, cell: Cell) -> Durable: ...

    def renew(self, cell: Cell) -> bool: ...

    def strays(self, cell: Cell) -> list[Copy]: ...

    def look_at(self, names: Iterable[str]) -> None: ...

    def remove(self, cell: Cell) -> None: ...

    async def terminate(self, cell: Cell, reason: str) -> None: ...


class Conflicts:
    """Both sides of every conflict on this node."""

    def __init__(self, supervisor: Cells) -> None:
        self._supervisor = supervisor
        self._parts = supervisor.parts
        self.kept_aside: set[tuple[str, int]] = set()
        """Copies that could not be read here, by writer and rank: no reason to try again."""
        self._parts.cluster.route(YieldRequest, self._on_yield)

    async def give_way(self, cell: Cell, winner: Claim) -> None:
        """Hand the final state to the winner, then end; go on if the winner is gone first."""
        try:
            async with asyncio.timeout(cell.cls.shutdown):
                await cell.freeze()
        except TimeoutError:
            log.warning("shutdown_cut_off", extra={"fields": {"name": cell.name}})
            await cell.kill()
        request = self._request(cell)
        while self._supervisor.phases.get(cell.name) is CellPhase.YIELDING:
            owner = self._parts.names.owner(cell.name)
            if owner is not None and owner.boot != self._parts.boot:
                winner = owner
                if await self._handed(cell, winner, request):
                    unsent = request(0).state is None and not cell.is_newborn
                    await self._end(cell, winner, keep_copy=unsent)
                    return
            await asyncio.sleep(RETRY)

    async def reclaim(self, cell: Cell) -> None:
        """Go on as the owner after a conflict that nobody won, or that was won and lost since.

        What others saved and nobody took in is merged in; then the name is claimed above it.
        """
        await cell.freeze()
        await self._parts.cluster.acks.caught_up(self._parts.world.now(), CATCH_UP)
        taken = self._supervisor.strays(cell)
        taken = [copy for copy in reversed(taken) if await self._absorb(cell, copy)]
        if self._supervisor.cells.get(cell.name) is not cell:
            return
        if self._supervisor.renew(cell):
            self._parts.names.forget(cell.name, taken)
        self._supervisor.phases[cell.name] = CellPhase.ACTIVE
        cell.thaw()
        fields = {"name": cell.name, "epoch": cell.epoch, "merged": len(taken)}
        log.info("reclaimed", extra={"fields": fields})
        self._supervisor.look_at({cell.name})

    async def _absorb(self, cell: Cell, copy: Copy) -> bool:
        """Merge a copy in; one that cannot be read is kept aside, where it is."""
        saved = copy.record
        try:
            state = self._parts.codec.decode(saved.state, f"the state of {cell.name!r}")
        except CannotTravel as error:
            fields = {"name": cell.name, "node": saved.node, "error": error.problem}
            log.exception("state_unreadable", extra={"fields": fields})
            self.kept_aside.add((copy.boot, copy.rank))
            return False
        node = f"{saved.node}/{copy.boot[:8]}"
        other = Resume("conflict", state, saved.version, saved.epoch, node, saved.reason)
        await cell.absorb(other, saved.answers)
        return True

    async def _handed(
        self, cell: Cell, winner: Claim, request: Callable[[int], YieldRequest]
    ) -> bool:
        try:
            async with asyncio.timeout(self._parts.config.runtime.merge_timeout + CATCH_UP):
                await self._parts.requests.ask(winner.boot, request)
        except (HordeError, ConnectionError, TimeoutError) as error:
            fields = {"name": cell.name, "winner": winner.node, "error": str(error)}
            log.info("yield_delayed", extra={"fields": fields})
            return False
        return self._supervisor.phases.get(cell.name) is CellPhase.YIELDING

    async def _end(self, cell: Cell, winner: Claim, *, keep_copy: bool) -> None:
        """Over here. What was saved is left for the winner if it could not be given the state."""
        reason = f"superseded by {winner.node} at epoch {winner.epoch}"
        self._supervisor.phases[cell.name] = CellPhase.LEAVING
        await self._supervisor.terminate(cell, reason)
        self._supervisor.durable(cell).cancel()
        names = self._parts.names
        mine = [copy for copy in names.copies(cell.name) if copy.boot == self._parts.boot]
        names.forget(cell.name, [] if keep_copy else mine)
        await self._parts.keys.release_process(cell.name)
        names.release(names.own_claims(cell.name))
        cell.end(NotHere(cell.name, self._parts.config.name))
        log.info("yielded", extra={"fields": {"name": cell.name, "reason": reason}})
        self._supervisor.remove(cell)

    def _request(self, cell: Cell) -> Callable[[int], YieldRequest]:
        """What is sent to the winner; a copy just born that did nothing has nothing to merge."""
        state = None
        if cell.process is not None and not cell.is_newborn:
            try:
                state = dumped(cell)
            except HordeError as error:
                fields = {"name": cell.name, "error": str(error)}
                log.warning("state_lost_in_conflict", extra={"fields": fields})
        name, epoch, version = cell.name, cell.epoch, cell.cls.state_version
        node = f"{self._parts.config.name}/{self._parts.boot[:8]}"
        answers = cell.answers.latest() if state is not None else []
        return lambda number: YieldRequest(number, name, epoch, node, version, state, answers)

    def _on_yield(self, boot: str, request: YieldRequest) -> None:
        self._parts.requests.serve(boot, request.id, self._merge(request))

    async def _merge(self, request: YieldRequest) -> bytes:
        """Take the loser's state in; answered only when that is safe, for then the loser's goes."""
        cell = self._supervisor.cells.get(request.name)
        phase = self._supervisor.phases.get(request.name)
        if cell is None or phase is not CellPhase.ACTIVE:
            raise NotHere(request.name, self._parts.config.name)
        if request.state is not None:
            state = self._parts.codec.decode(request.state, f"the state of {request.name!r}")
            other = Resume(
                "conflict", state, request.version, request.epoch, request.node, "duplicate"
            )
            await cell.merge(other, request.answers)
        if self._supervisor.phases.get(request.name) is CellPhase.ACTIVE:
            _ = self._supervisor.renew(cell)
            if cell.cls.durability != "none":
                await self._supervisor.durable(cell).checkpoint(cell)
        fields = {"name": request.name, "loser": request.node, "epoch": request.epoch}
        log.info("merged", extra={"fields": fields})
        return b""
