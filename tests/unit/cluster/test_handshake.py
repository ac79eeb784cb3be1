from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.transport.handshake import Hello, gives_up, proof, proves, refusal
from pyhorde.cluster.transport.wire import VERSION

ME = Member(name="me", address="me:1", boot="boot-me", generation=5)
A = Member(name="a", address="a:1", boot="boot-a", generation=5)


def hello(guest: Member = A, *, version: int = VERSION, cluster: str = "horde") -> Hello:
    return Hello(version, cluster, guest.to_wire(), "nonce")


def refused(guest: Hello, *known: Member, linked: frozenset[str] = frozenset()) -> str:
    found = refusal(guest, "horde", View(ME, (ME, *known)), linked)
    return found.why if found else ""


# ---- who is let in ------------------------------------------------------------------------------


def test_a_stranger_is_let_in():
    assert refused(hello()) == ""


@pytest.mark.parametrize("version", [0, VERSION + 1])
def test_another_version_is_refused(version: int):
    found = refusal(hello(version=version), "horde", View(ME, (ME,)), frozenset())
    assert found is not None
    assert (found.why, found.holder) == ("version", None)
    assert str(VERSION) in found.detail and str(version) in found.detail


def test_another_cluster_is_refused():
    assert refused(hello(cluster="other")) == "cluster"


def test_the_node_itself_is_refused():
    assert refused(hello(ME)) == "self"


def test_a_malformed_record_is_a_value_error():
    with pytest.raises(ValueError, match="member"):
        refusal(Hello(VERSION, "horde", [1], "n"), "horde", View(ME, (ME,)), frozenset())


def test_the_own_name_at_another_address_is_refused_naming_the_holder():
    guest = replace(ME, boot="boot-2", address="elsewhere:1")
    found = refusal(hello(guest), "horde", View(ME, (ME,)), frozenset())
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


# ---- secrets ------------------------------------------------------------------------------------


def test_without_a_secret_there_is_nothing_to_prove():
    assert proof(None, "dial", hello(), "n") == b""
    assert proves(b"", b"")


def test_a_proof_depends_on_everything_about_the_meeting():
    proofs = [
        proof(b"secret", "dial", hello(), "n"),
        proof(b"other", "dial", hello(), "n"),
        proof(b"secret", "accept", hello(), "n"),
        proof(b"secret", "dial", hello(), "n2"),
        proof(b"secret", "dial", hello(cluster="c2"), "n"),
        proof(b"secret", "dial", hello(replace(A, boot="b2")), "n"),
        proof(b"secret", "dial", replace(hello(), nonce="x"), "n"),
    ]
    assert len(set(proofs)) == len(proofs)
    assert all(len(made) == 32 for made in proofs)
    assert proves(proofs[0], proof(b"secret", "dial", hello(), "n"))
    assert not proves(proofs[0], proofs[1])
    assert not proves(b"", proofs[0])


# ---- both dial at once --------------------------------------------------------------------------


@dataclass
class Side:
    """One node: its link (the number of a stream) and the streams it is just accepting."""

    boot: str
    link: int | None = None
    accepting: set[int] = field(default_factory=set)


class Meeting:
    """Two nodes and two streams, stream 0 dialled by side 0 and stream 1 by side 1.

    A stream delivers in order; which stream delivers next, and when each side dials, is up to the
    explorer.
    """

    def __init__(self, boots: tuple[str, str], moves: tuple[int, ...]):
        self.sides = Side(boots[0]), Side(boots[1])
        self.frames: list[tuple[str, bool] | None] = [("idle", False), ("idle", False)]
        for move in moves:
            self.move(move)

    def moves(self) -> list[int]:
        return [i for i in (0, 1) if self.frames[i] is not None]

    def move(self, i: int) -> None:
        dialler, acceptor = self.sides[i], self.sides[1 - i]
        frame = self.frames[i]
        assert frame is not None
        kind, have = frame
        if kind == "idle":
            self.frames[i] = ("hello", False) if dialler.link is None else None
        elif kind == "hello":
            acceptor.accepting.add(i)
            self.frames[i] = ("welcome", acceptor.link is not None)
        elif kind == "welcome":
            self.frames[i] = self._welcomed(i, dialler, acceptor, have)
        else:
            acceptor.accepting.discard(i)
            self.frames[i] = None
            if kind == "confirm":
                assert acceptor.link is None, "a link was replaced"
                acceptor.link = i

    def _welcomed(self, i: int, dialler: Side, acceptor: Side, have: bool) -> tuple[str, bool]:
        linked, incoming = dialler.link is not None, bool(dialler.accepting)
        if gives_up(dialler.boot, acceptor.boot, linked=linked, incoming=incoming, have=have):
            return "close", False
        dialler.link = i
        return "confirm", False


@pytest.mark.parametrize("boots", [("a", "b"), ("b", "a")])
def test_exactly_one_link_survives_every_order_of_a_simultaneous_dial(boots: tuple[str, str]):
    finished, open_orders = set(), [()]
    while open_orders:
        order = open_orders.pop()
        meeting = Meeting(boots, order)
        moves = meeting.moves()
        if moves:
            open_orders += [(*order, move) for move in moves]
            continue
        assert meeting.sides[0].link == meeting.sides[1].link is not None, order
        finished.add(order)
    assert len(finished) > 40
