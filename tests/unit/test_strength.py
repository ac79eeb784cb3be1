"""Which secrets can be guessed."""

from __future__ import annotations

import base64
import random

import pytest

from pyhorde.config import NodeConfig
from pyhorde.errors import ConfigError
from pyhorde.strength import WEAK_BITS, bits

RNG = random.Random(11)


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        b"x" * 64,
        b"0123456789abcdef",
        b"0123456789abcdef" * 4,
        b"correct-horse-battery",
        b"a secret of enough bytes",
        b"changeme-changeme-changeme",
        b"password123password123",
        b"abcabcabcabcabcabcabcabc",
        b"deadbeefdeadbeefdeadbeef",
    ],
)
def test_what_people_make_up_is_weak(secret: bytes):
    assert bits(secret) < WEAK_BITS
    with pytest.raises(ConfigError) as raised:
        NodeConfig(name="a", secret=secret)
    assert "openssl rand" in raised.value.hint


def test_what_a_generator_makes_is_never_weak():
    for _ in range(5_000):
        raw = RNG.randbytes(16)
        for secret in (raw, raw.hex().encode(), raw.hex().upper().encode()):
            assert bits(secret) >= WEAK_BITS, secret
        assert bits(base64.b64encode(RNG.randbytes(32))) >= WEAK_BITS


def test_more_that_is_random_is_never_weaker_by_much():
    for _ in range(200):
        secret = RNG.randbytes(64).hex().encode()
        assert bits(secret) >= bits(secret[:32])


def test_a_secret_alone_is_the_first_of_the_secrets_and_the_other_way_round():
    one, two = (RNG.randbytes(16).hex().encode() for _ in range(2))
    assert NodeConfig(name="a", secret=one).secrets == (one,)
    both = NodeConfig(name="a", secrets=(one, two, one))
    assert (both.secret, both.secrets) == (one, (one, two))
    assert one.decode() not in repr(both)
    assert both.bound_to("127.0.0.1:9").secrets == (one, two)


def test_there_is_an_end_to_secrets():
    many = tuple(RNG.randbytes(16).hex().encode() for _ in range(9))
    with pytest.raises(ConfigError, match="at most 8"):
        NodeConfig(name="a", secrets=many)
