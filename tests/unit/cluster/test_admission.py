"""How many connections of which kind are let in."""

from __future__ import annotations

import pytest

from pyhorde.cluster.transport.admission import (
    KNOWN_ADDRESSES,
    KNOWN_HANDSHAKES,
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_ADDRESS,
    MAX_HEADS,
    Admission,
    Kind,
)


def fill(door: Admission, kind: Kind, count: int, address: str = "a") -> None:
    for _ in range(count):
        door.enter(kind, address)


def test_there_is_an_end_to_connections():
    door = Admission(limit=10)
    fill(door, Kind.PEER, 9)
    assert door.may_connect()
    door.enter(Kind.HEAD, "a")
    assert not door.may_connect()
    assert door.statistics.full == 1
    door.leave(Kind.HEAD, "a")
    assert door.may_connect()


def test_clients_leave_room_for_probes_and_peers():
    door = Admission(limit=100)
    fill(door, Kind.HTTP, 75)
    assert not door.may_serve(probe=False)
    assert door.may_serve(probe=True)
    assert door.may_connect() and door.may_shake_hands("b")
    assert door.statistics.full == 1


def test_of_too_many_incomplete_requests_the_oldest_gives_way():
    door = Admission()
    fill(door, Kind.HEAD, MAX_HEADS)
    assert not door.must_evict
    door.enter(Kind.HEAD, "a")
    assert door.must_evict


def test_one_address_has_few_handshakes_under_way():
    door = Admission()
    fill(door, Kind.HANDSHAKE, MAX_HANDSHAKES_PER_ADDRESS)
    assert not door.may_shake_hands("a")
    assert door.may_shake_hands("b")
    door.leave(Kind.HANDSHAKE, "a")
    assert door.may_shake_hands("a")
    assert door.statistics.handshakes == 1


def test_all_strangers_together_have_few_too_but_those_who_were_here_have_their_own():
    door = Admission()
    door.enter(Kind.PEER, "friend")
    for number in range(MAX_HANDSHAKES):
        assert door.may_shake_hands(f"{number}")
        door.enter(Kind.HANDSHAKE, f"{number}")
    assert not door.may_shake_hands("another")
    for _ in range(KNOWN_HANDSHAKES):
        assert door.may_shake_hands("friend")
        door.enter(Kind.HANDSHAKE, "friend")
    assert not door.may_shake_hands("friend")


def test_what_is_remembered_of_addresses_is_bounded():
    door = Admission()
    for number in range(KNOWN_ADDRESSES + 5):
        door.enter(Kind.PEER, f"{number}")
        door.leave(Kind.PEER, f"{number}")
    fill(door, Kind.HANDSHAKE, MAX_HANDSHAKES)
    assert not door.may_shake_hands("0") and door.may_shake_hands("5")
    assert door.count(Kind.PEER) == 0 and door.total == MAX_HANDSHAKES


@pytest.mark.parametrize("kind", Kind)
def test_who_leaves_leaves_nothing_behind(kind: Kind):
    door = Admission()
    door.enter(kind, "a")
    door.leave(kind, "a")
    assert door.total == 0 and not door._handshakes
