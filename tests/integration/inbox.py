"""The owner of a stream in tests: what came over it, to be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pyhorde.errors import StreamClosed
from pyhorde.seam import Stream


class Inbox:
    """Owns a stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.reason: str | None = None
        self.resumed = 0
        stream.attach(self)

    async def receive(self, timeout: float = 30.0) -> bytes:
        """The next frame. Raises ``StreamClosed`` at the end, and every time after that."""
        if self.reason is not None and self.frames.empty():
            raise StreamClosed(self.reason)
        self.stream.resume_reading()
        async with asyncio.timeout(timeout):
            frame = await self.frames.get()
        if frame is None:
            raise StreamClosed(self.reason or "")
        return frame

    async def ended(self) -> str:
        """Wait for the end; why it came."""
        try:
            while True:
                await self.receive()
        except StreamClosed as error:
            return error.reason

    def frames_received(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.frames.put_nowait(frame)

    def stream_closed(self, reason: str) -> None:
        assert self.reason is None, "an end is told once"
        self.reason = reason
        self.frames.put_nowait(None)

    def resume_writing(self) -> None:
        self.resumed += 1
