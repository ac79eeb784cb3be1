r"""A cell: one process under supervision on this node, with its mailbox.

The cell outlives crashes of the instance inside it: messages that wait are handled by the next one.
It runs one handler at a time, and has a task only while there is something to do. It knows nothing
of the cluster; what a handler did is made safe by its :class:`~pyhorde.runtime.durable.Keeper`
before the caller hears of it.

::

    STARTING --init done--> RUNNING --crash--> WAITING --restart--> STARTING
                               |  \--thaw--<--\
                               +--freeze--> FROZEN --finish--> ENDED      (from any state: ENDED)
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pyhorde.errors import (
    BadArguments,
    CannotTravel,
    HordeError,
    Ignore,
    MailboxFull,
    NotHere,
    ProcessExited,
    RemoteError,
    StartFailed,
)
from pyhorde.runtime.answers import RecentAnswers
from pyhorde.runtime.invocation import Refused, contained, create, invoke, named, text_of
from pyhorde.runtime.mail import CallItem, CastItem, InfoItem, Item, MergeItem, fail
from pyhorde.runtime.phase import Phase, Statistics
from pyhorde.runtime.process import Context, Process, Resume
from pyhorde.runtime.record import FIRST_LIFE, Answers, Life, Spec
from pyhorde.runtime.setting import Setting

log = logging.getLogger("pyhorde.process")

BURST: Final = 64
"""Messages one process handles before others get a turn, if none of its handlers waits."""
CUT_OFF_GRACE: Final = 1.0
"""Longest wait, seconds, for a handler to notice that it was cut off."""


class Keeper(Protocol):
    """Makes a process's effects safe."""

    async def after(self, cell: Cell) -> None:
        """A handler has run; return when its effect is as safe as the process wants it."""

    async def settled(self) -> None:
        """Return when everything kept so far is safe (for an answer given again)."""


@dataclass(slots=True)
class Cell:
    """One supervised process."""

    name: str
    type_name: str
    cls: type[Process]
    arguments: bytes
    epoch: int
    setting: Setting
    keeper: Keeper
    life: Life = FIRST_LIFE
    phase: Phase = Phase.STARTING
    process: Process | None = None
    statistics: Statistics = field(default_factory=Statistics)
    stop_reason: str | None = None
    last_error: str = ""
    _before: Phase = Phase.STARTING
    _has_past: bool = False
    _queue: deque[Item] = field(default_factory=deque)
    _worker: asyncio.Task[None] | None = None
    _creating: asyncio.Task[None] | None = None
    answers: RecentAnswers = field(default_factory=RecentAnswers)
    _asked: dict[str, asyncio.Future[bytes]] = field(default_factory=dict)
    _merged: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.answers.limit = self.setting.config.recent_answers

    @property
    def spec(self) -> Spec:
        """What this cell runs, as it is published."""
        restart, durability = self.cls.restart, self.cls.durability
        return Spec(self.type_name, self.arguments, restart, durability, self.epoch, self.life)

    @property
    def is_newborn(self) -> bool:
        """Whether it started without a past and has done nothing yet."""
        return not self._has_past

    @property
    def restart(self) -> str:
        """The class's restart type."""
        return self.cls.restart

    @property
    def is_busy(self) -> bool:
        """Whether a handler runs now."""
        return self._worker is not None

    # ---- life --------------------------------------------------------------------------------

    async def start(self, context: Context, resume: Resume | None, answers: Answers) -> None:
        """Construct the instance, restore its state, run ``init``; then serve what waits.

        Raises ``StartFailed``, ``BadArguments`` or ``Ignore``.
        """
        self.phase = Phase.STARTING
        self.process = None
        self.stop_reason = None
        self.answers.restore(answers)
        self._has_past = self._has_past or resume is not None
        creating = asyncio.get_running_loop().create_task(self._create(context, resume))
        self._creating = creating
        limit = asyncio.timeout(self.setting.config.start_timeout)
        try:
            async with limit:
                await contained(creating)
        except (BadArguments, Ignore, StartFailed):
            raise
        except Exception as error:
            if limit.expired():
                raise StartFailed(self.name, "TimeoutError", "init took too long") from error
            log.warning("start_failed", extra={"fields": {"name": self.name}}, exc_info=True)
            raise StartFailed(self.name, named(error), text_of(error)) from error
        finally:
            self._creating = None
        if self.phase is Phase.STARTING:
            self.phase = Phase.RUNNING
            self._go_on()

    async def _create(self, context: Context, resume: Resume | None) -> None:
        codec = self.setting.codec
        self.process = await create(self.cls, codec, self.arguments, context, resume)

    async def freeze(self) -> None:
        """Handle nothing more; waits for the running handler or ``init``. Calls are routed on."""
        if self.phase not in (Phase.FROZEN, Phase.ENDED):
            self._before, self.phase = self.phase, Phase.FROZEN
        self._bounce(NotHere(self.name, self.setting.node))
        if busy := self._busy():
            await asyncio.wait(busy)

    def _busy(self) -> list[asyncio.Task[None]]:
        tasks = (self._worker, self._creating)
        return [t for t in tasks if t is not None and t is not asyncio.current_task()]

    def thaw(self) -> None:
        """Go on after a freeze, from where it was."""
        if self.phase is not Phase.FROZEN:
            return
        self.phase = self._before
        if self.phase is Phase.WAITING:
            self.setting.owner.exited(self, self.last_error, RuntimeError(self.last_error))
        elif self.process is not None:
            self.phase = Phase.RUNNING
            self._go_on()

    async def finish(self, reason: str) -> bool:
        """Freeze and run ``terminate`` within the class's ``shutdown``; False if it was cut off."""
        limit = asyncio.timeout(self.cls.shutdown)
        try:
            async with limit:
                await self.freeze()
                if self.process is not None:
                    await contained(self.process.terminate(reason))
        except Exception:
            if limit.expired():
                log.warning("shutdown_cut_off", extra={"fields": {"name": self.name}})
                await self.kill()
                return False
            log.warning("terminate_failed", extra={"fields": {"name": self.name}}, exc_info=True)
        return True

    async def kill(self) -> None:
        """Cut the running handler, or ``init``, off. One that ignores this is left to itself."""
        busy = self._busy()
        for task in busy:
            task.cancel()
        if busy and (await asyncio.wait(busy, timeout=CUT_OFF_GRACE))[1]:
            log.error("handler_ignores_cancellation", extra={"fields": {"name": self.name}})

    def wait(self) -> None:
        """The instance is gone and another one will be started, unless the cell is frozen."""
        self.process = None
        if self.phase is Phase.FROZEN:
            self._before = Phase.WAITING
        elif self.phase is not Phase.ENDED:
            self.phase = Phase.WAITING

    def end(self, error: HordeError) -> None:
        """Over: what waits gets ``error``; a call that runs may have had its effect already."""
        self.phase = Phase.ENDED
        self._bounce(error)
        exited = error if isinstance(error, ProcessExited) else _cut_off(self.name)
        for running in list(self._asked.values()):
            fail(running, exited)

    # ---- messages ----------------------------------------------------------------------------

    async def call(self, method: str, arguments: bytes, request_id: str) -> bytes:
        """Queue a call and wait for its encoded result.

        A ``request_id`` that was answered, or is being answered, is not run again.
        """
        if request_id in self.answers:
            await self.keeper.settled()
            return self.answers.given(request_id)
        running = self._asked.get(request_id)
        if running is None:
            self._check_open()
            running = asyncio.get_running_loop().create_future()
            self._asked[request_id] = running
            self._put(CallItem(method, arguments, request_id, running))
        return await asyncio.shield(running)

    def cast(self, method: str, arguments: bytes) -> None:
        """Queue a cast."""
        self._check_open()
        self._put(CastItem(method, arguments))

    def info(self, message: Any) -> None:
        """Queue a message for ``handle_info``; dropped when the cell is closed or has no room."""
        if self.phase is not Phase.ENDED:  # after a freeze it may have to go on: no timer is lost
            try:
                self._put(InfoItem(message))
            except MailboxFull as error:
                fields = {"name": self.name, "error": str(error)}
                log.warning("message_dropped", extra={"fields": fields})

    def request_stop(self, reason: str) -> None:
        """End the instance after the running handler, or now if none runs."""
        self.stop_reason = reason
        self._go_on()

    async def absorb(self, other: Resume, answers: Answers) -> None:
        """Merge another state in while frozen."""
        if self.process is not None:
            await self._merge_in(other)
            self.answers.restore(answers, replace=False)

    async def merge(self, other: Resume, answers: Answers) -> None:
        """Run ``merge`` with the state of a duplicate that lost; once for each loser.

        What the loser answered is not run again here.
        """
        self._check_open()
        if (other.node, other.epoch) in self._merged:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(MergeItem(other, answers, done))
        await done

    # ---- the worker --------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.phase in (Phase.FROZEN, Phase.ENDED):
            raise NotHere(self.name, self.setting.node)

    def _put(self, item: Item) -> None:
        if len(self._queue) >= self.setting.config.mailbox_limit:
            if isinstance(item, CallItem):
                self._asked.pop(item.request_id, None)
            raise MailboxFull(self.name, self.setting.config.mailbox_limit)
        self._queue.append(item)
        self.statistics.waiting = len(self._queue)
        self._go_on()

    def _go_on(self) -> None:
        due = self._queue or self.stop_reason is not None
        if self.phase is Phase.RUNNING and due and self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(
                self._work(), name=f"process {self.name}"
            )

    async def _work(self) -> None:
        try:
            while self.phase is Phase.RUNNING:
                if self.stop_reason is not None:
                    self.phase = Phase.WAITING
                    self.setting.owner.exited(self, self.stop_reason, None)
                    break
                if not self._queue:
                    break
                if (gate := self.setting.gate) is not None and gate.is_closed:
                    await gate.passed(self.name, lambda: self.phase is Phase.RUNNING)
                    continue
                item = self._queue.popleft()
                self.statistics.waiting = len(self._queue)
                self._has_past = True
                await self._handle(item)
                self.statistics.handled += 1
                if self.statistics.handled % BURST == 0:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self.phase is Phase.RUNNING:
                raise
        except Exception as error:
            log.warning("process_crashed", extra={"fields": {"name": self.name}}, exc_info=True)
            self._crashed(error)
        finally:
            self._worker = None
            self._go_on()

    def _crashed(self, error: BaseException) -> None:
        self.statistics.failed += 1
        self.last_error = f"{named(error)}: {text_of(error)}"
        running = self.phase is Phase.RUNNING
        self.wait()
        if running:
            self.setting.owner.exited(self, self.last_error, error)

    async def _handle(self, item: Item) -> None:
        match item:
            case CallItem():
                await self._handle_call(item)
                return
            case CastItem(method, arguments):
                await self._handle_cast(method, arguments)
            case InfoItem(message):
                await contained(self._instance.handle_info(message))
            case MergeItem():
                await self._handle_merge(item)
                return
        await self._keep()

    async def _handle_cast(self, method: str, arguments: bytes) -> None:
        try:
            await self._invoke("cast", method, arguments)
        except Refused as refused:
            fields = {"name": self.name, "error": str(refused)}
            log.warning("cast_refused", extra={"fields": fields})

    async def _handle_call(self, item: CallItem) -> None:
        answer: bytes | HordeError
        try:
            if item.request_id in self.answers:  # by a duplicate that was merged in meanwhile
                await self.keeper.settled()
                answer = self.answers.given(item.request_id)
            else:
                answer = await self._answer(item)
                self.answers.remember(item.request_id, answer)
                await self.keeper.after(self)
        except asyncio.CancelledError:
            fail(item.answer, _cut_off(self.name))
            raise
        except HordeError as error:
            answer = error
        except Exception as error:
            fail(item.answer, ProcessExited(self.name, text_of(error)))
            raise
        finally:
            self._asked.pop(item.request_id, None)
        if isinstance(answer, bytes):
            if not item.answer.done():
                item.answer.set_result(answer)
        else:
            fail(item.answer, answer)

    async def _answer(self, item: CallItem) -> bytes | HordeError:
        try:
            result = await self._invoke("call", item.method, item.arguments)
            return self.setting.codec.encode(result, f"the result of {item.method}")
        except Refused as refused:
            return refused.error
        except CannotTravel as error:
            return error
        except Exception as error:
            self.statistics.failed += 1
            fields = {"name": self.name, "method": item.method}
            log.info("call_raised", extra={"fields": fields}, exc_info=error)
            return RemoteError(named(error), text_of(error))

    async def _invoke(self, kind: str, method: str, arguments: bytes) -> Any:
        codec = self.setting.codec
        running = invoke(self._instance, self.type_name, kind, method, arguments, codec)
        return await contained(running)

    async def _handle_merge(self, item: MergeItem) -> None:
        loser = (item.other.node, item.other.epoch)
        try:
            if loser not in self._merged:
                self._merged.add(loser)
                await self._merge_in(item.other)
                self.answers.restore(item.answers, replace=False)
                await self._keep()
        except BaseException:
            fail(item.done, NotHere(self.name, self.setting.node))
            raise
        if not item.done.done():
            item.done.set_result(None)

    async def _merge_in(self, other: Resume) -> None:
        try:
            async with asyncio.timeout(self.setting.config.merge_timeout):
                await contained(self._instance.merge(other))
        except Exception as error:
            fields = {"name": self.name, "error": f"{named(error)}: {text_of(error)}"}
            log.warning("merge_failed", extra={"fields": fields}, exc_info=error)

    async def _keep(self) -> None:
        try:
            await self.keeper.after(self)
        except HordeError as error:
            fields = {"name": self.name, "error": str(error)}
            log.warning("not_kept", extra={"fields": fields})

    @property
    def _instance(self) -> Process:
        assert self.process is not None, "a running cell has an instance"
        return self.process

    def _bounce(self, error: HordeError) -> None:
        items, self._queue = list(self._queue), deque()
        for item in items:
            match item:
                case CallItem():
                    self._asked.pop(item.request_id, None)
                    fail(item.answer, error)
                case MergeItem():
                    fail(item.done, error)
                case _ if self.phase is Phase.FROZEN:  # nobody to tell, and it may thaw
                    self._queue.append(item)
                case _:
                    log.info("message_dropped", extra={"fields": {"name": self.name}})
        self.statistics.waiting = len(self._queue)


def _cut_off(name: str) -> ProcessExited:
    return ProcessExited(name, "it was cut off during shutdown")
