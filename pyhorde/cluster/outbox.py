"""What a node says about members: every message of membership is put together here.

News rides on pings and acks. A message to somebody who is suspected, or held for dead, begins with
just that, so that it can refute; and so does a request to others to ping it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyhorde.cluster.dissemination import Dissemination
from pyhorde.cluster.effects import Effect, Send
from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.messages import Ack, Gossip, Ping, PingRequest, Table, Update
from pyhorde.cluster.roster import Roster
from pyhorde.cluster.suspicion import Suspicions
from pyhorde.config import MembershipConfig
from pyhorde.seam import Rng


class Outbox:
    """The linked members, and the effects of the event that is being handled."""

    def __init__(
        self, roster: Roster, suspicions: Suspicions, config: MembershipConfig, rng: Rng
    ) -> None:
        self.links: set[str] = set()
        self._roster = roster
        self._suspicions = suspicions
        self._config = config
        self._rng = rng
        self._news = Dissemination(config.retransmit_mult)
        self._effects: list[Effect] = []

    def put(self, effect: Effect) -> None:
        """Add an effect that is no message."""
        self._effects.append(effect)

    def drain(self) -> list[Effect]:
        """All effects since the last time, in order."""
        effects, self._effects = self._effects, []
        return effects

    def spread(self, update: Update, *, tell: bool = False) -> None:
        """Let the update ride on messages to come; ``tell``: and tell every linked member now."""
        raw = update.to_wire()
        self._news.add(update.member.name, raw)
        if tell:
            gossip = Gossip([raw])
            for boot in sorted(self.links):
                self._send(boot, gossip)

    def inform(self, boot: str, member: Member) -> None:
        """Tell one node this one record."""
        self._send(boot, Gossip([Update(member).to_wire()]))

    def ping(self, boot: str, seq: int) -> None:
        """Ask whether this boot is there, if there is a link to it."""
        if boot in self.links:
            self._send(boot, Ping(seq, boot, self._updates_for(boot)))

    def ask_others(self, boot: str, seq: int) -> None:
        """Ask a few members to ping this boot."""
        others = {m.boot for m in self._roster.view.others} & self.links - {boot}
        for helper in self._some(others, self._config.indirect_probes):
            updates = self._charge(boot) + self._updates_for(helper)
            self._send(helper, PingRequest(seq, boot, updates))

    def answer(self, boot: str, seq: int) -> None:
        """Answer a ping."""
        self._send(boot, Ack(seq, self._roster.me.to_wire(), self._updates_for(boot)))

    def pass_on(self, boot: str, seq: int, ack: Ack) -> None:
        """Give an ack to the one on whose behalf the ping was made."""
        self._send(boot, Ack(seq, ack.member, []))

    def table(self, boot: str, now: float, *, reply: bool) -> None:
        """Send the whole table."""
        self._send(boot, Table(self._roster.rows(now), reply))

    def table_to_somebody(self, now: float) -> None:
        """Exchange whole tables with a random linked member, if there is one."""
        for boot in self._some(self.links, 1):
            self.table(boot, now, reply=True)

    def _send(self, boot: str, message: Any) -> None:
        self._effects.append(Send(boot, message))

    def _updates_for(self, boot: str) -> list[Any]:
        return self._charge(boot) + self._news.take(self._roster.size)

    def _charge(self, boot: str) -> list[Any]:
        """What is held against this boot."""
        member = self._roster.by_boot(boot)
        if member is None or member.status not in (Status.SUSPECT, Status.DEAD):
            return []
        suspicion = self._suspicions.get(boot)
        accuser = min(suspicion.accusers, default="") if suspicion else ""
        return [Update(member, accuser).to_wire()]

    def _some(self, boots: Iterable[str], count: int) -> list[str]:
        ordered = sorted(boots)
        return self._rng.sample(ordered, min(count, len(ordered)))
