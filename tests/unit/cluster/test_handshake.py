"""Who is let in, what is said to whom, and which of two links stays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.transport import handshake
from pyhorde.cluster.transport.handshake import (
    HANDSHAKE,
    Accepting,
    Confirm,
    Dialling,
    Hello,
    Refusal,
    Session,
    Unproven,
    Welcome,
    check_record,
    confirmation,
    keeps_own,
    refusal,
    stands_back,
    turned_away,
)
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.cluster.transport.noise import NoiseError
from pyhorde.errors import ConfigError, ProtocolError

ME = Member(name="me", address="me:1", boot="boot-me", generation=5)
A = Member(name="a", address="a:1", boot="boot-a", generation=5)
HERE = frozenset({ME.address, "10.0.0.5:1"})
OLD, NEW = b"0123456789abcdef-old", b"0123456789abcdef-new"


def hello(
    guest: Member = A, *, cluster: str = "horde", dialled: str = "me:1", reached: str = "me:1"
) -> Hello:
    return Hello(cluster, guest.to_wire(), dialled, reached)


def refused(guest: Hello, *known: Member, linked: frozenset[str] = frozenset()) -> str:
    found = refusal(guest, "horde", View(ME, (ME, *known)), linked, HERE)
    return found.why if found else ""


# ---- who is let in ------------------------------------------------------------------------------


def test_a_stranger_is_let_in():
    assert refused(hello()) == ""


def test_another_cluster_is_refused():
    assert refused(hello(cluster="other")) == "cluster"


def test_the_node_itself_is_refused():
    assert refused(hello(ME)) == "self"


def test_a_malformed_record_is_a_value_error():
    with pytest.raises(ValueError, match="member"):
        refused(Hello("horde", [1], "me:1", "me:1"))


def test_the_own_name_at_another_address_is_refused_naming_the_holder():
    guest = replace(ME, boot="boot-2", address="elsewhere:1")
    found = refusal(hello(guest), "horde", View(ME, (ME,)), frozenset(), HERE)
    assert found is not None
    assert (found.why, found.holder) == ("name", ME.to_wire())


def test_the_name_of_a_linked_member_at_another_address_is_refused():
    guest = replace(A, boot="boot-2", address="elsewhere:1")
    assert refused(hello(guest), A, linked=frozenset({"boot-a"})) == "name"


@pytest.mark.parametrize(
    ("holder", "linked"),
    [
        (A, frozenset()),
        (A.at(Status.SUSPECT), frozenset()),
        (A.at(Status.DEAD), frozenset({"boot-a"})),
        (A.at(Status.LEFT), frozenset({"boot-a"})),
    ],
)
def test_a_name_whose_holder_is_not_provably_there_may_move(holder: Member, linked: frozenset[str]):
    guest = replace(A, boot="boot-2", address="elsewhere:1")
    assert refused(hello(guest), holder, linked=linked) == ""


def test_a_restart_at_the_same_address_is_let_in_though_the_old_link_still_stands():
    guest = replace(A, boot="boot-2")
    assert refused(hello(guest), A, linked=frozenset({"boot-a"})) == ""


def test_the_same_boot_is_let_in_again():
    guest = replace(A, address="moved:1")
    assert refused(hello(guest), A, linked=frozenset({"boot-a"})) == ""


@pytest.mark.parametrize(
    ("dialled", "reached", "why"),
    [
        ("me:1", "172.17.0.9:80", ""),
        ("ME.:1", "172.17.0.9:80", ""),
        ("seed:1", "10.0.0.5:1", ""),
        ("seed:1", "10.0.0.6:1", "address"),
        ("me:2", "10.0.0.5:2", "address"),
        ("me", "nothing", "address"),
    ],
)
def test_who_meant_another_address_was_led_here_by_somebody(dialled: str, reached: str, why: str):
    assert refused(hello(dialled=dialled, reached=reached)) == why


def test_a_record_that_does_not_fit_into_a_greeting_is_refused_before_anybody_is_dialled():
    check_record(replace(ME, types=tuple(f"module:Type{n}" for n in range(500))), "horde")
    with pytest.raises(ConfigError, match="too many"):
        check_record(replace(ME, labels=tuple((f"k{n}", "v" * 250) for n in range(64))), "horde")
    with pytest.raises(ConfigError, match="too many"):
        check_record(replace(ME, types=tuple(f"a.module:Type{n}" for n in range(1000))), "horde")


def test_addresses_are_compared_by_what_they_mean():
    same = handshake.normal
    assert same("[::1]:7411") == same("[0:0:0:0:0:0:0:1]:7411") != same("127.0.0.1:7411")
    assert same("Host.:1") == same("host:1")


# ---- what is said to whom -----------------------------------------------------------------------


def dialling(*secrets: bytes, said: Hello | None = None, ephemeral: int = 1) -> Dialling:
    return Dialling(Keyring(secrets).psks, bytes([ephemeral]) * 32, said or hello())


def accepting(*secrets: bytes, ephemeral: int = 2) -> Accepting:
    return Accepting(Keyring(secrets).psks, bytes([ephemeral]) * 32)


def sessions(here: Dialling, there: Accepting) -> tuple[Session, Session]:
    return here.session(sealed=True), there.session(sealed=True)


@pytest.mark.parametrize("secrets", [(), (OLD,)], ids=["open", "secret"])
@pytest.mark.parametrize(
    "answer", [Welcome(ME.to_wire(), True), Refusal("self", "detail", None, True)]
)
def test_two_nodes_understand_each_other(secrets: tuple[bytes, ...], answer: Any):
    here, there = dialling(*secrets), accepting(*secrets)
    assert there.hello(here.first) == hello()
    assert here.answer(there.answer(answer)) == answer
    mine, theirs = sessions(here, there)
    assert mine.is_sealed is theirs.is_sealed is bool(secrets)
    for number in range(3):
        text = f"{number}".encode()
        assert theirs.open(mine.seal(text)) == text
        assert mine.open(theirs.seal(text)) == text


def test_nothing_that_is_said_can_be_read_without_the_secret():
    here, there = dialling(OLD), accepting(OLD)
    there.hello(here.first)
    frames = here.first + there.answer(Welcome(ME.to_wire(), False))
    assert not [word for word in (b"boot-a", b"boot-me", b"horde", b"me:1") if word in frames]


def test_the_first_secret_speaks_and_every_one_is_understood():
    for mine, theirs in (((OLD,), (NEW, OLD)), ((NEW, OLD), (OLD, NEW)), ((OLD, NEW), (OLD,))):
        here, there = dialling(*mine), accepting(*theirs)
        there.hello(here.first)
        assert there.psk == Keyring(mine).psks[0]
        here.answer(there.answer(Welcome(ME.to_wire(), False)))


@pytest.mark.parametrize(
    ("mine", "theirs"), [((OLD,), (NEW,)), ((NEW, OLD), (OLD,)), ((OLD,), ()), ((), (OLD,))]
)
def test_who_does_not_know_the_secret_is_turned_away_by_name(
    mine: tuple[bytes, ...], theirs: tuple[bytes, ...]
):
    with pytest.raises(Unproven) as raised:
        accepting(*theirs).hello(dialling(*mine).first)
    assert raised.value.why == "secret"
    said = turned_away(raised.value.why, raised.value.detail)
    assert b"boot" not in said
    with pytest.raises(Unproven) as heard:
        dialling(*mine).answer(said)
    assert (heard.value.why, heard.value.detail) == ("secret", raised.value.detail)


@pytest.mark.parametrize("why", ["self", "name", "cluster", "address", "anything"])
def test_a_text_without_a_proof_says_nothing_about_names_or_addresses(why: str):
    with pytest.raises(Unproven) as heard:
        dialling(OLD).answer(turned_away(why, "because"))
    assert heard.value.why == "secret"


def test_an_open_answer_to_a_sealed_greeting_is_not_believed():
    forged = accepting()
    with pytest.raises(Unproven):
        dialling(OLD).answer(forged.answer(Welcome(ME.to_wire(), False)))


def test_a_recorded_greeting_gets_an_answer_that_nobody_can_go_on_with():
    here = dialling(OLD)
    first, second = accepting(OLD, ephemeral=2), accepting(OLD, ephemeral=3)
    first.hello(here.first)
    second.hello(here.first)
    answer = second.answer(Welcome(ME.to_wire(), False))
    here.answer(first.answer(Welcome(ME.to_wire(), False)))
    recorded = here.session(sealed=True).seal(HANDSHAKE.encode(Confirm(A.to_wire(), True)))
    assert answer
    with pytest.raises(NoiseError):
        second.session(sealed=True).open(recorded)


def test_an_answer_to_another_greeting_is_not_believed():
    one, two, there = dialling(OLD, ephemeral=1), dialling(OLD, ephemeral=4), accepting(OLD)
    there.hello(one.first)
    with pytest.raises(Unproven):
        two.answer(there.answer(Welcome(ME.to_wire(), False)))


def test_each_frame_counts_once_and_in_its_place():
    here, there = dialling(OLD), accepting(OLD)
    there.hello(here.first)
    here.answer(there.answer(Welcome(ME.to_wire(), False)))
    mine, theirs = sessions(here, there)
    first, second = mine.seal(b"1"), mine.seal(b"2")
    for wrong in (second, first[:-1], b"", first + b"x", mine.seal(b"3")):
        with pytest.raises(NoiseError):
            theirs.open(wrong)
    assert theirs.open(first) == b"1"
    with pytest.raises(NoiseError):
        theirs.open(first)
    assert theirs.open(second) == b"2"
    with pytest.raises(NoiseError):
        mine.open(mine.seal(b"4"))  # nor does it count in the other direction


def test_every_part_of_a_greeting_that_is_cut_off_is_refused():
    whole, answered = dialling(OLD).first, accepting(OLD)
    answered.hello(whole)
    answer = answered.answer(Welcome(ME.to_wire(), False))
    for end in range(len(whole)):
        with pytest.raises((Unproven, ProtocolError)):
            accepting(OLD).hello(whole[:end])
    for end in range(len(answer)):
        with pytest.raises((Unproven, ProtocolError)):
            dialling(OLD).answer(answer[:end])


@pytest.mark.parametrize("message", [Welcome(ME.to_wire(), False), Confirm(A.to_wire(), True)])
def test_something_else_than_a_greeting_is_refused(message: Any):
    with pytest.raises(ProtocolError, match="Hello"):
        accepting().hello(b"\x02" + HANDSHAKE.encode(message))


def test_something_else_than_a_confirmation_is_refused():
    assert confirmation(HANDSHAKE.encode(Confirm(A.to_wire(), True))).joins
    with pytest.raises(ProtocolError, match="Confirm"):
        confirmation(HANDSHAKE.encode(hello()))
    with pytest.raises(ProtocolError):
        confirmation(HANDSHAKE.encode(Confirm(A.to_wire(), True)) * 2)


# ---- both dial at once --------------------------------------------------------------------------


@dataclass
class Side:
    """One node: its link (the number of a stream) and the streams it is just accepting."""

    boot: str
    link: int | None = None
    accepting: set[int] = field(default_factory=set)
    arrived_before: set[int] = field(default_factory=set)
    """Streams whose greeting was here before the link was."""
    had: bool = False


class Meeting:
    """Two nodes and two streams, stream 0 dialled by side 0 and stream 1 by side 1.

    A stream delivers in order; which stream delivers next, and when each side dials, is up to the
    explorer. ``impatient``: nobody waits for the other's attempt.
    """

    def __init__(self, boots: tuple[str, str], moves: tuple[int, ...], *, impatient: bool):
        self.sides = Side(boots[0]), Side(boots[1])
        self.frames: list[tuple[str, bool] | None] = [("idle", False), ("idle", False)]
        self.impatient = impatient
        for move in moves:
            self.move(move)

    def moves(self) -> list[int]:
        return [i for i in (0, 1) if self.frames[i] is not None and not self.waits(i)]

    def waits(self, i: int) -> bool:
        dialler, acceptor, frame = self.sides[i], self.sides[1 - i], self.frames[i]
        if self.impatient or frame is None or frame[0] != "welcome":
            return False
        incoming = bool(dialler.accepting)
        return stands_back(dialler.boot, acceptor.boot, incoming=incoming, have=frame[1])

    def move(self, i: int) -> None:
        dialler, acceptor = self.sides[i], self.sides[1 - i]
        frame = self.frames[i]
        assert frame is not None
        kind, _ = frame
        if kind == "idle":
            self.frames[i] = ("hello", False) if dialler.link is None else None
        elif kind == "hello":
            acceptor.accepting.add(i)
            self.frames[i] = ("welcome", acceptor.link is not None)
        elif kind == "welcome":
            if dialler.link is None:
                dialler.link, dialler.arrived_before = i, set(dialler.accepting)
                dialler.had = frame[1]
                self.frames[i] = ("confirm", False)
            else:
                self.frames[i] = ("close", False)
        else:
            acceptor.accepting.discard(i)
            self.frames[i] = None
            if kind == "confirm":
                self._confirmed(i, dialler, acceptor)

    def _confirmed(self, i: int, dialler: Side, acceptor: Side) -> None:
        own = acceptor.link == 1 - i
        meanwhile = own and i in acceptor.arrived_before
        me, peer, had = acceptor.boot, dialler.boot, acceptor.had
        if not keeps_own(me, peer, dialled_meanwhile=meanwhile, had=had):
            acceptor.link = i
        assert self.impatient or not own, "a link was replaced"


@pytest.mark.parametrize("boots", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("impatient", [False, True])
def test_one_link_survives_every_order_of_a_simultaneous_dial(
    boots: tuple[str, str], impatient: bool
):
    finished: set[tuple[int, ...]] = set()
    open_orders: list[tuple[int, ...]] = [()]
    while open_orders:
        order = open_orders.pop()
        meeting = Meeting(boots, order, impatient=impatient)
        moves = meeting.moves()
        if moves:
            open_orders += [(*order, move) for move in moves]
            continue
        assert meeting.frames == [None, None], "somebody waits for ever"
        assert meeting.sides[0].link == meeting.sides[1].link is not None, order
        finished.add(order)
    assert len(finished) > 20
