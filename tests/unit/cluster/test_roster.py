from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.roster import Roster, read_row

ME = Member(name="me", address="me:1", boot="boot-me", generation=1)
A = Member(name="a", address="a:1", boot="boot-a", generation=1)


@pytest.fixture
def roster() -> Roster:
    made = Roster(ME)
    made.store(A, "it came", 100.0)
    return made


def test_a_roster_begins_with_its_own_node():
    roster = Roster(ME)
    assert roster.view.members == (ME,)
    assert roster.size == 1
    roster.validate()


def test_the_view_is_the_same_object_until_something_changes(roster: Roster):
    view = roster.view
    assert roster.store(A, "again", 101.0) is None
    assert roster.view is view
    changed = roster.store(A.at(Status.SUSPECT), "silence", 102.0)
    assert changed is not None
    assert (changed.before, changed.after, changed.cause) == (A, A.at(Status.SUSPECT), "silence")
    assert roster.view is not view


def test_members_are_found_by_name_and_by_boot(roster: Roster):
    assert roster.get("a") is roster.by_boot("boot-a") is A
    assert roster.get("b") is None
    assert roster.by_boot("boot-b") is None
    assert roster.name_of("boot-a") == "a"
    assert roster.name_of("0123456789") == "01234567"


def test_the_own_record_is_replaced_everywhere(roster: Roster):
    raised = replace(ME, incarnation=1)
    roster.store(raised, "refuted", 101.0)
    assert roster.me is raised
    assert roster.view.me is raised
    roster.validate()


def test_an_absent_member_is_forgotten_after_its_time(roster: Roster):
    roster.store(A.at(Status.DEAD), "silence", 200.0)
    roster.forget(260.0, ttl=60.0)
    assert roster.get("a") is not None
    roster.forget(260.1, ttl=60.0)
    assert roster.get("a") is None
    assert roster.view.members == (ME,)
    roster.validate()


def test_a_member_that_came_back_is_not_forgotten(roster: Roster):
    roster.store(A.at(Status.DEAD), "silence", 200.0)
    roster.store(replace(A, incarnation=1), "it came back", 230.0)
    roster.forget(999.0, ttl=60.0)
    assert roster.get("a") is not None
    roster.store(replace(A, incarnation=1, status=Status.DEAD), "silence", 1000.0)
    roster.forget(1059.0, ttl=60.0)
    assert roster.get("a") is not None


def test_graver_news_of_an_absent_member_does_not_start_its_time_again(roster: Roster):
    roster.store(A.at(Status.DEAD), "silence", 200.0)
    roster.store(A.at(Status.LEFT), "it had left", 250.0)
    roster.forget(261.0, ttl=60.0)
    assert roster.get("a") is None


def test_another_boot_of_an_absent_member_has_its_own_time(roster: Roster):
    roster.store(A.at(Status.DEAD), "silence", 200.0)
    roster.store(replace(A, boot="b2", generation=2, status=Status.DEAD), "silence", 250.0)
    roster.forget(261.0, ttl=60.0)
    assert roster.get("a") is not None


def test_who_knows_of_an_earlier_end_is_believed(roster: Roster):
    roster.store(A.at(Status.DEAD), "silence", 200.0)
    roster.went("a", 150.0)
    roster.went("a", 180.0)
    roster.forget(211.0, ttl=60.0)
    assert roster.get("a") is None


def test_a_present_member_did_not_go(roster: Roster):
    roster.went("a", 1.0)
    roster.forget(999.0, ttl=60.0)
    assert roster.get("a") is A


def test_the_own_node_is_never_forgotten():
    roster = Roster(ME)
    roster.store(ME.at(Status.LEFT), "left", 100.0)
    roster.forget(9999.0, ttl=60.0)
    assert roster.view.members == (ME.at(Status.LEFT),)


def test_rows_say_for_how_long_members_have_been_absent(roster: Roster):
    roster.store(A.at(Status.DEAD), "silence", 200.0)
    assert [read_row(raw) for raw in roster.rows(230.0)] == [
        (A.at(Status.DEAD), 30.0, ""),
        (ME, 0.0, ""),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        A.to_wire(),
        [A.to_wire()],
        [A.to_wire(), "1", ""],
        [A.to_wire(), True, ""],
        [A.to_wire(), -1, ""],
        [A.to_wire(), math.nan, ""],
        [A.to_wire(), math.inf, ""],
        [A.to_wire()[:-1], 1, ""],
        [A.to_wire(), 1],
        [A.to_wire(), 1, 2],
    ],
)
def test_a_malformed_row_is_a_value_error(raw: object):
    with pytest.raises(ValueError, match=r"table|member"):
        read_row(raw)
