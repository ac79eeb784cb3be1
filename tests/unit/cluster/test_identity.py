from __future__ import annotations

from dataclasses import replace

import pytest

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.effects import YieldName
from pyhorde.cluster.membership.identity import Contradict, Identity, Speak, renewed

ME = Member(name="me", address="me:1", boot="boot-m", generation=5, incarnation=3)
ELSEWHERE = "elsewhere:1"


def answer(said: Member, me: Member = ME, *linked: str):
    return Identity().answer(me, said, set(linked))


@pytest.mark.parametrize("status", [Status.SUSPECT, Status.DEAD, Status.LEFT])
@pytest.mark.parametrize(("said", "raised"), [(3, 4), (7, 8)])
def test_whoever_is_not_held_for_alive_raises_its_incarnation_above_what_was_said(
    status: Status, said: int, raised: int
):
    expected = Speak(replace(ME, incarnation=raised), "refuted")
    assert answer(replace(ME, incarnation=said, status=status)) == expected


def test_what_is_refuted_already_is_only_contradicted():
    assert answer(replace(ME, incarnation=2, status=Status.DEAD)) == Contradict()


@pytest.mark.parametrize("incarnation", [2, 3, 4])
def test_being_held_for_alive_needs_no_answer(incarnation: int):
    assert answer(replace(ME, incarnation=incarnation)) is None


@pytest.mark.parametrize("boot", ["boot-m", "boot-z"])
@pytest.mark.parametrize("status", Status)
def test_who_left_answers_nothing(boot: str, status: Status):
    said = replace(ME, boot=boot, generation=9, status=status, address=ELSEWHERE)
    assert answer(said, ME.at(Status.LEFT)) is None


@pytest.mark.parametrize(("generation", "boot"), [(4, "boot-z"), (5, "boot-a")])
@pytest.mark.parametrize("address", ["me:1", ELSEWHERE])
def test_a_boot_of_a_lower_identity_is_contradicted(generation: int, boot: str, address: str):
    said = replace(ME, generation=generation, boot=boot, address=address)
    assert answer(said) == Contradict()


@pytest.mark.parametrize(("generation", "boot"), [(6, "boot-a"), (5, "boot-z")])
@pytest.mark.parametrize("status", Status)
def test_an_earlier_boot_of_the_own_address_is_replaced(generation: int, boot: str, status: Status):
    said = replace(ME, generation=generation, boot=boot, status=status, incarnation=9)
    taken = replace(ME, generation=generation + 1, incarnation=4)
    assert answer(said) == Speak(taken, "took its name over")


@pytest.mark.parametrize("status", [Status.ALIVE, Status.SUSPECT])
def test_a_present_boot_elsewhere_with_the_higher_identity_wins(status: Status):
    said = replace(ME, generation=6, boot="boot-a", address=ELSEWHERE, status=status)
    assert answer(said) == YieldName(said)


@pytest.mark.parametrize("status", [Status.DEAD, Status.LEFT])
def test_an_absent_boot_elsewhere_is_replaced(status: Status):
    said = replace(ME, generation=6, boot="boot-a", address=ELSEWHERE, status=status)
    assert answer(said) == Speak(renewed(replace(ME, generation=7)), "took its name over")


def test_a_linked_boot_lives_whatever_its_address():
    said = replace(ME, generation=6, boot="boot-a")
    assert answer(said, ME, "boot-a") == YieldName(said)


def test_who_answers_to_being_replaced_with_a_higher_generation_lives():
    identity, said = Identity(), replace(ME, generation=6, boot="boot-a")
    first = identity.answer(ME, said, set())
    assert isinstance(first, Speak)
    again = replace(said, generation=8)
    assert identity.answer(first.me, said, set()) == Contradict()
    assert identity.answer(first.me, again, set()) == YieldName(again)
