"""Nodes that announce themselves: who is near, who is believed, and when somebody speaks."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from pyhorde.cluster.discovery import announcements
from pyhorde.cluster.discovery.announcements import (
    ANNOUNCE,
    ANSWER,
    FORGET,
    MAX_BYTES,
    SPARE,
    Announcements,
)
from pyhorde.cluster.transport.keyring import Keyring

OTHER = b"77e0d41b9c2f4a63b58e0d17fa6c3920"
SECRET = b"9f1c7a05d3e84b62a0c5718ee2d94f36"


def node(
    address: str = "10.0.0.1:7411", cluster: str = "horde", secret: bytes | None = None
) -> Announcements:
    return Announcements(address, cluster, Keyring((secret,) if secret else ()), Random(address))


def spoilt(packet: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(packet), **changes}).encode()


@pytest.mark.parametrize("secret", [None, SECRET])
def test_nodes_of_one_cluster_hear_each_other(secret: bytes | None):
    a, b = node(secret=secret), node("[fd00::2]:7411", secret=secret)
    assert b.hear(a.begin(0.0), 0.0)
    assert b.addresses == {"10.0.0.1:7411"}
    assert a.hear(b.begin(0.0), 0.0)
    assert a.addresses == {"[fd00::2]:7411"}


def test_the_own_announcement_and_those_of_other_clusters_are_not_heard():
    a, other = node(), node("10.0.0.2:7411", cluster="swarm")
    assert not a.hear(a.begin(0.0), 0.0)
    assert not a.hear(other.begin(0.0), 0.0)
    assert a.addresses == frozenset()
    assert a.refused == 0


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(SECRET, None), (None, SECRET), (SECRET, OTHER)],
)
def test_without_the_same_secret_nobody_is_believed(mine: bytes | None, theirs: bytes | None):
    a, b = node(secret=mine), node("10.0.0.2:7411", secret=theirs)
    assert not a.hear(b.begin(0.0), 0.0)
    assert a.addresses == frozenset()
    assert a.refused == 1


@pytest.mark.parametrize("change", [{"address": "10.6.6.6:7411"}, {"asks": False}])
def test_an_announcement_that_was_changed_on_its_way_is_refused(change: dict[str, Any]):
    a, b = node(secret=SECRET), node("10.0.0.2:7411", secret=SECRET)
    assert not a.hear(spoilt(b.begin(0.0), **change), 0.0)
    assert a.addresses == frozenset()


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xff\xff",
        b"[]",
        b"7",
        b"{}",
        b"[" * MAX_BYTES,
        b" " * (MAX_BYTES + 1),
        spoilt(node().begin(0.0), pyhorde=2),
        spoilt(node().begin(0.0), asks=1),
        spoilt(node().begin(0.0), address="10.0.0.2"),
        spoilt(node().begin(0.0), address=["10.0.0.2:7411"]),
        spoilt(node().begin(0.0), proof="\ud800"),
        spoilt(node().begin(0.0), cluster=None),
    ],
)
def test_what_is_no_announcement_is_refused_and_counted(packet: bytes):
    a = node("10.0.0.9:7411")
    assert not a.hear(packet, 0.0)
    assert (a.refused, a.addresses) == (1, frozenset())


def test_a_node_that_falls_silent_is_forgotten_after_a_minute():
    a, b, c = node(), node("10.0.0.2:7411"), node("10.0.0.3:7411")
    a.hear(b.begin(0.0), 0.0)
    a.hear(c.begin(0.0), 0.0)
    a.hear(c.tick(10.0) or b"", 10.0)
    a.tick(FORGET - 0.1)
    assert a.addresses == {"10.0.0.2:7411", "10.0.0.3:7411"}
    a.tick(FORGET)
    assert a.addresses == {"10.0.0.3:7411"}
    a.tick(FORGET + 10.0)
    assert a.addresses == frozenset()


def test_a_node_announces_itself_every_few_seconds_at_its_deadline():
    a = node()
    a.begin(0.0)
    now, said = 0.0, []
    while now < 100.0:
        assert a.tick(a.deadline - 0.001) is None
        now = a.deadline
        packet = a.tick(now)
        assert packet is not None
        assert json.loads(packet)["asks"] is False
        said.append(now)
    pauses = [b - a for a, b in pairwise(said)]
    assert all(ANNOUNCE * 0.8 <= pause <= ANNOUNCE * 1.2 for pause in pauses)
    assert len(set(pauses)) > 1


def test_the_deadline_is_also_when_somebody_is_to_be_forgotten():
    a, b = node(), node("10.0.0.2:7411")
    a.hear(b.begin(0.0), 0.0)
    a.tick(FORGET - 1.0)
    assert a.deadline == FORGET


def test_who_asks_is_answered_soon_but_nobody_can_make_a_node_shout():
    a, b = node(), node("10.0.0.2:7411")
    a.begin(0.0)
    assert a.hear(b.begin(2.0), 2.0)
    assert 2.0 <= a.deadline <= 2.0 + ANSWER
    assert a.tick(a.deadline) is not None
    spoke = 2.0 + ANSWER
    for _ in range(100):
        a.hear(b.begin(spoke), spoke)
        assert a.tick(spoke) is None
    assert SPARE <= a.deadline - 2.0 <= SPARE + 2 * ANSWER


def test_a_repeated_announcement_is_no_news():
    a, b = node(), node("10.0.0.2:7411")
    a.hear(b.begin(0.0), 0.0)
    assert not a.hear(b.tick(10.0) or b"", 10.0)


def test_so_many_nodes_are_near_at_most(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(announcements, "MAX_ADDRESSES", 3)
    a = node()
    for number in range(2, 9):
        a.hear(node(f"10.0.0.{number}:7411").begin(0.0), 0.0)
    assert a.addresses == {"10.0.0.2:7411", "10.0.0.3:7411", "10.0.0.4:7411"}
