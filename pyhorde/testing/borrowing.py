# ruff: noqa: SLF001 - tasks are continued by asyncio's own means
"""Continue a coroutine, which runs on some real event loop, on a simulated one, and give it back.

``async with SimCluster(...)`` works under any loop by this. The real task waits while its coroutine
is driven by a task of the simulated loop; on the way out it is handed back at the same point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any

from pyhorde.testing.loop import SimLoop

_BACK = object()
_MOST_UNWINDING = 1000


class _Continued(Coroutine[Any, Any, None]):
    """The rest of a coroutine, up to where it wants to go back."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        self.__name__ = coroutine.__name__
        self.__qualname__ = coroutine.__qualname__

    def send(self, value: Any) -> Any:
        return self._unless_back(self._coroutine.send(value))

    def throw(self, *error: Any) -> Any:
        return self._unless_back(self._coroutine.throw(*error))

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[Any, None, None]:
        raise NotImplementedError

    def _unless_back(self, awaited: Any) -> Any:
        if awaited is _BACK:
            raise StopIteration
        return awaited


class Borrowing:
    """One coroutine's stay on a simulated loop. ``await borrowing`` goes there; ``back()`` back."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def __await__(self) -> Generator[Any, None, None]:
        real = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        waiter: Any = real.create_future()
        real.call_soon(self._drive, task.get_coro(), waiter)
        waiter._asyncio_future_blocking = True
        yield waiter

    def back(self) -> _Back:
        """Await this to go back to the real loop."""
        return _Back()

    def _drive(self, coroutine: Any, waiter: asyncio.Future[None]) -> None:
        try:
            self._loop.run_until_complete(_Continued(coroutine))
        except BaseException as error:  # noqa: BLE001 - the coroutine's own `async with` gets it
            self._unwind(coroutine, error)
        waiter.set_result(None)

    def _unwind(self, coroutine: Any, error: BaseException) -> None:
        """The loop failed (a deadlock, say) where the coroutine waited: it must know."""
        with suppress(BaseException):
            for _ in range(_MOST_UNWINDING):
                if coroutine.throw(error) is _BACK:
                    return


class _Back:
    def __await__(self) -> Generator[Any, None, None]:
        yield _BACK
