"""What a node says about members: every message of membership is put together here.

News rides on pings and acks. A message to somebody who is suspected, or held for dead, begins with
just that, so that it can refute; and so does a request to others to ping it.

What a node finds out itself it tells everybody it is linked with, up to ``FANOUT`` of them. Beyond
that size whoever hears news tells a few more at once, so nobody ever sends to all of a large
cluster, and everybody has heard after a few hops.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from pyhorde.cluster.member import DOUBTED, Member, Status
from pyhorde.cluster.membership.dissemination import Dissemination
from pyhorde.cluster.membership.effects import Effect, Send
from pyhorde.cluster.membership.fallback import StreamFallback
from pyhorde.cluster.membership.health import Vitals
from pyhorde.cluster.membership.messages import Ack, Gossip, Nack, Ping, PingRequest, Table, Update
from pyhorde.cluster.membership.roster import Roster
from pyhorde.cluster.membership.suspicion import Suspicions
from pyhorde.config import MembershipConfig
from pyhorde.seam import Rng

FANOUT: Final = 30
"""So many are told at once what this node has found out."""
PASS_ON: Final = 3
"""So many are told what this node has heard, in a cluster larger than ``FANOUT``."""
TOLD: Final = 50
"""So much news of one moment shares a message."""
RUMOURS: Final = 30
"""More news than this in one message is no rumour but a table, and is not passed on."""


class Outbox:
    """The linked members, and the effects of the event that is being handled."""

    def __init__(
        self, roster: Roster, suspicions: Suspicions, config: MembershipConfig, rng: Rng
    ) -> None:
        self.links: set[str] = set()
        self.fallback = StreamFallback()
        self.packets = True
        """Whether this node can send packets at all."""
        self.vitals = Vitals()
        self._roster = roster
        self._suspicions = suspicions
        self._config = config
        self._rng = rng
        self._news = Dissemination(config.retransmit_mult)
        self._rumours: dict[str, Any] = {}
        self._told: list[Any] = []
        """What was found out during this event: it leaves as one message."""
        self._effects: list[Effect] = []

    def put(self, effect: Effect) -> None:
        """Add an effect that is no message."""
        self._effects.append(effect)

    def drain(self) -> list[Effect]:
        """All effects since the last time, in order."""
        while self._told:
            told, self._told = self._told[:TOLD], self._told[TOLD:]
            gossip = Gossip(told)
            for boot in self._some(self.links, FANOUT):
                self._send(boot, gossip)
        if self._rumours:
            self._pass_on_rumours()
        effects, self._effects = self._effects, []
        return effects

    def spread(self, update: Update, *, tell: bool = False, ride: bool = True) -> None:
        """Tell others: at once if this node found it out itself (``tell``).

        ``ride``: and let it ride on messages to come, in place of what rode there about the member.
        """
        raw = update.to_wire()
        if ride:
            self._news.add(update.member.name, raw)
        if tell:
            self._told.append(raw)
        elif len(self.links) > FANOUT:
            self._rumours[update.member.name] = raw

    def hush(self) -> None:
        """Do not pass on at once what was heard or found during this event."""
        self._rumours.clear()

    def _pass_on_rumours(self) -> None:
        rumours, self._rumours = list(self._rumours.values()), {}
        if len(rumours) <= RUMOURS:
            for boot in self._some(self.links, PASS_ON):
                self._send(boot, Gossip(rumours))

    def inform(self, boot: str, member: Member) -> None:
        """Tell one node this one record."""
        self._send(boot, Gossip([Update(member).to_wire()]))

    def probe(self, boot: str, seq: int) -> bool:
        """Ask whether this boot is there, the way that works, if there is a link to it.

        Whether it was asked over the stream.
        """
        packet, stream = self.fallback.of(boot) if self.packets else (False, True)
        if boot in self.links:
            self._ping(boot, seq, packet=packet, stream=stream)
        return stream

    def ping(self, boot: str, seq: int) -> None:
        """Ask in every way whether this boot is there, if there is a link to it."""
        if boot in self.links:
            self._ping(boot, seq, packet=self.packets, stream=True)

    def ask_again(self, boot: str, seq: int) -> None:
        """What was asked by packet alone is asked over the stream too."""
        if boot in self.links:
            self._ping(boot, seq, packet=False, stream=True)

    def _ping(self, boot: str, seq: int, *, packet: bool, stream: bool) -> None:
        member = self._roster.by_boot(boot)
        known = member.incarnation if member is not None else -1
        vitals = self.vitals.to_wire()
        message = Ping(seq, boot, known, vitals, self._updates_for(boot))
        self.fallback.pinged(boot, packet=packet)
        if packet:
            self._send(boot, message, packet=True)
        if stream:
            self._send(boot, message)

    def ask_others(self, boot: str, seq: int) -> frozenset[str]:
        """Ask a few members that are in good standing to ping this boot; who was asked."""
        sound = {m.boot for m in self._roster.view.others if m.status is Status.ALIVE}
        others = sound & self.links - {boot}
        helpers = self._some(others, self._config.indirect_probes)
        for helper in helpers:
            updates = self._charge(boot) + self._updates_for(helper)
            self._send(helper, PingRequest(seq, boot, updates))
        return frozenset(helpers)

    def answer(self, boot: str, ping: Ping, *, packet: bool) -> None:
        """Answer a ping the way it came."""
        me = self._roster.me
        record = me.to_wire() if ping.known != me.incarnation else None
        updates = self._updates_for(boot)
        ack = Ack(ping.seq, me.boot, record, self.vitals.to_wire(), updates)
        self._send(boot, ack, packet=packet and self.packets)

    def pass_on(self, boot: str, seq: int, ack: Ack, member: Member) -> None:
        """Give an ack to the one on whose behalf the ping was made."""
        self._send(boot, Ack(seq, ack.boot, member.to_wire(), ack.vitals, []))

    def nack(self, boot: str, seq: int) -> None:
        """Tell the one on whose behalf a ping was made that there is no answer yet."""
        self._send(boot, Nack(seq))

    def table(self, boot: str, now: float, *, reply: bool) -> None:
        """Send the whole table."""
        self._send(boot, Table(self._roster.rows(now, self._voucher), reply))

    def table_to_somebody(self, now: float) -> None:
        """Exchange whole tables with a random linked member, if there is one."""
        for boot in self._some(self.links, 1):
            self.table(boot, now, reply=True)

    def greet(self, boot: str, now: float) -> None:
        """Send the table to a new link; in a large cluster, only to some of them."""
        if self._rng.random() * len(self.links) < FANOUT:
            self.table(boot, now, reply=False)
        else:
            self.inform(boot, self._roster.me)

    def _send(self, boot: str, message: Any, *, packet: bool = False) -> None:
        self._effects.append(Send(boot, message, packet))

    def _updates_for(self, boot: str) -> list[Any]:
        return self._charge(boot) + self._news.take(self._roster.size)

    def _charge(self, boot: str) -> list[Any]:
        """What is held against this boot."""
        member = self._roster.by_boot(boot)
        if member is None or member.status not in (*DOUBTED, Status.DEAD):
            return []
        suspicion = self._suspicions.get(boot)
        if member.status is Status.STALLED or suspicion is None:
            return [Update(member, self._voucher(member)).to_wire()]
        return [Update(member, min(suspicion.accusers, default="")).to_wire()]

    def _voucher(self, member: Member) -> str:
        """Somebody who has seen for itself that the machine of this stalled member lives."""
        suspicion = self._suspicions.get(member.boot)
        if suspicion is None or not suspicion.stalled:
            return ""
        if suspicion.host_seen > -math.inf:
            return self._roster.me.name
        return min(suspicion.vouchers, default="")

    def _some(self, boots: Iterable[str], count: int) -> list[str]:
        ordered = sorted(boots)
        return self._rng.sample(ordered, count) if len(ordered) > count else ordered
