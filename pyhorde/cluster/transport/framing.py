"""Frames on a byte stream. Pure.

::

    length (4, big-endian) | that many bytes

The highest bit of the length marks a control frame, which has no bytes: the rest of the word says
which. A frame that announces more than it may be is refused before any of it is kept.
"""

from __future__ import annotations

from typing import Final

from pyhorde.cluster.transport.wire import MAX_FRAME_BYTES
from pyhorde.errors import ProtocolError

MAX_SEALED_BYTES: Final = MAX_FRAME_BYTES + 64
"""Longest frame, with what sealing adds."""
MAX_UNTRUSTED_BYTES: Final = 16 * 1024
"""Longest frame of somebody who has not proven anything yet."""

PING: Final = (0x80000001).to_bytes(4, "big")
"""Asks the other end's event loop for a sign of life."""
PONG: Final = (0x80000002).to_bytes(4, "big")
_CONTROL: Final = 0x80000000
_HEAD: Final = 4


def framed(frame: bytes) -> bytes:
    """The frame as it travels."""
    return len(frame).to_bytes(_HEAD, "big") + frame


class Deframer:
    """Cuts what arrives into frames."""

    __slots__ = ("_kept", "_limit", "_wanted", "is_pinged", "is_trusted")

    def __init__(self) -> None:
        self.is_trusted = False
        """Whether frames may be large. Until then each is given out by itself, so that what follows
        it is looked at only when somebody has decided about the first."""
        self._limit = MAX_UNTRUSTED_BYTES
        self.is_pinged = False
        """Whether a sign of life was asked for since somebody set this to False."""
        self._kept = bytearray()
        """The beginning of a frame that is not complete."""
        self._wanted = _HEAD
        """So many bytes must be kept before it makes sense to look again."""

    def trust(self) -> None:
        """From now on frames may be large, and as many are given out as there are."""
        self.is_trusted, self._limit = True, MAX_SEALED_BYTES

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete with these bytes. Raises ``ProtocolError``."""
        if not self._kept:
            length = int.from_bytes(data[:_HEAD], "big")
            if length == len(data) - _HEAD and length <= self._limit:  # as it mostly is
                return [data[_HEAD:]]
        else:
            self._kept += data
            if len(self._kept) < self._wanted:
                return []
            data = bytes(self._kept)
            self._kept.clear()
        frames: list[bytes] = []
        start, end = 0, len(data)
        wanted, limit = _HEAD, self._limit
        while end - start >= _HEAD:
            length = int.from_bytes(data[start : start + _HEAD], "big")
            if length > limit:
                self._control(length)
                start += _HEAD
                continue
            after = start + _HEAD + length
            if after > end:
                wanted = _HEAD + length
                break
            frames.append(data[start + _HEAD : after])
            start = after
            if not self.is_trusted:
                break
        if start < end:
            self._kept += data[start:]
            self._wanted = wanted
        return frames

    def _control(self, word: int) -> None:
        if word == _CONTROL | 1:
            self.is_pinged = True
        elif word != _CONTROL | 2:
            raise ProtocolError(f"a frame that is too large: {word} bytes, {self._limit} at most")
