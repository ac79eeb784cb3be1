"""Who is there: SWIM with Lifeguard's suspicion, as a pure machine.

Theory of operation
-------------------
*Events in, effects out.* Every method takes ``now`` and returns effects; nothing here reads a
clock, opens a socket or draws from anything but the given ``rng``. ``next_deadline`` says when to
call ``tick``.

*Probing.* Each probe interval one member, in shuffled round-robin order, gets a ``Ping``. No ``Ack``
within the probe timeout: others are asked to ping it. Still none at the end of the interval: it
becomes *suspect*. A suspect is pinged again every probe timeout, and once more, directly and through
others, before it is declared *dead*. Each ping to a suspect tells it so; its ack carries a
raised incarnation, which clears it everywhere.

*Evidence.* A lost link makes the shell dial again at once. When the host answers that nobody listens
there, the suspicion is one with evidence: it becomes death as soon as one other member says the
same, or at once when there is no other. An end of a connection alone is no evidence.

*News.* What a node finds out itself it tells every linked member at once; what it hears it
piggybacks on probes. Linked members exchange whole tables when they meet and now and then after.
``dead`` in such a table counts as suspicion only, so that the living can speak for themselves.

*Stalls.* When ``tick`` comes late, this node itself stood still, and everyone it was about to judge
is credited with that time.

Invariants: a member's incarnation never falls; only the member itself raises it; one record per
name, that of its highest (generation, boot); ``left`` is final for a boot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from pyhorde.cluster.dissemination import Dissemination
from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.messages import Ack, Gossip, Ping, PingRequest, Table, Update
from pyhorde.cluster.suspicion import Suspicion
from pyhorde.config import MembershipConfig
from pyhorde.seam import Rng

TABLE_EVERY: Final = 10.0
"""Probe intervals between two exchanges of whole tables with a random member."""
BEAT: Final = 0.2
"""Longest pause between two ticks, seconds: how a node notices that it stood still."""
STALL: Final = 0.25
"""A tick later than this many seconds means that it did."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the message to this boot, if there is a link to it."""

    boot: str
    message: Any


@dataclass(frozen=True, slots=True)
class Changed:
    """A member's record changed; ``cause`` says why, for people."""

    before: Member | None
    after: Member
    cause: str


@dataclass(frozen=True, slots=True)
class Redial:
    """The link to this member broke: dial it again now, the answer is evidence."""

    member: Member


@dataclass(frozen=True, slots=True)
class YieldName:
    """Another live node has this node's name and the better right to it: stop."""

    winner: Member


Effect = Send | Changed | Redial | YieldName


@dataclass(slots=True)
class _Probe:
    seq: int
    boot: str
    indirect_at: float
    ends: float
    asked: bool = False


@dataclass(slots=True)
class _Relay:
    asker: str
    seq: int
    until: float


class Membership:
    """The table of members, and everything that changes it."""

    def __init__(self, me: Member, config: MembershipConfig, rng: Rng) -> None:
        self.me = me
        self.config = config
        self._rng = rng
        self._members: dict[str, Member] = {me.name: me}
        self._gone: dict[str, float] = {}
        self._links: set[str] = set()
        self._suspicions: dict[str, Suspicion] = {}
        self._news = Dissemination(config.retransmit_mult)
        self._seq = 0
        self._probe: _Probe | None = None
        self._relays: dict[int, _Relay] = {}
        self._order: list[str] = []
        self._next_probe = 0.0
        self._next_table = 0.0
        self._beat = 0.0
        self._view: View | None = None
        self._effects: list[Effect] = []

    # ---- what is known --------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The members as they are believed to be now; the same object until something changes."""
        if self._view is None:
            ordered = tuple(self._members[name] for name in sorted(self._members))
            self._view = View(self.me, ordered)
        return self._view

    def next_deadline(self) -> float:
        """When ``tick`` wants to be called."""
        times = [self._beat + BEAT, self._next_table]
        if self._probe is None:
            times.append(self._next_probe)
        else:
            times.append(self._probe.ends if self._probe.asked else self._probe.indirect_at)
        for suspicion in self._suspicions.values():
            times.append(min(suspicion.next_probe, suspicion.deadline(self._size, self.config)))
        return min(times)

    def validate(self) -> None:
        """Check what must always hold; tests call it after every event."""
        assert self._members[self.me.name] is self.me
        for name, member in self._members.items():
            assert member.name == name
        for boot in self._suspicions:
            suspected = self._by_boot(boot)
            assert suspected is not None and suspected.status is Status.SUSPECT, boot

    # ---- events -----------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin to probe."""
        self._beat = now
        self._next_probe = now + self._rng.uniform(0, self.config.probe_interval)
        self._next_table = now + self._rng.uniform(1, TABLE_EVERY) * self.config.probe_interval
        return []

    def linked(self, peer: Member, now: float) -> list[Effect]:
        """A link is up; ``peer`` is what its node says of itself."""
        self._links.add(peer.boot)
        self._merge(Update(peer), now, f"connected to {peer.address}")
        self._send(peer.boot, self._table(reply=False))
        return self._drain()

    def unlinked(self, boot: str, now: float) -> list[Effect]:
        """The link to this boot broke."""
        self._links.discard(boot)
        member = self._by_boot(boot)
        if member is not None and member.present:
            self._effects.append(Redial(member))
        return self._drain()

    def refused(self, boot: str, now: float) -> list[Effect]:
        """Dialling this member's address was refused, or somebody else answered there."""
        member = self._by_boot(boot)
        if member is not None and member.present and boot not in self._links:
            self._suspect(member, self.me.name, now, evidence=True, tell=True)
        return self._drain()

    def received(self, sender: str, message: Any, now: float) -> list[Effect]:
        """A message from a linked boot. Raises ``ValueError`` for one that is malformed."""
        match message:
            case Ping():
                self._take(message.updates, sender, now)
                self._answer(sender, message)
            case Ack():
                self._take(message.updates, sender, now)
                self._acknowledged(message, now)
            case PingRequest():
                self._take(message.updates, sender, now)
                self._relay(sender, message, now)
            case Gossip():
                self._take(message.updates, sender, now)
            case Table():
                self._table_received(sender, message, now)
            case _:
                raise ValueError(f"no membership message: {message!r}")
        return self._drain()

    def announce(
        self,
        now: float,
        *,
        draining: bool | None = None,
        types: tuple[str, ...] | None = None,
        generation: int | None = None,
    ) -> list[Effect]:
        """Change the own record and tell everyone."""
        me = replace(self.me, incarnation=self.me.incarnation + 1)
        me = me if draining is None else replace(me, draining=draining)
        me = me if types is None else replace(me, types=types)
        me = me if generation is None else replace(me, generation=generation)
        self._speak(me, "announced")
        return self._drain()

    def leave(self, now: float) -> list[Effect]:
        """Say good-bye: everyone linked is told at once."""
        self._speak(replace(self.me.at(Status.LEFT), incarnation=self.me.incarnation + 1), "left")
        return self._drain()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        late = now - self._beat - BEAT
        self._beat = now
        if late > STALL:
            self._credit(late)
        self._relays = {seq: relay for seq, relay in self._relays.items() if relay.until > now}
        self._tick_probe(now)
        for suspicion in list(self._suspicions.values()):
            self._tick_suspicion(suspicion, now)
        self._forget(now)
        if now >= self._next_table:
            self._next_table = now + TABLE_EVERY * self.config.probe_interval
            if self._links:
                self._send(self._some(self._links, 1)[0], self._table(reply=True))
        return self._drain()

    def _forget(self, now: float) -> None:
        """Drop members that have been gone for too long."""
        gone = {m.name for m in self.view.members if not m.present and m.name != self.me.name}
        self._gone = {name: self._gone.get(name, now) for name in gone}
        for name, since in self._gone.items():
            if now - since > self.config.former_member_ttl:
                del self._members[name]
                self._view = None

    # ---- probing ------------------------------------------------------------------------------------

    def _tick_probe(self, now: float) -> None:
        probe = self._probe
        if probe is not None and not probe.asked and now >= probe.indirect_at:
            probe.asked = True
            self._ask_others(probe.boot, probe.seq)
        if probe is not None and now >= probe.ends:
            self._probe = None
            member = self._by_boot(probe.boot)
            if member is not None and member.present:
                self._suspect(member, self.me.name, now, evidence=False, tell=True)
        if now >= self._next_probe and self._probe is None:
            self._next_probe = now + self.config.probe_interval
            self._begin_probe(now)

    def _begin_probe(self, now: float) -> None:
        boot = self._next_target()
        if boot is None:
            return
        self._seq += 1
        ends = now + self.config.probe_interval * 0.95
        self._probe = _Probe(self._seq, boot, now + self.config.probe_timeout, ends)
        self._send(boot, Ping(self._seq, boot, self._updates_for(boot)))

    def _next_target(self) -> str | None:
        eligible = {m.boot for m in self.view.others if m.status is Status.ALIVE}
        while self._order:
            boot = self._order.pop()
            if boot in eligible:
                return boot
        self._order = sorted(eligible)
        self._rng.shuffle(self._order)
        return self._order.pop() if self._order else None

    def _ask_others(self, boot: str, seq: int) -> None:
        others = {m.boot for m in self.view.others} & self._links - {boot}
        for helper in self._some(others, self.config.indirect_probes):
            self._send(helper, PingRequest(seq, boot, self._updates_for(helper)))

    def _relay(self, asker: str, request: PingRequest, now: float) -> None:
        if request.target == self.me.boot:
            self._send(asker, self._ack(request.seq, asker))
        elif request.target in self._links and len(self._relays) < 10_000:
            self._seq += 1
            until = now + self.config.probe_interval
            self._relays[self._seq] = _Relay(asker, request.seq, until)
            updates = self._updates_for(request.target)
            self._send(request.target, Ping(self._seq, request.target, updates))

    def _answer(self, sender: str, ping: Ping) -> None:
        if ping.target == self.me.boot:
            self._send(sender, self._ack(ping.seq, sender))

    def _ack(self, seq: int, to: str) -> Ack:
        return Ack(seq, self.me.boot, self.me.incarnation, self._updates_for(to))

    def _acknowledged(self, ack: Ack, now: float) -> None:
        relay = self._relays.pop(ack.seq, None)
        if relay is not None:
            self._send(relay.asker, replace(ack, seq=relay.seq, updates=[]))
        if self._probe is not None and self._probe.boot == ack.boot:
            self._probe = None
        member = self._by_boot(ack.boot)
        if member is not None and ack.incarnation > member.incarnation:
            fresh = replace(member.at(Status.ALIVE), incarnation=ack.incarnation)
            self._merge(Update(fresh), now, "it answered")

    # ---- suspicion ----------------------------------------------------------------------------------

    def _suspect(
        self, member: Member, accuser: str, now: float, *, evidence: bool, tell: bool
    ) -> None:
        suspicion = self._suspicions.get(member.boot)
        if suspicion is None:
            next_probe = now + self.config.probe_timeout
            suspicion = self._suspicions[member.boot] = Suspicion(member.boot, now, next_probe)
        cause = "connection refused" if evidence else "it does not answer"
        self._store(member.at(Status.SUSPECT), f"{cause}, says {accuser}")
        suspicion.accusers.add(accuser)
        if evidence:
            suspicion.witnesses.add(accuser)
        update = Update(member.at(Status.SUSPECT), accuser, evidence)
        self._news.add(member.name, update.to_wire())
        if tell:
            self._tell_everyone(update)
        if evidence:
            self._weigh_evidence()

    def _weigh_evidence(self) -> None:
        """Evidence of this node and one other, or of this node if there is no other, is enough."""
        seen = [s for s in self._suspicions.values() if self.me.name in s.witnesses]
        gone = {s.boot for s in seen}
        others = [m for m in self.view.others if m.boot not in gone]
        for suspicion in seen:
            witnesses = ", ".join(sorted(suspicion.witnesses - {self.me.name}))
            if witnesses or not others:
                confirmed = f", confirmed by {witnesses}" if witnesses else ""
                self._bury(suspicion, f"re-dial refused{confirmed}")

    def _tick_suspicion(self, suspicion: Suspicion, now: float) -> None:
        if self._suspicions.get(suspicion.boot) is not suspicion:
            return
        if now >= suspicion.next_probe:
            suspicion.next_probe = now + self.config.probe_timeout
            self._probe_suspect(suspicion.boot, through_others=False)
        if now >= suspicion.deadline(self._size, self.config):
            if suspicion.last_check_until is None:
                suspicion.last_check_until = now + self.config.probe_timeout
                self._probe_suspect(suspicion.boot, through_others=True)
            else:
                accusers = ", ".join(sorted(suspicion.accusers))
                self._bury(suspicion, f"no answer, suspected by {accusers}")

    def _probe_suspect(self, boot: str, *, through_others: bool) -> None:
        self._seq += 1
        self._send(boot, Ping(self._seq, boot, self._updates_for(boot)))
        if through_others:
            self._ask_others(boot, self._seq)

    def _bury(self, suspicion: Suspicion, cause: str) -> None:
        del self._suspicions[suspicion.boot]
        member = self._by_boot(suspicion.boot)
        if member is not None and member.present:
            dead = member.at(Status.DEAD)
            self._store(dead, cause)
            update = Update(dead, self.me.name)
            self._news.add(dead.name, update.to_wire())
            self._tell_everyone(update)

    def _credit(self, seconds: float) -> None:
        for suspicion in self._suspicions.values():
            suspicion.shift(seconds)
        if self._probe is not None:
            self._probe.indirect_at += seconds
            self._probe.ends += seconds
        self._next_probe += seconds

    # ---- news ---------------------------------------------------------------------------------------

    def _take(self, updates: Iterable[Any], sender: str, now: float) -> None:
        for raw in updates:
            update = Update.from_wire(raw)
            self._merge(update, now, f"told by {self._name_of(sender)}", sender)

    def _table_received(self, sender: str, table: Table, now: float) -> None:
        teller = self._name_of(sender)
        for raw in table.members:
            member = Member.from_wire(raw)
            if member.status is Status.DEAD and member.boot != self.me.boot:
                known = self._members.get(member.name)
                if known is not None and known.boot == member.boot and known.present:
                    member = member.at(Status.SUSPECT)
            accuser = teller if member.status is Status.SUSPECT else ""
            self._merge(Update(member, accuser), now, f"told by {teller}", sender)
        if table.reply:
            self._send(sender, self._table(reply=False))

    def _merge(self, update: Update, now: float, cause: str, sender: str = "") -> None:
        member = update.member
        if member.name == self.me.name:
            self._about_me(member, sender)
            return
        known = self._members.get(member.name)
        if member.status is Status.SUSPECT and known is not None and known.boot == member.boot:
            self._accused(known, update, now)
        elif known is None or member.supersedes(known):
            self._accept(known, member, update, now, cause)

    def _accused(self, known: Member, update: Update, now: float) -> None:
        if not known.present or update.member.incarnation < known.incarnation:
            return
        suspected = replace(update.member, address=known.address, types=known.types)
        suspicion = self._suspicions.get(known.boot)
        news = suspicion is None or update.accuser not in suspicion.accusers
        news = news or (update.evidence and update.accuser not in suspicion.witnesses)
        if news:
            accuser = update.accuser or "somebody"
            self._suspect(suspected, accuser, now, evidence=update.evidence, tell=False)

    def _accept(
        self, known: Member | None, member: Member, update: Update, now: float, cause: str
    ) -> None:
        if known is not None:
            self._suspicions.pop(known.boot, None)
        if member.status is Status.SUSPECT:
            self._store(member.at(Status.ALIVE), cause)
            accuser = update.accuser or "somebody"
            self._suspect(member, accuser, now, evidence=update.evidence, tell=False)
            return
        self._store(member, cause)
        self._news.add(member.name, update.to_wire())

    def _about_me(self, said: Member, sender: str) -> None:
        if said.boot != self.me.boot:
            self._about_my_name(said, sender)
        elif self.me.status is Status.LEFT:
            return
        elif said.status is not Status.ALIVE and said.incarnation >= self.me.incarnation:
            self._speak(replace(self.me, incarnation=said.incarnation + 1), "refuted")
        elif said.status is not Status.ALIVE and sender:
            self._send(sender, Gossip([Update(self.me).to_wire()]))

    def _about_my_name(self, said: Member, sender: str) -> None:
        if said.identity < self.me.identity:
            if sender:
                self._send(sender, Gossip([Update(self.me).to_wire()]))
        elif said.present and said.address != self.me.address:
            self._effects.append(YieldName(said))
        else:
            raised = replace(self.me, generation=said.generation + 1)
            self._speak(replace(raised, incarnation=self.me.incarnation + 1), "took its name over")

    def _speak(self, me: Member, cause: str) -> None:
        self._store(me, cause)
        update = Update(me)
        self._news.add(me.name, update.to_wire())
        self._tell_everyone(update)

    def _tell_everyone(self, update: Update) -> None:
        for boot in sorted(self._links):
            self._send(boot, Gossip([update.to_wire()]))

    def _updates_for(self, boot: str) -> list[Any]:
        """News to ride on a message to ``boot``: whether it is a suspect comes first."""
        updates = self._news.take(self._size)
        suspicion = self._suspicions.get(boot)
        member = self._by_boot(boot)
        if suspicion is not None and member is not None:
            accuser = min(suspicion.accusers)
            updates.insert(0, Update(member.at(Status.SUSPECT), accuser).to_wire())
        return updates

    def _table(self, *, reply: bool) -> Table:
        return Table([m.to_wire() for m in self.view.members], reply)

    # ---- small things -------------------------------------------------------------------------------

    @property
    def _size(self) -> int:
        return len(self.view.present)

    def _by_boot(self, boot: str) -> Member | None:
        return self.view.by_boot.get(boot)

    def _name_of(self, boot: str) -> str:
        member = self._by_boot(boot)
        return member.name if member else boot[:8]

    def _store(self, after: Member, cause: str) -> None:
        before = self._members.get(after.name)
        if before == after:
            return
        self._members[after.name] = after
        if after.name == self.me.name:
            self.me = after
        if before is not None and before.boot != after.boot:
            self._suspicions.pop(before.boot, None)
        self._view = None
        self._effects.append(Changed(before, after, cause))

    def _send(self, boot: str, message: Any) -> None:
        self._effects.append(Send(boot, message))

    def _some(self, boots: Iterable[str], count: int) -> list[str]:
        ordered = sorted(boots)
        return self._rng.sample(ordered, min(count, len(ordered)))

    def _drain(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
