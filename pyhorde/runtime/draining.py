"""Draining a node: hand every process over, complete, then go.

Per process: no more messages are taken (callers are routed on), the running handler finishes,
``terminate`` runs, the final state is written, the claim is withdrawn. Whoever placement names
among the others starts it with ``resume.kind == "graceful"``. The node stays until all of that is
confirmed to be on every live member and every process is seen to run elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

from pyhorde.errors import NotHere, NotReplicated
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.reconcile import CellPhase
from pyhorde.runtime.restart import restarts
from pyhorde.runtime.supervisor import Supervisor

log = logging.getLogger("pyhorde.drain")


@dataclass(slots=True)
class Drained:
    """What a drain has achieved so far, or in the end."""

    total: int = 0
    moved: int = 0
    left_behind: tuple[str, ...] = ()
    remaining: set[str] = field(default_factory=set)

    def progress(self) -> dict[str, Any]:
        """For ``/v1/status``."""
        return {
            "total": self.total,
            "moved": self.moved,
            "remaining": sorted(self.remaining),
        }


class Drain:
    """One drain of one node."""

    def __init__(self, parts: Parts, supervisor: Supervisor) -> None:
        self._parts = parts
        self._supervisor = supervisor
        names = {cell.name for cell in supervisor.local()}
        self.result = Drained(total=len(names), remaining=names)

    async def run(self, timeout: float) -> Drained:
        """Hand everything over within ``timeout`` seconds; what stayed is named in the result."""
        parts = self._parts
        deadline = parts.world.now() + timeout
        self._supervisor.draining = True
        parts.cluster.announce(draining=True)
        cells = self._supervisor.local()
        self.result.total = len(cells)
        self.result.remaining = {cell.name for cell in cells}
        log.info("draining", extra={"fields": {"processes": len(cells)}})
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(self._hand_over(cell) for cell in cells))
                await self._confirm(deadline)
                await self._taken_over(deadline)
        except TimeoutError:
            pass
        self.result.left_behind = tuple(sorted(self.result.remaining))
        return self.result

    async def _hand_over(self, cell: Cell) -> None:
        phases = self._supervisor.phases
        if phases.get(cell.name) is not CellPhase.ACTIVE:
            return
        phases[cell.name] = CellPhase.LEAVING
        reason = f"handed over by {self._parts.config.name}"
        await cell.finish(reason)
        if cell.stop_reason is not None and not restarts(cell.restart, cell.stop_reason):
            await self._supervisor.stop(cell, cell.stop_reason)
            return
        try:
            if cell.process is not None:
                self._supervisor.durable(cell).hand_over(cell, reason)
        except Exception as error:
            fields = {"name": cell.name, "error": str(error)}
            log.exception("hand_over_failed", extra={"fields": fields})
        await self._supervisor.release_keys(cell)
        self._parts.names.release(self._parts.names.own_claims(cell.name))
        cell.end(NotHere(cell.name, self._parts.config.name))
        self._supervisor.remove(cell)

    async def _confirm(self, deadline: float) -> None:
        """Every live member has the states and knows that the names are free."""
        left = deadline - self._parts.world.now()
        try:
            await self._parts.cluster.acks.replicated(
                self._parts.names.seq, None, left, "the states of the handed-over processes"
            )
        except NotReplicated as error:
            log.warning("drain_unconfirmed", extra={"fields": {"error": str(error)}})

    async def _taken_over(self, deadline: float) -> None:
        """Wait until each process runs elsewhere (those that nobody else offers stay behind)."""
        names, cluster = self._parts.names, self._parts.cluster
        while True:
            for name in list(self.result.remaining):
                if names.owner(name) is not None or names.spec(name) is None:
                    self.result.remaining.discard(name)
                    self.result.moved += 1
            waiting = [name for name in self.result.remaining if self._has_home(name)]
            if not waiting or not await cluster.acks.changed(deadline - self._parts.world.now()):
                return

    def _has_home(self, name: str) -> bool:
        spec = self._parts.names.spec(name)
        return spec is not None and self._parts.home(name, spec.type) is not None
