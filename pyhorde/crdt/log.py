"""One origin's events as one replica knows them.

Only the origin itself writes here; everyone else holds a copy that is determined by one number,
``seq``: all its events up to there are known. Removals are remembered (``kills``) so that a peer
that is a little behind gets just them; those that every peer has seen, and the oldest beyond
``KEPT_KILLS``, are forgotten, and a peer that is further behind gets the list of live events
instead. Forgetting is a matter of cost only.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator

from pyhorde.crdt.delta import Name, Piece, Segment
from pyhorde.crdt.dots import Dot, Origin
from pyhorde.crdt.labels import Labels
from pyhorde.crdt.rows import Rows, Run, Stored, label_of

KEPT_KILLS = 100_000


class Kills:
    """Removals in order: event ``at`` removed the row of event ``seq``."""

    __slots__ = ("_at", "_seq", "floor")

    def __init__(self) -> None:
        self._at = array("Q")
        self._seq = array("Q")
        self.floor = 0
        """Removals by events up to here may have been forgotten."""

    def __len__(self) -> int:
        return len(self._at)

    def remember(self, at: int, seq: int) -> None:
        """Note one more removal; the oldest go beyond ``KEPT_KILLS`` (and a tenth)."""
        self._at.append(at)
        self._seq.append(seq)
        if len(self._at) > KEPT_KILLS + KEPT_KILLS // 10:
            self.forget(self._at[-KEPT_KILLS - 1] if KEPT_KILLS else at)

    def forget(self, upto: int) -> None:
        """Forget the removals by events up to ``upto``."""
        if upto > self.floor:
            self.floor = upto
            gone = bisect_right(self._at, upto)
            del self._at[:gone], self._seq[:gone]

    def between(self, frm: int, to: int) -> tuple[tuple[int, int], ...]:
        """Those by events in ``(frm, to]`` that are remembered."""
        low, high = bisect_right(self._at, frm), bisect_right(self._at, to)
        return tuple(zip(self._at[low:high], self._seq[low:high], strict=True))

    def first_after(self, frm: int) -> int | None:
        """The first event above ``frm`` of which a removal is remembered."""
        place = bisect_right(self._at, frm)
        return self._at[place] if place < len(self._at) else None


class Shelf:
    """One origin's rows in one table, and their labels."""

    __slots__ = ("labels", "rows")

    def __init__(self) -> None:
        self.rows = Rows()
        self.labels = Labels()


class OriginLog:
    """Live rows, known removals and register events of one origin."""

    __slots__ = (
        "_early",
        "_registers",
        "_sorted",
        "index",
        "kills",
        "live",
        "origin",
        "register_floor",
        "seq",
        "shelves",
        "total",
    )

    def __init__(self, origin: Origin, index: int) -> None:
        self.origin = origin
        self.index = index
        """The upper part of this origin's packed dots."""
        self.seq = 0
        self.shelves: dict[str, Shelf] = {}
        self.live = 0
        """How many rows there are, and the sum of their numbers: what two copies compare."""
        self.total = 0
        self.kills = Kills()
        self.register_floor = 0
        """Deletions of registers by events up to here may have been forgotten, here or by those
        who told of them; it may be above ``seq``."""
        self._registers: dict[int, Name] = {}
        self._early: dict[int, Name] = {}
        self._sorted = True

    # ---- rows --------------------------------------------------------------------------------

    def shelf(self, table: str) -> Shelf:
        """The rows of a table; made when there are none yet."""
        shelf = self.shelves.get(table)
        if shelf is None:
            shelf = self.shelves[table] = Shelf()
        return shelf

    def put(self, table: str, seq: int, key: str, stored: Stored) -> None:
        """Add one row."""
        shelf = self.shelf(table)
        shelf.rows.put(seq, key, stored)
        shelf.labels.add(label_of(stored), seq)
        self.live += 1
        self.total += seq

    def extend(self, piece: Piece, run: Run) -> None:
        """Add the rows of ``piece``, or what is left of them: ``run``."""
        shelf = self.shelf(piece.table)
        shelf.rows.extend(run)
        seqs = run.seqs
        if piece.is_uniform and run.gaps is None:
            shelf.labels.add(piece.labels[0][1], run.start, len(run.keys))
        else:
            for seq, stored in zip(seqs, run.stored, strict=True):
                shelf.labels.add(label_of(stored), seq)
        self.live += len(run.keys)
        self.total += sum(seqs)

    def pop(self, seq: int) -> tuple[str, str, Stored] | None:
        """Take a live row out: its table, key and content."""
        for table, shelf in self.shelves.items():
            found = shelf.rows.pop(seq)
            if found is not None:
                key, stored = found
                label = label_of(stored)
                if label:
                    shelf.labels.drop(label, shelf.rows.get)
                self.live -= 1
                self.total -= seq
                return table, key, stored
        return None

    def get(self, seq: int) -> tuple[str, str, Stored] | None:
        """The live row of this number: its table, key and content."""
        for table, shelf in self.shelves.items():
            found = shelf.rows.get(seq)
            if found is not None:
                return table, *found
        return None

    def seqs(self, frm: int, to: int) -> list[int]:
        """The numbers of the live rows in ``(frm, to]``."""
        return [seq for shelf in self.shelves.values() for seq in shelf.rows.seqs(frm, to)]

    # ---- registers ---------------------------------------------------------------------------

    def advance(self, seq: int) -> None:
        """Note that all events up to ``seq`` are known."""
        self.seq = max(self.seq, seq)
        if self._early:
            for early in sorted(each for each in self._early if each <= self.seq):
                self._insert(early, self._early.pop(early))

    def carry(self, name: Name, seq: int) -> None:
        """Note that the current value of a register is this origin's event ``seq``."""
        if seq > self.seq:
            self._early[seq] = name
        else:
            self._insert(seq, name)

    def _insert(self, seq: int, name: Name) -> None:
        registers = self._registers
        if registers and self._sorted and next(reversed(registers)) > seq:
            self._sorted = False
        registers[seq] = name

    def drop_register(self, seq: int) -> None:
        """Note that the value of this event is not current any more."""
        self._registers.pop(seq, None)
        self._early.pop(seq, None)

    def registers(self, frm: int, to: int | None = None) -> list[tuple[Name, Dot]]:
        """Registers whose current value is an event above ``frm`` (and up to ``to``), and that.

        Without ``to`` those that are known ahead of ``seq`` are among them.
        """
        if not self._sorted:
            self._registers = dict(sorted(self._registers.items()))
            self._sorted = True
        found = []
        for seq, name in reversed(self._registers.items()):
            if seq <= frm:
                break
            if to is None or seq <= to:
                found.append((name, Dot(self.origin, seq)))
        found.reverse()
        if to is None:
            early = self._early.items()
            found += [(name, Dot(self.origin, seq)) for seq, name in early if seq > frm]
        return found

    @property
    def is_ahead(self) -> bool:
        """Whether a register is known ahead of ``seq``."""
        return bool(self._early)

    @property
    def carries(self) -> bool:
        """Whether it holds the current value of any register."""
        return bool(self._registers or self._early)

    # ---- sending -----------------------------------------------------------------------------

    def weight(self, frm: int, to: int) -> int:
        """About how many bytes the segment of events ``(frm, to]`` takes."""
        size = 0
        for _, run in self._runs(frm, to):
            size += sum(map(len, run.keys)) + 2 * len(run.keys)
            size += sum(len(each[1]) + 3 for each in run.stored if isinstance(each, tuple))
        return size

    def is_empty(self, frm: int, to: int) -> bool:
        """Whether nothing is known to have happened in the events ``(frm, to]``."""
        return not (self.kills.between(frm, to) or any(True for _ in self._runs(frm, to)))

    def first_after(self, frm: int, to: int) -> int:
        """The last event up to ``to`` before which, after ``frm``, nothing happened."""
        firsts = [shelf.rows.first_after(frm) for shelf in self.shelves.values()]
        firsts.append(self.kills.first_after(frm))
        nearest = min((first for first in firsts if first is not None), default=to + 1)
        return max(frm, min(to, nearest - 1))

    def _runs(self, frm: int, to: int) -> Iterator[tuple[str, Run]]:
        for table, shelf in self.shelves.items():
            for run in shelf.rows.runs(frm, to):
                yield table, run

    def segment(self, frm: int, to: int) -> Segment:
        """Events ``(frm, to]``."""
        pieces = tuple(Piece.of(table, run) for table, run in self._runs(frm, to))
        if frm == 0:
            return Segment(self.origin, 0, to, pieces, (), complete=False)
        complete = self.kills.floor <= frm
        return Segment(self.origin, frm, to, pieces, self.kills.between(frm, to), complete)
