"""The distributed supervisor of one node: runs the cells and carries out what is decided.

A shell around :func:`pyhorde.runtime.reconcile.decide`, which is asked about a name whenever its
spec, its claims, its cell or the view may have changed, and about everything unsettled once a
second besides. About a name that runs elsewhere, and that nothing here claims, there is nothing to
decide.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Final

from pyhorde.cluster.membership.membership import Changed
from pyhorde.cluster.tasks import Tasks
from pyhorde.errors import NotHere, ProcessExited
from pyhorde.runtime import reconcile
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.conflict import Conflicts
from pyhorde.runtime.contests import Contests
from pyhorde.runtime.context import Lent
from pyhorde.runtime.copies import Copy
from pyhorde.runtime.durable import Durable
from pyhorde.runtime.gate import OversleptGate
from pyhorde.runtime.invocation import contained
from pyhorde.runtime.messages import KeyQuestion
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.phase import Phase
from pyhorde.runtime.process import Resume
from pyhorde.runtime.reconcile import CellPhase, Situation
from pyhorde.runtime.record import Answers, Spec
from pyhorde.runtime.ref import Caller
from pyhorde.runtime.retiring import Retiring
from pyhorde.runtime.revival import Revival
from pyhorde.runtime.setting import Setting

log = logging.getLogger("pyhorde.supervisor")

SWEEP: Final = 1.0


class Supervisor:
    """The cells of this node."""

    def __init__(self, parts: Parts, cells: dict[str, Cell]) -> None:
        self.parts = parts
        self.cells = cells
        self.phases: dict[str, CellPhase] = {}
        self.draining = False
        self.caller: Caller
        config = parts.config.runtime
        self._setting = Setting(parts.config.name, parts.codec, config, self, OversleptGate(parts))
        self._durables: dict[str, Durable] = {}
        self._lent: dict[str, Lent] = {}
        self.adopting: set[str] = set()
        """Names about to be taken over, while it is asked what others know of them."""
        self._odd_since: dict[str, float] = {}
        self._dirty: set[str] = set()
        self._scheduled = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._tasks = Tasks()
        self._closed = False
        parts.names.on_changed = self._names_changed
        parts.cluster.on_changed.append(self._view_changed)
        self.conflicts = Conflicts(self)
        self.contests = Contests(parts.keys, parts.names, parts.requests, cells)
        parts.cluster.route(KeyQuestion, self._on_question)
        self._retiring = Retiring(parts.keys.replica, parts.names, parts.world)
        self.revival = Revival(self)

    def start(self) -> None:
        """Begin to reconcile."""
        self._sweep()

    async def aclose(self) -> None:
        """Cut everything off. Idempotent."""
        self._closed = True
        for timer in [*self._timers.values(), *([self._sweeper] if self._sweeper else [])]:
            timer.cancel()
        await self._tasks.aclose()
        await self.contests.aclose()
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
        return cell

    async def run(self, cell: Cell, resume: Resume | None, answers: Answers) -> None:
        """Start the instance in the cell. Raises what :meth:`Cell.start` raises."""
        self.withdraw(cell)
        await self.release_keys(cell)
        lent = Lent(cell, self._durables[cell.name], self.parts.node, self.caller)
        self._lent[cell.name] = lent
        await cell.start(lent, resume, answers)

    def remove(self, cell: Cell) -> None:
        """Take the cell out."""
        if self.cells.get(cell.name) is cell:
            self.withdraw(cell)
            del self.cells[cell.name]
            self.phases.pop(cell.name, None)
            self._durables.pop(cell.name).cancel()
            self.revival.forget(cell.name)
            self._odd_since.pop(cell.name, None)
            self.look_at({cell.name})

    async def release_keys(self, cell: Cell) -> None:
        """Withdraw the keys that were registered for an instance which is gone."""
        await self.parts.keys.release_process(cell.name)

    def publish(self, cell: Cell) -> bool:
        """Say that this node runs the process: spec and claim go out together.

        False, and nothing is said, when the cell's life has ended meanwhile.
        """
        names = self.parts.names
        if not names.publish(cell.name, cell.spec):
            return False
        self.phases[cell.name] = CellPhase.ACTIVE
        names.claim(cell.name, cell.epoch, cell.type_name, cell.life)
        return True

    def renew(self, cell: Cell) -> bool:
        """Claim the name anew above every epoch known, and write the state under it.

        So nothing that was claimed or saved on the other side of a conflict comes before it. False
        when the state could not be saved: then what it holds of others' copies is not safe yet.
        """
        names = self.parts.names
        cell.epoch = names.floor(cell.name) + 1
        for claim in names.own_claims(cell.name):
            names.update(claim, epoch=cell.epoch)
        names.publish(cell.name, cell.spec)
        saved = self._durables[cell.name].save(cell, anew=True)
        return saved or cell.cls.durability == "none"

    def durable(self, cell: Cell) -> Durable:
        """What keeps this cell's state."""
        return self._durables[cell.name]

    def withdraw(self, cell: Cell) -> None:
        """The instance is gone: what it was lent does nothing more."""
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

    def _names_changed(self, names: Iterable[str]) -> None:
        concerned = {name for name in names if self._concerns(name)}
        if concerned:
            self.look_at(concerned)

    def _concerns(self, name: str) -> bool:
        """Whether there is anything to decide about the name here: a cell, a claim, an orphan."""
        names = self.parts.names
        if name in self.cells or name in names.orphans:
            return True
        return any(claim.boot == self.parts.boot for claim in names.visible(name))

    def _view_changed(self, change: Changed) -> None:
        boots = {change.after.boot} | ({change.before.boot} if change.before else set())
        self.parts.keys.review(self.parts.cluster.view)
        self.parts.names.review(self.parts.cluster.view, boots)
        self.parts.events.view_changed(change)
        self.look_at(self.parts.names.orphans)

    def _sweep(self) -> None:
        names = self.parts.names
        if self.parts.cluster.in_sync:
            self._retiring.look(self.parts.cluster.view)
        self.contests.look()
        self._dirty.update(names.orphans, self.cells, names.names_of(self.parts.boot))
        self._reconcile()
        loop = asyncio.get_running_loop()
        self._sweeper = None if self._closed else loop.call_later(SWEEP, self._sweep)

    def _reconcile(self) -> None:
        self._scheduled = False
        names, self._dirty = self._dirty, set()
        if self._closed or not self.parts.cluster.in_sync:
            return
        for name in sorted(names):
            try:
                self._act(name, reconcile.decide(self.situation(name)))
            except Exception:
                log.exception("reconcile_failed", extra={"fields": {"name": name}})

    def situation(self, name: str) -> Situation:
        """Everything about the name that the decision depends on."""
        parts, names = self.parts, self.parts.names
        spec = names.spec(name)
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
            claims=names.visible(name),
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
                self.spawn(self.revival.adopt(name), f"adopt {name}")
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

    def _on_question(self, boot: str, question: KeyQuestion) -> None:
        answer = self.contests.answer(question)
        self.parts.requests.serve(boot, question.id, _given(answer))

    # ---- carrying out ------------------------------------------------------------------------

    def exited(self, cell: Cell, reason: str, error: BaseException | None) -> None:
        """The instance ended by itself."""
        self.revival.exited(cell, reason, error)

    def strays(self, cell: Cell) -> list[Copy]:
        """Saved states beside a running process that nobody else is going to bring here."""
        if cell.phase not in (Phase.RUNNING, Phase.FROZEN) or self.revival.is_starting(cell.name):
            return []
        names = self.parts.names
        claimed = {claim.boot for claim in names.visible(cell.name)} | {self.parts.boot}
        aside = self.conflicts.kept_aside
        found = [copy for copy in names.copies(cell.name) if copy.boot not in claimed]
        return [copy for copy in found if (copy.boot, copy.rank) not in aside]

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
        await self.close(cell, reason)

    async def close(self, cell: Cell, reason: str) -> None:
        """Take a process that has ended for good out of the world."""
        if self.cells.get(cell.name) is not cell:
            return
        names = self.parts.names
        self._durables[cell.name].cancel()
        spec = names.spec(cell.name)
        if spec is not None and spec.life.number == cell.life.number:
            names.end(cell.name, reason)
        if names.ended(cell.name) is not None:
            names.forget(cell.name, names.copies(cell.name))
        await self.release_keys(cell)
        names.release(names.own_claims(cell.name))
        cell.end(ProcessExited(cell.name, reason))
        log.info("ended", extra={"fields": {"name": cell.name, "reason": reason}})
        self.remove(cell)

    # ---- tasks -------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run work of the supervisor in a task; failures are logged, never lost."""
        _ = self._tasks.spawn(work, name)


async def _given(answer: bytes) -> bytes:
    return answer
