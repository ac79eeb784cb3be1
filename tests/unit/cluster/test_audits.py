"""Digests are compared now and then: what should never differ, and is repaired when it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pyhorde.cluster.replication.messages import Audit, Differs, SyncData
from pyhorde.cluster.replication.replication import Caught, Repairs, Replication
from pyhorde.crdt import Replica
from pyhorde.crdt.registers import Register
from tests.unit.cluster.pair import CONFIG, Pair, met

AUDITS = replace(CONFIG, audit_interval=10.0)


@pytest.fixture
def pair() -> Pair:
    return filled("ab")


def filled(names: str) -> Pair:
    made = met(names, AUDITS)
    for number in range(20):
        made.write("a", f"name-{number}")
        made.put("a", f"register-{number}", b"value")
    made.flush()
    made.replica("a").remove(made.replica("a").claims_of("a")[3].dot)
    made["a"].written(made.now)
    made.put("b", "register-3", None)
    made.flush()
    made.round(5)
    made.sent.clear()
    made.effects = {name: [] for name in names}
    return made


def audit(pair: Pair, name: str) -> None:
    pair.run(name, pair[name]._audit())
    pair.deliver()


def alarms(pair: Pair) -> list[Repairs]:
    return [e for effects in pair.effects.values() for e in effects if isinstance(e, Repairs)]


def lose_row(replica: Replica, origin: str) -> None:
    log = replica._logs[origin]
    log.pop(log.seqs(0, log.seq)[5])


def add_row(replica: Replica, origin: str) -> None:
    replica._logs[origin].put("", 4, "out of nowhere", b"")


def swap_rows(replica: Replica, origin: str) -> None:
    """As many as there should be, but not the right ones."""
    log = replica._logs[origin]
    log.pop(1)
    log.put("", 5000, "out of nowhere", b"")


@pytest.mark.parametrize("damage", [lose_row, add_row, swap_rows])
def test_rows_that_differ_are_found_counted_and_repaired(
    pair: Pair, damage: Callable[[Replica, str], None]
):
    damage(pair.replica("b"), "a")
    assert not pair.converged()
    audit(pair, "b")
    assert alarms(pair) == [Repairs("a", "claims")]
    assert pair["b"].statistics.repairs == 1
    assert pair["a"].statistics.repairs == 0
    assert Caught("a") in pair.effects["b"]
    assert pair.equal()
    assert pair["a"].acked("b") == pair.replica("a").seq
    audit(pair, "b")
    assert len(alarms(pair)) == 1


def test_while_claims_are_learned_anew_they_do_not_count_as_safe(pair: Pair):
    lose_row(pair.replica("b"), "a")
    pair.run("b", pair["b"]._audit())
    for _ in range(3):
        sender, to, message = pair.waiting.pop(0)
        pair.give(to, sender, message)
    assert pair.replica("b").known("a") == 0
    assert pair["a"].acked("b") == 0
    pair.deliver()
    assert pair["a"].acked("b") == pair.replica("a").seq


def lose_register(replica: Replica) -> None:
    replica._registers.remove(("t", "register-7"))


def change_register(replica: Replica) -> None:
    old = replica.register("t", "register-7")
    assert old is not None
    replica._registers.set(("t", "register-7"), older(old))


def older(register: Register) -> Register:
    return register._replace(stamp=register.stamp - 5, value=b"old")


@pytest.mark.parametrize("damage", [lose_register, change_register])
@pytest.mark.parametrize("auditor", "ab")
def test_registers_that_differ_are_found_counted_and_repaired(
    pair: Pair, damage: Callable[[Replica], None], auditor: str
):
    damage(pair.replica("b"))
    audit(pair, auditor)
    other = "ab".replace(auditor, "")
    assert alarms(pair) == [Repairs(other, "registers")]
    assert pair.equal()
    assert pair.value("b", "register-7") == b"value"
    assert pair.replica("a").register_digest == pair.replica("b").register_digest
    audit(pair, auditor)
    assert len(alarms(pair)) == 1


def test_a_register_that_only_one_has_comes_back_to_the_other(pair: Pair):
    """Neither can say who is wrong."""
    found = pair.replica("a").register("t", "register-7")
    assert found is not None
    row = ("t", "out of nowhere")
    pair.replica("b")._registers.set(row, found)
    audit(pair, "b")
    assert alarms(pair) == [Repairs("a", "registers")]
    assert pair.value("a", row[1]) == b"value"
    assert pair.converged()


def test_both_kinds_at_once_are_repaired_together(pair: Pair):
    lose_row(pair.replica("b"), "a")
    lose_register(pair.replica("b"))
    audit(pair, "b")
    assert alarms(pair) == [Repairs("a", "claims and registers")]
    assert pair["b"].statistics.repairs == 2
    assert pair.equal()


def test_what_is_wrong_with_a_third_node_is_found_by_it():
    pair = filled("abc")
    lose_row(pair.replica("c"), "a")
    lose_register(pair.replica("c"))
    pair.sent.clear()
    pair.round(150)
    assert {each.what for each in alarms(pair)} == {"claims", "registers"}
    assert pair.equal()


def test_audits_take_place_now_and_then_with_anybody():
    pair = met("abc", AUDITS)
    for _ in range(300):
        pair.tick("a", 1.0)
        pair.waiting.clear()
    audits = pair.of(Audit)
    assert 20 <= len(audits) <= 45
    assert set(audits) == {("a", "b"), ("a", "c")}


def test_an_audit_of_equals_is_one_message(pair: Pair):
    audit(pair, "a")
    assert [type(m) for _, _, m in pair.sent] == [Audit]


def test_who_is_behind_raises_no_alarm(pair: Pair):
    pair.write("a")
    audit(pair, "b")
    pair.put("b", "register-1", b"new")
    audit(pair, "a")
    audit(pair, "b")
    assert pair.of(Differs) == []


def stopped(pair: Pair, loses: Callable[[SyncData], bool]) -> None:
    """Deliver until ``b`` is about to get a message of this kind."""
    while pair.waiting:
        sender, to, message = pair.waiting[0]
        if to == "b" and isinstance(message, SyncData) and loses(message):
            pair.waiting.clear()
            return
        pair.waiting.pop(0)
        pair.give(to, sender, message)


def test_registers_that_are_known_ahead_of_their_events_raise_no_alarm():
    pair = filled("abc")
    pair.unlink("a", "b")
    pair.unlink("b", "c")
    pair.put("a", "register-1", b"new")
    pair.flush()
    pair.link("a", "b")
    stopped(pair, lambda message: bool(message.delta[3]))
    assert pair.value("b", "register-1") == b"new"
    compare_with_one_who_is_equally_far(pair)


def test_what_is_held_no_more_is_known_ahead_too_and_raises_no_alarm():
    """Else the alarm would bring a deleted register back."""
    pair = filled("abc")
    pair.unlink("a", "b")
    pair.unlink("b", "c")
    pair.put("a", "register-1", None)
    pair.flush()
    for name in "ac":
        replica = pair.replica(name)
        replica.forget_deletions(replica.deleted())
    pair.link("a", "b")
    stopped(pair, lambda message: bool(message.delta[3]))
    assert pair.replica("b").register("t", "register-1") is None
    compare_with_one_who_is_equally_far(pair)


def compare_with_one_who_is_equally_far(pair: Pair) -> None:
    """``c`` takes the part of a node that has as many events as ``b`` has, and none ahead."""
    twin = filled("abc")
    assert twin.replica("c").vector == pair.replica("b").vector
    pair.cores["c"] = Replication(twin.replica("c"), AUDITS, twin["c"]._rng)
    pair.unlink("a", "b")
    pair.link("b", "c")
    pair.waiting.clear()
    pair.sent.clear()
    for name in "bc":
        audit(pair, name)
    assert pair.of(Audit) == [("b", "c"), ("c", "b")]
    assert pair.of(Differs) == []
