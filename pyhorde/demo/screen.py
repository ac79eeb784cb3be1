"""The timeline on the console: with a live line on a terminal, plain text in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pyhorde.demo.timeline import Event, Tone, table


class Screen:
    """Prints; on anything but a terminal without colours, boxes or line wrapping."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def live(self, status: Callable[[], str]) -> AbstractContextManager[object]:
        """While open, a terminal shows ``status()`` under the timeline."""
        if not self._console.is_terminal:
            return nullcontext()
        return Live(
            get_renderable=lambda: Text(status(), style="dim", overflow="ellipsis", no_wrap=True),
            console=self._console,
            transient=True,
            refresh_per_second=8,
        )

    def event(self, event: Event) -> None:
        """One line of the timeline."""
        self.line(str(event), event.tone)

    def line(self, text: str = "", tone: Tone = Tone.PLAIN) -> None:
        """One line, however long."""
        self._console.print(Text(text, style=tone.value), soft_wrap=True)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """A table; the first row is its header. A narrow terminal gets fewer columns."""
        width = self._console.width if self._console.is_terminal else None
        for text in table(rows, width):
            self.line(text)
