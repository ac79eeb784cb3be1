"""A replica: claims (observed-remove, multi-value) and registers (last writer wins, within a rank).

Rules
-----
1. Each event has a dot (origin, seq); an origin uses each of its numbers once and alone removes its
   own claims. A whole origin can be retired: its claims vanish and never return.
2. ``vector[o] == n`` promises: every claim event of ``o`` up to ``n`` has been applied, and every
   register ``o`` wrote up to ``n`` holds that value or a later one. Joining keeps the promise
   because registers travel ahead of the segments that cover them, with the value that is current at
   the sender, whoever wrote it.
3. A segment that starts after what is known is a gap: nothing of it is taken, the sender rewinds.
4. A row is accepted only above the vector, so a removed claim cannot come back.
5. Registers that arrived ahead of their segment are served like known ones: should their origin die
   before the segment gets anywhere, they would otherwise stay with those who have them.
6. A segment of known events that does not list all removals is still read for what it says is dead:
   the next piece of its transfer builds on that.

The join is the pointwise maximum per origin and per register, hence commutative, associative and
idempotent; loss is repaired by asking again with the own vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pyhorde.crdt.delta import MAX_SEQ, MAX_STAMP, Delta, RegisterRow, Row, Segment
from pyhorde.crdt.dots import Dot, Origin, Vector, behind
from pyhorde.crdt.hlc import HybridClock
from pyhorde.crdt.log import ROW_OVERHEAD, OriginLog

DEFAULT_CHUNK_BYTES = 256 * 1024


class Claimed(NamedTuple):
    """One claim of a key: who says it (the dot's origin) and what it says."""

    key: str
    dot: Dot
    value: bytes


class Register(NamedTuple):
    """A register's current value (None: deleted) with its order ``(rank, stamp, dot.origin)``."""

    rank: int
    stamp: int
    dot: Dot
    value: bytes | None

    @property
    def order(self) -> tuple[int, int, Origin]:
        return self.rank, self.stamp, self.dot.origin


@dataclass(slots=True)
class Joined:
    """What a join changed: keys with other claims than before, registers with another value."""

    keys: set[str] = field(default_factory=set)
    registers: set[tuple[str, str]] = field(default_factory=set)
    gaps: list[Origin] = field(default_factory=list)
    skewed: int = 0

    def __bool__(self) -> bool:
        return bool(self.keys or self.registers)


class Replica:
    """The state of one origin, with all it knows of the others."""

    def __init__(self, origin: Origin, max_skew: float = 0.5) -> None:
        self.origin = origin
        self.clock = HybridClock(max_skew)
        self._logs: dict[Origin, OriginLog] = {}
        self._claims: dict[str, dict[Dot, bytes]] = {}
        self._tables: dict[str, dict[str, Register]] = {}
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

    def claims(self, key: str) -> list[Claimed]:
        """Every live claim of the key, in no particular order."""
        return [Claimed(key, dot, value) for dot, value in self._claims.get(key, {}).items()]

    def keys(self) -> Iterator[str]:
        """Every key with a live claim."""
        return iter(self._claims)

    def claims_of(self, origin: Origin) -> list[Claimed]:
        """The live claims of one origin, oldest first."""
        log = self._logs.get(origin)
        rows = log.rows.values() if log else ()
        return [Claimed(row.key, Dot(origin, row.seq), row.value) for row in rows]

    def register(self, table: str, key: str) -> Register | None:
        """The register, deleted or not; None if nobody ever wrote it."""
        return self._tables.get(table, {}).get(key)

    def table(self, table: str) -> Mapping[str, Register]:
        """All registers of a table, deletions included (do not change it)."""
        return self._tables.get(table, {})

    def snapshot(self) -> tuple[object, object]:
        """A canonical value, equal on two replicas exactly when their states are."""
        claims = sorted((k, d, v) for k, held in self._claims.items() for d, v in held.items())
        registers = sorted(
            (table, key, reg.order, reg.value is not None, reg.value or b"")
            for table, rows in self._tables.items()
            for key, reg in rows.items()
        )
        return claims, registers

    # ---- writing (each one own event) --------------------------------------------------------

    def add(self, key: str, value: bytes) -> Dot:
        """Claim a key. Other claims of it, own or foreign, stay."""
        self._own.seq += 1
        row = Row(self._own.seq, key, value)
        self._add(self._own, row, Joined())
        return Dot(self.origin, row.seq)

    def remove(self, dot: Dot) -> None:
        """Withdraw an own claim. Raises ``ValueError`` for a foreign one; no-op when gone."""
        self._check_own(dot)
        if dot.seq in self._own.rows:
            self._own.seq += 1
            self._kill_own(dot.seq)

    def replace(self, dot: Dot, value: bytes) -> Dot:
        """Withdraw an own live claim and claim its key anew, as one event."""
        self._check_own(dot)
        row = self._own.rows.get(dot.seq)
        if row is None:
            raise ValueError(f"{dot} is not live")
        self._own.seq += 1
        self._kill_own(dot.seq)
        self._add(self._own, Row(self._own.seq, row.key, value), Joined())
        return Dot(self.origin, self._own.seq)

    def put(self, table: str, key: str, value: bytes | None, wall: float, rank: int = 0) -> bool:
        """Write a register (None deletes); it beats every value seen here of the same rank.

        False, and nothing is written, when the register already holds a higher rank: ``rank`` is
        a fencing token that keeps a superseded writer from overwriting its successor.
        """
        current = self.register(table, key)
        if not 0 <= rank < MAX_SEQ or (current is not None and current.rank > rank):
            return False
        stamp = self.clock.tick(wall, at_least=current.stamp + 1 if current else 0)
        if stamp >= MAX_STAMP:
            return False
        self._own.seq += 1
        self._set(table, key, Register(rank, stamp, Dot(self.origin, self._own.seq), value))
        return True

    def retire(self, origin: Origin) -> set[str]:
        """Drop an origin's claims for good; its registers stay. Returns the keys concerned."""
        log = self._log(origin)
        log.retired = True
        changed = Joined()
        for seq in list(log.rows):
            self._kill(log, seq, changed)
        log.kills.clear()
        return changed.keys

    # ---- replication -------------------------------------------------------------------------

    def deltas_for(self, vector: Vector, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> list[Delta]:
        """All that a replica with this vector lacks, in the order to send it; empty if nothing.

        When one of these deltas is lost, those after it must not be joined either.
        """
        origins = behind(vector, self.vector)
        rows = [
            row
            for log in self._logs.values()
            for row in self._register_rows(log, vector.get(log.origin, 0))
        ]
        segments = [
            segment
            for origin in origins
            for segment in self._logs[origin].segments(vector.get(origin, 0), chunk_bytes)
        ]
        return _packed(rows, segments, chunk_bytes)

    def own_deltas(self, frm: int, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> list[Delta]:
        """What this origin itself did after its event ``frm``, for a push to one who knows it."""
        if frm >= self._own.seq:
            return []
        rows = self._register_rows(self._own, frm)
        rows += [
            self._register_row(table, key)
            for (table, key), seq in self._own.superseded.items()
            if seq > frm
        ]
        return _packed(rows, self._own.segments(frm, chunk_bytes), chunk_bytes)

    def join(self, delta: Delta, wall: float) -> Joined:
        """Take in what another replica sent. Never raises for a well-formed delta."""
        changed = Joined()
        for row in delta.registers:
            self._join_register(row, wall, changed)
        for segment in delta.segments:
            self._join_segment(segment, changed)
        return changed

    def _join_register(self, row: RegisterRow, wall: float, changed: Joined) -> None:
        new = Register(row.rank, row.stamp, Dot(row.origin, row.seq), row.value)
        current = self.register(row.table, row.key)
        if current is not None and current.order >= new.order:
            return
        if not self.clock.observe(row.stamp, wall):
            changed.skewed += 1
        self._set(row.table, row.key, new)
        changed.registers.add((row.table, row.key))

    def _join_segment(self, segment: Segment, changed: Joined) -> None:
        if segment.origin == self.origin:
            return
        log = self._log(segment.origin)
        if segment.to <= log.seq and segment.complete:
            return
        if segment.frm > log.seq:
            changed.gaps.append(segment.origin)
            return
        if not log.retired:
            self._join_rows(log, segment, changed)
        log.advance(segment.to)

    def _join_rows(self, log: OriginLog, segment: Segment, changed: Joined) -> None:
        known = log.seq
        listed = {row.seq for row in segment.rows}
        for seq in log.live_between(segment.frm, min(known, segment.to)):
            if seq not in listed:
                self._kill(log, seq, changed)
        if segment.live is not None:
            alive = set(segment.live)
            for seq in [s for s in log.rows if s <= segment.frm and s not in alive]:
                self._kill(log, seq, changed)
        for at, seq in segment.kills:
            self._kill(log, seq, changed)
            if at > known:
                log.remember_kill(at, seq)
        if not segment.complete and segment.to > known:
            log.kills.clear()
            log.floor = segment.to
        for row in segment.rows:
            if row.seq > known:
                self._add(log, row, changed)

    # ---- the two indexes ---------------------------------------------------------------------

    def _log(self, origin: Origin) -> OriginLog:
        log = self._logs.get(origin)
        if log is None:
            log = self._logs[origin] = OriginLog(origin)
        return log

    def _check_own(self, dot: Dot) -> None:
        if dot.origin != self.origin:
            raise ValueError(f"{dot} belongs to another origin; only {dot.origin} may remove it")

    def _add(self, log: OriginLog, row: Row, changed: Joined) -> None:
        log.rows[row.seq] = row
        self._claims.setdefault(row.key, {})[Dot(log.origin, row.seq)] = row.value
        changed.keys.add(row.key)

    def _kill(self, log: OriginLog, seq: int, changed: Joined) -> None:
        row = log.rows.pop(seq, None)
        if row is None:
            return
        held = self._claims[row.key]
        del held[Dot(log.origin, seq)]
        if not held:
            del self._claims[row.key]
        changed.keys.add(row.key)

    def _kill_own(self, seq: int) -> None:
        self._kill(self._own, seq, Joined())
        self._own.remember_kill(self._own.seq, seq)

    def _set(self, table: str, key: str, new: Register) -> None:
        old = self._tables.setdefault(table, {}).get(key)
        if old is not None and old.dot.origin != new.dot.origin:
            self._log(old.dot.origin).forget_register((table, key))
            if old.dot.origin == self.origin:
                self._own.superseded[table, key] = old.dot.seq
        self._tables[table][key] = new
        self._log(new.dot.origin).note_register((table, key), new.dot.seq)
        if new.dot.origin == self.origin:
            self._own.superseded.pop((table, key), None)

    def _register_rows(self, log: OriginLog, after: int) -> list[RegisterRow]:
        names = log.registers if log.seq > after else log.early
        return [self._register_row(*name) for name in names if log.registers[name] > after]

    def _register_row(self, table: str, key: str) -> RegisterRow:
        reg = self._tables[table][key]
        return RegisterRow(table, key, reg.rank, reg.stamp, reg.dot.origin, reg.dot.seq, reg.value)


def _packed(rows: list[RegisterRow], segments: list[Segment], chunk_bytes: int) -> list[Delta]:
    """Registers first, then segments, in deltas of about ``chunk_bytes``."""
    deltas: list[Delta] = []
    chunk: list[RegisterRow] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.table) + len(row.key) + len(row.value or b"") + 4 * ROW_OVERHEAD
        if size > chunk_bytes:
            deltas.append(Delta(registers=tuple(chunk)))
            chunk, size = [], 0
    if not segments:
        return deltas + ([Delta(registers=tuple(chunk))] if chunk else [])
    deltas.append(Delta(tuple(chunk), (segments[0],)))
    return deltas + [Delta(segments=(segment,)) for segment in segments[1:]]
