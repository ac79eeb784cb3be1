"""The join is a join: the order, grouping and number of messages make no difference."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pyhorde.crdt import Delta, Replica
from tests.laws import histories
from tests.laws.oracle import orders_of, seen
from tests.laws.world import carry, limits

State = tuple[object, dict[str, int]]

laws = settings(max_examples=100, deadline=None, print_blob=True)
randoms = st.randoms(use_true_random=False)
chunks = st.sampled_from([1, 60, 200, 100_000])


def replicas(rng: random.Random, *, whole: bool = False) -> list[Replica]:
    """Three or more replicas in the midst of some history.

    ``whole``: nobody dies and no transfer is cut, so that nobody knows of a removal too early.
    """
    happens = histories.WRITING + (histories.WHOLE if whole else histories.TALKING)
    with limits(rng.choice((0, 1, 2, 3, 10_000)), rng.choice((1, 3, 16_384))):
        world = histories.live(rng, happens if whole else happens + histories.DYING)
    return [node.replica for node in world.nodes]


def full(replica: Replica) -> list[Delta]:
    return replica.deltas_for({})


def reader(*transfers: list[Delta], name: str = "reader") -> Replica:
    """A replica that wrote nothing of its own accord and has joined these."""
    new = Replica(name)
    for deltas in transfers:
        carry(deltas, new)
    return new


def state(replica: Replica) -> State:
    """All there is, but for what readers say again: that they do depends on the order."""
    vector = {o: seq for o, seq in seen(replica).items() if not o.startswith("reader")}
    return replica.snapshot(), vector


@laws
@given(randoms)
def test_join_is_commutative(rng: random.Random) -> None:
    a, b, *_ = map(full, replicas(rng))
    assert state(reader(a, b)) == state(reader(b, a))


@laws
@given(randoms)
def test_join_is_associative(rng: random.Random) -> None:
    a, b, c, *_ = map(full, replicas(rng))
    left = reader(full(reader(a, b, name="reader-2")), c)
    right = reader(a, full(reader(b, c, name="reader-2")))
    assert state(left) == state(right)


@laws
@given(randoms)
def test_join_is_idempotent(rng: random.Random) -> None:
    a, b, *_ = map(full, replicas(rng))
    once = reader(a, b)
    assert state(reader(a, b, a, a, b)) == state(once)
    assert not any(once.join(delta, 0.0) for delta in a + b)


@laws
@given(randoms)
def test_a_full_state_makes_an_equal_replica(rng: random.Random) -> None:
    for replica in replicas(rng):
        assert state(reader(full(replica))) == state(replica)


@laws
@given(randoms, chunks)
def test_a_delta_says_as_much_as_the_full_state(rng: random.Random, chunk_bytes: int) -> None:
    receiver, sender, *_ = replicas(rng, whole=True)
    delta = sender.deltas_for(receiver.vector, chunk_bytes)
    assert state(reader(full(receiver), delta)) == state(reader(full(receiver), full(sender)))


@laws
@given(randoms, chunks)
def test_the_chunk_size_makes_no_difference(rng: random.Random, chunk_bytes: int) -> None:
    receiver, sender, *_ = replicas(rng)
    small = sender.deltas_for(receiver.vector, chunk_bytes)
    large = sender.deltas_for(receiver.vector)
    assert len(small) >= len(large)
    assert state(reader(full(receiver), small)) == state(reader(full(receiver), large))


@laws
@given(randoms, chunks)
def test_own_deltas_carry_an_origin_wholly_from_wherever_they_start(
    rng: random.Random, chunk_bytes: int
) -> None:
    replica, *_ = replicas(rng)
    half = reader(replica.own_deltas(0))
    start = rng.randrange(replica.seq + 1)
    carry(replica.own_deltas(start, chunk_bytes), half)
    assert half.vector.get(replica.origin, 0) == replica.seq
    assert half.claims_of(replica.origin) == replica.claims_of(replica.origin)


@laws
@given(randoms)
def test_vectors_and_registers_only_rise(rng: random.Random) -> None:
    growing = reader()
    for replica in replicas(rng):
        vector, registers = seen(growing), orders_of(growing)
        carry(full(replica), growing)
        assert all(growing.vector[origin] >= seq for origin, seq in vector.items())
        after = orders_of(growing)
        assert all(after[name] >= order for name, order in registers.items())


@laws
@given(randoms, chunks)
def test_loss_doubling_and_reordering_leave_no_trace(rng: random.Random, chunk_bytes: int) -> None:
    transfers = [r.deltas_for({}, chunk_bytes) for r in replicas(rng) for _ in range(2)]
    cut_short = [transfer[: rng.randrange(len(transfer) + 1)] for transfer in transfers]
    troubled = reader()
    while waiting := [transfer for transfer in cut_short if transfer]:
        carry([rng.choice(waiting).pop(0)], troubled)
    for transfer in rng.sample(transfers, len(transfers)):
        carry(transfer, troubled)
    assert state(troubled) == state(reader(*transfers))
