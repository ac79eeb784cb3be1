"""Taking in what another replica sent. See :mod:`pyhorde.crdt.replica` for the rules."""

from __future__ import annotations

from pyhorde.crdt.delta import (
    MAX_SEQ,
    Delta,
    Forgotten,
    Held,
    Live,
    Name,
    RegisterRow,
    Segment,
    hash_of,
    hash_of_order,
)
from pyhorde.crdt.dots import Dot
from pyhorde.crdt.joined import Added, Joined
from pyhorde.crdt.log import OriginLog
from pyhorde.crdt.registers import Register
from pyhorde.crdt.store import Store


class Joining(Store):
    """The receiving half of a replica."""

    def join(self, delta: Delta, wall: float, *, repair: bool = False) -> Joined:
        """Take in what another replica sent. Never raises for a well-formed delta.

        ``repair``: also registers of events that were seen before, and should not be missing.
        """
        joined = Joined()
        for name, value in delta.marks.items():
            self.mark(name, value)
        for row in delta.registers:
            self._join_register(row, wall, joined, repair=repair)
        for held in delta.held:
            self._join_held(held, joined)
        for live in delta.live:
            self._join_live(live, joined)
        for segment in delta.segments:
            self._join_segment(segment, joined)
        return joined

    def _join_register(
        self, row: RegisterRow, wall: float, joined: Joined, *, repair: bool
    ) -> None:
        name = (row.table, row.key)
        new = Register(
            row.rank, row.stamp, row.writer, Dot(row.origin, row.seq), row.value, row.deleted
        )
        if row.origin == self.origin and row.seq > self._own.seq:
            self.refused += 1  # there are no such events
            return
        current = self.register(*name)
        if current is not None and new.order <= current.order:
            if new.order == current.order:
                self._carry_by(name, new.dot)
            elif current.deleted and not self._has_seen(new.dot):
                self._say_again(name)
                joined.wrote = True
            return
        if not repair and self._has_seen(new.dot):
            return
        if not self.clock.observe(row.stamp, wall):
            joined.skewed += 1
        joined.registers.add(name)
        self._set(name, new)
        if row.origin in self.retired or self._registers.is_doubtful(row.table, new):
            self._say_again(name)
            joined.wrote = True

    def _carry_by(self, name: Name, dot: Dot) -> None:
        """Several events carry this value: one that has seen one of them may not have another."""
        dots = self._registers.carriers(name)
        if dot not in dots and dot.origin not in self.retired:
            self._registers.carry(name, {*dots, dot})
            self._log(dot.origin).carry(name, dot.seq)

    def _join_held(self, held: Held, joined: Joined) -> None:
        self._join_forgotten(held.forgotten, joined)
        gone: set[Name] = set()
        for name in list(self._registers.names()):
            known = hash_of(name)
            if not held.low <= known < held.high:
                continue
            register = self._registers.table(name[0])[name[1]]
            order = held.orders.get(known)
            if any(n > held.covers.get(o, 0) for o, n in self._registers.carriers(name)):
                disputed = not register.deleted and self._registers.is_doubtful(name[0], register)
            elif order is None and not register.deleted:
                self._unlink(name)
                self._registers.remove(name)
                gone.add(name)
                continue
            else:
                disputed = order is not None and order != hash_of_order(register.order)
            if disputed:
                self._say_again(name)
                joined.wrote = True
        self._gone(gone)
        joined.registers |= gone

    def _join_forgotten(self, forgotten: Forgotten, joined: Joined) -> None:
        floors, passed_on, greatest = forgotten
        self._registers.heed({}, all_of_them=True)
        for table, order in greatest.items():
            self._registers.doubt(table, order)
        for origin, floor in passed_on.items():
            self._floors[origin] = max(floor, self._floors.get(origin, 0))
        before = self._own.seq
        for origin, floor in floors.items():
            if origin in self.retired:
                self._pass_on(origin, floor)
            elif origin != self.origin:
                log = self._log(origin)
                log.register_floor = max(log.register_floor, floor)
        joined.wrote = joined.wrote or self._own.seq > before

    def _join_live(self, live: Live, joined: Joined) -> None:
        log = self._logs.get(live.origin)
        if log is None or log is self._own:
            return
        alive = set(live.seqs)
        for seq in log.seqs(live.frm, min(live.to, log.seq)):
            if seq not in alive:
                self._kill(log, seq, joined)

    def _join_segment(self, segment: Segment, joined: Joined) -> None:
        if segment.origin == self.origin:
            return
        if segment.origin in self.retired:
            self.refused += 1
            return
        log = self._log(segment.origin)
        if segment.to <= log.seq and segment.complete:
            return
        if segment.frm > log.seq:
            joined.gaps.append(segment.origin)
            return
        self._join_rows(log, segment, joined)
        log.advance(segment.to)
        if self._seen.get(segment.origin, MAX_SEQ) <= log.seq:
            del self._seen[segment.origin]

    def _join_rows(self, log: OriginLog, segment: Segment, joined: Joined) -> None:
        known = log.seq
        if segment.frm < known:
            listed = {seq for piece in segment.pieces for seq in piece.run().seqs}
            for seq in log.seqs(segment.frm, min(known, segment.to)):
                if seq not in listed:
                    self._kill(log, seq, joined)
        for at, seq in segment.kills:
            self._kill(log, seq, joined)
            if at > known:
                log.kills.remember(at, seq)
        if not segment.complete and segment.to > known:
            log.kills.forget(segment.to)
        for piece in segment.pieces:
            run = piece.run(log.shelf(piece.table).labels.shared).after(known)
            if run is not None:
                self._take_in(log, piece, run)
                joined.added.append(Added(piece.table, log.origin, run))
