"""The journal: a numbered ring, what goes in, and those who follow it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from pyhorde.cluster.event_loop.lag import Blockage
from pyhorde.cluster.journal import BEGINNING, ClusterEvent, Follower, Journal
from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.effects import Changed

BOOT = "cafe" * 8
B = Member(name="b", address="10.0.0.2:7411", boot="b" * 32, generation=2, incarnation=3)
ME = Member(name="a", address="10.0.0.1:7411", boot=BOOT, generation=1)


def journal(size: int = 4) -> Journal:
    return Journal(BOOT, lambda: 1_700_000_000.0, size)


def noted(*kinds: str, size: int = 4) -> Journal:
    book = journal(size)
    for kind in kinds:
        book.note(kind, {})
    return book


def taken(follower: Follower) -> list[ClusterEvent]:
    return list(iter(follower.take, None))


def kinds(follower: Follower) -> list[str]:
    return [event.kind for event in taken(follower)]


def the_one(book: Journal) -> ClusterEvent:
    (event,) = taken(book.follow(BEGINNING))
    return event


# ---- following ----------------------------------------------------------------------------------


def test_entries_are_numbered_from_one_and_carry_the_wall_clock():
    book = noted("one", "two")
    assert taken(book.follow(BEGINNING)) == [
        ClusterEvent("cafecafe-1", 1_700_000_000.0, "one", {}),
        ClusterEvent("cafecafe-2", 1_700_000_000.0, "two", {}),
    ]


def test_without_an_id_only_what_comes_is_read():
    book = noted("past")
    follower = book.follow()
    assert follower.take() is None
    book.note("new", {})
    assert kinds(follower) == ["new"]


def test_a_follower_resumes_after_an_id():
    book = noted("one", "two", "three")
    assert kinds(book.follow("cafecafe-2")) == ["three"]
    assert kinds(book.follow("cafecafe-3")) == []
    assert kinds(book.follow("cafecafe-0")) == ["one", "two", "three"]


def test_the_oldest_id_that_can_be_resumed_is_the_one_before_the_ring():
    book = noted("1", "2", "3", "4", "5", "6")
    assert kinds(book.follow("cafecafe-2")) == ["3", "4", "5", "6"]
    gap, *rest = taken(book.follow("cafecafe-1"))
    assert (gap.id, gap.kind, gap.fields) == (
        "cafecafe-2",
        "gap",
        {"after": "cafecafe-1", "count": 1},
    )
    assert [event.kind for event in rest] == ["3", "4", "5", "6"]
    assert kinds(book.follow(gap.id)) == ["3", "4", "5", "6"], "a gap is no reason for another"


def test_an_id_of_another_boot_of_the_future_or_of_nobody_starts_with_a_gap():
    book = noted("one")
    for strange in ("deadbeef-1", "cafecafe-2", "cafecafe--1", "cafecafe-1x", "nonsense", "-1"):
        gap, one = taken(book.follow(strange))
        assert (gap.kind, gap.fields) == ("gap", {"after": strange, "count": None})
        assert one.kind == "one"
    assert kinds(journal().follow("deadbeef-1")) == ["gap"]


def test_of_a_strange_id_only_the_beginning_is_repeated():
    assert taken(journal().follow("x" * 9000))[0].fields["after"] == "x" * 64


def test_who_is_too_slow_is_told_how_much_was_lost():
    book = journal()
    follower = book.follow()
    for number in range(1, 10):
        book.note(str(number), {})
    lost, *rest = taken(follower)
    assert (lost.id, lost.kind, lost.fields) == ("cafecafe-5", "lost", {"count": 5})
    assert [event.kind for event in rest] == ["6", "7", "8", "9"]
    assert kinds(book.follow(lost.id)) == ["6", "7", "8", "9"]


async def test_followers_wait_and_all_of_them_hear():
    book = journal()
    first, second = book.follow(), book.follow()
    waiting = [asyncio.ensure_future(anext(each)) for each in (first, second)]
    await asyncio.sleep(0)
    book.note("one", {})
    assert [event.kind for event in await asyncio.gather(*waiting)] == ["one", "one"]


async def test_a_follower_that_is_cancelled_leaves_nothing_and_loses_nothing():
    book = journal()
    follower = book.follow()
    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not book._waiters
    book.note("one", {})
    assert (await anext(follower)).kind == "one"


async def test_at_the_end_what_is_there_is_read_first():
    book = noted("one")
    idle, behind = book.follow(), book.follow(BEGINNING)
    waiting = asyncio.ensure_future(anext(idle, None))
    await asyncio.sleep(0)
    book.close()
    assert await waiting is None
    assert [event.kind async for event in behind] == ["one"]
    book.note("late", {})
    assert kinds(book.follow(BEGINNING)) == ["one"]


# ---- what goes in -------------------------------------------------------------------------------


def test_a_transition_says_who_and_why():
    book = journal()
    cause = "re-dial refused, confirmed by c"
    book.changed(Changed(B.at(Status.SUSPECT), B.at(Status.DEAD), cause))
    event = the_one(book)
    assert event.kind == "member_dead"
    assert event.fields == {
        "member": "b",
        "address": "10.0.0.2:7411",
        "boot": "b" * 32,
        "incarnation": 3,
        "before": "suspect",
        "cause": cause,
    }
    assert json.loads(json.dumps(event.fields)) == event.fields


def test_each_state_has_a_kind_of_its_own():
    book = journal(10)
    before = None
    for after in (
        B,
        B.at(Status.SUSPECT),
        B.at(Status.STALLED),
        replace(B, draining=True),
        B.at(Status.LEFT),
    ):
        book.changed(Changed(before, after, ""))
        before = after
    events = taken(book.follow(BEGINNING))
    assert [(event.kind, event.fields["before"]) for event in events] == [
        ("member_alive", None),
        ("member_suspect", "alive"),
        ("member_stalled", "suspect"),
        ("member_draining", "stalled"),
        ("member_left", "draining"),
    ]


def test_a_new_boot_is_a_transition_though_the_state_is_the_same():
    book = journal()
    again = replace(B, boot="c" * 32, generation=3)
    book.changed(Changed(B, again, "connected"))
    event = the_one(book)
    assert (event.kind, event.fields["before"], event.fields["boot"]) == (
        "member_alive",
        "alive",
        "c" * 32,
    )


def test_what_changes_no_state_is_no_transition():
    book = journal()
    book.changed(Changed(B, replace(B, incarnation=4), ""))
    book.changed(Changed(B, replace(B, types=("app:T",)), ""))
    book.changed(Changed(ME, replace(ME, types=("app:T",), incarnation=1), "announced"))
    assert taken(book.follow(BEGINNING)) == []


def test_cordons_come_and_go():
    book = journal()
    cordoned = replace(B, cordoned=True, incarnation=4)
    book.changed(Changed(B, cordoned, "told by c"))
    book.changed(Changed(cordoned, B, "told by c"))
    book.changed(Changed(None, cordoned, "told by c"))
    events = taken(book.follow(BEGINNING))
    assert [event.kind for event in events] == [
        "cordoned",
        "uncordoned",
        "member_alive",
        "cordoned",
    ]
    assert (events[0].fields["member"], events[0].fields["cause"]) == ("b", "told by c")


def test_this_node_having_to_say_that_it_lives_is_worth_an_entry():
    book = journal()
    book.changed(Changed(ME, replace(ME, incarnation=1), "stood still for 3.0 s"))
    event = the_one(book)
    assert (event.kind, event.fields["cause"]) == ("refuted", "stood still for 3.0 s")


def test_links_and_blockages():
    book = journal()
    book.linked(B)
    book.unlinked(B, "lost")
    book.blocked(Blockage(1.23456, "a stack"))
    up, lost, blocked = taken(book.follow(BEGINNING))
    assert (up.kind, up.fields["member"], up.fields["boot"]) == ("link_up", "b", B.boot)
    assert (lost.kind, lost.fields["reason"]) == ("link_lost", "lost")
    assert (blocked.kind, blocked.fields) == (
        "loop_blocked",
        {"seconds": 1.235, "stack": "a stack"},
    )
