from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership.dial_schedule import (
    FORMER_FACTOR,
    MAX_DIALS,
    STRANGER_FACTOR,
    DialSchedule,
    Target,
)
from pyhorde.config import MembershipConfig

LAN = MembershipConfig()
ME = Member(name="me", address="me:1", boot="me", generation=1)


def member(name: str, status: Status = Status.ALIVE, address: str = "") -> Member:
    return replace(ME, name=name, boot=name, address=address or f"{name}:1", status=status)


def view(*members: Member) -> View:
    return View(ME, tuple(sorted((ME, *members), key=lambda m: m.name)))


def dialer(*seeds: str) -> DialSchedule:
    return DialSchedule(seeds, LAN, random.Random(0))


def test_peers_and_present_members_without_a_link_are_dialled():
    alive, suspect, linked = member("a"), member("b", Status.SUSPECT), member("c")
    targets = dialer("seed:1", "me:1").due(view(alive, suspect, linked), {"c"}, 100.0)
    assert sorted((t.address, t.boot) for t in targets if t.boot) == [("a:1", "a"), ("b:1", "b")]
    assert [t.address for t in targets if t.boot is None] == ["seed:1"]


def test_dead_members_are_dialled_and_departed_ones_are_not():
    targets = dialer().due(view(member("a", Status.DEAD), member("b", Status.LEFT)), set(), 100.0)
    assert targets == [Target("a:1", "a")]


def test_what_answers_at_an_address_is_expected_to_be_the_present_member():
    """Evidence would be lost if it were taken to be about a member that is dead already."""
    for dead, alive in (("a", "b"), ("b", "a")):
        members = view(member(dead, Status.DEAD, "h:1"), member(alive, address="h:1"))
        assert dialer().due(members, set(), 100.0) == [Target("h:1", alive)]


def test_an_address_where_a_linked_member_lives_is_not_dialled_for_another():
    members = view(member("old", Status.DEAD, "h:1"), member("new", address="h:1"))
    assert dialer("h:1").due(members, {"new"}, 100.0) == []


def test_a_target_is_busy_until_its_result_is_reported():
    one = dialer("seed:1")
    assert one.due(view(), set(), 100.0)
    assert one.due(view(), set(), 200.0) == []
    assert one.next_deadline(view(), set()) is None
    one.failed("seed:1", "refused", view(), 200.0)
    assert one.next_deadline(view(), set()) is not None


def test_a_seed_is_dialled_at_once():
    assert dialer("seed:1").next_deadline(view(), set()) == 0.0
    assert dialer().next_deadline(view(), set()) is None


def pauses(one: DialSchedule, members: View, count: int) -> list[float]:
    found, now = [], 100.0
    for _ in range(count):
        assert one.due(members, set(), now)
        one.failed("a:1", "refused", members, now)
        due = one.next_deadline(members, set())
        assert due is not None
        found.append(due - now)
        now = due
    return found


def test_pauses_double_up_to_their_bound_with_some_chance():
    found = pauses(dialer(), view(member("a")), 8)
    plain = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert all(0.75 * p <= f <= 1.25 * p for f, p in zip(found, plain, strict=True))
    assert found[-1] != found[-2]


def test_former_members_are_dialled_more_slowly():
    one = dialer()
    one.reached("a:1", "a")
    found = pauses(one, view(member("a", Status.DEAD)), 3)
    slow = LAN.redial_max * FORMER_FACTOR
    assert all(0.75 * slow <= pause <= 1.25 * slow for pause in found)


def test_where_nobody_ever_answered_the_pauses_grow():
    """Perhaps somebody has made the member up: it is dialled for a week."""
    found = pauses(dialer(), view(member("a", Status.DEAD)), 8)
    least, most = LAN.redial_max * FORMER_FACTOR, LAN.redial_max * STRANGER_FACTOR
    assert found[0] <= 1.25 * least
    assert all(0.75 * most <= pause <= 1.25 * most for pause in found[5:])


def test_so_many_dials_are_under_way_and_the_end_of_one_is_waited_for():
    one, members = dialer(), view(*(member(f"m{number}") for number in range(MAX_DIALS + 9)))
    first = one.due(members, set(), 100.0)
    assert len(first) == MAX_DIALS
    assert one.due(members, set(), 100.0) == [] and one.next_deadline(members, set()) is None
    one.failed(first[0].address, "refused", members, 100.0)
    one.reached(first[1].address, "m1")
    assert one.next_deadline(members, set()) is not None
    rest = one.due(members, set(), 100.0)
    assert len(rest) == 2 and not set(rest) & set(first)


def test_an_address_that_leads_back_is_dialled_again_for_it_may_lead_to_others_too():
    one = dialer("name:1")
    alone = view()
    assert one.due(alone, set(), 100.0)
    one.itself("name:1", alone.me.name, 100.0)
    assert one.unlinked_seeds(alone, set()) == [] and one.all_seeds_tried("me:1")
    assert one.due(alone, set(), 100.0 + LAN.redial_max - 0.1) == []
    assert one.next_deadline(alone, set()) == 100.0 + LAN.redial_max
    assert one.due(alone, set(), 100.0 + LAN.redial_max) == [Target("name:1", None)]
    one.reached("name:1", "other")


def test_a_present_member_at_the_address_of_a_former_one_is_not_dialled_slowly():
    members = view(member("old", Status.DEAD, "a:1"), member("new", address="a:1"))
    assert pauses(dialer(), members, 1)[0] <= LAN.redial_min * 1.25


def test_a_lost_link_is_dialled_again_at_once_and_with_short_pauses():
    one, members = dialer(), view(member("a"))
    pauses(one, members, 6)
    last = one.next_deadline(members, set())
    assert last is not None
    one.due(members, set(), last)
    one.reached("a:1", "a")
    one.hurry("a:1")
    assert one.next_deadline(members, set()) == last + LAN.redial_min  # at once, but not for ever
    assert one.due(members, set(), last + 60.0)
    one.failed("a:1", "refused", members, last + 60.0)
    again = one.next_deadline(members, set())
    assert again is not None and again - last - 60.0 <= LAN.redial_min * 1.25


def test_hurry_for_an_unknown_address_is_remembered():
    one = dialer()
    one.hurry("a:1")
    assert one.due(view(member("a")), set(), 100.0) == [Target("a:1", "a")]


def test_a_dial_that_gave_no_link_is_not_repeated_without_a_pause():
    one, members = dialer(), view(member("a"))
    assert one.due(members, set(), 100.0)
    one.reached("a:1", "a")
    assert one.due(members, set(), 100.01) == []
    assert one.due(members, set(), 100.0 + LAN.redial_min)


def test_success_makes_the_next_pause_short_again():
    one, members = dialer(), view(member("a"))
    pauses(one, members, 6)
    one.due(members, set(), 200.0)
    one.reached("a:1", "a")
    one.hurry("a:1")
    assert one.due(members, set(), 260.0)
    one.failed("a:1", "refused", members, 260.0)
    again = one.next_deadline(members, set())
    assert again is not None and again - 260.0 <= LAN.redial_min * 1.25


def test_an_error_is_news_once_until_it_changes_or_the_dial_succeeds():
    one, members = dialer("seed:1"), view()
    assert one.failed("seed:1", "refused", members, 100.0)
    assert not one.failed("seed:1", "refused", members, 101.0)
    assert one.failed("seed:1", "timed out", members, 102.0)
    one.reached("seed:1", "a")
    assert one.failed("seed:1", "timed out", members, 103.0)


def test_a_seed_under_another_address_of_a_linked_member_is_not_dialled():
    one, members = dialer("alias:1"), view(member("a"))
    one.due(members, {"a"}, 100.0)
    one.reached("alias:1", "a")
    assert one.due(members, {"a"}, 200.0) == []
    assert {t.address for t in one.due(members, set(), 300.0)} == {"a:1", "alias:1"}


def test_a_seed_that_leads_back_to_the_node_itself_is_not_dialled_again():
    one = dialer("alias:1")
    one.due(view(), set(), 100.0)
    one.reached("alias:1", "me")
    assert one.due(view(), set(), 999.0) == []


def test_a_seed_that_led_to_a_member_nobody_knows_any_more_is_dialled():
    one = dialer("alias:1")
    one.due(view(), set(), 100.0)
    one.reached("alias:1", "a")
    assert one.due(view(), set(), 999.0) == [Target("alias:1", None)]


def test_all_seeds_are_tried_once_each_has_a_result():
    one = dialer("s:1", "s:2", "me:1")
    assert not one.all_seeds_tried("me:1")
    one.due(view(), set(), 100.0)
    one.failed("s:1", "refused", view(), 100.0)
    assert not one.all_seeds_tried("me:1")
    one.reached("s:2", "a")
    assert one.all_seeds_tried("me:1")


def test_addresses_that_nobody_has_any_more_are_forgotten():
    one = dialer("seed:1")
    for i in range(50):
        gone = view(member(f"m{i}"))
        one.due(gone, set(), 100.0 + i)
        one.failed(f"m{i}:1", "refused", gone, 100.0 + i)
    one.due(view(), set(), 999.0)
    assert set(one._attempts) == {"seed:1"}


def test_a_dial_under_way_is_not_forgotten():
    one = dialer()
    one.due(view(member("a")), set(), 100.0)
    one.due(view(), set(), 101.0)
    assert one.due(view(member("a")), set(), 102.0) == []


@pytest.mark.parametrize("status", [Status.ALIVE, Status.SUSPECT, Status.DEAD])
def test_a_linked_member_is_never_dialled(status: Status):
    assert dialer("a:1").due(view(member("a", status)), {"a"}, 100.0) == []


def test_a_link_that_comes_or_goes_is_noticed_though_the_set_of_links_stays_the_same_object():
    one, members, linked = dialer(), view(member("a"), member("b")), {"a", "b"}
    assert one.next_deadline(members, linked) is None
    linked.remove("a")
    assert one.next_deadline(members, linked) == 0.0
    assert one.due(members, linked, 100.0) == [Target("a:1", "a")]
    linked.add("a")
    assert one.next_deadline(members, linked) is None


def test_seeds_that_are_not_known_to_be_linked_are_named():
    one, members = dialer("me:1", "a:1", "alias:1", "b:1"), view(member("a"), member("b"))
    one.reached("alias:1", "a")
    assert one.unlinked_seeds(members, {"a"}) == ["b:1"]
    assert one.unlinked_seeds(members, set()) == ["a:1", "alias:1", "b:1"]


# ---- what discovery finds -----------------------------------------------------------------------


def addresses(targets: list[Target]) -> list[str]:
    return sorted(target.address for target in targets)


def test_what_a_source_finds_is_dialled_besides_the_configured_peers():
    one = dialer("seed:1")
    one.found("dns://x", {"x:1", "y:1"})
    assert one.seeds == ("seed:1", "x:1", "y:1")
    assert addresses(one.due(view(), set(), 100.0)) == ["seed:1", "x:1", "y:1"]


def test_a_find_is_noticed_though_nothing_else_changed():
    """The view and the links are the same objects as when the last plan was made."""
    one, members, linked = dialer("seed:1"), view(), set[str]()
    one.due(members, linked, 100.0)
    assert one.next_deadline(members, linked) is None
    one.found("dns://x", ["x:1"])
    assert one.next_deadline(members, linked) == 0.0
    assert addresses(one.due(members, linked, 100.0)) == ["x:1"]


def test_what_a_source_does_not_know_any_more_is_not_dialled_any_more():
    one = dialer("seed:1")
    one.found("dns://x", ["x:1", "y:1"])
    one.due(view(), set(), 100.0)
    for address in ("seed:1", "x:1", "y:1"):
        one.failed(address, "refused", view(), 100.0)
    one.found("dns://x", ["y:1"])
    assert one.seeds == ("seed:1", "y:1")
    assert addresses(one.due(view(), set(), 999.0)) == ["seed:1", "y:1"]
    assert set(one._attempts) == {"seed:1", "y:1"}


def test_a_source_takes_nothing_away_from_another_or_from_the_configured_peers():
    one = dialer("seed:1")
    one.found("dns://x", ["x:1", "seed:1"])
    one.found("file://y", ["x:1"])
    assert one.seeds == ("seed:1", "x:1")
    one.found("dns://x", [])
    assert one.seeds == ("seed:1", "x:1")
    one.found("file://y", [])
    assert one.seeds == ("seed:1",)


def test_the_order_in_which_a_source_names_them_does_not_matter():
    one, other = dialer(), dialer()
    one.found("dns://x", ["b:1", "a:1"])
    other.found("dns://x", ["a:1", "b:1"])
    assert one.seeds == other.seeds == ("a:1", "b:1")


def test_joining_waits_for_what_was_found_as_for_configured_peers():
    one = dialer()
    assert one.all_seeds_tried("me:1")
    one.found("dns://x", ["me:1", "x:1"])
    assert not one.all_seeds_tried("me:1")
    assert one.unlinked_seeds(view(), set()) == ["x:1"]
    one.failed("x:1", "refused", view(), 100.0)
    assert one.all_seeds_tried("me:1")
    one.found("dns://x", ["x:1", "y:1"])
    assert not one.all_seeds_tried("me:1")


def test_what_was_found_again_keeps_its_pause():
    """Who is found anew every second must not be dialled anew every second."""
    one = dialer()
    one.found("dns://x", ["x:1"])
    one.due(view(), set(), 100.0)
    for _ in range(6):
        one.failed("x:1", "refused", view(), 100.0)
    one.found("dns://x", ["x:1"])
    assert one.due(view(), set(), 101.0) == []
    assert addresses(one.due(view(), set(), 103.0)) == ["x:1"]
