"""A thread that looks whether the event loop runs, and at what it does when it does not."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import takewhile
from types import FrameType
from typing import Final

BLOCKED_AFTER: Final = 0.5
"""Seconds without a beat after which the loop is called blocked."""
LOOK: Final = 0.1
"""Seconds between two looks at least. The next one is due when the latest beat becomes too old: a
look costs a tenth of a millisecond, nearly all of it for waking up."""
LATE: Final = 0.2
"""A look that comes so many seconds after it was due: the thread has been kept from looking."""
STACK_FRAMES: Final = 25
STACK_BYTES: Final = 8 * 1024
JOIN: Final = 0.5
"""Seconds to wait for the thread's end at most."""
_LOOP: Final = {
    ("asyncio.events", "_run"),
    ("asyncio.base_events", "_run_once"),
    ("asyncio.base_events", "run_forever"),
    ("asyncio.base_events", "run_until_complete"),
    ("asyncio.runners", "run"),
}
"""Functions that run the loop: outside of them nothing is of interest."""

log = logging.getLogger("pyhorde.watchdog")


class Vigil:
    """Decides when a beat is too old; pure. A program that stood still altogether does not count.

    Who was stopped (SIGSTOP, a virtual machine that was moved, no CPU to be had) looks late, and
    has used no CPU time meanwhile: then the loop is given its time anew. Code that holds the
    interpreter's lock makes the thread look late too, but uses it.
    """

    def __init__(self, now: float, cpu: float) -> None:
        self._looked, self._cpu = now, cpu
        self._since = now
        """No beat can be expected from before."""
        self._told: float | None = None
        """The beat whose age has been told."""
        self.wait = BLOCKED_AFTER
        """Seconds until the next look."""

    def look(self, now: float, cpu: float, beat: float) -> float | None:
        """Seconds for which the loop has been blocked, once for each beat; None: all is well."""
        pause, used = now - self._looked, cpu - self._cpu
        self._looked, self._cpu = now, cpu
        if pause > self.wait + LATE and used < pause / 2:
            self._since = now
        age = now - max(beat, self._since)
        if age <= BLOCKED_AFTER:
            self.wait = max(LOOK, BLOCKED_AFTER - age)
            return None
        self.wait = LOOK
        if beat == self._told:
            return None
        self._told = beat
        return age


class WatchThread:
    """A :class:`~pyhorde.seam.Watchdog`. Looks at the loop of the thread that makes it."""

    def __init__(self, beat: Callable[[], float], blocked: Callable[[float, str], None]) -> None:
        self._beat = beat
        self._blocked = blocked
        self._watched = threading.get_ident()
        self._open = threading.Lock()
        self._open.acquire()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="pyhorde-watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._open.release()
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN)

    def _run(self) -> None:
        vigil = Vigil(time.monotonic(), time.process_time())
        try:
            while not self._open.acquire(timeout=vigil.wait):
                age = vigil.look(time.monotonic(), time.process_time(), self._beat())
                if age is not None:
                    self._blocked(age, stack_of(self._watched))
        except Exception:
            fields = {"next": "a blocked event loop is not noticed any more"}
            log.exception("watchdog_failed", extra={"fields": fields})


def stack_of(thread: int) -> str:
    """What a thread is doing, as Python prints it, the innermost call last.

    At most the 25 innermost frames and 8 KiB. What runs the event loop is left out, and so are
    pyhorde's frames between the loop and the code that it called.
    """
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, and the only way
    if frame is None:
        return "the thread has ended\n"
    frames = list(takewhile(_is_work, _outwards(frame))) or [frame]
    work = list(frames)
    while work and _is_own(work[-1]):
        work.pop()
    chosen = reversed((work or frames)[:STACK_FRAMES])
    lines = traceback.StackSummary.extract((each, each.f_lineno) for each in chosen).format()
    return _innermost(lines)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_work(frame: FrameType) -> bool:
    return (_module(frame), frame.f_code.co_name) not in _LOOP


def _is_own(frame: FrameType) -> bool:
    package, _, inside = _module(frame).partition(".")
    return package == "asyncio" or (package == "pyhorde" and not inside.startswith("examples"))


def _innermost(lines: list[str]) -> str:
    """As many of the last entries as there is room for; of one that is too long its end."""
    size = 0
    kept: list[str] = []
    for line in reversed(lines):
        size += len(line.encode())
        if size > STACK_BYTES:
            break
        kept.append(line)
    whole = "".join(reversed(kept))
    return whole or lines[-1].encode()[-STACK_BYTES:].decode(errors="ignore")
