"""Which way pings go to each boot: as packets where those are answered, else over the stream.

Nobody configures it. The first ping after a link is up goes both ways; from the first answer that
came as a packet, packets are used. When several in a row stay without one they count as blocked,
and are tried again now and then.
"""

from __future__ import annotations

from typing import Final

BLOCKED: Final = 5
"""So many packets in a row without an answer, and the stream is used instead."""
TRY_AGAIN: Final = 10
"""Every so many pings over the stream go both ways."""


class StreamFallback:
    """What is known about each boot."""

    def __init__(self) -> None:
        self._missed: dict[str, int] = {}

    def linked(self, boot: str) -> None:
        """A new link: nothing is known any more, and the next ping goes both ways."""
        self._missed[boot] = BLOCKED

    def forget(self, boot: str) -> None:
        """This boot is gone."""
        self._missed.pop(boot, None)

    def of(self, boot: str) -> tuple[bool, bool]:
        """Whether the next ping goes as a packet, and whether it goes over the stream."""
        missed = self._missed.get(boot, BLOCKED)
        if missed < BLOCKED:
            return True, False
        return (missed - BLOCKED) % TRY_AGAIN == 0, True

    def pinged(self, boot: str, *, packet: bool) -> None:
        """A ping went out. One that is answered by a packet makes up for it."""
        if packet or not self.works(boot):
            self._missed[boot] = self._missed.get(boot, BLOCKED) + 1

    def answered(self, boot: str) -> None:
        """An answer came as a packet."""
        self._missed[boot] = 0

    def works(self, boot: str) -> bool:
        """Whether packets get through, as far as is known."""
        return self._missed.get(boot, BLOCKED) < BLOCKED
