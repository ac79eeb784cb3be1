"""Faults as data: what happens to which machine or path, when, and for how long.

A plan is a list of :class:`Fault`; it can be printed, saved, shortened and played again. Whatever
cannot happen at its time (a machine to crash is down already) is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Self

from pyhorde.testing.conditions import Conditions
from pyhorde.testing.losses import Losses
from pyhorde.testing.shapes import Pair

if TYPE_CHECKING:
    from pyhorde.testing.cluster import SimCluster

DUPLICATE = 0.05
"""Where packets are lost, some arrive twice."""


def _pair(text: Any) -> Pair:
    source, arrow, target = text.partition(">") if isinstance(text, str) else ("", "", "")
    if not (source and arrow and target):
        raise ValueError(f"no path from one machine to another: {text!r}; for example 'a>b'")
    return source, target


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. ``kind`` is one of :data:`KINDS`, which says what the rest means."""

    kind: str
    at: float
    """Seconds after the plan begins."""
    lasts: float = 0.0
    """Seconds until it ends; what is broken then works again, what is down is started again."""
    on: tuple[str, ...] = ()
    """Machines."""
    pairs: tuple[Pair, ...] = ()
    """Directed paths."""
    amount: float = 0.0
    """How much of it, in the kind's unit."""

    def __str__(self) -> str:
        return f"{self.at:7.2f} s  {self.about}"

    @property
    def about(self) -> str:
        """What it is, without when."""
        arrows = " ".join(f"{source}>{target}" for source, target in self.pairs)
        parts = [self.kind, " ".join(self.on), arrows]
        if self.amount:
            parts.append(f"{self.amount:g}")
        if self.lasts:
            parts.append(f"for {self.lasts:g} s")
        return " ".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """Plain data, without what is as usual."""
        usual = {field.name: field.default for field in fields(self)}
        data = {key: value for key, value in asdict(self).items() if value != usual[key]}
        if self.pairs:
            data["pairs"] = [f"{source}>{target}" for source, target in self.pairs]
        return data

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The fault again. Raises ``ValueError`` for what is none."""
        known = {field.name for field in fields(cls)}
        if not isinstance(data, dict) or not {"kind", "at"} <= data.keys() <= known:
            raise ValueError(f"no fault: {data!r}")
        if not isinstance(data["kind"], str) or data["kind"] not in KINDS:
            raise ValueError(f"no kind of fault: {data['kind']!r}; there are {', '.join(KINDS)}")
        fault = cls(
            kind=data["kind"],
            on=_names(data.get("on", ())),
            pairs=tuple(_pair(pair) for pair in _list(data.get("pairs", ()))),
            **{key: _number(key, data[key]) for key in ("at", "lasts", "amount") if key in data},
        )
        if len(fault.on) != 1 and fault.kind in ON_ONE_MACHINE:
            raise ValueError(f"{fault.kind}: happens to one machine, not to {list(fault.on)}")
        return fault

    def lasting(self, seconds: float) -> Fault:
        """The same fault, for another time."""
        return replace(self, lasts=round(seconds, 3))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name}: not a number: {value!r}")
    if value < 0 and name != "amount":
        raise ValueError(f"{name}: not in the future: {value!r}")
    return value


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"not a list: {value!r}")
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not all(isinstance(name, str) for name in _list(value)):
        raise ValueError(f"not the names of machines: {value!r}")
    return tuple(value)


def _nothing(_: Player, __: Fault) -> None:
    """Some things end by themselves."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of fault begins and ends."""

    begin: Callable[[Player, Fault], Any]
    end: Callable[[Player, Fault], Any] = _nothing
    about: str = ""


class Player:
    """Plays faults on a cluster, and undoes each when its time is over."""

    def __init__(self, cluster: SimCluster, losses: Losses | None = None) -> None:
        self.cluster = cluster
        self.losses = losses or Losses(cluster)
        self.played: dict[str, int] = {}
        """How many of each kind really happened."""
        self._begun: dict[int, Fault] = {}
        self._tasks: list[asyncio.Task[Any]] = []

    async def play(self, faults: Iterable[Fault]) -> None:
        """Play them all, then end what still lasts: afterwards every machine runs again."""
        faults = list(faults)
        start = self.cluster.loop.time()
        events = [(fault.at, 0, number) for number, fault in enumerate(faults)]
        events += [(fault.at + fault.lasts, 1, number) for number, fault in enumerate(faults)]
        for at, ends, number in sorted(events):
            await asyncio.sleep(max(0.0, start + at - self.cluster.loop.time()))
            self._event(number, faults[number], ends=bool(ends))
        await self._finish()

    def _event(self, number: int, fault: Fault, *, ends: bool) -> None:
        kind = KINDS[fault.kind]
        if ends:
            if self._begun.pop(number, None) is not None:
                kind.end(self, fault)
        elif kind.begin(self, fault) is False:
            self.cluster.happened(f"(passed over: {fault.about})")
        else:
            self._begun[number] = fault
            self.cluster.happened(fault.about)
            self.played[fault.kind] = self.played.get(fault.kind, 0) + 1

    async def _finish(self) -> None:
        """Every path is clear, every clock and CPU as usual, and every machine runs."""
        cluster = self.cluster
        cluster.heal()
        cluster.disarm()
        while self._tasks:
            await self._tasks.pop(0)  # a drain or a start that fails has found something
        for name, machine in cluster.machines.items():
            if not machine.runs:
                await cluster.restart(name)

    def spawn(self, work: Any) -> None:
        """Do something that takes its time."""
        self._tasks.append(asyncio.ensure_future(work))

    # ---- machines ----------------------------------------------------------------------------

    def crash(self, fault: Fault, *, silent: bool = False) -> bool:
        """Kill, unless acknowledged work would be lost that no promise covers."""
        (name,) = fault.on
        if not self.losses.may_crash(name):
            return False
        self.losses.crashed(name)
        self.cluster.crash(name, silent=silent)
        return True

    def arm(self, fault: Fault) -> bool:
        """Kill in the middle of the next request through the machine."""
        (name,) = fault.on

        def strike() -> None:
            if self.losses.may_crash(name):
                self.losses.crashed(name)
                self.cluster.crash(name)

        self.cluster.arm(name, int(fault.amount), strike)
        return True

    def boot(self, fault: Fault) -> None:
        """Start what is down."""
        (name,) = fault.on
        self.cluster.disarm(name)
        if not self.cluster.machines[name].runs:
            self.spawn(self._boot(name))

    async def _boot(self, name: str) -> None:
        try:
            await self.cluster.restart(name)
        except ConnectionResetError:  # crashed on the way up, by another fault
            return

    def drain(self, fault: Fault) -> bool:
        """Drain, in the background."""
        (name,) = fault.on
        if not self.losses.may_leave(name):
            return False
        self.spawn(self._drain(name, fault.lasts))
        return True

    async def _drain(self, name: str, pause: float) -> None:
        await self.cluster.drain(name)
        await asyncio.sleep(pause)
        if not self.cluster.machines[name].runs:
            await self._boot(name)

    def stall(self, fault: Fault) -> bool:
        """Stand still."""
        (name,) = fault.on
        if not self.cluster.machines[name].runs:
            return False
        self.cluster.stall(name, fault.lasts)
        return True

    def slow(self, fault: Fault) -> bool:
        """Each callback takes so many seconds. It ends whether or not the machine is up then."""
        (name,) = fault.on
        if not self.cluster.machines[name].runs:
            return False
        self.cluster.slow(name, fault.amount)
        return True

    def deafen(self, more: int) -> None:
        """Replies to clients outside get lost, or no longer."""
        self.cluster.outside.deaf += more

    # ---- paths -------------------------------------------------------------------------------

    def spoil(self, fault: Fault) -> None:
        """The paths get worse."""
        for pair in fault.pairs:
            self.cluster.network.special(pair, _conditions(fault))

    def mend(self, fault: Fault) -> None:
        """The paths are as they would be without this fault."""
        for pair in fault.pairs:
            self.cluster.network.no_longer(pair, _conditions(fault))

    def lose_replies(self, fault: Fault) -> None:
        """After a while in which nothing came back, the connection breaks."""
        self.cluster.network.unblock(fault.pairs)
        for one, two in fault.pairs:
            self.cluster.reset(one, two)


def _conditions(fault: Fault) -> Conditions:
    match fault.kind:
        case "loss":
            return Conditions(loss=fault.amount, duplicate=DUPLICATE)
        case "bursts":
            return Conditions(burst_every=fault.amount, duplicate=DUPLICATE)
        case "delay":
            return Conditions(latency_min=fault.amount / 2, latency_mean=fault.amount / 2)
        case _:
            return Conditions(bandwidth=fault.amount)


def _block(player: Player, fault: Fault) -> None:
    player.cluster.network.block(fault.pairs)


def _unblock(player: Player, fault: Fault) -> None:
    player.cluster.network.unblock(fault.pairs)


def _swallow(player: Player, fault: Fault) -> None:
    player.cluster.network.block_datagrams(fault.pairs)


def _swallow_no_more(player: Player, fault: Fault) -> None:
    player.cluster.network.unblock_datagrams(fault.pairs)


def _reset(player: Player, fault: Fault) -> None:
    for one, two in fault.pairs:
        player.cluster.reset(one, two)


def _clog(player: Player, fault: Fault) -> None:
    player.cluster.network.clog(*fault.on)


def _unclog(player: Player, fault: Fault) -> None:
    player.cluster.network.unclog(*fault.on)


def _jump(player: Player, fault: Fault, sign: int = 1) -> None:
    player.cluster.jump_clock(fault.on[0], sign * fault.amount)


KINDS: dict[str, Kind] = {
    "crash": Kind(Player.crash, Player.boot, "kill -9, then start again"),
    "power": Kind(
        lambda p, f: p.crash(f, silent=True), Player.boot, "the machine goes dark, then boots"
    ),
    "crash-during": Kind(
        Player.arm, Player.boot, "kill so many awaits after the next request through the machine"
    ),
    "drain": Kind(Player.drain, about="hand over and leave, then start again"),
    "stall": Kind(Player.stall, about="the OS process stands still"),
    "slow": Kind(Player.slow, lambda p, f: p.cluster.slow(f.on[0], 0.0), "a CPU with no time"),
    "clock": Kind(_jump, lambda p, f: _jump(p, f, -1), "the wall clock jumps, and back"),
    "deaf": Kind(
        lambda p, _: p.deafen(1), lambda p, _: p.deafen(-1), "clients are served and hear no reply"
    ),
    "split": Kind(_block, _unblock, "sides that do not reach each other"),
    "one-way": Kind(_block, _unblock, "one direction is broken"),
    "bridge": Kind(_block, _unblock, "two sides that one machine reaches both"),
    "ring": Kind(_block, _unblock, "each machine reaches its neighbours only"),
    "islands": Kind(_block, _unblock, "some machines are all alone"),
    "clog": Kind(_clog, _unclog, "nothing to or from a machine, one after the other"),
    "loss": Kind(Player.spoil, Player.mend, "packets are lost"),
    "bursts": Kind(Player.spoil, Player.mend, "packets are lost in bursts"),
    "delay": Kind(Player.spoil, Player.mend, "packets take long"),
    "narrow": Kind(Player.spoil, Player.mend, "bytes wait for each other"),
    "reset": Kind(_reset, about="connections break"),
    "reply-lost": Kind(
        _block, Player.lose_replies, "requests arrive, replies do not, then connections break"
    ),
    "firewall": Kind(_swallow, _swallow_no_more, "datagrams are swallowed, streams pass"),
}

ON_ONE_MACHINE = frozenset("crash power crash-during drain stall slow clock clog".split())
"""Kinds whose ``on`` is just one machine; all others are about paths."""
