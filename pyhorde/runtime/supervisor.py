"""The distributed supervisor of one node: runs the cells and carries out what is decided.

A shell around :func:`pyhorde.runtime.reconcile.decide`, which is asked about a name whenever its
spec, its claims, its cell or the view may have changed, and about everything unsettled once a
second besides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final

from pyhorde.cluster.membership import Changed
from pyhorde.cluster.tasks import Tasks
from pyhorde.errors import CannotTravel, HordeError, Ignore, NotHere, ProcessExited
from pyhorde.runtime import reconcile
from pyhorde.runtime.cell import Cell, Setting
from pyhorde.runtime.conflict import Conflicts
from pyhorde.runtime.context import Lent
from pyhorde.runtime.copies import Copy
from pyhorde.runtime.durable import Durable
from pyhorde.runtime.invocation import contained
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.phase import Phase
from pyhorde.runtime.process import Resume
from pyhorde.runtime.reconcile import CellPhase, Situation
from pyhorde.runtime.record import Answers, Spec
from pyhorde.runtime.ref import Caller
from pyhorde.runtime.restart import RestartBudget, restarts

log = logging.getLogger("pyhorde.supervisor")

SWEEP: Final = 1.0
CATCH_UP: Final = 2.0
"""Longest wait, seconds, for what other members know before an orphan is taken over."""


class Supervisor:
    """The cells of this node."""

    def __init__(self, parts: Parts, cells: dict[str, Cell]) -> None:
        self.parts = parts
        self.cells = cells
        self.phases: dict[str, CellPhase] = {}
        self.draining = False
        self.caller: Caller
        config = parts.config.runtime
        self._setting = Setting(parts.config.name, parts.codec, config, self)
        self._durables: dict[str, Durable] = {}
        self._lent: dict[str, Lent] = {}
        self._budgets: dict[str, RestartBudget] = {}
        self.adopting: set[str] = set()
        """Names about to be taken over, while it is asked what others know of them."""
        self._loaded: dict[str, list[Copy]] = {}
        """What the process was started from, until that is saved as this node's own copy."""
        self._odd_since: dict[str, float] = {}
        self._dirty: set[str] = set()
        self._scheduled = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._tasks = Tasks()
        self._closed = False
        parts.names.on_changed = self.look_at
        parts.cluster.on_changed.append(self._view_changed)
        self.conflicts = Conflicts(self)

    def start(self) -> None:
        """Begin to reconcile."""
        self._sweep()

    async def aclose(self) -> None:
        """Cut everything off. Idempotent."""
        self._closed = True
        for timer in [*self._timers.values(), *([self._sweeper] if self._sweeper else [])]:
            timer.cancel()
        await self._tasks.aclose()
        for cell in list(self.cells.values()):
            cell.end(NotHere(cell.name, self.parts.config.name))
            await cell.kill()
            self.remove(cell)

    def local(self) -> list[Cell]:
        """The processes really running in this node, by name."""
        running = (CellPhase.ACTIVE, CellPhase.YIELDING, CellPhase.LEAVING)
        return [self.cells[n] for n in sorted(self.cells) if self.phases.get(n) in running]

    # ---- cells -------------------------------------------------------------------------------

    def new_cell(self, name: str, spec: Spec, phase: CellPhase) -> Cell:
        """A cell for this name, in place but not started. Raises ``UnknownType``."""
        durable = Durable(self.parts.names, self.parts.cluster, self.parts.config.runtime)
        cls = self.parts.offers.get(spec.type)
        cell = Cell(
            name, spec.type, cls, spec.arguments, spec.epoch, self._setting, durable, spec.life
        )
        self.cells[name] = cell
        self.phases[name] = phase
        self._durables[name] = durable
        self._budgets[name] = RestartBudget(self.parts.config.runtime)
        return cell

    async def run(self, cell: Cell, resume: Resume | None, answers: Answers) -> None:
        """Start the instance in the cell. Raises what :meth:`Cell.start` raises."""
        self._withdraw(cell)
        self.release_keys(cell)
        lent = Lent(cell, self._durables[cell.name], self.parts.node, self.caller)
        self._lent[cell.name] = lent
        await cell.start(lent, resume, answers)

    def remove(self, cell: Cell) -> None:
        """Take the cell out."""
        if self.cells.get(cell.name) is cell:
            self._withdraw(cell)
            del self.cells[cell.name]
            self.phases.pop(cell.name, None)
            self._durables.pop(cell.name).cancel()
            self._loaded.pop(cell.name, None)
            self._odd_since.pop(cell.name, None)
            self._budgets.pop(cell.name, None)
            self.look_at({cell.name})

    def release_keys(self, cell: Cell) -> None:
        """Withdraw the keys that were registered for an instance which is gone."""
        names = self.parts.names
        names.release(c for c in names.own_claims(cell.name) if not c.is_process)

    def publish(self, cell: Cell) -> bool:
        """Say that this node runs the process: spec and claim go out together.

        False, and nothing is said, when the cell's life has ended meanwhile.
        """
        names = self.parts.names
        if not names.publish(cell.name, cell.spec):
            return False
        self.phases[cell.name] = CellPhase.ACTIVE
        names.claim(cell.name, cell.epoch, cell.name, cell.type_name, cell.life)
        return True

    def renew(self, cell: Cell) -> None:
        """Claim the name anew above every epoch known, and write the state under it.

        So nothing that was claimed or saved on the other side of a conflict comes before it.
        """
        names = self.parts.names
        cell.epoch = names.floor(cell.name) + 1
        for claim in names.own_claims(cell.name):
            names.update(claim, epoch=cell.epoch)
        names.publish(cell.name, cell.spec)
        self._durables[cell.name].save(cell, anew=True)

    def durable(self, cell: Cell) -> Durable:
        """What keeps this cell's state."""
        return self._durables[cell.name]

    def _withdraw(self, cell: Cell) -> None:
        lent = self._lent.pop(cell.name, None)
        if lent is not None:
            lent.withdraw()

    # ---- reconciling -------------------------------------------------------------------------

    def look_at(self, names: Iterable[str]) -> None:
        """Decide anew about these names, soon."""
        self._dirty.update(names)
        if not self._scheduled and not self._closed:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._reconcile)

    def _view_changed(self, change: Changed) -> None:
        boots = {change.after.boot} | ({change.before.boot} if change.before else set())
        self.parts.names.review(self.parts.cluster.view, boots)
        self.look_at(self.parts.names.orphans)

    def _sweep(self) -> None:
        names = self.parts.names
        self.look_at([*names.orphans, *self.cells, *names.names_of(self.parts.boot)])
        names.retire_stale()
        loop = asyncio.get_running_loop()
        self._sweeper = None if self._closed else loop.call_later(SWEEP, self._sweep)

    def _reconcile(self) -> None:
        self._scheduled = False
        names, self._dirty = self._dirty, set()
        if self._closed or not self.parts.cluster.in_sync:
            return
        for name in sorted(names):
            try:
                self._settle_keys(name)
                self._act(name, reconcile.decide(self.situation(name)))
            except Exception:
                log.exception("reconcile_failed", extra={"fields": {"name": name}})

    def situation(self, name: str) -> Situation:
        """Everything about the name that the decision depends on."""
        parts, names = self.parts, self.parts.names
        spec = names.spec(name)
        claims = tuple(claim for claim in names.visible(name) if claim.is_process)
        floor = names.floor(name)
        orphan = name in names.orphans and not self.draining
        state = names.state(name) if orphan else None
        cell = self.cells.get(name)
        phase = self.phases.get(name, CellPhase.NONE)
        strays = cell is not None and bool(self.strays(cell))
        now = parts.world.now()
        if cell is not None and (strays or floor > cell.epoch):
            self._odd_since.setdefault(name, now)
        else:
            self._odd_since.pop(name, None)
        return Situation(
            spec=spec,
            claims=claims,
            phase=CellPhase.FIRST if name in self.adopting and cell is None else phase,
            life=cell.life if cell is not None else None,
            boot=parts.boot,
            home_is_here=bool(orphan and spec and parts.home(name, spec.type) == parts.config.name),
            may_adopt=not self.draining,
            traces=orphan and names.traces(name),
            graceful=state is not None and state.kind == "graceful" and state.epoch == floor,
            floor=floor,
            strays=strays,
            orphan_since=names.orphans.get(name, 0.0),
            now=now,
            adopt_delay=parts.config.runtime.adopt_delay,
            odd_since=self._odd_since.get(name, now),
        )

    def _act(self, name: str, action: reconcile.Action) -> None:
        match action:
            case reconcile.Stop(reason):
                self.phases[name] = CellPhase.LEAVING
                self.spawn(self.stop(self.cells[name], reason), f"stop {name}")
            case reconcile.DropClaims(claims):
                self.parts.names.release(claims)
            case reconcile.Yield(winner):
                self.phases[name] = CellPhase.YIELDING
                self.spawn(self.conflicts.give_way(self.cells[name], winner), f"yield {name}")
            case reconcile.Reclaim():
                self.phases[name] = CellPhase.LEAVING
                self.spawn(self.conflicts.reclaim(self.cells[name]), f"reclaim {name}")
            case reconcile.Republish():
                self.parts.names.publish(name, self.cells[name].spec)
            case reconcile.Adopt():
                self.spawn(self._adopt(name), f"adopt {name}")
            case reconcile.Bury():
                self.parts.names.end(name, "its node was lost and it is temporary")
            case reconcile.AskAgain(at):
                self._ask_again(name, at)
            case reconcile.Nothing():
                pass

    def _ask_again(self, name: str, at: float) -> None:
        if name not in self._timers:
            delay = max(0.0, at - self.parts.world.now())
            loop = asyncio.get_running_loop()
            self._timers[name] = loop.call_later(delay, self._asked_again, name)

    def _asked_again(self, name: str) -> None:
        self._timers.pop(name, None)
        self.look_at({name})

    def _settle_keys(self, key: str) -> None:
        """Of two holders of a registered key the lower in rank lets go."""
        claims = self.parts.names.visible(key)
        for claim in claims[1:]:
            if claim.boot == self.parts.boot and not claim.is_process:
                self.parts.names.release([claim])
                cell = self.cells.get(claim.process)
                if cell is not None:
                    cell.info(("key_lost", key, claims[0].node))

    # ---- carrying out ------------------------------------------------------------------------

    async def _adopt(self, name: str) -> None:
        """Take an orphan over, from the newest copy any reachable member has."""
        if name in self.cells or name in self.adopting:
            return
        names = self.parts.names
        since = names.orphans.get(name, self.parts.world.now())
        self.adopting.add(name)
        try:
            await self.parts.cluster.caught_up(since, CATCH_UP)
        finally:
            self.adopting.discard(name)
        action = reconcile.decide(self.situation(name))
        spec = names.spec(name)
        if not isinstance(action, reconcile.Adopt) or spec is None:
            self.look_at({name})
            return
        copies = names.copies(name)
        try:
            resume, answers = self._resume(name, spec, action.epoch - 1)
        except CannotTravel as error:
            self._unreadable(name, error)
            return
        cell = self.new_cell(name, replace(spec, epoch=action.epoch), CellPhase.ACTIVE)
        if not self.publish(cell):
            self.remove(cell)
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
        saved = self.parts.names.state(name)
        graceful = saved is not None and saved.kind == "graceful" and saved.epoch == floor
        kind: Any = "graceful" if graceful else "clumsy"
        if saved is None or (spec.durability == "none" and not graceful):
            last = self.parts.names.last_owner(name)
            return Resume(kind, None, 0, floor, last, "its node was lost"), []
        reason = saved.reason if graceful else "its node was lost"
        state = self.parts.codec.decode(saved.state, f"the state of {name!r}")
        resume = Resume(kind, state, saved.version, saved.epoch, saved.node, reason)
        return resume, saved.answers

    async def _try(self, cell: Cell, resume: Resume, answers: Answers) -> None:
        """Start an instance that must run; keep trying, ever more slowly."""
        try:
            await self.run(cell, resume, answers)
        except Ignore as error:
            await self.stop(cell, str(error))
        except HordeError as error:
            cell.last_error = str(error)
            self._restart(cell, resume, answers)
        else:
            self._take_over(cell)
            self.look_at({cell.name})

    def _take_over(self, cell: Cell) -> None:
        """The instance runs on what its predecessor left: save that as this node's own copy.

        Only then is the predecessor's copy removed; others beside it are strays from now on.
        """
        loaded = self._loaded.pop(cell.name, [])
        if loaded:
            self._durables[cell.name].save(cell, anew=True)
            self.parts.names.forget(cell.name, loaded[:1])

    def strays(self, cell: Cell) -> list[Copy]:
        """Saved states beside a running process that nobody else is going to bring here."""
        if cell.phase not in (Phase.RUNNING, Phase.FROZEN) or cell.name in self._loaded:
            return []
        names = self.parts.names
        claimed = {claim.boot for claim in names.visible(cell.name)} | {self.parts.boot}
        return [copy for copy in names.copies(cell.name) if copy.boot not in claimed]

    def _restart(self, cell: Cell, resume: Resume, answers: Answers) -> None:
        if self.cells.get(cell.name) is not cell:
            return
        delay = self._budgets[cell.name].delay(self.parts.world.now())
        cell.wait()
        if cell.phase is not Phase.WAITING:
            return
        cell.statistics.restarts += 1
        fields = {"name": cell.name, "delay": round(delay, 3), "error": cell.last_error}
        log.warning("restarting", extra={"fields": fields})
        self.spawn(self._again(cell, delay, resume, answers), f"restart {cell.name}")

    async def _again(self, cell: Cell, delay: float, resume: Resume, answers: Answers) -> None:
        await asyncio.sleep(delay)
        if self.cells.get(cell.name) is cell and cell.phase is Phase.WAITING:
            await self._try(cell, resume, answers)

    def exited(self, cell: Cell, reason: str, error: BaseException | None) -> None:
        """The instance ended by itself: start it again, or end its name."""
        if self.phases.get(cell.name) is not CellPhase.ACTIVE:
            return
        if error is not None:
            self._withdraw(cell)
        if error is None and not restarts(cell.restart, reason):
            self.phases[cell.name] = CellPhase.LEAVING
            self.spawn(self.stop(cell, reason), f"end {cell.name}")
        elif not restarts(cell.restart, reason):
            self.phases[cell.name] = CellPhase.LEAVING
            self.spawn(self._close(cell, reason), f"end {cell.name}")
        else:
            self.spawn(self._exit_and_restart(cell, reason, error), f"restart {cell.name}")

    async def _exit_and_restart(self, cell: Cell, reason: str, error: BaseException | None) -> None:
        if error is None and cell.process is not None:
            await self.terminate(cell, reason)
            if self.phases.get(cell.name) is not CellPhase.ACTIVE:
                return
            self._durables[cell.name].save(cell)
        while self.phases.get(cell.name) is CellPhase.ACTIVE:
            try:
                resume, answers = self._local_resume(cell, reason)
            except CannotTravel as unreadable:
                self._unreadable(cell.name, unreadable)
                await asyncio.sleep(SWEEP)
            else:
                self._restart(cell, resume, answers)
                return

    def _local_resume(self, cell: Cell, reason: str) -> tuple[Resume, Answers]:
        """What a process that crashed here starts from."""
        saved = self.parts.names.state(cell.name)
        node = self.parts.config.name
        if saved is None or cell.cls.durability == "none":
            return Resume("restart", None, 0, cell.epoch, node, reason), []
        state = self.parts.codec.decode(saved.state, f"the state of {cell.name!r}")
        return Resume("restart", state, saved.version, cell.epoch, node, reason), saved.answers

    async def terminate(self, cell: Cell, reason: str) -> None:
        """Run the instance's ``terminate`` within its ``shutdown``; failures are logged."""
        try:
            async with asyncio.timeout(cell.cls.shutdown):
                if cell.process is not None:
                    await contained(cell.process.terminate(reason))
        except Exception:
            log.warning("terminate_failed", extra={"fields": {"name": cell.name}}, exc_info=True)

    async def stop(self, cell: Cell, reason: str) -> None:
        """End a process for good, in an orderly way."""
        if self.cells.get(cell.name) is not cell:
            return
        self.phases[cell.name] = CellPhase.LEAVING
        await cell.finish(reason)
        await self._close(cell, reason)

    async def _close(self, cell: Cell, reason: str) -> None:
        if self.cells.get(cell.name) is not cell:
            return
        names = self.parts.names
        self._durables[cell.name].cancel()
        spec = names.spec(cell.name)
        if spec is not None and spec.life.number == cell.life.number:
            names.end(cell.name, reason)
        if names.ended(cell.name) is not None:
            names.forget(cell.name, names.copies(cell.name))
        names.release(names.own_claims(cell.name))
        cell.end(ProcessExited(cell.name, reason))
        log.info("ended", extra={"fields": {"name": cell.name, "reason": reason}})
        self.remove(cell)

    # ---- tasks -------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run work of the supervisor in a task; failures are logged, never lost."""
        _ = self._tasks.spawn(work, name)
