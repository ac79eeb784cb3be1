"""What a replica knows: logs of origins, an index of the keys they claim, and registers.

See :mod:`pyhorde.crdt.replica` for the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from operator import itemgetter
from typing import NamedTuple

from pyhorde.crdt.claims import SEQ_BITS, SEQ_MASK, Claims
from pyhorde.crdt.delta import Name, Piece, RegisterRow
from pyhorde.crdt.dots import Dot, Origin
from pyhorde.crdt.hlc import HybridClock
from pyhorde.crdt.joined import Joined, Removed
from pyhorde.crdt.log import OriginLog, Shelf
from pyhorde.crdt.registers import Register, Registers
from pyhorde.crdt.rows import Run, Stored, label_of, value_of


class Claimed(NamedTuple):
    """One claim of a key: who says it (the dot's origin) and what it says."""

    key: str
    dot: Dot
    value: bytes | None
    label: bytes = b""


class Store:
    """The state of one origin, with all it knows of the others."""

    def __init__(self, origin: Origin, max_skew: float = 0.5) -> None:
        self.origin = origin
        self.clock = HybridClock(max_skew)
        self.limits: dict[str, int] = {}
        """The largest values, in bytes, that are taken from others in tables with a limit."""
        self.marks: dict[str, int] = {}
        """Counters that only rise, everywhere; see :meth:`mark`."""
        self.retired: dict[Origin, int] = {}
        """Retired origins, and how far each was known."""
        self.refused = 0
        """Segments of retired origins that were refused."""
        self._logs: dict[Origin, OriginLog] = {}
        self._by_index: dict[int, OriginLog] = {}
        self._tables: dict[str, Claims] = {}
        self._registers = Registers()
        self._overwritten: dict[int, Name] = {}
        """Own events whose register is carried by somebody else's event by now."""
        self._seen: dict[Origin, int] = {}
        """How far revived origins were known before: their registers up to there are no news."""
        self._floors: dict[Origin, int] = {}
        """The ``register_floor`` of origins that somebody dropped, and passed on by an event."""
        self._push_floor = 0
        """Own events up to here cannot be told by :meth:`Replica.own_delta` any more."""
        self._dying: list[OriginLog] = []
        self._indexes = 0
        self._own = self._log(origin)

    # ---- reading -----------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        """The number of own events so far."""
        return self._own.seq

    @property
    def vector(self) -> dict[Origin, int]:
        """How far each origin is known (a copy)."""
        return {origin: log.seq for origin, log in self._logs.items()}

    def known(self, origin: Origin) -> int:
        """How far this origin is known."""
        log = self._logs.get(origin)
        return log.seq if log is not None else 0

    def claims(self, key: str, table: str = "") -> list[Claimed]:
        """Every live claim of the key, in no particular order."""
        claims = self._tables.get(table)
        if claims is None:
            return []
        found = [self.claimed(dot) for dot in claims.of(key)]
        return [claim for claim in found if claim is not None]

    def claimed(self, dot: int) -> Claimed | None:
        """What a packed dot stands for; None when its origin has been dropped."""
        log = self._by_index.get(dot >> SEQ_BITS)
        if log is None or self._logs.get(log.origin) is not log:
            return None
        found = log.get(dot & SEQ_MASK)
        if found is None:
            return None
        _, key, stored = found
        return _claimed(log.origin, dot & SEQ_MASK, key, stored)

    def index(self, table: str) -> Claims:
        """A table's index of keys, for reading; it stays the same object."""
        claims = self._tables.get(table)
        if claims is None:
            claims = self._tables[table] = Claims()
        return claims

    def tables(self) -> list[str]:
        """The tables with live claims."""
        return [table for table, claims in self._tables.items() if claims.dots]

    def stored(self, table: str, dot: int) -> tuple[OriginLog, int, Stored | None]:
        """The log that a packed dot points into, its number there, and the live row's content."""
        log, seq = self._by_index[dot >> SEQ_BITS], dot & SEQ_MASK
        found = log.shelves[table].rows.get(seq)
        is_current = found is not None and self._logs.get(log.origin) is log
        return log, seq, found[1] if is_current and found else None

    def shelves(self, table: str) -> list[tuple[int, Origin, Shelf]]:
        """Every origin's rows in a table, and the upper part of its packed dots."""
        logs = [log for log in self._logs.values() if table in log.shelves]
        return [(log.index, log.origin, log.shelves[table]) for log in logs]

    def is_live(self, table: str, seq: int) -> bool:
        """Whether the own claim of this event is still there."""
        shelf = self._own.shelves.get(table)
        return shelf is not None and shelf.rows.get(seq) is not None

    def keys(self, table: str = "") -> Iterator[str]:
        """Every key with a live claim."""
        claims = self._tables.get(table)
        if claims is None:
            return iter(())
        if not self._dying:
            return iter(claims.dots)
        return (key for key in claims.dots if self.claims(key, table))

    def claims_of(self, origin: Origin, table: str | None = None) -> list[Claimed]:
        """The live claims of one origin, oldest first; those of one table if it is given."""
        log = self._logs.get(origin)
        if log is None:
            return []
        shelves = log.shelves.values() if table is None else [log.shelf(table)]
        rows = [
            row
            for shelf in shelves
            for run in shelf.rows.runs(0, log.seq)
            for row in zip(run.seqs, run.keys, run.stored, strict=True)
        ]
        rows.sort(key=itemgetter(0))
        return [_claimed(origin, *row) for row in rows]

    def labelled(self, origin: Origin, table: str, label: bytes) -> list[Claimed]:
        """The live claims of one origin that carry this label, oldest first."""
        log = self._logs.get(origin)
        shelf = log.shelves.get(table) if log is not None else None
        if shelf is None:
            return []
        found = ((seq, shelf.rows.get(seq)) for seq in shelf.labels.seqs(label))
        rows = [_claimed(origin, seq, *row) for seq, row in found if row is not None]
        return [claim for claim in rows if claim.label == label]

    def register(self, table: str, key: str) -> Register | None:
        """The register, deleted or not; None if nobody wrote it, or its deletion is forgotten."""
        return self._registers.get(table, key)

    def registers(self) -> Iterator[Name]:
        """Every register there is, deletions included."""
        return self._registers.names()

    def table(self, table: str) -> Mapping[str, Register]:
        """All registers of a table, deletions included (do not change it)."""
        return self._registers.table(table)

    @property
    def forgotten(self) -> dict[str, tuple[int, int]]:
        """The greatest rank and stamp of a forgotten deletion in each table (a copy)."""
        return dict(self._registers.forgotten)

    @property
    def passed_on(self) -> dict[Origin, int]:
        """Dropped origins whose forgotten deletions somebody's event stands for (a copy)."""
        return dict(self._floors)

    @property
    def deletions(self) -> int:
        """How many deletions of registers are remembered."""
        return len(self._registers.deleted)

    @property
    def size(self) -> int:
        """How many rows, registers, deletions and removal records are kept."""
        rows = sum(log.live + len(log.kills) for log in self._logs.values())
        registers = len(self._registers)
        return rows + registers + len(self._overwritten) + sum(log.live for log in self._dying)

    def snapshot(self) -> tuple[object, object]:
        """A canonical value, equal on two replicas exactly when what they hold is."""
        claims = sorted(
            (table, claim.key, claim.dot, claim.label, claim.value is not None, claim.value or b"")
            for log in self._logs.values()
            for table in log.shelves
            for claim in self.claims_of(log.origin, table)
        )
        registers = sorted(
            (table, key, reg.order, reg.value)
            for table, key in self._registers.names()
            if not (reg := self._registers.table(table)[key]).deleted
        )
        return claims, registers

    @property
    def register_digest(self) -> int:
        """Equal on two replicas whose registers are, deletions apart."""
        return self._registers.digest

    @property
    def is_ahead(self) -> bool:
        """Whether a register is known ahead of the events that the vector covers."""
        return any(log.is_ahead for log in self._logs.values())

    def digest(self) -> dict[Origin, tuple[int, int, int]]:
        """For each origin: how far it is known, how many claims live, the sum of their numbers."""
        return {origin: (log.seq, log.live, log.total) for origin, log in self._logs.items()}

    # ---- the indexes -------------------------------------------------------------------------

    def mark(self, name: str, at_least: int) -> None:
        """Raise a counter. Whoever joins this replica's full state has it, too."""
        if at_least > self.marks.get(name, 0):
            self.marks[name] = at_least

    def _check_own(self, dot: Dot) -> None:
        if dot.origin != self.origin:
            raise ValueError(f"{dot} belongs to another origin; only {dot.origin} may remove it")

    def _kill_own(self, seq: int) -> None:
        self._kill(self._own, seq, Joined())
        self._own.kills.remember(self._own.seq, seq)

    def _log(self, origin: Origin) -> OriginLog:
        log = self._logs.get(origin)
        if log is None:
            self._indexes += 1
            log = self._logs[origin] = OriginLog(origin, self._indexes)
            self._by_index[log.index] = log
        return log

    def _take_in(self, log: OriginLog, piece: Piece, run: Run) -> None:
        log.extend(piece, run)
        self.index(piece.table).add_all(run.keys, dots_of(log, run))

    def _kill(self, log: OriginLog, seq: int, joined: Joined) -> None:
        found = log.pop(seq)
        if found is not None:
            table, key, stored = found
            self._tables[table].drop(key, log.index << SEQ_BITS | seq)
            joined.removed.append(Removed(table, log.origin, seq, key, stored))

    def _set(self, name: Name, new: Register) -> None:
        self._unlink(name)
        self._registers.set(name, new)
        if new.dot.origin not in self.retired:
            self._log(new.dot.origin).carry(name, new.dot.seq)

    def _unlink(self, name: Name) -> None:
        for dot in self._registers.carriers(name):
            log = self._logs.get(dot.origin)
            if log is not None:
                log.drop_register(dot.seq)
            if log is self._own:
                self._overwritten[dot.seq] = name

    def row_of(self, name: Name, dot: Dot | None = None) -> RegisterRow | None:
        """A register as it travels: as this event, if that carries it."""
        register = self.register(*name)
        if register is None:
            return None
        return register.row(name, dot if dot in self._registers.carriers(name) else None)

    def _has_seen(self, dot: Dot) -> bool:
        origin, seq = dot
        known = max(self.known(origin), self.retired.get(origin, 0), self._seen.get(origin, 0))
        return seq <= known

    def _gone(self, names: Collection[Name]) -> None:
        """These registers were taken out: own events that wrote them cannot be pushed any more."""
        if names and self._overwritten:
            at = [seq for seq, name in self._overwritten.items() if name in names]
            self._push_floor = max([self._push_floor, *at])

    def _pass_on(self, origin: Origin, floor: int) -> None:
        """Say by an own event, unless another stands for it, that deletions were forgotten."""
        if floor > self._floors.get(origin, 0):
            self._floors[origin] = floor
            self._own.seq += 1
            self._own.register_floor = self._own.seq

    def _say_again(self, name: Name) -> None:
        """Carry a register by an own event."""
        register = self.register(*name)
        assert register is not None
        self._own.seq += 1
        self._set(name, register._replace(dot=Dot(self.origin, self._own.seq)))


def dots_of(log: OriginLog, run: Run) -> list[int]:
    """The packed dots of a run's rows."""
    base = log.index << SEQ_BITS
    if run.gaps is None:
        return list(range(base + run.start, base + run.start + len(run.keys)))
    return [base + seq for seq in run.seqs]


def _claimed(origin: Origin, seq: int, key: str, stored: Stored) -> Claimed:
    return Claimed(key, Dot(origin, seq), value_of(stored), label_of(stored))
