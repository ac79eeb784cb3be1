"""Running one marked method of a process: found by name and kind, arguments decoded and fitted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from pyhorde.cluster.transport.codec import Codec
from pyhorde.errors import BadArguments, CannotTravel, HordeError, UnknownMethod
from pyhorde.runtime.process import Context, Process, Resume, methods_of

T = TypeVar("T")

MAX_TEXT: Final = 4096
"""Characters of an exception's message that travel and are kept."""


async def create(
    cls: type[Process], codec: Codec, arguments: bytes, context: Context, resume: Resume | None
) -> Process:
    """A new instance: constructed, its state restored, ``init`` done. Raises ``BadArguments``."""
    args, kwargs = codec.decode(arguments, "constructor arguments")
    process = cls.__new__(cls)
    process._context = context  # noqa: SLF001 - the runtime lends it
    try:
        process.__init__(*args, **kwargs)  # type: ignore[misc] # run on a bare instance
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise BadArguments(f"{cls.__name__}()", str(error)) from None
        raise
    if resume is not None and resume.state is not None:
        process.load(resume.state, resume.version)
    await process.init(resume)
    return process


class Refused(Exception):
    """The runtime, not the handler, refuses to run the method: nothing has run."""

    def __init__(self, error: HordeError) -> None:
        super().__init__(str(error))
        self.error = error


async def invoke(
    process: Process, type_name: str, kind: str, name: str, arguments: bytes, codec: Codec
) -> Any:
    """The method's result. Raises ``Refused`` before it runs, or whatever the method raises."""
    known = methods_of(type(process))
    method = known.get(name)
    if method is None or method.kind != kind:
        names = tuple(sorted(m.name for m in known.values() if m.kind == kind))
        raise Refused(UnknownMethod(type_name, name, names))
    try:
        args, kwargs = codec.decode(arguments, f"the arguments of {name}")
    except CannotTravel as error:
        raise Refused(error) from None
    try:
        running = method.invoke(process, args, kwargs)
    except TypeError as error:
        raise Refused(BadArguments(name, str(error))) from None
    return await running


class SelfCancelled(Exception):
    """User code ended in a cancellation that nobody asked for."""


async def contained(work: Awaitable[T]) -> T:
    """Run user code. Raises ``SelfCancelled`` for a ``CancelledError`` of its own making.

    Such an exception would otherwise pass for the cancellation of whoever runs the code.
    """
    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise SelfCancelled("the handler cancelled itself") from None


def named(error: BaseException) -> str:
    """The exception's type, as told to others."""
    return "CancelledError" if isinstance(error, SelfCancelled) else type(error).__name__


def text_of(error: BaseException) -> str:
    """The exception's message, so that it can travel: bounded, and valid UTF-8."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the text of user code's exception is user code too
        text = "(its text cannot be had)"
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()
