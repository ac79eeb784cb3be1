from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pyhorde.cluster.member import MAX_TYPES, Member, Status, View
from pyhorde.config import MAX_LABELS


def member(name: str = "a", **changes) -> Member:
    plain = Member(name=name, address=f"{name}:1", boot=f"boot-{name}", generation=1, types=("T",))
    return replace(plain, **changes)


ALL = [
    member(generation=generation, boot=boot, incarnation=incarnation, status=status)
    for generation, boot in [(1, "x"), (1, "y"), (2, "x2")]
    for incarnation in (0, 1)
    for status in Status
]


def test_order_of_what_is_said_is_total_and_antisymmetric():
    for one, other in itertools.combinations(ALL, 2):
        assert one.supersedes(other) != other.supersedes(one)
    assert not any(one.supersedes(one) for one in ALL)


def test_order_of_what_is_said_is_transitive():
    for a, b, c in itertools.permutations(ALL, 3):
        if a.supersedes(b) and b.supersedes(c):
            assert a.supersedes(c)


def test_at_one_incarnation_the_words_are_ordered_by_their_gravity():
    words = [Status.ALIVE, Status.SUSPECT, Status.STALLED, Status.DEAD, Status.LEFT]
    for one, other in itertools.product(range(5), repeat=2):
        said, known = member(status=words[one]), member(status=words[other])
        assert said.supersedes(known) is (one > other)


@pytest.mark.parametrize("graver", [Status.SUSPECT, Status.STALLED, Status.DEAD, Status.LEFT])
def test_the_graver_word_wins_until_the_incarnation_is_raised(graver: Status):
    assert member(status=graver).supersedes(member())
    assert member(incarnation=1).supersedes(member(status=graver))


def test_a_higher_generation_wins_whatever_is_said_about_the_lower():
    new = member(boot="new", generation=2)
    assert all(new.supersedes(member(incarnation=9, status=status)) for status in Status)


def test_of_two_boots_of_one_generation_the_higher_boot_id_counts():
    assert member(boot="b").supersedes(member(boot="a", incarnation=5))


@pytest.mark.parametrize(
    ("changes", "state", "present", "placeable"),
    [
        ({}, "alive", True, True),
        ({"draining": True}, "draining", True, False),
        ({"status": Status.SUSPECT}, "suspect", True, False),
        ({"status": Status.SUSPECT, "draining": True}, "suspect", True, False),
        ({"status": Status.STALLED}, "stalled", True, False),
        ({"status": Status.STALLED, "draining": True}, "stalled", True, False),
        ({"cordoned": True}, "alive", True, True),
        ({"cordoned": True, "draining": True}, "draining", True, False),
        ({"status": Status.DEAD}, "dead", False, False),
        ({"status": Status.LEFT}, "left", False, False),
    ],
)
def test_what_a_status_means(changes: dict, state: str, present: bool, placeable: bool):
    found = member(**changes)
    assert (found.state, found.present, found.placeable) == (state, present, placeable)


LABELLED = [
    member(labels=(("zone", "eu-1"), ("disk", ""))),
    member(labels=(("", "x"),), cordoned=True),
    member(cordoned=True, draining=True),
    member(labels=tuple((f"key-{n:03}", "v" * 256) for n in range(MAX_LABELS))),
]


@pytest.mark.parametrize("original", ALL + LABELLED)
def test_a_record_survives_the_wire(original: Member):
    assert Member.from_wire(original.to_wire()) == original


def altered(position: int, value: object) -> list:
    raw = member().to_wire()
    raw[position] = value
    return raw


@pytest.mark.parametrize(
    "raw",
    [
        None,
        7,
        "eight...",
        dict.fromkeys("abcdefgh"),
        member().to_wire()[:-1],
        [*member().to_wire(), 1],
        altered(0, 1),
        altered(0, "n" * 513),
        altered(1, None),
        altered(2, b"boot"),
        altered(3, -1),
        altered(3, True),
        altered(3, 2**53),
        altered(4, 1.0),
        altered(4, "1"),
        altered(5, "zombie"),
        altered(5, []),
        altered(6, 1),
        altered(7, None),
        altered(7, "types"),
        altered(7, {"T": 1}),
        altered(7, [1]),
        altered(7, ["T"] * (MAX_TYPES + 1)),
        altered(8, None),
        altered(8, 1),
        altered(8, "true"),
        altered(9, None),
        altered(9, "zone"),
        altered(9, {"zone": "eu-1"}),
        altered(9, ["zone"]),
        altered(9, [["zone"]]),
        altered(9, [["zone", "eu-1", "more"]]),
        altered(9, [["zone", 1]]),
        altered(9, [[b"zone", "eu-1"]]),
        altered(9, [["zone", "v" * 257]]),
        altered(9, [["k" * 257, "eu-1"]]),
        altered(9, [["zone", ["eu-1"]]]),
        altered(9, [[f"key-{n}", ""] for n in range(MAX_LABELS + 1)]),
    ],
)
def test_a_malformed_record_is_a_value_error(raw: object):
    with pytest.raises(ValueError, match=r"member|Status"):
        Member.from_wire(raw)


def test_a_view_answers_from_its_members():
    me = member("b", types=())
    others = (
        member("a"),
        member("c", status=Status.SUSPECT, types=("T", "S")),
        member("d", status=Status.DEAD, types=("Gone",)),
        member("e", draining=True, types=("E",)),
    )
    view = View(me, (others[0], me, *others[1:]))
    assert [m.name for m in view.present] == ["a", "b", "c", "e"]
    assert [m.name for m in view.others] == ["a", "c", "e"]
    assert view.candidates("T") == ("a",)
    assert view.offered() == ("E", "S", "T")
    assert view.by_name["d"] is view.by_boot["boot-d"]
    assert view.is_present("boot-c")
    assert not view.is_present("boot-d")
    assert not view.is_present("nobody")


DOUBTS = [member(status=status) for status in (Status.SUSPECT, Status.STALLED)]


@pytest.mark.parametrize(
    ("said", "alike"),
    [
        *((doubt, True) for doubt in DOUBTS),
        (member(), False),
        (member(status=Status.DEAD), False),
        (member(status=Status.LEFT), False),
        (member(status=Status.SUSPECT, incarnation=1), False),
        (member(status=Status.STALLED, incarnation=1), False),
        (member(status=Status.SUSPECT, boot="other"), False),
    ],
)
def test_suspect_and_stalled_doubt_the_same_when_it_is_the_same_incarnation(
    said: Member, alike: bool
):
    for known in DOUBTS:
        assert said.doubted_like(known) is alike
        assert known.doubted_like(said) is alike


def placing(*members: Member) -> tuple[str, ...]:
    return View(members[0], members).candidates("T")


def test_cordoned_members_are_candidates_only_as_a_last_resort():
    free, cordoned, more = member("a"), member("b", cordoned=True), member("c", cordoned=True)
    assert placing(free, cordoned, more) == ("a",)
    assert placing(cordoned, more) == ("b", "c")


@pytest.mark.parametrize(
    "changes",
    [
        {"draining": True},
        {"status": Status.SUSPECT},
        {"status": Status.STALLED},
        {"status": Status.DEAD},
        {"status": Status.LEFT},
        {"types": ("S",)},
    ],
)
def test_who_cannot_run_it_at_all_does_not_keep_it_from_the_cordoned(changes: dict):
    unable, cordoned = member("a", **changes), member("b", cordoned=True)
    assert placing(unable, cordoned) == ("b",)
    assert placing(member("a", cordoned=True, **changes)) == ()


def test_what_runs_on_a_stalled_member_counts_as_running():
    stalled = member("b", status=Status.STALLED, types=("S",))
    view = View(member(), (member(), stalled))
    assert view.is_present("boot-b")
    assert view.others == (stalled,)
    assert view.offered() == ("S", "T")
