"""A cell: one process under supervision on this node, with its mailbox.

The cell outlives crashes of the instance inside it: messages that wait are handled by the next one.
It runs one handler at a time, and has a task only while there is something to do. It knows nothing
of the cluster; what a handler did is made safe by its :class:`~pyhorde.runtime.durable.Keeper`
before the caller hears of it.

::

    STARTING --init done--> RUNNING --crash--> WAITING --restart--> STARTING
                               |  \\--thaw--<--\\
                               +--freeze--> FROZEN --finish--> ENDED      (from any state: ENDED)
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from pyhorde.cluster.codec import Codec
from pyhorde.config import RuntimeConfig
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
    UnknownMethod,
    from_wire,
    to_wire,
)
from pyhorde.runtime.process import Context, Process, Resume, methods_of
from pyhorde.runtime.record import Answers

log = logging.getLogger("pyhorde.process")

BURST: Final = 64
"""Messages one process handles before others get a turn, if none of its handlers waits."""


class Phase(StrEnum):
    """Where a cell is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    FROZEN = "frozen"
    ENDED = "ended"


class Keeper(Protocol):
    """Makes a process's effects safe."""

    async def after(self, cell: Cell) -> None:
        """A handler has run; return when its effect is as safe as the process wants it."""

    async def settled(self) -> None:
        """Return when everything kept so far is safe (for an answer given again)."""


class Owner(Protocol):
    """Whoever supervises the cell."""

    def exited(self, cell: Cell, reason: str, error: BaseException | None) -> None:
        """The instance asked to stop, or (with ``error``) crashed."""


@dataclass(slots=True)
class _Call:
    method: str
    arguments: bytes
    request_id: str
    answer: asyncio.Future[bytes]


@dataclass(slots=True)
class _Cast:
    method: str
    arguments: bytes


@dataclass(slots=True)
class _Info:
    message: Any


@dataclass(slots=True)
class _Merge:
    other: Resume
    done: asyncio.Future[None]


@dataclass(slots=True)
class Statistics:
    """What one process has done since it came to this node."""

    handled: int = 0
    failed: int = 0
    restarts: int = 0
    waiting: int = 0


@dataclass(slots=True)
class Setting:
    """What every cell of a node shares."""

    node: str
    codec: Codec
    config: RuntimeConfig
    owner: Owner


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
    phase: Phase = Phase.STARTING
    process: Process | None = None
    statistics: Statistics = field(default_factory=Statistics)
    stop_reason: str | None = None
    last_error: str = ""
    _before: Phase = Phase.STARTING
    _queue: deque[_Call | _Cast | _Info | _Merge] = field(default_factory=deque)
    _worker: asyncio.Task[None] | None = None
    _answers: OrderedDict[str, bytes | HordeError] = field(default_factory=OrderedDict)
    _asked: dict[str, asyncio.Future[bytes]] = field(default_factory=dict)
    _merged: set[tuple[str, int]] = field(default_factory=set)

    @property
    def restart(self) -> str:
        """The class's restart type."""
        return self.cls.restart

    @property
    def is_busy(self) -> bool:
        """Whether a handler runs now."""
        return self._worker is not None

    # ---- life -----------------------------------------------------------------------------------

    async def start(self, context: Context, resume: Resume | None, answers: Answers) -> None:
        """Construct the instance, restore its state, run ``init``; then serve what waits.

        Raises ``StartFailed``, ``BadArguments`` or ``Ignore``.
        """
        self.phase = Phase.STARTING
        self.process = None
        self.stop_reason = None
        for request_id, good, payload in answers:
            self._answers[request_id] = payload if good else from_wire(payload)
        try:
            async with asyncio.timeout(self.setting.config.start_timeout):
                self.process = await self._create(context, resume)
        except TimeoutError as error:
            raise StartFailed(self.name, "TimeoutError", "init took too long") from error
        except (BadArguments, Ignore, StartFailed):
            raise
        except Exception as error:
            log.warning("start_failed", extra={"fields": {"name": self.name}}, exc_info=True)
            raise StartFailed(self.name, type(error).__name__, str(error)) from error
        if self.phase is Phase.STARTING:
            self.phase = Phase.RUNNING
            self._go_on()

    async def _create(self, context: Context, resume: Resume | None) -> Process:
        args, kwargs = self.setting.codec.decode(self.arguments, "constructor arguments")
        process = self.cls.__new__(self.cls)
        process._context = context  # noqa: SLF001 - the runtime lends it
        try:
            process.__init__(*args, **kwargs)  # type: ignore[misc] # run on a bare instance
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise BadArguments(f"{self.cls.__name__}()", str(error)) from None
            raise
        if resume is not None and resume.state is not None:
            process.load(resume.state, resume.version)
        await process.init(resume)
        return process

    async def freeze(self) -> None:
        """Handle nothing more; waits for the running handler. What waits goes elsewhere."""
        if self.phase not in (Phase.FROZEN, Phase.ENDED):
            self._before, self.phase = self.phase, Phase.FROZEN
        self._bounce(NotHere(self.name, self.setting.node))
        worker = self._worker
        if worker is not None and worker is not asyncio.current_task():
            await asyncio.wait([worker])

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
        """Freeze and run ``terminate``, within the class's ``shutdown``; False if it was cut off."""
        try:
            async with asyncio.timeout(self.cls.shutdown):
                await self.freeze()
                if self.process is not None:
                    await self.process.terminate(reason)
        except TimeoutError:
            log.warning("shutdown_cut_off", extra={"fields": {"name": self.name}})
            await self.kill()
            return False
        except Exception:
            log.warning("terminate_failed", extra={"fields": {"name": self.name}}, exc_info=True)
        return True

    async def kill(self) -> None:
        """Cut the running handler off."""
        worker = self._worker
        if worker is not None and worker is not asyncio.current_task():
            worker.cancel()
            await asyncio.wait([worker])

    def end(self, error: HordeError) -> None:
        """Over: whoever still waits for an answer gets ``error``."""
        self.phase = Phase.ENDED
        self._bounce(error)
        for waiting in list(self._asked.values()):
            _fail(waiting, error)

    # ---- messages -------------------------------------------------------------------------------

    async def call(self, method: str, arguments: bytes, request_id: str) -> bytes:
        """Queue a call and wait for its encoded result.

        A ``request_id`` that was answered, or is being answered, is not run again.
        """
        if request_id in self._answers:
            await self.keeper.settled()
            return _given(self._answers[request_id])
        running = self._asked.get(request_id)
        if running is None:
            self._check_open()
            running = asyncio.get_running_loop().create_future()
            running.add_done_callback(_retrieved)
            self._asked[request_id] = running
            self._put(_Call(method, arguments, request_id, running))
        return await asyncio.shield(running)

    def cast(self, method: str, arguments: bytes) -> None:
        """Queue a cast."""
        self._check_open()
        self._put(_Cast(method, arguments))

    def info(self, message: Any) -> None:
        """Queue a message for ``handle_info``; dropped once the cell is closed."""
        if self.phase in (Phase.RUNNING, Phase.STARTING, Phase.WAITING):
            self._put(_Info(message))

    async def merge(self, other: Resume) -> None:
        """Run ``merge`` with the state of a duplicate that lost; once for each loser."""
        self._check_open()
        if (other.node, other.epoch) in self._merged:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(_Merge(other, done))
        await done

    def recent_answers(self, limit_bytes: int = 64 * 1024) -> Answers:
        """The latest answers, newest last, as far as they fit."""
        kept: Answers = []
        for request_id, answer in reversed(self._answers.items()):
            good = isinstance(answer, bytes)
            payload = answer if isinstance(answer, bytes) else to_wire(answer)
            limit_bytes -= len(request_id) + (len(answer) if isinstance(answer, bytes) else 200)
            if limit_bytes < 0:
                break
            kept.append([request_id, good, payload])
        return kept[::-1]

    # ---- the worker -----------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.phase in (Phase.FROZEN, Phase.ENDED):
            raise NotHere(self.name, self.setting.node)

    def _put(self, item: _Call | _Cast | _Info | _Merge) -> None:
        if len(self._queue) >= self.setting.config.mailbox_limit:
            if isinstance(item, _Call):
                self._asked.pop(item.request_id, None)
            raise MailboxFull(self.name, self.setting.config.mailbox_limit)
        self._queue.append(item)
        self.statistics.waiting = len(self._queue)
        self._go_on()

    def _go_on(self) -> None:
        if self.phase is Phase.RUNNING and self._queue and self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(
                self._work(), name=f"process {self.name}"
            )

    async def _work(self) -> None:
        try:
            while self._queue and self.phase is Phase.RUNNING:
                item = self._queue.popleft()
                self.statistics.waiting = len(self._queue)
                await self._handle(item)
                self.statistics.handled += 1
                if self.statistics.handled % BURST == 0:
                    await asyncio.sleep(0)
                if self.stop_reason is not None and self.phase is Phase.RUNNING:
                    self.phase = Phase.WAITING
                    self.setting.owner.exited(self, self.stop_reason, None)
        except asyncio.CancelledError:
            if self.phase is Phase.RUNNING:
                raise
        except Exception as error:
            self._crashed(error)
        finally:
            self._worker = None
            self._go_on()

    def _crashed(self, error: BaseException) -> None:
        self.statistics.failed += 1
        self.last_error = f"{type(error).__name__}: {error}"
        fields = {"name": self.name, "error": self.last_error}
        log.warning("process_crashed", extra={"fields": fields}, exc_info=error)
        if self.phase is Phase.RUNNING:
            self.phase = Phase.WAITING
            self.setting.owner.exited(self, self.last_error, error)

    async def _handle(self, item: _Call | _Cast | _Info | _Merge) -> None:
        match item:
            case _Call():
                await self._handle_call(item)
                return
            case _Cast(method, arguments):
                await self._invoke("cast", method, arguments)
            case _Info(message):
                await self._instance.handle_info(message)
            case _Merge():
                await self._handle_merge(item)
        await self._keep()

    async def _handle_call(self, item: _Call) -> None:
        answer: bytes | HordeError
        try:
            answer = await self._answer(item)
            self._remember(item.request_id, answer)
            await self.keeper.after(self)
        except asyncio.CancelledError:
            _fail(item.answer, ProcessExited(self.name, "it was cut off during shutdown"))
            raise
        except HordeError as error:
            answer = error
        finally:
            self._asked.pop(item.request_id, None)
        if isinstance(answer, bytes):
            if not item.answer.done():
                item.answer.set_result(answer)
        else:
            _fail(item.answer, answer)

    async def _answer(self, item: _Call) -> bytes | HordeError:
        try:
            result = await self._invoke("call", item.method, item.arguments)
            return self.setting.codec.encode(result, f"the result of {item.method}")
        except _Refused as refused:
            return refused.error
        except CannotTravel as error:
            return error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return RemoteError("CancelledError", "the handler cancelled itself")
        except Exception as error:
            self.statistics.failed += 1
            fields = {"name": self.name, "method": item.method}
            log.info("call_raised", extra={"fields": fields}, exc_info=error)
            return RemoteError(type(error).__name__, str(error))

    async def _invoke(self, kind: str, name: str, arguments: bytes) -> Any:
        known = methods_of(self.cls)
        method = known.get(name)
        if method is None or method.kind != kind:
            names = tuple(sorted(m.name for m in known.values() if m.kind == kind))
            raise _Refused(UnknownMethod(self.type_name, name, names))
        args, kwargs = self._arguments(name, arguments)
        try:
            running = method.invoke(self._instance, args, kwargs)
        except TypeError as error:
            raise _Refused(BadArguments(name, str(error))) from None
        return await running

    def _arguments(self, method: str, arguments: bytes) -> tuple[list[Any], dict[str, Any]]:
        try:
            args, kwargs = self.setting.codec.decode(arguments, f"the arguments of {method}")
        except CannotTravel as error:
            raise _Refused(error) from None
        return list(args), dict(kwargs)

    async def _handle_merge(self, item: _Merge) -> None:
        try:
            async with asyncio.timeout(self.setting.config.merge_timeout):
                await self._instance.merge(item.other)
        except (Exception, TimeoutError) as error:
            fields = {"name": self.name, "error": f"{type(error).__name__}: {error}"}
            log.warning("merge_failed", extra={"fields": fields}, exc_info=error)
        self._merged.add((item.other.node, item.other.epoch))
        if not item.done.done():
            item.done.set_result(None)

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

    def _remember(self, request_id: str, answer: bytes | HordeError) -> None:
        self._answers[request_id] = answer
        while len(self._answers) > self.setting.config.recent_answers:
            self._answers.popitem(last=False)

    def _bounce(self, error: HordeError) -> None:
        items, self._queue = list(self._queue), deque()
        self.statistics.waiting = 0
        for item in items:
            match item:
                case _Call():
                    self._asked.pop(item.request_id, None)
                    _fail(item.answer, error)
                case _Merge():
                    _fail(item.done, error)
                case _:
                    log.info("message_dropped", extra={"fields": {"name": self.name}})


class _Refused(Exception):  # noqa: N818 - a carrier, not an error of its own
    """The runtime, not the handler, refuses a call."""

    def __init__(self, error: HordeError) -> None:
        super().__init__(str(error))
        self.error = error


def _given(answer: bytes | HordeError) -> bytes:
    if isinstance(answer, HordeError):
        raise answer
    return answer


def _fail(future: asyncio.Future[Any], error: HordeError) -> None:
    if not future.done():
        future.set_exception(error)


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Mark a failure as seen: every waiter may have gone by the time it comes."""
    if not future.cancelled():
        future.exception()
