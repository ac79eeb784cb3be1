from __future__ import annotations

from typing import Any

import pytest

from pyhorde.crdt import Replica
from pyhorde.runtime import copies
from pyhorde.runtime.copies import Copies
from pyhorde.runtime.record import STATES, StateRecord
from tests.unit.runtime.stage import Clock


def saved(epoch: int, life: int = 1) -> StateRecord:
    return StateRecord(epoch, "checkpoint", 1, "n", "", b"s", [], life)


def made(replica: Replica) -> Copies:
    clock: Any = Clock()
    return Copies(replica, clock)


def put(replica: Replica, key: str, value: bytes | None, rank: int) -> None:
    assert replica.put(STATES, key, value, 0.0, rank)


def test_a_copy_that_nobody_asks_for_is_not_decoded(monkeypatch: pytest.MonkeyPatch):
    decoded = []
    real = copies.decode_state
    monkeypatch.setattr(copies, "decode_state", lambda data: (decoded.append(data), real(data))[1])
    replica = Replica("me")
    table = made(replica)
    for rank in range(5):
        put(replica, "b1/name", saved(rank).encode(), rank)
        assert table.learned(["b1/name"]) == {"name"}
    assert decoded == []
    assert [copy.record.epoch for copy in table.of("name", 1)] == [4]
    assert [copy.record.epoch for copy in table.of("name", 1)] == [4]
    assert decoded == [saved(4).encode()]


def test_the_copy_of_the_highest_epoch_comes_first_and_other_lives_are_left_out():
    replica = Replica("me")
    table = made(replica)
    for boot, record in (("b1", saved(3)), ("b2", saved(7)), ("b3", saved(9, life=2))):
        put(replica, f"{boot}/name", record.encode(), 1)
        table.learned([f"{boot}/name"])
    assert [copy.boot for copy in table.of("name", 1)] == ["b2", "b1"]
    assert [copy.boot for copy in table.of("name", 2)] == ["b3"]
    assert table.of("another", 1) == []


def test_what_cannot_be_read_or_was_removed_is_no_copy():
    replica = Replica("me")
    table = made(replica)
    put(replica, "b1/name", b"nonsense", 1)
    put(replica, "b2/name", saved(1).encode(), 1)
    table.learned(["b1/name", "b2/name", "no-name", "/"])
    (copy,) = table.of("name", 1)
    table.forget("name", [copy])
    assert table.of("name", 1) == []
    put(replica, "b1/name", saved(2).encode(), 2)
    table.learned(["b1/name"])
    assert [copy.record.epoch for copy in table.of("name", 1)] == [2]
