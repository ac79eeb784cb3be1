"""Histories of a :class:`~tests.laws.world.World`, each determined by its seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.laws.world import DAY, HOUR, World, kept_kills

KEYS = ("a", "b", "c")
NAMES = (("t", "x"), ("t", "y"), ("u", "x"))
CHUNKS = (1, 1, 60, 200, 100_000)

Step = Callable[[World, random.Random], None]


def _add(world: World, rng: random.Random) -> None:
    world.add(rng.randrange(9), rng.choice(KEYS), rng.randbytes(2))


def _put(world: World, rng: random.Random) -> None:
    value = rng.choice((None, rng.randbytes(2)))
    world.put(rng.randrange(9), rng.choice(NAMES), value, rng.choice((0, 0, 1, 2)))


def _ask(world: World, rng: random.Random) -> None:
    back = rng.choice((0, 0, rng.randrange(20)))
    world.ask(rng.randrange(9), rng.randrange(9), back, rng.choice(CHUNKS))


def _push(world: World, rng: random.Random) -> None:
    world.push(rng.randrange(9), rng.randrange(9), rng.choice((0, 0, 3)), rng.choice(CHUNKS))


def _push_too_much(world: World, rng: random.Random) -> None:
    world.push_too_much(rng.randrange(9), rng.randrange(9), rng.randrange(50), rng.choice(CHUNKS))


def _deliver(world: World, rng: random.Random) -> None:
    world.deliver(rng.randrange(50), again=rng.random() < 0.2)


WRITING: tuple[tuple[int, Step], ...] = (
    (20, _add),
    (16, lambda world, rng: world.remove(rng.randrange(9), rng.randrange(9))),
    (6, lambda world, rng: world.replace(rng.randrange(9), rng.randrange(9), rng.randbytes(2))),
    (12, _put),
)
TALKING: tuple[tuple[int, Step], ...] = (
    (16, _ask),
    (14, _push),
    (3, _push_too_much),
    (24, _deliver),
    (12, lambda world, rng: world.deliver_all(rng.randrange(50))),
    (4, lambda world, rng: world.lose(rng.randrange(50))),
)
WHOLE: tuple[tuple[int, Step], ...] = (
    (20, lambda world, rng: world.ask(rng.randrange(9), rng.randrange(9), 0, 100_000)),
    (20, lambda world, rng: world.push(rng.randrange(9), rng.randrange(9), 0, 100_000)),
    (20, lambda world, rng: world.deliver_all(rng.randrange(50))),
)
DYING: tuple[tuple[int, Step], ...] = (
    (2, lambda world, rng: world.retire(rng.randrange(9), rng.randrange(9))),
    (1, lambda world, rng: world.restart(rng.randrange(9))),
)
ALL = WRITING + TALKING + DYING


def live(rng: random.Random, happens: tuple[tuple[int, Step], ...] = ALL, steps: int = 80) -> World:
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
    with kept_kills(rng.choice((0, 1, 2, 3, 10_000))):
        world = live(rng)
        world.settle(rng.choice(CHUNKS))
