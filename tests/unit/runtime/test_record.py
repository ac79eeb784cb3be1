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
    Spec,
    StateRecord,
    check_name,
    decode_claim,
    decode_spec,
    decode_state,
    encode_claim,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
epochs = st.integers(0, 2**53)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)
DOT = Dot("boot-a", 1)


@given(st.builds(Spec, texts, st.binary(max_size=50), texts, texts, epochs, texts))
def test_a_spec_comes_out_as_it_went_in(spec: Spec):
    assert decode_spec(spec.encode()) == spec


@given(st.builds(Ended, epochs, texts))
def test_an_ended_name_comes_out_as_it_went_in(ended: Ended):
    assert decode_spec(ended.encode()) == ended


@given(epochs, texts, texts, texts, st.none() | st.binary(max_size=50))
def test_a_claim_comes_out_as_it_went_in(
    epoch: int, node: str, process: str, kind: str, value: bytes | None
):
    data = encode_claim(epoch, node, process, kind, value)
    assert decode_claim("key", DOT, data) == Claim("key", DOT, epoch, node, process, kind, value)


answers = st.lists(st.tuples(texts, st.booleans(), st.binary(max_size=9)).map(list), max_size=4)


@given(
    st.builds(StateRecord, epochs, texts, epochs, texts, texts, st.binary(max_size=50), answers)
)
def test_a_state_comes_out_as_it_went_in(state: StateRecord):
    assert decode_state(state.encode()) == state


@given(st.binary(max_size=200) | plain.map(msgpack.packb))
def test_bytes_that_are_no_record_are_nothing(data: bytes):
    for decoded in (decode_spec(data), decode_claim("k", DOT, data), decode_state(data)):
        assert decoded is None or decoded.epoch is not None


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
    msgpack.packb([1, "t", b"", "r", "d", "epoch", "s"]),
    msgpack.packb([0, 1]),
    msgpack.packb(["epoch", "n", "p", "t", None]),
    msgpack.packb([1, "n", "p", "t", "value"]),
    msgpack.packb([1, "k", 1, "n", "r", "text", []]),
    msgpack.packb([1, "k", 1, "n", "r", b"s", {}]),
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bytes_are_nothing(data: bytes):
    assert decode_spec(data) is None
    assert decode_claim("key", DOT, data) is None
    assert decode_state(data) is None


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_record_cut_short_is_nothing(cut: int):
    assert decode_spec(Spec("t", b"a", "permanent", "none", 1, "s").encode()[:-cut]) is None
    assert decode_claim("k", DOT, encode_claim(1, "n", "p", "t", b"value")[:-cut]) is None


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
        return Claim("k", Dot(boot, 1), epoch, "n", "k", "t", None).rank

    assert rank(2, "a") > rank(1, "z")
    assert rank(1, "b") > rank(1, "a")


def test_a_claim_is_a_processs_own_name_or_a_key_for_one():
    assert Claim("k", DOT, 1, "n", "k", "t", None).is_process
    assert not Claim("k", DOT, 1, "n", "p", "t", None).is_process
