"""The cluster as one node lives in it: the shell around membership, dialling and replication.

Runs the machines' effects, arms one timer for all of them, and tells its listeners what changed.
It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pyhorde.cluster.discovery import Surroundings
from pyhorde.cluster.event_loop.lag import LoopMeter
from pyhorde.cluster.event_loop.stall import StallGuard
from pyhorde.cluster.journal import Journal
from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership import membership
from pyhorde.cluster.membership.dial_schedule import DialSchedule
from pyhorde.cluster.membership.dialer import Dialer
from pyhorde.cluster.membership.joining import Joining
from pyhorde.cluster.membership.membership import Changed, Membership, Redial, Send, YieldName
from pyhorde.cluster.membership.messages import MEMBERSHIP_MESSAGES, Reached
from pyhorde.cluster.replication import replication
from pyhorde.cluster.replication.acknowledgements import Acknowledgements
from pyhorde.cluster.replication.messages import REPLICATION_MESSAGES
from pyhorde.cluster.replication.replication import Caught, Learned, Repairs, Replication
from pyhorde.cluster.transport.datagrams import Packets
from pyhorde.cluster.transport.handshake import Goodbye
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.cluster.transport.links import Links
from pyhorde.cluster.transport.sealing import Sealer
from pyhorde.cluster.transport.wire import Wire
from pyhorde.cluster.waiting import Waiting
from pyhorde.config import NodeConfig
from pyhorde.crdt import Joined, Replica
from pyhorde.errors import ConfigError, HordeError
from pyhorde.seam import World

log = logging.getLogger("pyhorde.cluster")

CATCH_UP: Final = 2.0  # seconds to wait for what the others know, after standing still
JOINING: Final = 0.2
"""While it joins, a node looks this often, in seconds, whether it knows what the cluster knows."""


class Cluster:
    """Membership, links and replication of one node."""

    def __init__(
        self,
        config: NodeConfig,
        world: World,
        me: Member,
        replica: Replica,
        messages: Iterable[type[Any]],
    ) -> None:
        self._config = config
        self._world = world
        self.keyring = Keyring(config.secrets)
        """The cluster's secrets; whoever changes them changes them here."""
        self.detector = Membership(me, config.membership, world.rng)
        """Who is there; others only read it."""
        self._replication = Replication(replica, config.replication, world.rng)
        self._routes: dict[type[Any], Callable[[str, Any], None]] = {
            **dict.fromkeys(MEMBERSHIP_MESSAGES, self._on_membership),
            **dict.fromkeys(REPLICATION_MESSAGES, self._on_replication),
            Reached: self._on_reached,
        }
        wire = Wire(MEMBERSHIP_MESSAGES, (Reached,), REPLICATION_MESSAGES, (Goodbye,), messages)
        self.links = Links(config, world, self.keyring, wire, self)
        schedule = DialSchedule(config.peers, config.membership, world.rng)
        self.dialer = Dialer(
            schedule, self.links, world, lambda: self.view, self._on_refused, config.membership
        )
        self.dialer.on_dialled = self._arm
        self.stall_guard = StallGuard(
            world.now,
            config.replication.sync_interval,
            lambda since: self.acks.caught_up(since, CATCH_UP),
        )
        self._joining = Joining(config.membership.join_timeout)
        self.packets = Packets(
            Sealer(me.boot, config.cluster, self.keyring),
            Wire(MEMBERSHIP_MESSAGES),
            self._member,
            self._on_packet,
        )
        self.meter = LoopMeter(world)
        self.journal = Journal(me.boot, world.wall)
        self.meter.on_blocked = self.journal.blocked
        self.load: Callable[[], int] = lambda: 0  # how many processes run here
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        """What the timer waits for."""
        self._waiting = Waiting()
        self.acks = Acknowledgements(
            self._replication, self._waiting, self.detector, self.links, self.stall_guard, world
        )
        self.acks.run = self._run
        self._started = self._ticked = self._next_forget = 0.0
        self.closed = False
        """Whether this node has stopped."""
        self.in_sync = False
        """Whether this node has everything some other node had, or has found itself alone."""
        self.on_changed: list[Callable[[Changed], None]] = [self.journal.changed]
        self.on_learned: list[Callable[[Joined], None]] = []
        self.on_lost: list[Callable[[str], None]] = []
        self.on_fatal: Callable[[HordeError], None] = lambda _: None

    # ---- what others use ---------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The members as they are believed to be now."""
        return self.detector.view

    def age(self, name: str) -> float:
        """Seconds since this member has become what it is now."""
        return self.detector.roster.age(name, self._world.now())

    @property
    def replication_statistics(self) -> replication.Statistics:
        """What went wrong in replication, and what was forgotten."""
        return self._replication.statistics

    def use_secrets(self, secrets: Sequence[bytes]) -> None:
        """From now on these count; links that were made with others are made anew."""
        if self.keyring.replace(secrets):
            dropped = self.links.drop_unproven(self.keyring.psks)
            fields = {"secrets": len(secrets), "links": dropped}
            self.journal.note("secrets_changed", fields)

    def route(self, kind: type[Any], handler: Callable[[str, Any], None]) -> None:
        """Hand messages of this class to ``handler(boot, message)``."""
        self._routes[kind] = handler

    def send(self, boot: str, message: Any) -> bool:
        """Queue a message; False when it provably will not arrive."""
        return self.links.send(boot, message)

    def _member(self, boot: str) -> Member | None:
        return self.view.by_boot.get(boot)

    def written(self) -> None:
        """The own replica was written to."""
        if not self._replication.written(self._world.now()) or self.closed:
            return
        if self._config.replication.push_delay:
            self._arm()
        elif self._started:
            asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        if not self.closed:
            self._carry_out(self._replication.push())

    def announce(self, **changes: Any) -> None:
        """Change fields of the own member record and tell everyone."""
        self._run(self.detector.announce(self._world.now(), **changes))

    async def start(self) -> None:
        """Begin to dial, probe and replicate. The node listens already."""
        config = self._config
        packets = await self.packets.open(self._world.network, config.bind)
        self._started = self._ticked = self._world.now()
        self.meter.start()
        self._replication.start(self._started)
        if config.discovery:
            around = Surroundings(
                address=self.view.me.address,
                world=self._world,
                cluster=config.cluster,
                keyring=self.keyring,
            )
            await self.dialer.discover(config.discovery, around, config.membership.join_timeout)
        self._run(self.detector.start(self._started, packets=packets))

    async def leave(self) -> None:
        """Tell everyone that this node goes, and see that it was sent."""
        self._run(self.detector.leave(self._world.now()))
        await self.links.flush(1.0)

    async def aclose(self) -> None:
        """Stop everything. Idempotent."""
        self.closed = self.acks.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self.meter.close()
        await self.stall_guard.aclose()
        await self.packets.aclose()
        await self.dialer.aclose()
        await self.links.aclose()
        self._waiting.all()

    # ---- what the links tell and ask ---------------------------------------------------------

    def on_linked(self, member: Member) -> None:
        """A link is up. Raises ``ValueError`` for a member that cannot be."""
        now = self._world.now()
        effects = self.detector.linked(member, now)
        self.journal.linked(member)
        self._run(effects)
        self._run(self._replication.linked(member.boot, now))
        self._waiting.all()

    def on_unlinked(self, boot: str, reason: str) -> None:
        """A link is gone."""
        member = self.view.by_boot.get(boot)
        if member is not None and member.present:
            fields = {"member": member.name, "reason": reason or "connection lost"}
            log.info("link_lost", extra={"fields": fields})
            self.journal.unlinked(member, fields["reason"])
        self._replication.unlinked(boot)
        self._run(self.detector.unlinked(boot, self._world.now()))
        for callback in self.on_lost:
            callback(boot)
        self._waiting.all()

    def on_message(self, boot: str, message: Any) -> None:
        """A message arrived. ``ValueError`` makes the link refuse it."""
        self._routes[type(message)](boot, message)

    @property
    def settled(self) -> bool:
        """Whether this node is in sync."""
        return self.in_sync

    def ask(self, boot: str) -> None:
        """Have this boot give a sign of life."""
        self._run(self.detector.ask(boot))

    def on_name_refused(self, holder: Member, *, settled: bool) -> None:
        """Somebody does not let this node in because ``holder`` has its name.

        One that is only joining itself (not ``settled``) cannot say who the holder is.
        """
        if settled and (not self.in_sync or holder.identity > self.view.me.identity):
            self._yield_name(holder)

    def on_name_contested(self, guest: Member) -> None:
        """A node with this node's own name wants in: of two that join, the later one gives way."""
        if not self.in_sync and guest.identity < self.view.me.identity:
            self._yield_name(guest)

    def _on_membership(self, boot: str, message: Any) -> None:
        self._run(self.detector.received(boot, message, self._world.now()))

    def _on_reached(self, boot: str, message: Reached) -> None:
        self._joining.heard(boot, message)
        self._settle()

    def _on_packet(self, boot: str, message: Any) -> None:
        if not self.closed:
            now = self._world.now()
            self._run(self.detector.received(boot, message, now, packet=True))

    def _on_refused(self, boot: str) -> None:
        self._run(self.detector.refused(boot, self._world.now()))

    def _on_replication(self, boot: str, message: Any) -> None:
        now, wall = self._world.now(), self._world.wall()
        self._carry_out(self._replication.received(boot, message, now, wall))
        if self._armed_for is not None and self._replication.next_deadline() < self._armed_for:
            self._arm()
        self._waiting.confirmed(self._replication.acked(boot))

    # ---- effects -----------------------------------------------------------------------------

    def _run(self, effects: Iterable[membership.Effect | replication.Effect]) -> None:
        self._carry_out(effects)
        self._arm()

    def _carry_out(self, effects: Iterable[membership.Effect | replication.Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect)
                case Changed():
                    self._report(effect)
                case Redial(member):
                    self.dialer.hurry(member.address)
                case YieldName(winner):
                    self._yield_name(winner)
                case Learned(joined):
                    for callback in self.on_learned:
                        callback(joined)
                    self._waiting.changed()
                case Caught():
                    self._settle()
                    self._waiting.all()
                case Repairs(boot, what):
                    fields = {"member": self.detector.roster.name_of(boot), "what": what}
                    log.error("audit_failed", extra={"fields": {**fields, "next": "repairing"}})

    def _send(self, effect: Send) -> None:
        if not (effect.packet and self.packets.send(effect.boot, effect.message)):
            self.links.send(effect.boot, effect.message)

    def _report(self, change: Changed) -> None:
        after = change.after
        if change.before is None or change.before.state != after.state:
            fields = {"member": after.name, "address": after.address, "cause": change.cause}
            level = logging.INFO if after.present else logging.WARNING
            if after.boot == self.view.me.boot or after.status is Status.LEFT:
                level = logging.INFO
            log.log(level, "member_%s", after.state, extra={"fields": fields})
        for callback in self.on_changed:
            callback(change)
        self._hang_up(change)
        self._waiting.all()

    def _hang_up(self, change: Changed) -> None:
        """Nothing more comes from a boot that is dead or replaced; nobody must wait for it.

        Its stream need not break by itself: a machine that lost power closes nothing.
        """
        before, after = change.before, change.after
        if before is not None and before.boot != after.boot:
            self.links.drop(before.boot, f"{after.name} has been started again")
        if after.status is Status.DEAD:
            self.links.drop(after.boot, f"{after.name} is dead")

    def _yield_name(self, winner: Member) -> None:
        self.on_fatal(
            ConfigError(
                "name",
                f"{winner.name!r} is the name of a live node at {winner.address}",
                "give every node a name of its own with --name",
            )
        )

    # ---- time --------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self.closed or not self._started:
            return
        deadline = min(self.detector.next_deadline(), self._replication.next_deadline())
        dial = self.dialer.next_deadline()
        if dial is not None:
            deadline = min(deadline, dial)
        if not self.in_sync:
            deadline = min(deadline, self._ticked + JOINING)
        if deadline == self._armed_for:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = deadline
        delay = max(0.0, deadline - self._world.now())
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        late = self._world.now() - self._ticked - JOINING
        if not self.in_sync and late > 1.0:  # to stand still is not to be patient
            self._started += late
        self._timer = self._armed_for = None
        self.stall_guard.ran()
        now = self._ticked = self._world.now()
        self.dialer.dial_due(now)
        effects: list[membership.Effect] = []
        if now >= self.detector.next_deadline():
            effects = self._judge(now)
            self._carry_out(effects)
        self._carry_out(self._replication.tick(now, self._company(effects)))
        if now >= self._next_forget:
            self._next_forget = now + self._config.replication.sync_interval / 2
            self._forget(now)
        self._settle()
        self._arm()

    def _judge(self, now: float) -> list[membership.Effect]:
        self.detector.describe(self.load(), self.meter.lag)
        effects: list[membership.Effect] = []
        self.detector.notice_stall(now)
        for boot in self.detector.suspects:
            silence = self.links.host_silence(boot)
            if silence is not None:
                effects += self.detector.host_lives(boot, silence, now)
        return effects + self.detector.tick(now)

    def _forget(self, now: float) -> None:
        """Let replication forget what everyone has seen who may still have to say something."""
        config, replica = self._config.replication, self._replication.replica
        patient = replica.deletions <= config.max_deletions
        linked = self.links.boots
        holding = [m.boot for m in self.view.others if patient or m.boot in linked]
        for member in self.view.members:
            absence = self.detector.roster.absence(member.name, now)
            if member.status is Status.DEAD and absence < config.remember_deletions and patient:
                holding.append(member.boot)
        self._carry_out(self._replication.forget(holding))
        self.packets.forget()

    def _company(self, effects: Iterable[membership.Effect]) -> list[str]:
        """Members in good standing that are sent something now."""
        boots = [effect.boot for effect in effects if isinstance(effect, Send)]
        known = self.view.by_boot
        return [boot for boot in boots if boot in known and known[boot].status is Status.ALIVE]

    def _settle(self) -> None:
        """Find out whether this node knows what the cluster knows; see :class:`Joining`.

        A node that nobody answers serves alone; its peers are dialled for ever.
        """
        if self.in_sync:
            return
        waited = self._world.now() - self._started
        situation = self.dialer.situation(*self._replication.heard(), waited)
        for boot, message in self._joining.news(situation):
            self.links.send(boot, message)
        if self._joining.is_over(situation):
            missing = self.dialer.missing()
            self.in_sync = self._replication.settled = True
            present = len(self.view.present)
            fields = {"members": present, "unreachable": ",".join(missing)}
            log.info("in_sync", extra={"fields": {k: v for k, v in fields.items() if v}})
            self.journal.note("in_sync", {"members": present, "unreachable": missing})
            self._waiting.all()
