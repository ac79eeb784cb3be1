"""Who is there: SWIM with Lifeguard's suspicion, as a pure machine.

Theory of operation
-------------------
*Events in, effects out.* Every method takes ``now`` and returns effects; nothing here reads a
clock, opens a socket or draws from anything but the given ``rng``. ``next_deadline`` says when to
call ``tick``. This module joins the parts: the table is a :class:`Roster`, the cycle of probes a
:class:`Prober`, trials are :class:`Suspicions`, the answer to what is said about this node comes
from its :class:`Identity`, and messages are put together by the :class:`Outbox`.

*When in doubt, ask.* A suspect is pinged in every way until it is decided; each ping tells it so,
and it refutes. A refused re-dial is evidence of death; a machine that confirms what is sent to its
silent node is evidence to the contrary: the node is *stalled*. When an event comes late, this node
itself stood still, and whom it was about to judge is credited with that time. In prose, with the
reasons and the times: ``docs/explanation/membership.md``.

Invariants: a member's incarnation never falls; only the member itself raises it; one record per
name, that of its highest (generation, boot); ``left`` is final for a boot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from pyhorde.cluster.member import DOUBTED, Member, Status, View
from pyhorde.cluster.membership.effects import Changed, Effect, Redial, Send, YieldName
from pyhorde.cluster.membership.health import Health, Signs, Statistics, Vitals
from pyhorde.cluster.membership.identity import Contradict, Identity, Speak, renewed
from pyhorde.cluster.membership.messages import Ack, Gossip, Nack, Ping, PingRequest, Table, Update
from pyhorde.cluster.membership.outbox import Outbox
from pyhorde.cluster.membership.plausible import MAX_MEMBERS, MAX_NEWS, Plausible
from pyhorde.cluster.membership.probing import Probe, Prober
from pyhorde.cluster.membership.roster import Roster, read_row
from pyhorde.cluster.membership.suspicion import Company, Suspicion, Suspicions, bounds
from pyhorde.config import MembershipConfig
from pyhorde.seam import Rng

__all__ = ["Changed", "Effect", "Membership", "Redial", "Send", "YieldName"]

TABLE_EVERY: Final = 20.0
"""Probe intervals between two exchanges of whole tables; in a large cluster they are longer."""
SMALL: Final = 10
BEAT: Final = 0.2
"""Longest pause between two ticks, seconds, while somebody is judged: who stands still notices."""
STALL: Final = 0.25
"""A tick later than this many seconds means that it did."""


class Membership:
    """The protocol: what each event means for the table, and what to tell whom."""

    def __init__(self, me: Member, config: MembershipConfig, rng: Rng) -> None:
        self.config = config
        self._rng = rng
        self._identity = Identity()
        self.statistics = Statistics()
        self.health = Health()
        self.roster = Roster(me)
        """The table; others only read it."""
        self._prober = Prober(config, rng, self.health)
        self._suspicions = Suspicions(config, rng)
        self._outbox = Outbox(self.roster, self._suspicions, config, rng)
        self._next_table = math.inf
        self._beat = math.inf
        """When this node last ran: its last tick, or, while it judges nobody, its last event."""
        self._signs = Signs()
        self._plausible = Plausible(me.generation)

    # ---- what is known --------------------------------------------------------------------------

    @property
    def me(self) -> Member:
        """The own record."""
        return self.roster.me

    @property
    def view(self) -> View:
        """The members as they are believed to be now; the same object until something changes."""
        return self.roster.view

    def next_deadline(self) -> float:
        """When ``tick`` wants to be called."""
        deadline = self._prober.next_deadline()
        if not self._judges:
            return deadline
        return min(deadline, self._beat + BEAT, *self._suspicions.deadlines(Company.of(self.view)))

    def vitals(self, boot: str) -> Vitals | None:
        """What this boot last said of itself in passing; None when it has not."""
        return self._outbox.vitals if boot == self.me.boot else self._signs.vitals.get(boot)

    @property
    def suspects(self) -> list[str]:
        """The boots that do not answer now."""
        return [suspicion.boot for suspicion in self._suspicions]

    @property
    def _judges(self) -> bool:  # whether somebody's silence would be held against them now
        return self._prober.is_probing or bool(self._suspicions)

    def validate(self) -> None:
        """Check what must always hold; tests call it after every event."""
        self.roster.validate()
        suspects = {m.boot for m in self.view.members if m.status in DOUBTED}
        assert suspects == set(self.suspects)
        assert self.me.status in (Status.ALIVE, Status.LEFT)

    # ---- events ---------------------------------------------------------------------------------

    def start(self, now: float, *, packets: bool = True) -> list[Effect]:
        """Begin to probe; ``packets``: whether there is another way than streams."""
        self.roster.begin(now)
        self._outbox.packets = packets
        self._beat = now
        self._plausible.start(now)
        self._prober.start(now)
        self._next_table = now + self._rng.uniform(1, TABLE_EVERY) * self.config.probe_interval
        return self._outbox.drain()

    def linked(self, peer: Member, now: float) -> list[Effect]:
        """A link is up; ``peer`` is what its node says of itself."""
        self.notice_stall(now)
        self._plausible.check([peer], self.view, now)
        self._outbox.links.add(peer.boot)
        self._outbox.fallback.linked(peer.boot)
        self._signs.of(peer.boot, now)
        self._merge(Update(peer), now, f"connected to {peer.address}")
        self._outbox.greet(peer.boot, now)
        return self._outbox.drain()

    def unlinked(self, boot: str, now: float) -> list[Effect]:
        """The link to this boot broke."""
        self._outbox.links.discard(boot)
        member = self.roster.by_boot(boot)
        if member is not None and member.present:
            self._outbox.put(Redial(member))
        return self._outbox.drain()

    def refused(self, boot: str, now: float) -> list[Effect]:
        """Dialling this member's address was refused, or somebody else answered there."""
        self.notice_stall(now)
        if self.view.is_present(boot) and boot not in self._outbox.links | {self.me.boot}:
            suspect = self.view.by_boot[boot].at(Status.SUSPECT)
            self._suspect(Update(suspect, self.me.name, evidence=True), now, tell=True)
        return self._outbox.drain()

    def ask(self, boot: str) -> list[Effect]:
        """Somebody wants to know now whether this boot is there."""
        self._outbox.ping(boot, self._prober.number())
        return self._outbox.drain()

    def host_lives(self, boot: str, silence: float, now: float) -> list[Effect]:
        """``silence`` seconds ago the machine of this suspect confirmed something sent to it."""
        suspicion = self._suspicions.get(boot)
        lives = suspicion is not None and suspicion.confirmed_at(now - silence)
        if (
            suspicion is not None
            and lives
            and self.health.fit
            and suspicion.may_stall(now, self.config.probe_timeout)
        ):
            accusation = Update(self.view.by_boot[boot].at(Status.STALLED), self.me.name)
            self._suspect(accusation, now, tell=True)
        return self._outbox.drain()

    def received(
        self, sender: str, message: Any, now: float, *, packet: bool = False
    ) -> list[Effect]:
        """A message from a known boot; ``packet``: it came as one, not over the link.

        Raises ``ValueError``, changing nothing, for a bad one.
        """
        self.notice_stall(now)
        self._signs.again(sender, now)
        match message:
            case Ping():
                self._signs.note(sender, Vitals.from_wire(message.vitals))
                self._take(message.updates, sender, now)
                if message.target == self.me.boot:
                    self._outbox.answer(sender, message, packet=packet)
            case Ack():
                self._acknowledged(sender, message, now, packet=packet)
            case Nack():
                self._prober.nacked(sender, message.seq)
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

    def announce(self, now: float, cause: str = "announced", **changes: Any) -> list[Effect]:
        """Change fields of the own record (``draining``, ``cordoned``, ``types``) and tell all."""
        me = replace(self.me, **changes)
        if me != self.me:
            self._speak(renewed(me), now, cause)
        return self._outbox.drain()

    def describe(self, processes: int, lag: float) -> None:
        """What this node says of itself in passing: how much runs, how late its event loop was."""
        self._outbox.vitals = Vitals(processes, self.health.score, int(lag * 1000))

    def leave(self, now: float) -> list[Effect]:
        """Say good-bye: everyone linked is told at once."""
        self._speak(renewed(self.me.at(Status.LEFT)), now, "left")
        return self._outbox.drain()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        self.notice_stall(now)
        self._beat = now
        self._prober.expire(now)
        self._tick_probe(now)
        for suspicion in self._suspicions:
            self._tick_suspicion(suspicion, now)
        self.roster.forget(now, self.config.former_member_ttl)
        if now >= self._next_table:
            scale = max(1.0, self.roster.size / SMALL)
            self._next_table = now + TABLE_EVERY * scale * self.config.probe_interval
            self._outbox.table_to_somebody(now)
            for boot in self._signs.strangers(self.view.by_boot.keys() | self._outbox.links):
                self._signs.forget(boot)
                self._outbox.fallback.forget(boot)
        return self._outbox.drain()

    def notice_stall(self, now: float) -> None:
        """Find out whether this node itself stood still, before anybody is judged for it."""
        late = now - self.next_deadline()
        if late > STALL or not self._judges:
            self._beat = now
        if late > STALL:
            self._prober.credit(late)
            self._suspicions.credit(late)
            self._stood_still(late, now)

    def _stood_still(self, seconds: float, now: float) -> None:
        self.statistics.stalls += 1
        self.health.worse(min(3, 1 + 2 * int(seconds)))
        shortest, _ = bounds(self.roster.size, self.config)
        if seconds > shortest / 2 and self.me.status is Status.ALIVE:
            self._speak(renewed(self.me), now, f"stood still for {seconds:.1f} s")

    # ---- probing --------------------------------------------------------------------------------

    def _tick_probe(self, now: float) -> None:
        for relay in self._prober.silent_relays(now):
            self._outbox.nack(relay.asker, relay.seq)
        overdue = self._prober.overdue(now)
        if overdue is not None:
            if not overdue.streamed:
                self._outbox.ask_again(overdue.boot, overdue.seq)
            overdue.asked = self._outbox.ask_others(overdue.boot, overdue.seq)
        failed = self._prober.failed(now, self._signs.heard)
        if failed is not None:
            self._probe_failed(failed, now)
        for boot in self._prober.swept(now, self._signs.heard):
            self.statistics.failed_probes += 1
            self._doubt(boot, now)
        probe = self._prober.begin(self.view, now)
        if probe is not None:
            self.statistics.probes += 1
            probe.streamed = self._outbox.probe(probe.boot, probe.seq)

    def _probe_failed(self, probe: Probe, now: float) -> None:
        """Suspect whom it was for; and everybody, when nobody at all was heard since it began.

        Then this node is cut off, or is the last one: it does not take one after the other.
        """
        self.statistics.failed_probes += 1
        alone = self._signs.latest < probe.began
        for member in self.view.others:
            if member.boot == probe.boot or (alone and member.status is Status.ALIVE):
                accusation = Update(member.at(Status.SUSPECT), self.me.name)
                self._suspect(accusation, now, tell=not alone)
        if alone:
            self._outbox.hush()
        suspicion = self._suspicions.get(probe.boot)
        if suspicion is not None:
            suspicion.asked = min(suspicion.asked, probe.overdue)
        if not alone:
            self._sweep(probe, now)

    def _sweep(self, failed: Probe, now: float) -> None:
        """One has not answered: ask everybody at once who has been silent for as long.

        A cut, or a rack without power, takes several; asked in turn, they would be found in turn.
        """
        heard = self._signs.heard
        alive = [m.boot for m in self.view.others if m.status is Status.ALIVE]
        silent = [boot for boot in alive if heard.get(boot, -math.inf) < failed.began]
        for boot in self._prober.sweep(silent, now):
            self.statistics.probes += 1
            self._outbox.ping(boot, self._prober.number())

    def _doubt(self, boot: str, now: float) -> None:
        """This boot did not answer when everybody silent was asked."""
        member = self.view.by_boot.get(boot)
        if member is not None and member.status is Status.ALIVE:
            self._suspect(Update(member.at(Status.SUSPECT), self.me.name), now, tell=True)

    def _relay(self, asker: str, request: PingRequest, now: float) -> None:
        if request.target in self._outbox.links:
            seq = self._prober.relay(asker, request.seq, now)
            if seq is not None:
                self._outbox.ping(request.target, seq)

    def _acknowledged(self, sender: str, ack: Ack, now: float, *, packet: bool) -> None:
        member = Member.from_wire(ack.member) if ack.member is not None else None
        if member is not None and member.boot != ack.boot:
            raise ValueError("ack: the record of somebody else")
        if member is not None:
            self._plausible.check([member], self.view, now)
        vitals = Vitals.from_wire(ack.vitals)
        self._take(ack.updates, sender, now)
        self._signs.note(ack.boot, vitals)
        self._signs.again(ack.boot, now)
        if packet:
            self._outbox.fallback.answered(sender)
        taken = self._prober.answered(ack.boot, now)
        if taken is not None:
            self.statistics.answer_time += (taken - self.statistics.answer_time) / 8
        if member is not None:
            self._merge(Update(member), now, "it answered", sender)
        relay = self._prober.relayed(ack.seq)
        known = member or self.roster.by_boot(ack.boot)
        if relay is not None and known is not None:
            self._outbox.pass_on(relay.asker, relay.seq, ack, known.at(Status.ALIVE))

    # ---- suspicion ------------------------------------------------------------------------------

    def _suspect(self, accusation: Update, now: float, *, tell: bool = False) -> None:
        accuser, evidence = accusation.accuser, accusation.evidence
        boot = accusation.member.boot
        if self._suspicions.get(boot) is None:
            self.statistics.suspicions += 1
        suspicion = self._suspicions.open(boot, now, self._signs.heard.get(boot, -math.inf))
        suspicion.add(accuser, evidence=evidence)
        if accusation.member.status is Status.STALLED:
            suspicion.vouched_for(accuser, self.me.name)
        believed = accusation.member.at(Status.STALLED if suspicion.stalled else Status.SUSPECT)
        cause = "its machine lives, it does not answer" if suspicion.stalled else "no answer"
        cause = "connection refused" if evidence else cause
        self._store(believed, f"{cause}, says {accuser}" if accuser else "it is suspected", now)
        says_more = evidence or accusation.member.status is believed.status
        self._outbox.spread(accusation, tell=tell, ride=says_more)
        if evidence:
            self._weigh_evidence(now)

    def _weigh_evidence(self, now: float) -> None:
        for suspicion in self._suspicions.proven(self.me.name, self.view.others):
            witnesses = ", ".join(sorted(suspicion.witnesses - {self.me.name}))
            confirmed = f", confirmed by {witnesses}" if witnesses else ""
            self._bury(suspicion, now, f"re-dial refused{confirmed}")

    def _tick_suspicion(self, suspicion: Suspicion, now: float) -> None:
        company = Company.of(self.view)
        if now >= suspicion.next_probe:
            suspicion.next_probe = now + self.config.probe_timeout
            self._outbox.ping(suspicion.boot, self._prober.number())
        if self.health.fit and suspicion.may_confirm(self.me.name, company, self.config, now):
            # Silence alone: who says stalled has seen for itself that the machine lives.
            suspect = self.view.by_boot[suspicion.boot].at(Status.SUSPECT)
            self._suspect(Update(suspect, self.me.name), now, tell=True)
        if suspicion.stalled:
            suspicion.vouched = any(map(self._is_there, suspicion.vouchers))
            suspicion.look_again(now, company, self.config)
        if now < suspicion.deadline(company, self.config):
            return
        if suspicion.last_check_until is None:
            suspicion.last_check_until = now + self.config.probe_timeout
            seq = self._prober.number()
            self._outbox.ping(suspicion.boot, seq)
            self._outbox.ask_others(suspicion.boot, seq)
        else:
            silence = f"no answer for {now - suspicion.last_sign:.1f} s"
            accusers = ", ".join(sorted(suspicion.accusers)) or "others"
            self._bury(suspicion, now, f"{silence}, suspected by {accusers}")

    def _is_there(self, name: str) -> bool:
        member = self.roster.get(name)
        return member is not None and member.status is Status.ALIVE

    def _bury(self, suspicion: Suspicion, now: float, cause: str) -> None:
        self._suspicions.drop(suspicion.boot)
        self.statistics.deaths += 1
        self.statistics.detection_time = now - suspicion.last_sign
        dead = self.view.by_boot[suspicion.boot].at(Status.DEAD)
        self._store(dead, cause, now)
        self._outbox.spread(Update(dead, self.me.name), tell=True)

    # ---- news -----------------------------------------------------------------------------------

    def _take(self, raw: Iterable[Any], sender: str, now: float) -> None:
        updates = [Update.from_wire(item) for item in islice(raw, MAX_NEWS + 1)]
        if len(updates) > MAX_NEWS:
            raise ValueError(f"more than {MAX_NEWS} pieces of news in one message")
        self._plausible.check((update.member for update in updates), self.view, now)
        for update in updates:
            self._merge(update, now, f"told by {self.roster.name_of(sender)}", sender)

    def _compare(self, sender: str, table: Table, now: float) -> None:
        if len(table.members) > MAX_MEMBERS:
            raise ValueError(f"more than {MAX_MEMBERS} members")
        found = [read_row(raw) for raw in table.members]
        self._plausible.check((member for member, _, _ in found), self.view, now)
        for member, absent, voucher in found:
            self._merge_row(Update(member, voucher), now - absent, sender, now)
        if table.reply:
            self._outbox.table(sender, now, reply=False)

    def _merge_row(self, row: Update, since: float, sender: str, now: float) -> None:
        member = row.member
        teller = self.roster.name_of(sender)
        known = self.roster.get(member.name)
        remembered = now - since <= self.config.former_member_ttl
        if known is None and not member.present and remembered:
            self._store(member, f"told by {teller}", now)
        elif known is not None and known.present and _is_verdict(member, known, self.me):
            self._merge(Update(member.at(Status.SUSPECT), teller), now, "")
        else:
            self._merge(row, now, f"told by {teller}", sender)
        known = self.roster.get(member.name)
        if not member.present and known is not None and known.boot == member.boot:
            self.roster.went(member.name, since)

    def _merge(self, update: Update, now: float, cause: str, sender: str = "") -> None:
        member = update.member
        known = self.roster.get(member.name)
        if member.name == self.me.name:
            self._about_me(member, sender, now)
        elif known is None:
            # An absent member nobody here remembers has been forgotten: that is no news.
            if member.present:
                self._accept(update, now, cause)
        elif member.supersedes(known):
            if not member.doubted_like(known):
                self._suspicions.drop(known.boot)
            self._accept(update, now, cause)
        elif member.doubted_like(known):
            self._accused(update, now)

    def _accept(self, update: Update, now: float, cause: str) -> None:
        if update.member.status in DOUBTED:
            self._suspect(update, now)
        else:
            self._store(update.member, cause, now)
            self._outbox.spread(update)

    def _accused(self, update: Update, now: float) -> None:
        suspicion = self._suspicions.open(update.member.boot, now)
        if not suspicion.knows(update.accuser, evidence=update.evidence):
            self._suspect(update, now)
        elif update.member.status is Status.STALLED:
            suspicion.vouched_for(update.accuser, self.me.name)

    def _about_me(self, said: Member, sender: str, now: float) -> None:
        match self._identity.answer(self.me, said, self._outbox.links):
            case Speak(me, cause):
                self.statistics.refutations += 1
                if said.boot == self.me.boot:
                    self.health.worse(1)
                self._speak(me, now, cause)
            case Contradict() if sender:
                self._outbox.inform(sender, self.me)
            case YieldName() as effect:
                self._outbox.put(effect)

    def _speak(self, me: Member, now: float, cause: str) -> None:
        self._store(me, cause, now)
        self._outbox.spread(Update(me), tell=True)

    def _store(self, after: Member, cause: str, now: float) -> None:
        change = self.roster.store(after, cause, now)
        if change is not None:
            self._outbox.put(change)


def _is_verdict(said: Member, known: Member, me: Member) -> bool:
    """Whether somebody's table says that a member which is present here is dead."""
    return said.status is Status.DEAD and said.boot == known.boot != me.boot
