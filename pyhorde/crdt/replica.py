"""A replica: claims (observed-remove, multi-value) and registers (last writer wins, within a rank).

Rules
-----
1. Each event has a dot (origin, seq); an origin uses each of its numbers once and alone removes its
   own claims. A whole origin can be retired: its claims vanish, and what others say of it is
   refused until it is revived; then it is learned anew from its first event.
2. ``vector[o] == n`` promises: every claim event of ``o`` up to ``n`` has been applied, and every
   register that an event of ``o`` up to ``n`` carries holds that value or a later one, or was
   deleted later. Joining keeps the promise because registers travel ahead of the segments that
   cover them, with the value that is current at the sender, whoever wrote it.
3. A segment that starts after what is known is a gap: nothing of it is taken, the sender rewinds.
4. A row is accepted only above the vector, so a removed claim cannot come back; a value that
   is not here, of an event at or below the vector, was deleted, and does not come back either.
5. Registers that arrived ahead of their segment are served like known ones: should their origin die
   before the segment gets anywhere, they would otherwise stay with those who have them.
6. Deletions of registers can be forgotten at any time. Five things keep replicas equal then: a
   peer that has not seen a forgotten deletion is told which registers the sender holds at all, and
   which with another value (that one the peer says again, as an own event, and any that the sender
   has not seen and a forgotten deletion might have beaten); it is told so before
   its vector rises, and tells others from then on; a deletion that beats a register of an event not
   seen before is said again; so is a register that a forgotten deletion might have beaten; and who
   drops an origin whose deletions may have been forgotten says by an own event that there are such.

The join is the pointwise maximum per origin and per register, hence commutative, associative and
idempotent; loss is repaired by asking again with the own vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pyhorde.crdt.claims import SEQ_BITS
from pyhorde.crdt.delta import MAX_SEQ, MAX_STAMP, Delta, Name, Piece
from pyhorde.crdt.dots import Dot, Origin, Vector
from pyhorde.crdt.joining import Joining
from pyhorde.crdt.log import OriginLog
from pyhorde.crdt.registers import Register, Stable
from pyhorde.crdt.rows import label_of, stored_as
from pyhorde.crdt.store import Claimed, dots_of
from pyhorde.crdt.transfer import (
    CHUNK_ROWS,
    DEFAULT_CHUNK_BYTES,
    ROW_OVERHEAD,
    answer,
    register_rows,
)

__all__ = ["CHUNK_ROWS", "DEFAULT_CHUNK_BYTES", "Claimed", "Replica"]

KEPT_RETIRED: Final = 10_000
"""So many retired origins are remembered."""


class Replica(Joining):
    """The state of one origin, with all it knows of the others."""

    # ---- writing (each one own event) --------------------------------------------------------

    def add(self, key: str, value: bytes | None, *, table: str = "", label: bytes = b"") -> Dot:
        """Claim a key. Other claims of it, own or foreign, stay."""
        own = self._own
        own.seq += 1
        if label:
            label = own.shelf(table).labels.shared(label)
        own.put(table, own.seq, key, stored_as(label, value))
        self.index(table).add(key, own.index << SEQ_BITS | own.seq)
        return Dot(self.origin, own.seq)

    def add_all(self, keys: list[str], *, table: str = "", label: bytes = b"") -> range:
        """Claim many keys, without values, as so many events; returns their numbers.

        At most ``CHUNK_ROWS`` at once are fast and hold up nothing.
        """
        own = self._own
        start = own.seq + 1
        piece = Piece(table, start, None, list(keys), [(len(keys), label)], None)
        if keys:
            self._take_in(own, piece, piece.run())
            own.seq += len(keys)
        return range(start, own.seq + 1)

    def remove(self, dot: Dot) -> None:
        """Withdraw an own claim. Raises ``ValueError`` for a foreign one; no-op when gone."""
        self._check_own(dot)
        if self._own.get(dot.seq) is not None:
            self._own.seq += 1
            self._kill_own(dot.seq)

    def replace(self, dot: Dot, value: bytes | None) -> Dot:
        """Withdraw an own live claim and claim its key anew, as one event; the label stays."""
        self._check_own(dot)
        row = self._own.get(dot.seq)
        if row is None:
            raise ValueError(f"{dot} is not live")
        table, key, stored = row
        own = self._own
        own.seq += 1
        own.put(table, own.seq, key, stored_as(label_of(stored), value))
        self.index(table).add(key, own.index << SEQ_BITS | own.seq)
        self._kill_own(dot.seq)
        return Dot(self.origin, own.seq)

    def put(
        self,
        table: str,
        key: str,
        value: bytes | None,
        wall: float,
        rank: int = 0,
        note: bytes = b"",
    ) -> bool:
        """Write a register (None deletes, and leaves a ``note`` for as long as it is remembered).

        It beats every value seen here of the same rank. False, and nothing is written, when the
        register already holds a higher rank: ``rank`` is a fencing token that keeps a superseded
        writer from overwriting its successor. Who deletes with a rank must remember it longer than
        the replica may: nobody may write a rank below one that they have seen of that register.
        Raises ``OverflowError`` when there is no later stamp: nothing was written.
        """
        current = self.register(table, key)
        if not 0 <= rank < MAX_SEQ or (current is not None and current.rank > rank):
            return False
        least = current.stamp if current is not None else -1
        if current is None or self._registers.is_doubtful(table, current):
            least = max(least, self.marks.get(f"stamp/{table}", -1))
        stamp = self.clock.tick(wall, at_least=least + 1)
        if stamp >= MAX_STAMP:
            raise OverflowError(f"no stamp is left for {table}/{key}")
        self._own.seq += 1
        dot = Dot(self.origin, self._own.seq)
        deleted = value is None
        new = Register(rank, stamp, self.origin, dot, note if value is None else value, deleted)
        self._set((table, key), new)
        return True

    # ---- origins that are gone ---------------------------------------------------------------

    def carries(self, origin: Origin) -> bool:
        """Whether the current value of any register is an event of this origin."""
        log = self._logs.get(origin)
        return log is not None and log.carries

    def retire(self, origin: Origin) -> None:
        """Drop an origin's claims at once, and refuse what others say of it until it is revived.

        Its registers stay; those that no other origin carries are own events from now on. What is
        left of its rows is taken apart by :meth:`sweep`.
        """
        if origin == self.origin or origin in self.retired:
            return
        log = self._logs.get(origin)
        self.retired[origin] = max(self.known(origin), self._seen.pop(origin, 0))
        if log is not None:
            for name, dot in log.registers(0):
                self._carry_on(name, dot)
            self._pass_on(origin, log.register_floor)
            self._discard(log)
        while len(self.retired) > KEPT_RETIRED:
            oldest = next(iter(self.retired))
            del self.retired[oldest]
            self._floors.pop(oldest, None)

    def revive(self, origin: Origin) -> None:
        """Hear this origin again, from its first event on."""
        known = self.retired.pop(origin, None)
        if known is not None:
            self._seen[origin] = known

    def forget(self, origin: Origin, upto: int = MAX_SEQ) -> None:
        """Learn anew all that this origin claims (its copy here was found wrong).

        ``upto``: there are no more than so many events of it, whatever was said.
        """
        log = self._logs.get(origin)
        if log is not None and origin != self.origin:
            self._seen[origin] = min(upto, max(log.seq, self._seen.get(origin, 0)))
            names = log.registers(0)
            self._discard(log)
            self._log(origin).register_floor = log.register_floor
            for name, dot in names:
                self._log(origin).carry(name, dot.seq)

    def sweep(self) -> tuple[str, list[str]] | None:
        """Take apart some rows of a dropped origin: their table and keys; None when all is done.

        One step holds up nothing, however many rows there are.
        """
        while self._dying:
            log = self._dying[-1]
            for table, shelf in log.shelves.items():
                run = shelf.rows.take()
                if run is not None:
                    self._tables[table].drop_all(run.keys, dots_of(log, run))
                    return table, run.keys
            self._dying.pop()
            del self._by_index[log.index]
        return None

    def _carry_on(self, name: Name, dot: Dot) -> None:
        """Without this event: as an own one, unless another carries the register, too."""
        if len(self._registers.carriers(name)) > 1:
            self._drop_carrier(name, dot)
        else:
            self._say_again(name)

    def _drop_carrier(self, name: Name, dot: Dot) -> None:
        self._registers.carry(name, self._registers.carriers(name) - {dot})
        self._logs[dot.origin].drop_register(dot.seq)
        if dot.origin == self.origin:
            self._overwritten[dot.seq] = name

    def _discard(self, log: OriginLog) -> None:
        del self._logs[log.origin]
        self._dying.append(log)

    # ---- deletions ---------------------------------------------------------------------------

    def deleted(self) -> list[tuple[Name, Register]]:
        """All deletions that are remembered, the oldest here first."""
        table = self._registers.table
        return [((of, key), table(of)[key]) for of, key in self._registers.deleted]

    def forget_deletions(
        self, which: Iterable[tuple[Name, Register]], stable: Stable | None = None
    ) -> int:
        """Forget these, unless they have been overwritten since; returns how many were forgotten.

        Safe at any time (rule 6), and cheap once everybody has seen them: ``stable`` says who has.
        """
        gone: set[Name] = set()
        for (table, key), register in which:
            current = self.register(table, key)
            if current is None or not current.deleted or current.order != register.order:
                continue
            name = (table, key)
            for origin, seq in self._registers.carriers(name):
                log = self._log(origin)
                log.register_floor = max(log.register_floor, seq)
            self._unlink(name)
            self._registers.forget(name)
            self.mark(f"stamp/{table}", current.stamp)
            gone.add(name)
        if gone:
            self._gone(gone)
            self._heed(stable)
        return len(gone)

    def _heed(self, stable: Stable | None) -> None:
        """What is written by one who has seen all that was forgotten here need not be doubted."""
        events, heeding = stable or Stable({}, {})
        logs = self._logs.items()
        known = all(log.register_floor <= events.get(origin, 0) for origin, log in logs)
        self._registers.heed(heeding, all_of_them=known)

    def forget_removals(self, vector: Vector) -> None:
        """Everybody has seen these events: forget which rows they removed."""
        for origin, log in self._logs.items():
            log.kills.forget(min(vector.get(origin, 0), log.seq))

    def forget_overwritten(self, seq: int) -> None:
        """Everybody who is pushed to has seen own events up to ``seq``."""
        self._push_floor = max(self._push_floor, min(seq, self._own.seq))
        if self._overwritten:
            self._overwritten = {at: n for at, n in self._overwritten.items() if at > seq}

    # ---- replication -------------------------------------------------------------------------

    @property
    def covers(self) -> dict[Origin, int]:
        """How far the registers of each origin are known, retired ones included."""
        vector = self.vector
        for known in (self.retired, self._seen):
            for origin, seq in known.items():
                vector[origin] = max(vector.get(origin, 0), seq)
        return vector

    def answer(
        self, vector: Vector, chunk_bytes: int = DEFAULT_CHUNK_BYTES, asker: Origin = ""
    ) -> Iterator[Delta]:
        """All that ``asker``, a replica with this vector, lacks, in the order to send it.

        When one of these deltas is lost, those after it must not be joined either. Each is made
        when it is asked for; what is written meanwhile is not waited for.
        """
        return answer(self, self._logs, vector, chunk_bytes, asker)

    def all_registers(self, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> Iterator[Delta]:
        """Every register, whoever may know it already."""
        for rows in register_rows(self, [(name, None) for name in self.registers()], chunk_bytes):
            yield Delta(registers=rows)

    def deltas_for(self, vector: Vector, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> list[Delta]:
        """The whole :meth:`answer`; empty if nothing is lacking."""
        return list(self.answer(vector, chunk_bytes))

    def can_push(self, frm: int) -> bool:
        """Whether own events suffice for one who knows them up to ``frm``, or it must ask."""
        own = self._own
        floor = max(own.kills.floor, own.register_floor, self._push_floor)
        return frm == own.seq or floor <= frm

    def own_delta(self, frm: int, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> Delta:
        """The next of what this origin did after its event ``frm``, for one who knows that much.

        How far it goes says its only segment.
        """
        own = self._own
        to = min(own.seq, frm + CHUNK_ROWS)
        names = self._touched(frm, to)
        while to - frm > 1 and self._weight(names) + own.weight(frm, to) > chunk_bytes:
            to = frm + (to - frm) // 2
            names = self._touched(frm, to)
        rows = [row for name, dot in names if (row := self.row_of(name, dot))]
        return Delta(registers=tuple(rows), segments=(own.segment(frm, to),))

    def own_deltas(self, frm: int, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> list[Delta]:
        """All that this origin did after its event ``frm``."""
        deltas: list[Delta] = []
        while frm < self._own.seq:
            deltas.append(self.own_delta(frm, chunk_bytes))
            frm = deltas[-1].segments[0].to
        return deltas

    def _touched(self, frm: int, to: int) -> list[tuple[Name, Dot]]:
        """Registers that own events in ``(frm, to]`` wrote, whoever carries them now."""
        names = dict(self._own.registers(frm, to))
        overwritten = self._overwritten.items()
        names |= {
            name: Dot(self.origin, at)
            for at, name in overwritten
            if frm < at <= to and name not in names
        }
        return list(names.items())

    def _weight(self, names: Iterable[tuple[Name, Dot]]) -> int:
        found = (self.register(*name) for name, _ in names)
        return sum(len(register.value) + ROW_OVERHEAD for register in found if register)
