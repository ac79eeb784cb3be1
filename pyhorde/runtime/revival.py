"""Bringing processes to life again: orphans of lost nodes, handed-over ones, and crashed ones.

An orphan is taken over from the newest copy that any reachable member has; a process that crashed
here starts from its own. An instance that cannot be started is tried again, ever more slowly, and
its siblings never notice. A state that cannot be read keeps the process down, loudly: a process
that began afresh would overwrite it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final, Protocol

from pyhorde.errors import CannotTravel, HordeError, Ignore
from pyhorde.runtime import reconcile
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.copies import Copy
from pyhorde.runtime.durable import Durable
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.phase import Phase
from pyhorde.runtime.process import Resume
from pyhorde.runtime.reconcile import CellPhase, Situation
from pyhorde.runtime.record import Answers, Spec
from pyhorde.runtime.restart import RestartBudget, restarts

log = logging.getLogger("pyhorde.supervisor")

CATCH_UP: Final = 2.0
"""Longest wait, seconds, for what other members know before an orphan is taken over."""
UNREADABLE_RETRY: Final = 1.0


class Cells(Protocol):
    """What is needed of the supervisor."""

    parts: Parts
    cells: dict[str, Cell]
    phases: dict[str, CellPhase]
    adopting: set[str]

    def new_cell(self, name: str, spec: Spec, phase: CellPhase) -> Cell: ...

    async def run(self, cell: Cell, resume: Resume | None, answers: Answers) -> None: ...

    def publish(self, cell: Cell) -> bool: ...

    def withdraw(self, cell: Cell) -> None: ...

    async def release_keys(self, cell: Cell) -> None: ...

    def remove(self, cell: Cell) -> None: ...

    def durable(self, cell: Cell) -> Durable: ...

    def situation(self, name: str) -> Situation: ...

    def look_at(self, names: Iterable[str]) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None: ...

    async def terminate(self, cell: Cell, reason: str) -> None: ...

    async def stop(self, cell: Cell, reason: str) -> None: ...

    async def close(self, cell: Cell, reason: str) -> None: ...


class Revival:
    """Every start of a process with a past on this node."""

    def __init__(self, supervisor: Cells) -> None:
        self._supervisor = supervisor
        self._parts = supervisor.parts
        self._budgets: dict[str, RestartBudget] = {}
        self._loaded: dict[str, list[Copy]] = {}
        """What a process was started from, until that is saved as this node's own copy."""

    def is_starting(self, name: str) -> bool:
        """Whether what the process starts from has not been saved as this node's own copy yet."""
        return name in self._loaded

    def forget(self, name: str) -> None:
        """The cell is gone."""
        self._loaded.pop(name, None)
        self._budgets.pop(name, None)

    def _budget(self, cell: Cell) -> RestartBudget:
        return self._budgets.setdefault(cell.name, RestartBudget(self._parts.config.runtime))

    async def adopt(self, name: str) -> None:
        """Take an orphan over, from the newest copy any reachable member has."""
        if name in self._supervisor.cells or name in self._supervisor.adopting:
            return
        names = self._parts.names
        since = names.orphans.get(name, self._parts.world.now())
        self._supervisor.adopting.add(name)
        try:
            await self._parts.cluster.acks.caught_up(since, CATCH_UP)
        finally:
            self._supervisor.adopting.discard(name)
        action = reconcile.decide(self._supervisor.situation(name))
        spec = names.spec(name)
        if not isinstance(action, reconcile.Adopt) or spec is None:
            self._supervisor.look_at({name})
            return
        copies = names.copies(name)
        try:
            resume, answers = self._resume(name, spec, action.epoch - 1)
        except CannotTravel as error:
            self._unreadable(name, error)
            return
        cell = self._supervisor.new_cell(name, replace(spec, epoch=action.epoch), CellPhase.ACTIVE)
        if not self._supervisor.publish(cell):
            self._supervisor.remove(cell)
            return
        fields = {"name": name, "epoch": action.epoch, "from": resume.node, "kind": resume.kind}
        log.info("adopted", extra={"fields": fields})
        self._loaded[name] = copies
        await self._try(cell, resume, answers)

    def _unreadable(self, name: str, error: CannotTravel) -> None:
        """Rather no process than one that overwrites a state it could not read: say so, wait."""
        fields = {"name": name, "error": error.problem, "next": "trying again"}
        log.error("state_unreadable", extra={"fields": fields})

    def _resume(self, name: str, spec: Spec, floor: int) -> tuple[Resume, Answers]:
        saved = self._parts.names.state(name)
        graceful = saved is not None and saved.kind == "graceful" and saved.epoch == floor
        kind: Any = "graceful" if graceful else "clumsy"
        if saved is None or (spec.durability == "none" and not graceful):
            last = self._parts.names.last_owner(name)
            return Resume(kind, None, 0, floor, last, "its node was lost"), []
        reason = saved.reason if graceful else "its node was lost"
        state = self._parts.codec.decode(saved.state, f"the state of {name!r}")
        resume = Resume(kind, state, saved.version, saved.epoch, saved.node, reason)
        return resume, saved.answers

    async def _try(self, cell: Cell, resume: Resume, answers: Answers) -> None:
        """Start an instance that must run; keep trying, ever more slowly."""
        try:
            await self._supervisor.run(cell, resume, answers)
        except Ignore as error:
            await self._supervisor.stop(cell, str(error))
        except HordeError as error:
            cell.last_error = str(error)
            self._restart(cell, resume, answers)
        else:
            self._take_over(cell)
            self._supervisor.look_at({cell.name})

    def _take_over(self, cell: Cell) -> None:
        """The instance runs on what its predecessor left: save that as this node's own copy.

        Only then is the predecessor's copy removed; others beside it are strays from now on.
        """
        loaded = self._loaded.pop(cell.name, [])
        if not loaded:
            return
        saved = self._supervisor.durable(cell).save(cell, anew=True)
        if saved or cell.cls.durability == "none":
            self._parts.names.forget(cell.name, loaded[:1])

    def _restart(self, cell: Cell, resume: Resume, answers: Answers) -> None:
        if self._supervisor.cells.get(cell.name) is not cell:
            return
        delay = self._budget(cell).delay(self._parts.world.now())
        cell.wait()
        if cell.phase is not Phase.WAITING:
            return
        cell.statistics.restarts += 1
        fields = {"name": cell.name, "delay": round(delay, 3), "error": cell.last_error}
        log.warning("restarting", extra={"fields": fields})
        self._supervisor.spawn(self._again(cell, delay, resume, answers), f"restart {cell.name}")

    async def _again(self, cell: Cell, delay: float, resume: Resume, answers: Answers) -> None:
        await self._supervisor.release_keys(cell)
        await asyncio.sleep(delay)
        if self._supervisor.cells.get(cell.name) is cell and cell.phase is Phase.WAITING:
            await self._try(cell, resume, answers)

    def exited(self, cell: Cell, reason: str, error: BaseException | None) -> None:
        """The instance ended by itself: start it again, or end its name."""
        if self._supervisor.phases.get(cell.name) is not CellPhase.ACTIVE:
            return
        if error is not None:
            self._supervisor.withdraw(cell)
        if error is None and not restarts(cell.restart, reason):
            self._supervisor.phases[cell.name] = CellPhase.LEAVING
            self._supervisor.spawn(self._supervisor.stop(cell, reason), f"end {cell.name}")
        elif not restarts(cell.restart, reason):
            self._supervisor.phases[cell.name] = CellPhase.LEAVING
            self._supervisor.spawn(self._supervisor.close(cell, reason), f"end {cell.name}")
        else:
            self._supervisor.spawn(
                self._exit_and_restart(cell, reason, error), f"restart {cell.name}"
            )

    async def _exit_and_restart(self, cell: Cell, reason: str, error: BaseException | None) -> None:
        if error is None and cell.process is not None:
            await self._supervisor.terminate(cell, reason)
            if self._supervisor.phases.get(cell.name) is not CellPhase.ACTIVE:
                return
            self._supervisor.durable(cell).save(cell)
        while self._supervisor.phases.get(cell.name) is CellPhase.ACTIVE:
            try:
                resume, answers = self._local_resume(cell, reason)
            except CannotTravel as unreadable:
                self._unreadable(cell.name, unreadable)
                await asyncio.sleep(UNREADABLE_RETRY)
            else:
                self._restart(cell, resume, answers)
                return

    def _local_resume(self, cell: Cell, reason: str) -> tuple[Resume, Answers]:
        """What a process that crashed here starts from."""
        saved = self._parts.names.state(cell.name)
        node = self._parts.config.name
        if saved is None or cell.cls.durability == "none":
            return Resume("restart", None, 0, cell.epoch, node, reason), []
        state = self._parts.codec.decode(saved.state, f"the state of {cell.name!r}")
        return Resume("restart", state, saved.version, cell.epoch, node, reason), saved.answers
