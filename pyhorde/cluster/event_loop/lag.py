"""How late the event loop is, and what made it so.

A timer that should fire every ``BEAT`` seconds measures it from inside; a watchdog, where the world
has one, looks from outside while the loop stands still, and says at once what blocks it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyhorde.seam import Watchdog, World

log = logging.getLogger("pyhorde.loop")

BEAT: Final = 0.25
"""Seconds between two looks from inside."""
SPAN: Final = 10.0
"""The longest lag of the last so many seconds is what is shown."""


@dataclass(frozen=True, slots=True)
class Blockage:
    """Something that kept the event loop from running."""

    seconds: float
    """For how long, as far as is known."""
    stack: str
    """What ran meanwhile, the innermost call last."""


class LoopMeter:
    """Measures one event loop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._watchdog: Watchdog | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._beat = 0.0
        self._worst = (0.0, 0.0)
        """The longest lag of this span and of the one before it."""
        self._turn = 0.0
        self.last: Blockage | None = None
        """What blocked the loop last."""
        self.blockages = 0
        self._untold = False
        """Whether the last one is known to the watchdog's thread alone."""
        self.on_blocked: Callable[[Blockage], None] = lambda _: None
        """Told of each blockage when the loop runs again."""

    @property
    def lag(self) -> float:
        """The longest that the loop was late of late, seconds."""
        return max(self._worst)

    def start(self) -> None:
        """Begin. Nothing is measured where nobody watches."""
        self._beat = self._turn = self._world.now()
        self._watchdog = self._world.watch(lambda: self._beat, self._blocked)
        if self._watchdog is not None:
            self._arm()

    def close(self) -> None:
        """Stop. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watchdog is not None:
            self._watchdog.close()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._look)

    def _look(self) -> None:
        now = self._world.now()
        lag = max(0.0, now - self._beat - BEAT)
        self._beat = now
        if now - self._turn >= SPAN:
            self._turn, self._worst = now, (0.0, self._worst[0])
        self._worst = (max(self._worst[0], lag), self._worst[1])
        if self._untold and self.last is not None:
            self._untold = False
            self.last = Blockage(max(lag, self.last.seconds), self.last.stack)
            self.on_blocked(self.last)
        self._arm()

    def _blocked(self, seconds: float, stack: str) -> None:
        """Called from the watchdog's thread."""
        self.blockages += 1
        self.last = Blockage(seconds, stack)
        fields = {"seconds": round(seconds, 2), "stack": stack}
        fields["next"] = "move blocking work to a thread: await asyncio.to_thread(...)"
        log.warning("loop_blocked", extra={"fields": fields})
        self._untold = True
