"""Whom to probe next, the probe that is running, and probes made for others.

One probe runs at a time::

    begin -> direct ping -> (probe_timeout) overdue: others are asked -> (the rest) failed
                 |                                  |
                 +------------- answered -----------+

The worse this node's own health, the longer all of it takes. Those who are asked say after a while
that they have no answer either; who does not even hear that is in a bad way itself, or those it
asked are: they are next.

Members take turns, in an order that began by chance and changes a little from round to round.
Suspects are left out: they are pinged until it is decided. Source: Das, Gupta, Motivala, "SWIM"
(2002), section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyhorde.cluster.member import Status, View
from pyhorde.cluster.membership.health import Health
from pyhorde.config import MembershipConfig
from pyhorde.seam import Rng

SWAPS: Final = 0.5
"""How likely neighbours change places between two rounds."""
MAX_RELAYS: Final = 10_000
"""So many probes for others may be under way; more are not made."""
SWEEP_MOST: Final = 64
"""So many are asked at once when one has not answered; in a larger cluster, others by others."""
INDIRECT_SHARE: Final = 0.9
"""Part of the interval after ``probe_timeout`` in which the others may answer."""
NACK_SHARE: Final = 0.8
"""Part of that time after which they say that they have no answer."""


@dataclass(slots=True)
class Probe:
    """A ping to ``boot`` that is not answered yet. ``ends`` is set once others are asked."""

    seq: int
    boot: str
    began: float
    overdue: float
    ends: float | None = None
    streamed: bool = False
    """Whether it went over the stream."""
    asked: frozenset[str] = frozenset()
    """Which others were asked."""
    nacks: set[str] = field(default_factory=set)
    """Who of them has said that it has no answer."""


@dataclass(slots=True)
class Relay:
    """A ping on behalf of ``asker``, who calls it ``seq``."""

    asker: str
    seq: int
    until: float
    nack_at: float


class Prober:
    """The cycle of probes."""

    def __init__(self, config: MembershipConfig, rng: Rng, health: Health) -> None:
        self._config = config
        self._rng = rng
        self._health = health
        self._seq = 0
        self._probe: Probe | None = None
        self._order: list[str] = []
        """Who is still to come in this round, the next one last."""
        self._round: list[str] = []
        self._next = math.inf
        self._relays: dict[int, Relay] = {}
        self._sweep: dict[str, tuple[float, float]] = {}
        """Who has been asked beside the turn: since when, and until when it may answer."""

    def start(self, now: float) -> None:
        """Begin, at a random moment of the first interval."""
        self._next = now + self._rng.uniform(0, self._config.probe_interval)

    def next_deadline(self) -> float:
        """When ``overdue``, ``failed``, ``silent_relays`` or ``begin`` has something next."""
        if self._probe is None:
            deadline = self._next
        else:
            deadline = self._probe.overdue if self._probe.ends is None else self._probe.ends
        if self._sweep:
            deadline = min(deadline, *(until for _, until in self._sweep.values()))
        if not self._relays:
            return deadline
        return min(deadline, *(relay.nack_at for relay in self._relays.values()))

    @property
    def is_probing(self) -> bool:
        """Whether a probe runs that is not answered yet."""
        return self._probe is not None or bool(self._sweep)

    def number(self) -> int:
        """A number for a ping that no other ping of this node has."""
        self._seq += 1
        return self._seq

    def begin(self, view: View, now: float) -> Probe | None:
        """The next probe, if it is time for one and there is somebody to probe."""
        if self._probe is not None or now < self._next:
            return None
        self._next = now + self._config.probe_interval * self._health.factor
        boot = self._next_target({m.boot for m in view.others if m.status is Status.ALIVE})
        if boot is not None:
            timeout = self._config.probe_timeout * self._health.factor
            self._probe = Probe(self.number(), boot, now, now + timeout)
        return self._probe

    def overdue(self, now: float) -> Probe | None:
        """The probe for which to ask others now. They get their time even if that is late."""
        probe = self._probe
        if probe is None or probe.ends is not None or now < probe.overdue:
            return None
        probe.ends = now + self._patience()
        return probe

    def failed(self, now: float, heard: Mapping[str, float]) -> Probe | None:
        """The probe that was not answered, neither to this node nor to others.

        ``heard``: when each boot was heard last. Of those who were asked and did not even say that
        they have no answer, only the ones that were heard meanwhile speak against this node itself;
        the others may have gone as the one that was probed.
        """
        probe = self._probe
        if probe is None or probe.ends is None or now < probe.ends:
            return None
        self._probe = None
        mute = probe.asked - probe.nacks
        there = [boot for boot in mute if heard.get(boot, -math.inf) >= probe.overdue]
        self._health.worse(max(len(there), 0 if probe.nacks else 1))
        self._order.extend(sorted(mute))
        return probe

    def sweep(self, boots: list[str], now: float) -> list[str]:
        """Ask these at once, or as many as are asked at a time; who is asked. Once each."""
        fresh = [boot for boot in boots if boot not in self._sweep]
        room = max(0, SWEEP_MOST - len(self._sweep))
        chosen = self._rng.sample(fresh, room) if len(fresh) > room else fresh
        until = now + self._config.probe_timeout * self._health.factor
        self._sweep.update((boot, (now, until)) for boot in chosen)
        return chosen

    def swept(self, now: float, heard: Mapping[str, float]) -> list[str]:
        """Those that were asked so, had their time, and have not been heard since."""
        over = {boot: began for boot, (began, until) in self._sweep.items() if until <= now}
        for boot in over:
            del self._sweep[boot]
        return [boot for boot, began in over.items() if heard.get(boot, -math.inf) < began]

    def answered(self, boot: str, now: float) -> float | None:
        """This boot gave a sign of life; the seconds since the probe that this answers."""
        probe = self._probe
        if probe is None or probe.boot != boot:
            return None
        self._probe = None
        if probe.ends is None:
            self._health.better()
        return now - probe.began

    def nacked(self, helper: str, seq: int) -> None:
        """This one was asked and has no answer."""
        if self._probe is not None and self._probe.seq == seq:
            self._probe.nacks.add(helper)

    def _patience(self) -> float:
        rest = self._config.probe_interval - self._config.probe_timeout
        return rest * INDIRECT_SHARE * self._health.factor

    def relay(self, asker: str, seq: int, now: float) -> int | None:
        """The number of a ping to be made for ``asker``; None when there are too many."""
        if len(self._relays) >= MAX_RELAYS:
            return None
        mine = self.number()
        rest = self._config.probe_interval - self._config.probe_timeout
        nack_at = now + rest * INDIRECT_SHARE * NACK_SHARE
        self._relays[mine] = Relay(asker, seq, now + self._config.probe_interval, nack_at)
        return mine

    def silent_relays(self, now: float) -> list[Relay]:
        """Whose probes have no answer so far; each is told so once."""
        silent = [relay for relay in self._relays.values() if relay.nack_at <= now]
        for relay in silent:
            relay.nack_at = math.inf
        return silent

    def relayed(self, seq: int) -> Relay | None:
        """On whose behalf ping ``seq`` was made; each is told once."""
        return self._relays.pop(seq, None)

    def expire(self, now: float) -> None:
        """Drop pings for others that nobody waits for any more."""
        self._relays = {seq: relay for seq, relay in self._relays.items() if relay.until > now}

    def credit(self, seconds: float) -> None:
        """This node stood still for so long: nobody is to blame for that time."""
        self._next += seconds
        self._sweep = {
            boot: (began + seconds, until + seconds) for boot, (began, until) in self._sweep.items()
        }
        for relay in self._relays.values():
            relay.nack_at += seconds
            relay.until += seconds
        if self._probe is not None:
            self._probe.began += seconds
            self._probe.overdue += seconds
            if self._probe.ends is not None:
                self._probe.ends += seconds

    def _next_target(self, eligible: set[str]) -> str | None:
        while self._order:
            boot = self._order.pop()
            if boot in eligible:
                return boot
        self._order = list(reversed(self._next_round(eligible)))
        return self._order.pop() if self._order else None

    def _next_round(self, eligible: set[str]) -> list[str]:
        """About the order of the last round: nobody waits for much longer than one.

        Pairs of neighbours change places by chance, so no pattern among several nodes lasts.
        """
        order = [boot for boot in self._round if boot in eligible]
        for boot in sorted(eligible.difference(order)):
            order.insert(self._rng.randrange(len(order) + 1), boot)
        for place in range(1 + self._rng.randrange(2), len(order), 2):
            if self._rng.random() < SWAPS:
                order[place - 1], order[place] = order[place], order[place - 1]
        self._round = order
        return order
