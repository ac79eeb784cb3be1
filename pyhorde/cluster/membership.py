"""Who is there: SWIM with Lifeguard's suspicion, as a pure machine.

Theory of operation
-------------------
*Events in, effects out.* Every method takes ``now`` and returns effects; nothing here reads a
clock, opens a socket or draws from anything but the given ``rng``. ``next_deadline`` says when to
call ``tick``. This module joins the parts: the table is a :class:`Roster`, the cycle of probes a
:class:`Prober`, trials are :class:`Suspicions`, the answer to what is said about this node comes
from its :class:`Identity`, and messages are put together by the :class:`Outbox`.

*Probing.* Each probe interval one member, in shuffled round-robin order, gets a ``Ping``. No
``Ack`` within the probe timeout: others are asked to ping it. Still none at the end of the
interval: it becomes *suspect*. A suspect is pinged every probe timeout by all who know of the
suspicion, and once more, directly and through others, before it is declared *dead*. Each ping to a
suspect tells it so, and whoever is told raises its incarnation. An ack carries the answerer's own
record, so the suspicion ends wherever the ack arrives, whichever way it went.

*Evidence.* A lost link makes the shell dial again at once. When the host answers that nobody
listens there, the suspicion is one with evidence: it becomes death as soon as one other member says
the same, or at once when there is no other. An end of a connection alone is no evidence.

*News.* What a node finds out itself it tells every linked member at once; what it hears it
piggybacks on probes. Linked members exchange whole tables when they meet and now and then after.
``dead`` in such a table counts as suspicion only, so that the living can speak for themselves, and
whoever is held for dead but linked is told so with every message.

*Stalls.* When an event comes late, this node itself stood still, and everyone it was about to judge
is credited with that time. While anybody is being judged it ticks often, to notice.

Invariants: a member's incarnation never falls; only the member itself raises it; one record per
name, that of its highest (generation, boot); ``left`` is final for a boot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from pyhorde.cluster.effects import Changed, Effect, Redial, Send, YieldName
from pyhorde.cluster.identity import Contradict, Identity, Speak, renewed
from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.messages import Ack, Gossip, Ping, PingRequest, Table, Update
from pyhorde.cluster.outbox import Outbox
from pyhorde.cluster.probing import Prober
from pyhorde.cluster.roster import Roster, read_row
from pyhorde.cluster.suspicion import Suspicion, Suspicions
from pyhorde.config import MembershipConfig
from pyhorde.seam import Rng

__all__ = ["Changed", "Effect", "Membership", "Redial", "Send", "YieldName"]

TABLE_EVERY: Final = 10.0
"""Probe intervals between two exchanges of whole tables with a random member."""
BEAT: Final = 0.2
"""Longest pause between two ticks, seconds, while a probe or a suspicion runs: how a node notices
that it stood still. Whoever is judged then would pay for it."""
STALL: Final = 0.25
"""A tick later than this many seconds means that it did."""


class Membership:
    """The protocol: what each event means for the table, and what to tell whom."""

    def __init__(self, me: Member, config: MembershipConfig, rng: Rng) -> None:
        self.config = config
        self._rng = rng
        self._identity = Identity()
        self._roster = Roster(me)
        self._prober = Prober(config, rng)
        self._suspicions = Suspicions(config, rng)
        self._outbox = Outbox(self._roster, self._suspicions, config, rng)
        self._next_table = math.inf
        self._beat = math.inf
        """When this node last ran: its last tick, or, while it judges nobody, its last event."""

    # ---- what is known --------------------------------------------------------------------------

    @property
    def me(self) -> Member:
        """The own record."""
        return self._roster.me

    @property
    def view(self) -> View:
        """The members as they are believed to be now; the same object until something changes."""
        return self._roster.view

    def next_deadline(self) -> float:
        """When ``tick`` wants to be called."""
        deadline = self._prober.next_deadline()
        if not self._judges:
            return deadline
        return min(deadline, self._beat + BEAT, *self._suspicions.deadlines(self._roster.size))

    def name_of(self, boot: str) -> str:
        """The name of a boot, or what stands for it when its record is not known."""
        return self._roster.name_of(boot)

    def absence(self, name: str, now: float) -> float:
        """For how many seconds this member has been absent; 0 while it is not."""
        return self._roster.absence(name, now)

    @property
    def _judges(self) -> bool:
        """Whether somebody's silence would be held against them now."""
        return self._prober.is_probing or bool(self._suspicions)

    def validate(self) -> None:
        """Check what must always hold; tests call it after every event."""
        self._roster.validate()
        suspects = {m.boot for m in self.view.members if m.status is Status.SUSPECT}
        assert suspects == {suspicion.boot for suspicion in self._suspicions}
        assert self.me.status in (Status.ALIVE, Status.LEFT)

    # ---- events ---------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin to probe."""
        self._beat = now
        self._prober.start(now)
        self._next_table = now + self._rng.uniform(1, TABLE_EVERY) * self.config.probe_interval
        return self._outbox.drain()

    def linked(self, peer: Member, now: float) -> list[Effect]:
        """A link is up; ``peer`` is what its node says of itself."""
        self._notice_stall(now)
        self._outbox.links.add(peer.boot)
        self._merge(Update(peer), now, f"connected to {peer.address}")
        self._outbox.table(peer.boot, now, reply=False)
        return self._outbox.drain()

    def unlinked(self, boot: str, now: float) -> list[Effect]:
        """The link to this boot broke."""
        self._outbox.links.discard(boot)
        member = self._roster.by_boot(boot)
        if member is not None and member.present:
            self._outbox.put(Redial(member))
        return self._outbox.drain()

    def refused(self, boot: str, now: float) -> list[Effect]:
        """Dialling this member's address was refused, or somebody else answered there."""
        self._notice_stall(now)
        if self.view.is_present(boot) and boot not in self._outbox.links | {self.me.boot}:
            accusation = Update(self.view.by_boot[boot], self.me.name, evidence=True)
            self._suspect(accusation, now, tell=True)
        return self._outbox.drain()

    def received(self, sender: str, message: Any, now: float) -> list[Effect]:
        """A message from a linked boot. Raises ``ValueError``, changing nothing, for a bad one."""
        self._notice_stall(now)
        match message:
            case Ping():
                self._take(message.updates, sender, now)
                self._answer(sender, message)
            case Ack():
                self._acknowledged(sender, message, now)
            case PingRequest():
                self._take(message.updates, sender, now)
                self._relay(sender, message, now)
            case Gossip():
                self._take(message.updates, sender, now)
            case Table():
                self._compare(sender, message, now)
            case _:
                raise ValueError(f"no membership message: {message!r}")
        return self._outbox.drain()

    def announce(
        self,
        now: float,
        *,
        draining: bool | None = None,
        types: tuple[str, ...] | None = None,
        generation: int | None = None,
    ) -> list[Effect]:
        """Change the own record and tell everyone."""
        me = self.me if draining is None else replace(self.me, draining=draining)
        me = me if types is None else replace(me, types=types)
        me = me if generation is None else replace(me, generation=generation)
        self._speak(renewed(me), now, "announced")
        return self._outbox.drain()

    def leave(self, now: float) -> list[Effect]:
        """Say good-bye: everyone linked is told at once."""
        self._speak(renewed(self.me.at(Status.LEFT)), now, "left")
        return self._outbox.drain()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        self._notice_stall(now)
        self._beat = now
        self._prober.expire(now)
        self._tick_probe(now)
        for suspicion in self._suspicions:
            self._tick_suspicion(suspicion, now)
        self._roster.forget(now, self.config.former_member_ttl)
        if now >= self._next_table:
            self._next_table = now + TABLE_EVERY * self.config.probe_interval
            self._outbox.table_to_somebody(now)
        return self._outbox.drain()

    def _notice_stall(self, now: float) -> None:
        late = now - self.next_deadline()
        if late > STALL:
            lost = now - self._beat
            self._prober.credit(lost)
            self._suspicions.credit(lost)
        if late > STALL or not self._judges:
            self._beat = now

    # ---- probing --------------------------------------------------------------------------------

    def _tick_probe(self, now: float) -> None:
        overdue = self._prober.overdue(now)
        if overdue is not None:
            self._outbox.ask_others(overdue.boot, overdue.seq)
        failed = self._roster.by_boot(self._prober.failed(now) or "")
        if failed is not None and failed.present:
            self._suspect(Update(failed, self.me.name), now, tell=True)
        probe = self._prober.begin(self.view, now)
        if probe is not None:
            self._outbox.ping(probe.boot, probe.seq)

    def _relay(self, asker: str, request: PingRequest, now: float) -> None:
        if request.target in self._outbox.links:
            seq = self._prober.relay(asker, request.seq, now)
            if seq is not None:
                self._outbox.ping(request.target, seq)

    def _answer(self, sender: str, ping: Ping) -> None:
        if ping.target == self.me.boot:
            self._outbox.answer(sender, ping.seq)

    def _acknowledged(self, sender: str, ack: Ack, now: float) -> None:
        member = Member.from_wire(ack.member)
        self._take(ack.updates, sender, now)
        self._prober.answered(member.boot)
        self._merge(Update(member), now, "it answered", sender)
        relay = self._prober.relayed(ack.seq)
        if relay is not None:
            self._outbox.pass_on(relay.asker, relay.seq, ack)

    # ---- suspicion ------------------------------------------------------------------------------

    def _suspect(self, accusation: Update, now: float, *, tell: bool = False) -> None:
        accuser, evidence = accusation.accuser, accusation.evidence
        suspect = accusation.member.at(Status.SUSPECT)
        self._suspicions.open(suspect.boot, now).add(accuser, evidence=evidence)
        cause = "connection refused" if evidence else "it does not answer"
        self._store(suspect, f"{cause}, says {accuser}" if accuser else "it is suspected", now)
        self._outbox.spread(replace(accusation, member=suspect), tell=tell)
        if evidence:
            self._weigh_evidence(now)

    def _weigh_evidence(self, now: float) -> None:
        for suspicion in self._suspicions.proven(self.me.name, self.view.others):
            witnesses = ", ".join(sorted(suspicion.witnesses - {self.me.name}))
            confirmed = f", confirmed by {witnesses}" if witnesses else ""
            self._bury(suspicion, now, f"re-dial refused{confirmed}")

    def _tick_suspicion(self, suspicion: Suspicion, now: float) -> None:
        size = self._roster.size
        if now >= suspicion.next_probe:
            suspicion.next_probe = now + self.config.probe_timeout
            self._outbox.ping(suspicion.boot, self._prober.number())
        if suspicion.may_confirm(self.me.name, size, self.config, now):
            suspect = self.view.by_boot[suspicion.boot]
            self._suspect(Update(suspect, self.me.name), now, tell=True)
        if now < suspicion.deadline(size, self.config):
            return
        if suspicion.last_check_until is None:
            suspicion.last_check_until = now + self.config.probe_timeout
            seq = self._prober.number()
            self._outbox.ping(suspicion.boot, seq)
            self._outbox.ask_others(suspicion.boot, seq)
        else:
            accusers = ", ".join(sorted(suspicion.accusers)) or "others"
            self._bury(suspicion, now, f"no answer, suspected by {accusers}")

    def _bury(self, suspicion: Suspicion, now: float, cause: str) -> None:
        self._suspicions.drop(suspicion.boot)
        dead = self.view.by_boot[suspicion.boot].at(Status.DEAD)
        self._store(dead, cause, now)
        self._outbox.spread(Update(dead, self.me.name), tell=True)

    # ---- news -----------------------------------------------------------------------------------

    def _take(self, raw: Iterable[Any], sender: str, now: float) -> None:
        for update in [Update.from_wire(item) for item in raw]:
            self._merge(update, now, f"told by {self._roster.name_of(sender)}", sender)

    def _compare(self, sender: str, table: Table, now: float) -> None:
        for member, absent in [read_row(raw) for raw in table.members]:
            self._merge_row(member, now - absent, sender, now)
        if table.reply:
            self._outbox.table(sender, now, reply=False)

    def _merge_row(self, member: Member, since: float, sender: str, now: float) -> None:
        teller = self._roster.name_of(sender)
        known = self._roster.get(member.name)
        if known is None and not member.present:
            if now - since <= self.config.former_member_ttl:
                self._store(member, f"told by {teller}", now)
        elif known is not None and known.present and _is_verdict(member, known, self.me):
            self._merge(Update(member.at(Status.SUSPECT), teller), now, "")
        else:
            self._merge(Update(member), now, f"told by {teller}", sender)
        known = self._roster.get(member.name)
        if not member.present and known is not None and known.boot == member.boot:
            self._roster.went(member.name, since)

    def _merge(self, update: Update, now: float, cause: str, sender: str = "") -> None:
        member = update.member
        known = self._roster.get(member.name)
        if member.name == self.me.name:
            self._about_me(member, sender, now)
        elif known is None:
            # An absent member nobody here remembers has been forgotten: that is no news.
            if member.present:
                self._accept(update, now, cause)
        elif member.supersedes(known):
            self._suspicions.drop(known.boot)
            self._accept(update, now, cause)
        elif member.status is Status.SUSPECT and not known.supersedes(member):
            self._accused(update, now)

    def _accept(self, update: Update, now: float, cause: str) -> None:
        if update.member.status is Status.SUSPECT:
            self._suspect(update, now)
        else:
            self._store(update.member, cause, now)
            self._outbox.spread(update)

    def _accused(self, update: Update, now: float) -> None:
        suspicion = self._suspicions.open(update.member.boot, now)
        if not suspicion.knows(update.accuser, evidence=update.evidence):
            self._suspect(update, now)

    def _about_me(self, said: Member, sender: str, now: float) -> None:
        match self._identity.answer(self.me, said, self._outbox.links):
            case Speak(me, cause):
                self._speak(me, now, cause)
            case Contradict() if sender:
                self._outbox.inform(sender, self.me)
            case YieldName() as effect:
                self._outbox.put(effect)

    def _speak(self, me: Member, now: float, cause: str) -> None:
        self._store(me, cause, now)
        self._outbox.spread(Update(me), tell=True)

    def _store(self, after: Member, cause: str, now: float) -> None:
        change = self._roster.store(after, cause, now)
        if change is not None:
            self._outbox.put(change)


def _is_verdict(said: Member, known: Member, me: Member) -> bool:
    """Whether somebody's table says that a member which is present here is dead."""
    return said.status is Status.DEAD and said.boot == known.boot != me.boot
