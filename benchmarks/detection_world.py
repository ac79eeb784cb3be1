"""A fast world for membership cores alone: virtual time, a lossy network, and nothing else.

The cores are the real ones; their messages travel as objects. Everybody is linked with everybody
at the start. What the world is like:

* A packet is lost with the probability ``loss``, and takes 0.5 to 2 ms.
* A stream is TCP (``detection_streams.py``); what it sends gets lost as packets do.
* A silent host neither sends nor receives anything, nor does it confirm. A killed node's host
  breaks its connections at once, and refuses new ones. The host of a stalled node confirms what
  arrives; the node handles it when it goes on: one message, its overdue tick, then the rest.
* Nothing but membership is sent. What replication's messages would tell of a host is told apart.
* Who is held for dead is hung up on and dialled again, as the shell does it.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from detection_streams import RTO, Stream

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.dial_schedule import FORMER_FACTOR
from pyhorde.cluster.membership.effects import Changed, Effect, Redial, Send
from pyhorde.cluster.membership.membership import Membership
from pyhorde.config import MembershipConfig

LATENCY = (0.0005, 0.002)
SYN_RTO = 1.0
HANDSHAKE_TRIPS = 5
"""Messages one way until a dialled connection is a link."""
CHATTER = 1.0
"""Replication sends something over every stream this often, seconds, and it is confirmed."""
GREETS = 10
"""Up to this size nodes meet one by one; beyond it they begin with the whole table and all links,
because a million handshakes would take longer than what is measured."""


@dataclass(slots=True, eq=False)
class Node:
    """A core, and what the shell around it would know."""

    core: Membership
    boot: str
    armed: float = math.inf
    silent: bool = False
    killed: bool = False
    stalled_until: float = -math.inf
    overdue: bool = False
    slowness: float = 0.0
    """Each message is handled after up to so many seconds."""
    waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    unlinked: set[str] = field(default_factory=set)
    """All others are linked."""
    dialling: set[str] = field(default_factory=set)
    streams: dict[str, Stream] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    """Until when a slow one is busy with what came over a stream."""

    @property
    def gone(self) -> bool:
        return self.silent or self.killed


class World:
    """Virtual time, some nodes, and what lies between them.

    ``watch`` is told of every change of a status: when, who saw it, what changed.
    """

    def __init__(
        self,
        seed: str,
        size: int,
        config: MembershipConfig,
        *,
        loss: float = 0.0,
        packets: bool = True,
        watch: Callable[[float, Node, Changed], None] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.config = config
        self.loss = loss
        self.packets = packets
        """Whether packets get through at all."""
        self.watch = watch
        self.now = 1000.0
        self.sent = {True: 0, False: 0}
        """How many messages were sent: as packets, and over streams."""
        self.events = 0
        self.cpu: float | None = None
        """Seconds the cores have computed; None while that is not measured."""
        self.nodes = [self._make(number) for number in range(size)]
        self.by_boot = {node.boot: node for node in self.nodes}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ids = itertools.count()
        self._meet_all()

    # ---- what experiments do --------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end, heap = self.now + seconds, self._heap
        while heap and heap[0][0] <= end:
            self.now, _, handle, arguments = heapq.heappop(heap)
            self.events += 1
            handle(*arguments)
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: float) -> None:
        """Let time pass until the condition holds, or ``limit`` seconds."""
        end = self.now + limit
        while not condition() and self.now < end:
            self.run(0.25)

    def silence(self, node: Node) -> None:
        """Its host loses power, a moment after it has confirmed what replication sent."""
        for other in self.nodes:
            if other is not node and node.boot not in other.unlinked:
                stream = self._stream(other, node)
                last = self.now - self.rng.uniform(0, CHATTER)
                stream.confirmed = max(stream.confirmed, last)
        node.silent = True

    def kill(self, node: Node) -> None:
        """kill -9: its host closes its connections, and refuses new ones."""
        node.killed = True
        for other in self.nodes:
            if not other.gone:
                self._soon(self._unlink, other, node.boot)

    def stall(self, node: Node, seconds: float) -> None:
        """It stands still; its host does not."""
        node.stalled_until = self.now + seconds
        self.at(node.stalled_until, self._wake, node)

    # ---- the beginning --------------------------------------------------------------------------

    def _make(self, number: int) -> Node:
        boot = f"{self.rng.getrandbits(128):032x}"
        me = Member(
            name=f"n{number:04}",
            address=f"10.0.{number // 250}.{number % 250}:4380",
            boot=boot,
            generation=1_700_000_000_000 + number,
            types=("T",),
        )
        return Node(Membership(me, self.config, random.Random(self.rng.random())), boot)

    def _meet_all(self) -> None:
        for node in self.nodes:
            self._event(node, node.core.start, self.now)
        if len(self.nodes) <= GREETS:
            for one, other in itertools.combinations(self.nodes, 2):
                self._link(one, other)
            return
        records = [node.core.me for node in self.nodes]
        for node in self.nodes:
            self._know(node.core, records)

    def _know(self, core: Membership, records: Iterable[Member]) -> None:
        """As if all links had been up for a long time."""
        for record in records:
            core.roster.store(record, "", self.now)
            if record.boot != core.me.boot:
                core._outbox.links.add(record.boot)
                core._signs.of(record.boot, self.now)
                if self.packets:
                    core._outbox.fallback.answered(record.boot)

    # ---- the shell ------------------------------------------------------------------------------

    def at(self, when: float, handle: Callable[..., None], *arguments: Any) -> None:
        """Let this happen then."""
        heapq.heappush(self._heap, (when, next(self._ids), handle, arguments))

    def carry(self, handle: Callable[..., None], *arguments: Any) -> None:
        """Let this happen once it is across, unless it gets lost."""
        if self.rng.random() >= self.loss:
            self._soon(handle, *arguments)

    def _soon(self, handle: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + self._trip(), handle, *arguments)

    def _event(
        self, node: Node, event: Callable[..., list[Effect]], *arguments: Any, **named: Any
    ) -> None:
        """Let the core do something, and carry out what it wants."""
        if self.cpu is None:
            effects = event(*arguments, **named)
            deadline = node.core.next_deadline()
        else:
            began = time.process_time()
            effects = event(*arguments, **named)
            deadline = node.core.next_deadline()
            self.cpu += time.process_time() - began
        self._run(node, effects, deadline)

    def _run(self, node: Node, effects: Iterable[Effect], deadline: float) -> None:
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                self._send(node, effect)
            elif kind is Changed:
                self._changed(node, effect)
            elif kind is Redial:
                self._redial(node, effect.member.boot)
        if deadline < node.armed:
            node.armed = max(deadline, self.now)
            self.at(node.armed, self._timer, node, node.armed)

    def _asleep(self, node: Node, handle: Callable[..., None], *arguments: Any) -> bool:
        """Whether the node stands still; then the event waits for it."""
        if node.stalled_until <= self.now:
            return False
        node.waiting.append((handle, arguments))
        return True

    def _wake(self, node: Node) -> None:
        waiting, node.waiting = node.waiting, []
        for number, (handle, arguments) in enumerate(waiting):
            if number == 1:
                self._tick_overdue(node)
            handle(node, *arguments)
        self._tick_overdue(node)

    def _tick_overdue(self, node: Node) -> None:
        if node.overdue:
            node.overdue = False
            self._tick(node)

    def _timer(self, node: Node, at: float) -> None:
        if at != node.armed or node.gone:
            return
        node.armed = math.inf
        if node.stalled_until > self.now:
            node.overdue = True
        else:
            self._tick(node)

    def _tick(self, node: Node) -> None:
        deadline = node.core.next_deadline()
        if self.now < deadline:
            self._run(node, (), deadline)
            return
        self._say_whose_host_lives(node)
        self._event(node, node.core.tick, self.now)

    def _say_whose_host_lives(self, node: Node) -> None:
        for boot in node.core.suspects:
            stream = node.streams.get(boot)
            if stream is not None:
                self._event(node, node.core.host_lives, boot, stream.silence(), self.now)

    def _changed(self, node: Node, change: Changed) -> None:
        before, after = change.before, change.after
        if before is None or before.status is after.status:
            return
        if self.watch is not None:
            self.watch(self.now, node, change)
        if after.status is Status.DEAD and after.boot not in node.unlinked:
            self._hang_up(node, self.by_boot[after.boot])

    # ---- the network ----------------------------------------------------------------------------

    def _trip(self) -> float:
        return self.rng.uniform(*LATENCY)

    def _send(self, node: Node, send: Send) -> None:
        self.sent[send.packet] += 1
        peer = self.by_boot[send.boot]
        if node.gone or peer.gone:
            return
        if not send.packet:
            if send.boot not in node.unlinked:
                self._stream(node, peer).write(send.message)
        elif self.packets and self.rng.random() >= self.loss:
            delay = self._trip() + self.rng.random() * peer.slowness
            self.at(self.now + delay, self._packet, peer, node.boot, send.message)

    def _packet(self, node: Node, sender: str, message: Any) -> None:
        if not node.gone and not self._asleep(node, self._packet, sender, message):
            self._event(node, node.core.received, sender, message, self.now, packet=True)

    def _stream(self, node: Node, peer: Node) -> Stream:
        stream = node.streams.get(peer.boot)
        if stream is None:
            stream = node.streams[peer.boot] = Stream(
                self,
                lambda: not (node.gone or peer.gone),
                lambda message: self._part(peer, node.boot, message),
                lambda: self._break(node, peer),
            )
            stream.back = peer.streams.get(node.boot)
            if stream.back is not None:
                stream.back.back = stream
        return stream

    def _part(self, node: Node, sender: str, message: Any) -> None:
        if not node.slowness:
            self._handle(node, sender, message)
            return
        # Nothing passes what came before it.
        late = self.now + self.rng.random() * node.slowness
        node.busy[sender] = max(late, node.busy.get(sender, 0.0))
        self.at(node.busy[sender], self._handle, node, sender, message)

    def _handle(self, node: Node, sender: str, message: Any) -> None:
        if node.gone or self._asleep(node, self._handle, sender, message):
            return
        if sender not in node.unlinked:
            self._event(node, node.core.received, sender, message, self.now)

    # ---- links ----------------------------------------------------------------------------------

    def _link(self, one: Node, other: Node) -> None:
        records = one.core.me, other.core.me
        for node, peer in ((one, other), (other, one)):
            node.unlinked.discard(peer.boot)
            self._close(node, peer.boot)
            self._stream(node, peer).confirmed = self.now
        self._event(one, one.core.linked, records[1], self.now)
        self._event(other, other.core.linked, records[0], self.now)

    def _close(self, node: Node, boot: str) -> None:
        stream = node.streams.pop(boot, None)
        if stream is not None:
            stream.closed = True

    def _hang_up(self, node: Node, peer: Node) -> None:
        self._break(node, peer)
        self._redial(node, peer.boot)

    def _break(self, node: Node, peer: Node) -> None:
        self._unlink(node, peer.boot)
        if not peer.gone:
            self._close(peer, node.boot)
            self._soon(self._unlink, peer, node.boot)

    def _unlink(self, node: Node, boot: str) -> None:
        if node.gone or boot in node.unlinked or self._asleep(node, self._unlink, boot):
            return
        node.unlinked.add(boot)
        self._close(node, boot)
        self._event(node, node.core.unlinked, boot, self.now)

    def _redial(self, node: Node, boot: str) -> None:
        if boot not in node.dialling:
            node.dialling.add(boot)
            self._dial(node, boot, 0.0)

    def _dial(self, node: Node, boot: str, pause: float) -> None:
        peer, patience = self.by_boot[boot], self.config.dial_timeout
        if node.gone or boot not in node.unlinked:
            node.dialling.discard(boot)
        elif peer.killed:
            self.at(self.now + 2 * self._trip(), self._refused, node, boot, pause)
        elif peer.silent or (took := self._connects_in()) > patience:
            self.at(self.now + patience, self._failed, node, boot, pause)
        else:
            self.at(self.now + took, self._met, node, boot, (pause, self.now + patience))

    def _connects_in(self) -> float:
        took, rto = 0.0, SYN_RTO
        while self.rng.random() >= (1 - self.loss) ** 2:
            took, rto = took + rto, rto * 2
        for _ in range(HANDSHAKE_TRIPS):
            took, rto = took + self._trip(), RTO
            while self.rng.random() < self.loss:
                took, rto = took + rto, rto * 2
        return took

    def _met(self, node: Node, boot: str, attempt: tuple[float, float]) -> None:
        if self._asleep(node, self._met, boot, attempt):
            return
        peer, (pause, until) = self.by_boot[boot], attempt
        if node.gone or boot not in node.unlinked:
            node.dialling.discard(boot)
        elif peer.gone or min(peer.stalled_until, until) > self.now:
            # Its host accepts connections, but nobody answers.
            wake = math.inf if peer.gone else peer.stalled_until
            if wake <= until:
                self.at(wake, self._met, node, boot, attempt)
            else:
                self.at(until, self._failed, node, boot, pause)
        else:
            node.dialling.discard(boot)
            self._link(node, peer)

    def _refused(self, node: Node, boot: str, pause: float) -> None:
        if not self._asleep(node, self._refused, boot, pause) and not node.gone:
            self._event(node, node.core.refused, boot, self.now)
            self._failed(node, boot, pause)

    def _failed(self, node: Node, boot: str, pause: float) -> None:
        """Try again later, unless it is known to be dead and is indeed."""
        config, member = self.config, node.core.view.by_boot.get(boot)
        present = member is not None and member.present
        if node.gone or (self.by_boot[boot].gone and not present):
            node.dialling.discard(boot)
            return
        pause = min(config.redial_max, max(config.redial_min, pause * 2))
        wait = pause if present else config.redial_max * FORMER_FACTOR
        self.at(self.now + wait * self.rng.uniform(0.75, 1.25), self._dial, node, boot, pause)
