"""One core among many members, for what the pump would take too long over."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, TypeVar

from pyhorde.cluster.member import Member
from pyhorde.cluster.membership.effects import Effect, Send
from pyhorde.cluster.membership.membership import Membership
from pyhorde.cluster.membership.messages import Gossip, Update
from pyhorde.config import MembershipConfig

M = TypeVar("M")

LAN = MembershipConfig()
NOW = 100.0


def member(name: str, **changes: Any) -> Member:
    return Member(name=name, address=f"{name}:1", boot=f"boot-{name}", generation=1, **changes)


def core_of(
    name: str = "me", *, now: float = NOW, config: MembershipConfig = LAN, packets: bool = True
) -> Membership:
    """A core that has begun, and knows nobody."""
    made = Membership(member(name), config, random.Random(name))
    made.start(now, packets=packets)
    return made


def crowd(size: int, *, linked: int | None = None) -> Membership:
    """A core that knows ``size`` others and is linked with the first ``linked`` (or all) of them.

    What the meeting led to has been sent already.
    """
    made = core_of()
    for number in range(size):
        other = member(f"m{number:03}")
        if linked is None or number < linked:
            made.linked(other, NOW)
        else:
            made.received("boot-m000", Gossip([Update(other).to_wire()]), NOW)
    made._outbox._news._queue.clear()
    return made


def run_to(core: Membership, until: float) -> list[Effect]:
    """Tick whenever the core wants to, up to this moment; all effects."""
    effects: list[Effect] = []
    while (now := core.next_deadline()) <= until:
        effects += core.tick(now)
    return effects


def sends(effects: Iterable[Effect], kind: type[M]) -> list[tuple[str, M]]:
    """Messages of this class among the effects, and to whom."""
    return [
        (effect.boot, effect.message)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, kind)
    ]


def updates(message: Gossip) -> list[Update]:
    return [Update.from_wire(raw) for raw in message.updates]
