"""A tiny world for membership cores: virtual time, a network that the test controls, no sockets.

Each node is a ``Membership`` and a ``DialSchedule``, run as the shell runs them. After every event
the core's invariants are checked, and that no incarnation ever falls.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.dial_schedule import DialSchedule, Target
from pyhorde.cluster.membership.effects import Changed, Effect, Redial, Send, YieldName
from pyhorde.cluster.membership.membership import Membership
from pyhorde.cluster.membership.messages import Gossip, Update
from pyhorde.cluster.transport.handshake import Hello, refusal
from pyhorde.config import MembershipConfig

LATENCY = 0.001
"""As the shell has it: a machine that confirmed something within so many seconds lives."""


@dataclass
class Node:
    core: Membership
    dialer: DialSchedule
    address: str
    listening: bool = True
    ever_linked: bool = False
    stalled_until: float = 0.0
    armed: int = 0
    links: set[str] = field(default_factory=set)
    confirmed: dict[str, float] = field(default_factory=dict)
    """When the machine of each linked boot last confirmed something sent over the stream."""

    @property
    def me(self) -> Member:
        return self.core.me


@dataclass(frozen=True)
class Event:
    at: float
    observer: str
    change: Changed


class Pump:
    def __init__(self, names: Iterable[str] = (), config: MembershipConfig | None = None, seed=0):
        self.config = config or MembershipConfig()
        self.rng = random.Random(seed)
        self.now = 100.0
        self.nodes: dict[str, Node] = {}
        self.by_boot: dict[str, Node] = {}
        self.addresses: dict[str, str] = {}
        self.silent: set[str] = set()
        """Names of hosts without power: nothing arrives, nothing is answered."""
        self.cut: set[frozenset[str]] = set()
        """Pairs of names between which everything vanishes without a sign."""
        self.loses: Callable[[str, str, Any], bool] = lambda a, b, m: False
        self.loses_packet: Callable[[str, str, Any], bool] = lambda a, b, m: False
        self.loses_stream: Callable[[str, str, Any], bool] = lambda a, b, m: False
        """What is lost of one way only; ``loses`` is asked for both."""
        self.packets = True
        """Whether nodes that boot can send packets at all."""
        self.hosts_speak_to: set[str] = set()
        """Names of nodes whose operating system says when another machine confirmed something."""
        self.copies: Callable[[str, str, Any], int] = lambda a, b, m: 1
        self.delay: Callable[[str, str, Any], float] = lambda a, b, m: 0.0
        self.events: list[Event] = []
        self.sent: list[tuple[float, str, str, Any]] = []
        self.sent_packets: list[tuple[float, str, str, Any]] = []
        """Those of ``sent`` that went as packets."""
        self.dials: list[tuple[float, str, str]] = []
        self.yielded: list[tuple[str, Member]] = []
        self._queue: list[tuple[float, int, int, Callable[[], None]]] = []
        self._ids = itertools.count()
        names = tuple(names)
        for name in names:
            self.addresses[name] = f"{name}:1"
        for name in names:
            self.boot(name)

    # ---- what tests do --------------------------------------------------------------------------

    def boot(self, name: str, *, address: str = "", boot: str = "", generation: int = 0) -> Node:
        """Start a node that is told where all others are by now.

        With ``generation`` 0 its clock has not moved since an earlier boot of its name.
        """
        address = address or self.addresses.get(name, f"{name}:1")
        boot = boot or f"{self.rng.randrange(2**32):08x}-{name}"
        me = Member(name=name, address=address, boot=boot, generation=generation, types=("T",))
        seeds = [seed for other, seed in self.addresses.items() if other != name]
        rng = random.Random(self.rng.random())
        node = Node(
            Membership(me, self.config, rng), DialSchedule(seeds, self.config, rng), address
        )
        self.addresses[name] = address
        self.nodes[name] = self.by_boot[boot] = node
        self.silent.discard(name)
        self._run(node, node.core.start(self.now, packets=self.packets))
        return node

    def stop(self, name: str) -> None:
        """kill -9: connections break, and the host answers that nobody listens."""
        self._stop(self.nodes[name])

    def power_off(self, name: str) -> None:
        """The host vanishes: connections look alive, and nothing answers."""
        self.nodes[name].listening = False
        self.silent.add(name)

    def break_link(self, a: str, b: str) -> None:
        one, other = self.nodes[a], self.nodes[b]
        for node, boot in ((one, other.me.boot), (other, one.me.boot)):
            self._later(LATENCY, self._unlink, node, boot)

    def stall(self, name: str, seconds: float) -> None:
        self.nodes[name].stalled_until = self.now + seconds

    def do(self, name: str, event: str, *args: Any, **kwargs: Any) -> None:
        """Let an event happen at a core by hand."""
        node = self.nodes[name]
        self._run(node, getattr(node.core, event)(*args, now=self.now, **kwargs))

    def run(self, seconds: float) -> None:
        self._run_to(self.now + seconds, lambda: False)

    def run_until(self, condition: Callable[[], bool], limit: float) -> float:
        """Seconds until the condition holds; fails when ``limit`` is not enough."""
        began = self.now
        self._run_to(self.now + limit, condition)
        assert condition(), f"not within {limit} s: {self.picture()}"
        return self.now - began

    # ---- what tests look at ---------------------------------------------------------------------

    @property
    def live(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.listening]

    @property
    def members(self) -> set[str]:
        """Boots that are there in truth."""
        return {node.me.boot for node in self.live if node.me.status is not Status.LEFT}

    def agreed(self) -> bool:
        """Whether every live node believes the truth, and nobody is under suspicion."""
        return all(
            {m.boot for m in node.core.view.members if m.status is Status.ALIVE} == self.members
            and {m.boot for m in node.core.view.present} == self.members
            for node in self.live
            if node.me.status is not Status.LEFT
        )

    def status(self, observer: str, name: str) -> Status | None:
        member = self.nodes[observer].core.view.by_name.get(name)
        return member.status if member else None

    def record(self, observer: str, name: str) -> Member:
        return self.nodes[observer].core.view.by_name[name]

    def seen(self, name: str, status: Status, observer: str | None = None) -> list[Event]:
        """Changes of a member of this name to this status."""
        return [
            event
            for event in self.events
            if event.change.after.name == name
            and event.change.after.status is status
            and (event.change.before is None or event.change.before.status is not status)
            and observer in (None, event.observer)
        ]

    def picture(self) -> dict[str, list[str]]:
        return {
            node.me.boot: [f"{m.boot}:{m.incarnation}:{m.status}" for m in node.core.view.members]
            for node in self.live
        }

    # ---- the world ------------------------------------------------------------------------------

    def reachable(self, a: str, b: str) -> bool:
        return frozenset((a, b)) not in self.cut and not {a, b} & self.silent

    def _run_to(self, end: float, condition: Callable[[], bool]) -> None:
        while not condition() and self._queue and self._queue[0][0] <= end:
            at, _, _, action = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            action()
        if not condition():
            self.now = end

    def _later(self, delay: float, action: Callable[..., None], *args: Any, rank: int = 1) -> None:
        entry = (self.now + delay, rank, next(self._ids), lambda: action(*args))
        heapq.heappush(self._queue, entry)

    def _asleep(self, node: Node, action: Callable[..., None], *args: Any, rank: int = 1) -> bool:
        """Whether the node stands still; then the event waits for it."""
        if node.stalled_until <= self.now:
            return False
        self._later(node.stalled_until - self.now, action, *args, rank=rank)
        return True

    def _run(self, node: Node, effects: list[Effect]) -> None:
        node.core.validate()
        for effect in effects:
            match effect:
                case Send(boot, message, packet):
                    self._transmit(node, boot, message, packet)
                case Changed():
                    self._changed(node, effect)
                case Redial(member):
                    node.dialer.hurry(member.address)
                case YieldName(winner):
                    self._yield(node, winner)
        self._arm(node)

    def _yield(self, node: Node, winner: Member) -> None:
        self.yielded.append((node.me.boot, winner))
        self._stop(node)

    def _stop(self, node: Node) -> None:
        node.listening = False
        for boot in sorted(node.links):
            self._later(LATENCY, self._unlink, self.by_boot[boot], node.me.boot)
        node.links.clear()

    def _changed(self, node: Node, change: Changed) -> None:
        before, after = change.before, change.after
        if before is not None and before.boot == after.boot:
            assert before.incarnation <= after.incarnation, change
            assert before.status is not Status.LEFT or after.status is Status.LEFT, change
        elif before is not None:
            assert before.identity < after.identity, change
        self.events.append(Event(self.now, node.me.name, change))

    def _transmit(self, node: Node, boot: str, message: Any, packet: bool) -> None:
        peer = self.by_boot.get(boot)
        if peer is None or not (packet or boot in node.links):
            return
        a, b = node.me.name, peer.me.name
        self.sent.append((self.now, a, b, message))
        if packet:
            self.sent_packets.append(self.sent[-1])
        loses = self.loses_packet if packet else self.loses_stream
        if not self.reachable(a, b) or self.loses(a, b, message) or loses(a, b, message):
            return
        if not packet:
            node.confirmed[boot] = self.now
        for _ in range(self.copies(a, b, message)):
            delay = LATENCY + self.delay(a, b, message)
            self._later(delay, self._deliver, peer, node.me.boot, message, packet)

    def _deliver(self, node: Node, sender: str, message: Any, packet: bool) -> None:
        if self._asleep(node, self._deliver, node, sender, message, packet) or not node.listening:
            return
        knows = node.core.view.by_boot if packet else node.links
        if sender in knows:
            self._run(node, node.core.received(sender, message, self.now, packet=packet))

    def _unlink(self, node: Node, boot: str) -> None:
        if self._asleep(node, self._unlink, node, boot) or not node.listening:
            return
        if boot in node.links:
            node.links.discard(boot)
            self._run(node, node.core.unlinked(boot, self.now))

    # ---- the shell ------------------------------------------------------------------------------

    def _arm(self, node: Node) -> None:
        node.armed += 1
        times = [node.core.next_deadline()]
        dial = node.dialer.next_deadline(node.core.view, node.links)
        times += [] if dial is None else [dial]
        self._later(max(0.0, min(times) - self.now), self._tick, node, node.armed, rank=0)

    def _tick(self, node: Node, armed: int) -> None:
        if not node.listening or armed != node.armed:
            return
        if self._asleep(node, self._tick, node, armed, rank=0):
            return
        for target in node.dialer.due(node.core.view, node.links, self.now):
            self.dials.append((self.now, node.me.name, target.address))
            self._later(LATENCY, self._dial, node, target)
        if self.now < node.core.next_deadline():
            self._arm(node)
            return
        for boot in node.core.suspects if node.me.name in self.hosts_speak_to else ():
            if boot in node.links:
                silence = self.now - node.confirmed[boot]
                self._run(node, node.core.host_lives(boot, silence, self.now))
        self._run(node, node.core.tick(self.now))

    def _dial(self, node: Node, target: Target) -> None:
        if not node.listening:
            return
        owner = [n for n, address in self.addresses.items() if address == target.address]
        host = owner[0] if owner else target.address
        peers = [n for n in self.by_boot.values() if n.listening and n.address == target.address]
        if not self.reachable(node.me.name, host):
            self._later(self.config.dial_timeout, self._dialled, node, target, None, "timed out")
        elif not peers:
            self._later(LATENCY, self._dialled, node, target, None, "refused")
        else:
            self._later(LATENCY, self._dialled, node, target, peers[0], "")

    def _dialled(self, node: Node, target: Target, peer: Node | None, error: str) -> None:
        if self._asleep(node, self._dialled, node, target, peer, error) or not node.listening:
            return
        if peer is None or not peer.listening:
            error = error or "closed"
            node.dialer.failed(target.address, error, node.core.view, self.now)
            if error == "refused" and target.boot is not None:
                self._run(node, node.core.refused(target.boot, self.now))
            self._arm(node)
        elif peer.stalled_until > self.now:
            self._asleep(peer, self._dialled, node, target, peer, error)
        else:
            self._meet(node, target, peer)

    def _meet(self, node: Node, target: Target, peer: Node) -> None:
        address = peer.core.view.me.address
        hello = Hello("c", node.me.to_wire(), address, address)
        refused = refusal(hello, "c", peer.core.view, peer.links, {address})
        if refused is not None and refused.why == "name":
            node.dialer.failed(target.address, "name", node.core.view, self.now)
            holder = Member.from_wire(refused.holder)
            if not node.ever_linked or holder.identity > node.me.identity:
                self._yield(node, holder)
            self._arm(node)
            return
        node.dialer.reached(target.address, peer.me.name)
        if peer.me.boot not in node.links or node.me.boot not in peer.links:
            self.link(node, peer)
        if target.boot not in (None, peer.me.boot):
            self._run(node, node.core.refused(target.boot, self.now))
        self._arm(node)

    def link(self, a: Node, b: Node) -> None:
        """Both ends of a link are up; each has the other's record as it is now."""
        records = a.me, b.me
        for node, boot in ((a, records[1].boot), (b, records[0].boot)):
            node.links.add(boot)
            node.confirmed[boot] = self.now
        a.ever_linked = b.ever_linked = True
        self._run(a, a.core.linked(records[1], self.now))
        if b.listening:
            self._run(b, b.core.linked(records[0], self.now))


def mesh(names: str, config: MembershipConfig | None = None, seed: int = 0) -> Pump:
    """Nodes of these one-letter names that know and reach each other."""
    pump = Pump(names, config, seed)
    pump.run_until(pump.agreed, 5.0)
    pump.run_until(lambda: all(len(n.links) == len(names) - 1 for n in pump.live), 5.0)
    pump.run(2.0)
    pump.events.clear()
    pump.sent.clear()
    pump.sent_packets.clear()
    return pump


def accuse(pump: Pump, observer: str, name: str) -> None:
    """Let ``observer`` hold ``name`` for suspect."""
    suspect = pump.record(observer, name).at(Status.SUSPECT)
    node = pump.nodes[observer]
    gossip = Gossip([Update(suspect, "somebody").to_wire()])
    pump._run(node, node.core.received("nobody", gossip, pump.now))
