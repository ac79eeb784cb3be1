"""What operators wish of nodes: said through any node, applied by each to itself."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import msgpack
import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.config import NodeConfig
from pyhorde.errors import ConfigError, NameNotFound
from pyhorde.runtime import wishes
from pyhorde.runtime.wishes import WISHES, Wishes
from tests.unit.runtime.stage import Stage, member, virtual_time


class Operated(Stage):
    """Node ``a`` among others, and what operators wish."""

    def __init__(self, *others: str, listed: tuple[str, ...] = (), peers: tuple[str, ...] = ()):
        super().__init__(others=tuple(member(name) for name in others))
        self.parts.config = NodeConfig(name="a", members=listed)
        self.cluster.dialer = SimpleNamespace(
            strangers=lambda view: [p for p in peers if p not in {m.address for m in view.members}]
        )
        self.wishes = Wishes(self.parts)

    @property
    def cordoned(self) -> bool:
        return self.cluster.view.me.cordoned

    @property
    def written(self) -> int:
        """How many events this node has written."""
        return self.replica.vector[self.replica.origin]

    def hear_from(self, *steps: tuple[str, bytes | None]) -> None:
        """Another node wrote these registers, and what it wrote arrives."""
        replica = self.other("b")
        self.take(replica)
        for key, value in steps:
            replica.put(WISHES, key, value, self.world.wall())
        self.bring(replica)


# ---- cordons ------------------------------------------------------------------------------------


@virtual_time
async def test_a_node_that_is_cordoned_says_so_in_its_record_and_takes_it_back():
    stage = Operated("b")
    stage.wishes.cordon("a", wanted=True)
    assert stage.cordoned
    stage.wishes.cordon("a", wanted=False)
    assert not stage.cordoned
    assert stage.cluster.causes == ["cordoned", "uncordoned"]
    assert stage.names.get(WISHES, "cordon:a") is None


@virtual_time
async def test_a_wish_about_another_node_is_written_and_changes_nothing_here():
    stage = Operated("b")
    stage.wishes.cordon("b", wanted=True)
    assert stage.names.get(WISHES, "cordon:b") is not None
    assert not stage.cordoned
    assert stage.cluster.causes == []


@virtual_time
async def test_a_member_that_is_away_can_be_cordoned_and_an_unknown_one_cannot():
    stage = Operated("b")
    stage.cluster.lose("b")
    stage.wishes.cordon("b", wanted=True)
    with pytest.raises(NameNotFound):
        stage.wishes.cordon("nobody", wanted=True)
    with pytest.raises(NameNotFound):
        stage.wishes.cordon("nobody", wanted=False)


@virtual_time
async def test_wishing_the_same_again_writes_nothing():
    stage = Operated("b")
    stage.wishes.cordon("b", wanted=False)
    assert stage.written == 0
    stage.wishes.cordon("b", wanted=True)
    stage.wishes.cordon("b", wanted=True)
    assert stage.written == 1


@virtual_time
async def test_a_node_applies_what_was_wished_through_another_one():
    stage = Operated("b")
    stage.hear_from(("cordon:a", b"1"))
    assert not stage.cordoned
    stage.wishes.apply()
    assert stage.cordoned
    stage.hear_from(("cordon:a", None))
    stage.wishes.apply()
    assert not stage.cordoned


@virtual_time
async def test_a_node_that_missed_every_event_is_right_after_the_next_look():
    """What is wished and what is said are compared; nothing hangs on who told what when."""
    stage = Operated("b")
    stage.hear_from(("cordon:a", b"1"), ("cordon:a", None), ("cordon:a", b"1"))
    for _ in range(3):
        stage.wishes.apply()
    assert stage.cordoned
    assert stage.cluster.causes == ["cordoned"]


@virtual_time
async def test_a_node_that_was_started_again_is_still_cordoned():
    stage = Operated("b")
    stage.wishes.cordon("a", wanted=True)
    stage.cluster.see(replace(stage.cluster.view.me, cordoned=False))
    stage.wishes.apply()
    assert stage.cordoned


# ---- the members that count ---------------------------------------------------------------------


@virtual_time
async def test_who_is_not_among_the_members_is_cordoned():
    stage = Operated("b")
    stage.wishes.set_members(["b", "c"])
    assert stage.cordoned
    stage.wishes.set_members(["a", "b"])
    assert not stage.cordoned
    assert stage.cluster.causes == ["is not one of the members", "uncordoned"]


@virtual_time
async def test_a_cordon_stays_when_the_list_allows_the_node():
    stage = Operated("b")
    stage.wishes.cordon("a", wanted=True)
    stage.wishes.set_members(["b"])
    stage.wishes.set_members(["a", "b"])
    assert stage.cordoned
    stage.wishes.cordon("a", wanted=False)
    assert not stage.cordoned


@virtual_time
async def test_lifting_the_cordon_of_an_unlisted_node_does_not_list_it():
    stage = Operated("b")
    stage.wishes.set_members(["b"])
    stage.wishes.cordon("a", wanted=True)
    stage.wishes.cordon("a", wanted=False)
    assert stage.cordoned


@virtual_time
async def test_what_was_agreed_on_beats_what_the_node_is_configured_with():
    stage = Operated("b", listed=("a", "x"))
    assert stage.wishes.members == {"a", "x"}
    stage.wishes.set_members(iter(["c", "b", "b"]))
    assert stage.wishes.members == {"b", "c"}


@virtual_time
async def test_that_all_count_can_be_agreed_on_too():
    stage = Operated("b", listed=("b", "x"))
    stage.wishes.apply()
    assert stage.cordoned
    stage.wishes.set_members([])
    assert stage.wishes.members == frozenset()
    assert not stage.cordoned


@virtual_time
async def test_a_node_that_its_own_configuration_does_not_list_is_cordoned():
    stage = Operated("b", listed=("b",))
    stage.wishes.apply()
    assert stage.cordoned
    stage.hear_from(("members", msgpack.packb(["a", "b"])))
    stage.wishes.apply()
    assert not stage.cordoned


@virtual_time
async def test_without_a_list_whoever_is_there_counts():
    stage = Operated("b")
    stage.wishes.apply()
    assert stage.wishes.members == frozenset()
    assert not stage.cordoned


@virtual_time
async def test_a_list_without_end_or_of_no_names_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wishes, "MAX_MEMBERS", 3)
    stage = Operated("b")
    for names in (["a", "b", "c", "d"], [1, 2]):
        with pytest.raises(ConfigError, match="members"):
            stage.wishes.set_members(names)  # type: ignore[arg-type]
    assert stage.written == 0
    stage.wishes.set_members(["a", "b", "c"])


@virtual_time
async def test_a_list_of_names_and_numbers_is_refused():
    with pytest.raises(ConfigError, match="members"):
        Operated("b").wishes.set_members(["a", 1])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("value", "counting"),
    [
        (b"", set()),
        (b"\xc1", set()),
        (b"\x05", set()),
        (b"\xc0", set()),
        (b"\x91" * 2000, set()),
        (msgpack.packb("ab"), set()),
        (msgpack.packb({"a": 1}), set()),
        (msgpack.packb([["a"], 1, "b"]), {"b"}),
    ],
)
def test_a_list_that_no_node_writes_breaks_nothing(value: bytes, counting: set[str]):
    @virtual_time
    async def check():
        stage = Operated("b", listed=("a", "x"))
        stage.hear_from(("members", value))
        stage.wishes.apply()
        assert stage.wishes.members == counting
        assert stage.cordoned is bool(counting)
        assert stage.wishes.quorum(stage.cluster.view)

    check()


# ---- the quorum ---------------------------------------------------------------------------------


def among(*others: Member) -> View:
    me = member("a")
    return View(me, (me, *others))


GONE = {"status": Status.DEAD}


@pytest.mark.parametrize(
    ("listed", "present", "needed"),
    [
        # Guests count for nothing, and who is away still belongs to the base.
        (("a", "b", "c"), 2, 2),
        (("a", "b", "c", "d", "e"), 2, 3),
        (("a", "x", "y"), 1, 2),
        (("x",), 0, 1),
        (("a",), 1, 1),
        (("a", "b"), 2, 2),
    ],
)
@virtual_time
async def test_listed_members_are_the_base_whoever_is_there(
    listed: tuple[str, ...], present: int, needed: int
):
    view = among(member("b"), member("c", **GONE), member("guest"))
    configured = Operated(listed=listed, peers=("peer:1",))
    assert configured.wishes.quorum(view) == (present, needed)
    agreed = Operated(listed=("other",))
    agreed.wishes.set_members(listed)
    assert agreed.wishes.quorum(view) == (present, needed)


@pytest.mark.parametrize(
    ("others", "peers", "expected"),
    [
        ((), (), (1, 1)),
        ((member("b"),), (), (2, 2)),
        ((member("b"), member("c")), (), (3, 2)),
        # A partition does not make the base smaller.
        ((member("b"), member("c", **GONE)), (), (2, 2)),
        ((member("b", **GONE), member("c", **GONE)), (), (1, 2)),
        ((member("b", status=Status.SUSPECT), member("c", status=Status.STALLED)), (), (3, 2)),
        # Who left has made it smaller in order.
        ((member("b", status=Status.LEFT), member("c")), (), (2, 2)),
        ((member("b", status=Status.LEFT),), (), (1, 1)),
        # Peers that were never met belong to it, and those that were are not counted twice.
        ((), ("b:1", "c:1"), (1, 2)),
        ((member("b"),), ("b:1", "a:1"), (2, 2)),
        ((member("b"),), ("b:1", "c:1", "d:1"), (2, 3)),
    ],
)
@virtual_time
async def test_without_a_list_the_base_is_every_address_that_is_known(
    others: tuple[Member, ...], peers: tuple[str, ...], expected: tuple[int, int]
):
    assert Operated(peers=peers).wishes.quorum(among(*others)) == expected


@virtual_time
async def test_both_sides_of_a_split_never_have_a_quorum_each():
    stage = Operated(listed=("a", "b", "c", "d"))
    for side in ("ab", "a", "abc"):
        here = [member(n) if n in side else member(n, **GONE) for n in "bcd"]
        there = [member(n) if n not in side else member(n, **GONE) for n in "abcd"]
        present, needed = stage.wishes.quorum(among(*here))
        others = sum(m.present for m in there)
        assert (present >= needed) + (others >= needed) <= 1
