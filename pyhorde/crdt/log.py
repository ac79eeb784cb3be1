"""One origin's events as one replica knows them.

Only the origin itself writes here; everyone else holds a copy that is determined by one number,
``seq``: all its events up to there are known. Removals are remembered (``kills``) so that a peer
that is a little behind gets just them; past ``KEPT_KILLS`` the oldest are forgotten and a peer that
is further behind gets the list of live events instead. Forgetting is a matter of cost only.
"""

from __future__ import annotations

from collections import deque
from itertools import takewhile

from pyhorde.crdt.delta import Row, Segment
from pyhorde.crdt.dots import Origin

KEPT_KILLS = 10_000
ROW_OVERHEAD = 16


class OriginLog:
    """Live rows, known removals and register events of one origin."""

    __slots__ = (
        "early",
        "floor",
        "kills",
        "origin",
        "registers",
        "retired",
        "rows",
        "seq",
        "superseded",
    )

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.seq = 0
        self.rows: dict[int, Row] = {}
        self.kills: deque[tuple[int, int]] = deque()
        self.floor = 0
        self.retired = False
        self.registers: dict[tuple[str, str], int] = {}
        """Registers whose current value this origin wrote, by (table, key)."""
        self.early: set[tuple[str, str]] = set()
        """Those of ``registers`` that were written after event ``seq``: known ahead of it."""
        self.superseded: dict[tuple[str, str], int] = {}
        """Registers it wrote last at this event, and somebody else after it (own log only)."""

    def advance(self, seq: int) -> None:
        """Note that all events up to ``seq`` are known."""
        self.seq = max(self.seq, seq)
        if self.early:
            self.early = {name for name in self.early if self.registers[name] > self.seq}

    def note_register(self, name: tuple[str, str], seq: int) -> None:
        """Note that the current value of a register is this origin's event ``seq``."""
        self.registers[name] = seq
        if seq > self.seq:
            self.early.add(name)

    def forget_register(self, name: tuple[str, str]) -> None:
        """Note that the current value of a register is somebody else's."""
        self.registers.pop(name, None)
        self.early.discard(name)

    def live_between(self, frm: int, to: int) -> list[int]:
        """The live events in ``(frm, to]``, at the cost of the shorter way to find them."""
        if to - frm < len(self.rows):
            return [seq for seq in range(frm + 1, to + 1) if seq in self.rows]
        return [seq for seq in self.rows if frm < seq <= to]

    def remember_kill(self, at: int, seq: int) -> None:
        """Note that event ``at`` removed the row of event ``seq``."""
        self.kills.append((at, seq))
        while len(self.kills) > KEPT_KILLS:
            self.floor = self.kills.popleft()[0]

    def segments(self, frm: int, chunk_bytes: int) -> list[Segment]:
        """Everything after ``frm``, cut into pieces of about ``chunk_bytes``; at least one."""
        rows = list(takewhile(lambda row: row.seq > frm, reversed(self.rows.values())))[::-1]
        cuts = self._cuts(rows, chunk_bytes)
        pieces: list[Segment] = []
        for chunk, to in cuts:
            pieces.append(self._segment(frm, to, tuple(chunk), first=not pieces))
            frm = to
        return pieces

    def _cuts(self, rows: list[Row], chunk_bytes: int) -> list[tuple[list[Row], int]]:
        cuts: list[tuple[list[Row], int]] = []
        chunk: list[Row] = []
        size = 0
        for row in rows:
            if chunk and size > chunk_bytes:
                cuts.append((chunk, chunk[-1].seq))
                chunk, size = [], 0
            chunk.append(row)
            size += len(row.key) + len(row.value) + ROW_OVERHEAD
        cuts.append((chunk, self.seq))
        return cuts

    def _segment(self, frm: int, to: int, rows: tuple[Row, ...], *, first: bool) -> Segment:
        if frm == 0:
            return Segment(self.origin, 0, to, rows, complete=False)
        complete = self.floor <= frm
        kills = tuple((at, seq) for at, seq in self.kills if frm < at <= to)
        live = None
        if first and not complete:
            live = tuple(seq for seq in self.rows if seq <= frm)
        return Segment(self.origin, frm, to, rows, kills, complete, live)
