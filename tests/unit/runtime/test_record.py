"""Records survive the way over the network; what is no record is nothing, never an exception."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhorde.crdt import Dot
from pyhorde.errors import InvalidName
from pyhorde.runtime.record import (
    Claim,
    Ended,
    Life,
    Spec,
    StateRecord,
    check_name,
    check_names,
    decode_claim,
    decode_spec,
    decode_state,
    encode_claim,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
epochs = st.integers(0, 2**32 - 2)
lives = st.builds(Life, st.integers(1, 2**20 - 1), texts)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)
DOT = Dot("boot-a", 1)


@given(st.builds(Spec, texts, st.binary(max_size=50), texts, texts, epochs, lives))
def test_a_spec_comes_out_as_it_went_in(spec: Spec):
    assert decode_spec(spec.encode()) == spec


@given(st.builds(Ended, epochs, texts, lives))
def test_an_ended_name_comes_out_as_it_went_in(ended: Ended):
    assert decode_spec(ended.encode()) == ended


@given(st.builds(Claim, texts, st.just(DOT), epochs, texts, texts, lives))
def test_a_claim_comes_out_as_it_went_in(claim: Claim):
    assert decode_claim(claim.name, DOT, encode_claim(claim)) == claim


life_numbers = st.integers(1, 2**20 - 1)
answers = st.lists(st.tuples(texts, st.booleans(), st.binary(max_size=9)).map(list), max_size=4)


@given(
    st.builds(
        StateRecord,
        epochs,
        texts,
        epochs,
        texts,
        texts,
        st.binary(max_size=50),
        answers,
        life_numbers,
    )
)
def test_a_state_comes_out_as_it_went_in(state: StateRecord):
    assert decode_state(state.encode()) == state


@given(st.binary(max_size=200) | plain.map(msgpack.packb))
def test_bytes_that_are_no_record_are_nothing(data: bytes):
    for decoded in (decode_spec(data), decode_claim("k", DOT, data), decode_state(data)):
        assert decoded is None or isinstance(decoded.epoch, int)


HOSTILE = [
    b"",
    b"\xc1",
    b"\xff" * 50,
    b"\x91" * 100_000,
    b"\xdd\xff\xff\xff\xff",
    b"\xd9\x02\xed\xa0",
    b"\x93\xa3\xed\xa0\x80\x01\x02",
    msgpack.packb({1: 2}),
    b"\x91\xc7\x0c\xff" + b"\xff" * 12,
    b"\xd4\xff\x00",
    b"\x81\x90\x01",
    msgpack.packb([2, "later version", {}]),
    msgpack.packb([1]),
    msgpack.packb([1, "t", b"", "r", "d", "epoch", 1, "s"]),
    msgpack.packb([1, "t", b"", "r", "d", -1, 1, "s"]),
    msgpack.packb([1, "t", b"", "r", "d", 2**40, 1, "s"]),
    msgpack.packb([1, "t", b"", "r", "d", 1, 2**40, "s"]),
    msgpack.packb([0, 1]),
    msgpack.packb([0, 2**64 - 1, "r", 1, "s"]),
    msgpack.packb([0, 1, "r", -1, "s"]),
    msgpack.packb(["epoch", "n", "t", 1, "s"]),
    msgpack.packb([1, "n", "t", 1, "s", None]),
    msgpack.packb([2**64 - 1, "n", "t", 1, "s"]),
    msgpack.packb([1, "n", "t", 2**64 - 1, "s"]),
    msgpack.packb([1, "n", "t", 0, "s"]),
    msgpack.packb([1, "k", 1, "n", "r", "text", [], 1]),
    msgpack.packb([1, "k", 1, "n", "r", b"s", {}, 1]),
    msgpack.packb([2**64 - 1, "k", 1, "n", "r", b"s", [], 1]),
    msgpack.packb([1, "k", 1, "n", "r", b"s", [], 2**63]),
    msgpack.packb([[], {}]),
    msgpack.packb([{}, 1]),
    msgpack.packb([2]),
    msgpack.packb([None]),
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bytes_are_nothing(data: bytes):
    assert decode_spec(data) is None
    assert decode_claim("key", DOT, data) is None
    assert decode_state(data) is None


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_record_cut_short_is_nothing(cut: int):
    life = Life(1, "start")
    claim = Claim("k", DOT, 1, "n", "type", life)
    assert decode_spec(Spec("t", b"a", "permanent", "none", 1, life).encode()[:-cut]) is None
    assert decode_claim("k", DOT, encode_claim(claim)[:-cut]) is None


@pytest.mark.parametrize(
    "name", ["a", " ", "x" * 512, "ä" * 256, "🦜" * 128, "with/slash", "\n", "\0"]
)
def test_names_of_1_to_512_bytes_are_names(name: str):
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "0 bytes"),
        ("x" * 513, "513 bytes"),
        ("ä" * 257, "514 bytes"),
        ("\ud800", "not valid UTF-8"),
        ("ok\udfff", "not valid UTF-8"),
        (None, "no string"),
        (b"bytes", "no string"),
        (7, "no string"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(name: Any, problem: str):
    with pytest.raises(InvalidName, match=problem) as caught:
        check_name(name)
    str(caught.value).encode()


def test_of_two_claims_the_higher_epoch_ranks_higher_and_then_the_boot():
    def rank(epoch: int, boot: str) -> tuple[int, str]:
        return Claim("k", Dot(boot, 1), epoch, "n", "t", Life(1, "s")).rank

    assert rank(2, "a") > rank(1, "z")
    assert rank(1, "b") > rank(1, "a")


NO_NAMES: list[Any] = ["", "x" * 513, "ä" * 257, "\ud800", None, 7, b"bytes"]


@pytest.mark.parametrize("bad", NO_NAMES, ids=repr)
def test_of_many_names_the_first_that_is_none_is_refused(bad: Any):
    names: list[Any] = ["a", "ö" * 256, "x" * 512]
    check_names(names)
    check_names([])
    for place in range(len(names) + 1):
        with pytest.raises(InvalidName) as caught:
            check_names([*names[:place], bad, *names[place:], ""])
        with pytest.raises(InvalidName) as alone:
            check_name(bad)
        assert str(caught.value) == str(alone.value)


def spec(life: int, start_id: str = "s", epoch: int = 1) -> Spec:
    return Spec("t", b"", "permanent", "none", epoch, Life(life, start_id))


def test_the_end_of_a_life_beats_all_of_that_life_and_the_next_life_beats_the_end():
    end = Ended(1, "over", Life(1, "s"))
    assert spec(1, epoch=1).rank == spec(1, epoch=99).rank < end.rank < spec(2).rank
