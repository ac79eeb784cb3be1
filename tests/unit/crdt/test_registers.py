"""Registers, their deletions, and the events that carry them."""

import pytest

from pyhorde.crdt import Dot, Register
from pyhorde.crdt.registers import Registers

NAME = ("t", "k")
VALUE = Register(0, 5, "w", Dot("a", 1), b"v")
DELETION = Register(1, 7, "w", Dot("a", 2), b"note", deleted=True)


@pytest.fixture
def registers() -> Registers:
    made = Registers()
    made.set(NAME, VALUE)
    return made


def test_the_order_is_by_rank_then_stamp_then_writer():
    orders = [(0, 1, "b"), (0, 2, "a"), (0, 2, "b"), (1, 0, "a")]
    made = [Register(*order, Dot("z", 1), b"") for order in reversed(orders)]
    assert [each.order for each in sorted(made, key=lambda each: each.order)] == orders


def test_a_register_travels_as_the_event_that_carries_it():
    row = VALUE.row(NAME)
    assert (row.table, row.key, row.writer, row.origin, row.seq) == ("t", "k", "w", "a", 1)
    row = VALUE.row(NAME, Dot("b", 9))
    assert (row.writer, row.origin, row.seq, row.value) == ("w", "b", 9, b"v")


def test_nothing_is_there_at_first():
    assert Registers().get("t", "k") is None
    assert Registers().table("t") == {}
    assert Registers().carriers(NAME) == set()


def test_deletions_are_listed_the_oldest_first(registers: Registers):
    registers.set(("t", "l"), DELETION)
    registers.set(NAME, DELETION)
    assert list(registers.deleted) == [("t", "l"), NAME]
    registers.set(("t", "l"), VALUE._replace(stamp=9))
    assert list(registers.deleted) == [NAME]
    assert list(registers.names()) == [NAME, ("t", "l")]


def test_a_deletion_that_is_forgotten_leaves_a_doubt(registers: Registers):
    assert not registers.is_doubtful("t", VALUE)
    registers.set(NAME, DELETION)
    assert registers.forget(NAME) == DELETION
    assert registers.get(*NAME) is None
    assert registers.is_doubtful("t", VALUE)
    assert registers.is_doubtful("t", DELETION)
    assert not registers.is_doubtful("t", DELETION._replace(stamp=8))
    assert not registers.is_doubtful("u", VALUE)


def test_a_doubt_never_gets_less():
    registers = Registers()
    for order in ((1, 5), (0, 9), (1, 4)):
        registers.doubt("t", order)
    assert registers.forgotten == {"t": (1, 5)}


def test_several_events_may_carry_a_value_until_another_takes_its_place(registers: Registers):
    registers.carry(NAME, {VALUE.dot, Dot("b", 1)})
    assert registers.carriers(NAME) == {VALUE.dot, Dot("b", 1)}
    registers.carry(NAME, {Dot("b", 1)})
    assert registers.get(*NAME) == VALUE._replace(dot=Dot("b", 1))
    registers.carry(NAME, {VALUE.dot, Dot("b", 1)})
    registers.set(NAME, DELETION)
    assert registers.carriers(NAME) == {DELETION.dot}


def test_the_digest_depends_on_values_alone(registers: Registers):
    other = Registers()
    other.set(NAME, DELETION)
    assert other.digest == 0
    other.set(NAME, VALUE._replace(dot=Dot("b", 7)))
    assert other.digest == registers.digest != 0
    other.remove(NAME)
    assert other.digest == 0
