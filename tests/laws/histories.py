"""Histories of a :class:`~tests.laws.world.World`, each determined by its seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.laws.oracle import LABELS, TABLES
from tests.laws.world import DAY, HOUR, World, limits

KEYS = ("a", "b", "c")
NAMES = (("t", "x"), ("t", "y"), ("u", "x"))
CHUNKS = (1, 1, 60, 200, 100_000)

Step = Callable[[World, random.Random], None]
Happens = tuple[tuple[int, Step], ...]


def _value(rng: random.Random) -> bytes | None:
    return rng.choice((None, rng.randbytes(2)))


def _add(world: World, rng: random.Random) -> None:
    table, label = rng.choice(TABLES), rng.choice(LABELS)
    world.add(rng.randrange(9), table, rng.choice(KEYS), _value(rng), label)


def _add_all(world: World, rng: random.Random) -> None:
    keys = rng.choices(KEYS, k=rng.randrange(4))
    world.add_all(rng.randrange(9), rng.choice(TABLES), keys, rng.choice(LABELS))


def _put(world: World, rng: random.Random) -> None:
    rank = rng.choice((0, 0, 0, 1, 2))
    world.put(rng.randrange(9), rng.choice(NAMES), _value(rng), rank)


def _put_one(world: World, rng: random.Random) -> None:
    world.put(rng.randrange(9), NAMES[0], _value(rng), rng.choice((0, 0, 0, 0, 1)))


def _ask(world: World, rng: random.Random) -> None:
    back = rng.choice((0, 0, rng.randrange(20)))
    world.ask(rng.randrange(9), rng.randrange(9), back, rng.choice(CHUNKS))


def _push(world: World, rng: random.Random) -> None:
    world.push(rng.randrange(9), rng.randrange(9), rng.choice((0, 0, 3)), rng.choice(CHUNKS))


def _ask_for_all(world: World, rng: random.Random) -> None:
    world.ask(rng.randrange(9), rng.randrange(9), 0, 100_000)
    world.send_all()


def _push_all(world: World, rng: random.Random) -> None:
    world.push(rng.randrange(9), rng.randrange(9), 0, 100_000)
    world.send_all()


def _push_too_much(world: World, rng: random.Random) -> None:
    world.push_too_much(rng.randrange(9), rng.randrange(9), rng.randrange(50), rng.choice(CHUNKS))


def _deliver(world: World, rng: random.Random) -> None:
    world.deliver(rng.randrange(50), again=rng.random() < 0.2)


def _forget_deletions(world: World, rng: random.Random) -> None:
    world.forget_deletions(rng.randrange(9), rng.choice((0, rng.randrange(8))))


def _go_round_without_one(world: World, rng: random.Random) -> None:
    """The same one all the time, mostly, as with one that is away."""
    world.go_round(rng.randrange(9), rng.randrange(3), without=rng.choice((0, 0, 0, 1, 2)))


def _retire(world: World, rng: random.Random) -> None:
    world.retire(rng.randrange(9), rng.randrange(60), sweep=rng.random() < 0.5)


CLAIMING: Happens = (
    (16, _add),
    (5, _add_all),
    (14, lambda world, rng: world.remove(rng.randrange(9), rng.randrange(9))),
    (6, lambda world, rng: world.replace(rng.randrange(9), rng.randrange(9), _value(rng))),
)
PUTTING: Happens = ((14, _put),)
FORGETTING: Happens = (
    (5, _forget_deletions),
    (3, lambda world, rng: world.forget_stable_deletions(rng.randrange(9))),
    (8, lambda world, rng: world.go_round(rng.randrange(9), rng.randrange(3))),
)
TIDYING: Happens = (
    (3, lambda world, rng: world.forget_removals(rng.randrange(9), rng.randrange(9))),
    (2, lambda world, rng: world.forget_overwritten(rng.randrange(9), rng.randrange(99))),
    (2, lambda world, rng: world.audit(rng.randrange(9), rng.randrange(60), rng.randrange(9))),
)
TALKING: Happens = (
    (16, _ask),
    (14, _push),
    (3, _push_too_much),
    (6, lambda world, rng: world.send(rng.randrange(50))),
    (24, _deliver),
    (12, lambda world, rng: world.deliver_all(rng.randrange(50))),
    (4, lambda world, rng: world.lose(rng.randrange(50))),
)
WHOLE: Happens = (
    (20, _ask_for_all),
    (20, _push_all),
    (20, lambda world, rng: world.deliver_all(rng.randrange(50))),
)
DYING: Happens = (
    (2, _retire),
    (2, lambda world, rng: world.revive(rng.randrange(9), rng.randrange(9))),
    (1, lambda world, rng: world.restart(rng.randrange(9))),
)
WRITING = CLAIMING + PUTTING
ALL = WRITING + FORGETTING + TIDYING + TALKING + DYING
ONLY_CLAIMS = CLAIMING + TIDYING + TALKING + DYING
HEEDFUL: Happens = (
    (14, _put_one),
    (3, _put),
    (16, lambda world, rng: world.go_round(rng.randrange(9), rng.randrange(3))),
    (8, _go_round_without_one),
    (6, lambda world, rng: world.hear_of_round(rng.randrange(9), rng.randrange(9))),
    (2, _add),
    (2, lambda world, rng: world.revive(rng.randrange(9), rng.randrange(9))),
    *TALKING,
)
"""Deletions are forgotten as nodes do it, when everybody is known to have seen them."""
ONLY_REGISTERS = PUTTING + FORGETTING + TALKING + DYING
FORGETFUL: Happens = (
    (14, _put_one),
    (12, _forget_deletions),
    (3, lambda world, rng: world.forget_stable_deletions(rng.randrange(9))),
    (2, lambda world, rng: world.forget_overwritten(rng.randrange(9), rng.randrange(99))),
    (3, lambda world, rng: world.audit(rng.randrange(9), rng.randrange(60), rng.randrange(9))),
    (2, _add),
    (8, _ask),
    (6, _push),
    *WHOLE,
    (8, _deliver),
    (3, lambda world, rng: world.lose(rng.randrange(50))),
    *DYING,
)
"""One register, deleted and forgotten all the time."""


def live(rng: random.Random, happens: Happens = ALL, steps: int = 80) -> World:
    """A world after so many steps."""
    count = rng.choice((3, 3, 4, 5))
    offsets = [rng.uniform(-HOUR, HOUR) for _ in range(count)]
    offsets[0] = rng.choice((0.0, DAY))
    world = World(tuple(offsets))
    for _, step in rng.choices(happens, [weight for weight, _ in happens], k=steps):
        step(world, rng)
    return world


def run(seed: int) -> None:
    """Live through one history; ``AssertionError`` when it breaks a promise."""
    rng = random.Random(seed)
    kills, window = rng.choice((0, 1, 2, 3, 10_000)), rng.choice((1, 3, 16_384))
    profiles = (ALL, ALL, ONLY_CLAIMS, ONLY_REGISTERS, FORGETFUL, FORGETFUL, HEEDFUL, HEEDFUL)
    happens = rng.choice(profiles)
    with limits(kills, window, rng.choice((1, 2, 50_000))):
        world = live(rng, happens)
        world.settle(rng.choice(CHUNKS))
