"""Frames on a byte stream, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhorde.cluster.transport.framing import (
    MAX_SEALED_BYTES,
    MAX_UNTRUSTED_BYTES,
    PING,
    PONG,
    Deframer,
    framed,
)
from pyhorde.errors import ProtocolError


@given(st.lists(st.binary(max_size=300), max_size=12), st.lists(st.integers(1, 700), max_size=30))
def test_frames_are_the_same_however_the_stream_is_cut(frames: list[bytes], cuts: list[int]):
    stream = b"".join(map(framed, frames))
    deframer, found = Deframer(), []
    deframer.trust()
    for size in [*cuts, len(stream) + 1]:
        found += deframer.feed(stream[:size])
        stream = stream[size:]
    assert found == frames


def test_a_frame_byte_by_byte():
    deframer = Deframer()
    found = [deframer.feed(bytes([byte])) for byte in framed(b"abc") + framed(b"")]
    assert found == [[]] * 6 + [[b"abc"]] + [[]] * 3 + [[b""]]


def test_what_is_too_large_is_refused_at_its_head_and_nothing_of_it_is_kept():
    deframer = Deframer()
    assert deframer.feed(framed(bytes(MAX_UNTRUSTED_BYTES))) == [bytes(MAX_UNTRUSTED_BYTES)]
    with pytest.raises(ProtocolError, match="too large"):
        deframer.feed((MAX_UNTRUSTED_BYTES + 1).to_bytes(4, "big"))
    assert not deframer._kept


@pytest.mark.parametrize("extra", [0, 1])
def test_who_is_trusted_may_send_more_but_not_everything(extra: int):
    deframer = Deframer()
    deframer.trust()
    assert deframer.feed(framed(bytes(1_000_000))) == [bytes(1_000_000)]
    head = (MAX_SEALED_BYTES + extra).to_bytes(4, "big")
    if not extra:
        assert deframer.feed(head) == []
        return
    with pytest.raises(ProtocolError, match="too large"):
        deframer.feed(head)


def test_a_whole_frame_that_is_too_large_is_refused_too():
    with pytest.raises(ProtocolError, match="too large"):
        Deframer().feed(framed(bytes(MAX_UNTRUSTED_BYTES + 1)))


def test_what_follows_a_frame_of_a_stranger_waits_until_somebody_has_decided_about_it():
    deframer = Deframer()
    large = bytes(MAX_UNTRUSTED_BYTES + 1)
    assert deframer.feed(framed(b"a") + framed(b"b") + framed(large)) == [b"a"]
    assert deframer.feed(b"") == [b"b"]
    deframer.trust()
    assert deframer.feed(b"") == [large]


def test_signs_of_life_are_no_frames():
    deframer = Deframer()
    deframer.trust()
    assert deframer.feed(framed(b"a") + PONG + framed(b"b")) == [b"a", b"b"]
    assert not deframer.is_pinged
    assert deframer.feed(PING[:2]) == []
    assert deframer.feed(PING[2:]) == []
    assert deframer.is_pinged


@pytest.mark.parametrize("word", [0x80000000, 0x80000003, 0xFFFFFFFF])
def test_unknown_signs_are_refused(word: int):
    with pytest.raises(ProtocolError):
        Deframer().feed(word.to_bytes(4, "big"))
