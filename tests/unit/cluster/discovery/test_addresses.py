"""What is an address, and what happens to what is none."""

from __future__ import annotations

import logging

import pytest

from pyhorde.cluster.discovery.addresses import MAX_ADDRESSES, check_address, join_address
from pyhorde.cluster.discovery.sieve import Sieve
from pyhorde.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.5:7411",
        "[2001:db8::1]:7411",
        "[fe80::1%eth0]:7411",
        "localhost:1",
        "node-a.example.com:65535",
        "with_underscore.svc:7411",
    ],
)
def test_what_can_be_dialled_passes_as_it_is(text: str):
    assert check_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.5",
        "10.0.0.5:",
        ":7411",
        "10.0.0.5:0",
        "10.0.0.5:65536",
        "10.0.0.5:²",
        "10.0.0.256:7411",
        "10.0.0:7411",
        "2001:db8::1:7411",
        "[2001:db8::x]:7411",
        "[fe80::1%a/b]:7411",
        "[10.0.0.5]:7411",
        "http://10.0.0.5:7411",
        "10.0.0.5/x:7411",
        "user@host:7411",
        "two words:7411",
        "näme:7411",
        "a" * 300 + ":7411",
    ],
)
def test_what_cannot_be_dialled_is_refused(text: str):
    with pytest.raises(ConfigError):
        check_address(text)


def test_ipv6_gets_brackets_and_nothing_else_does():
    assert join_address("2001:db8::1", 7411) == "[2001:db8::1]:7411"
    assert join_address("10.0.0.5", 7411) == "10.0.0.5:7411"
    assert join_address("a.example.com", 7411) == "a.example.com:7411"


def test_sieve_keeps_the_good_ones_and_reports_and_counts_the_rest(
    caplog: pytest.LogCaptureFixture,
):
    sieve = Sieve("file:///peers")
    with caplog.at_level(logging.WARNING, "pyhorde.discovery"):
        for _ in range(3):
            assert sieve.sift(["a:1", "half a line", "b:2", 7]) == {"a:1", "b:2"}
    assert sieve.refused == 6
    assert [record.getMessage() for record in caplog.records] == ["discovery_address_refused"] * 2
    fields = [vars(record)["fields"] for record in caplog.records]
    assert fields[0]["source"] == "file:///peers"
    assert fields[0]["address"] == "half a line"
    assert "HOST:PORT" in fields[0]["problem"]


def test_a_source_gives_ten_thousand_addresses_at_most():
    sieve = Sieve("x")
    passed = sieve.sift(f"h{n}:1" for n in range(MAX_ADDRESSES + 5))
    assert len(passed) == MAX_ADDRESSES
    assert sieve.refused == 5


def test_reports_of_what_was_refused_are_bounded(caplog: pytest.LogCaptureFixture):
    sieve = Sieve("x")
    with caplog.at_level(logging.WARNING, "pyhorde.discovery"):
        assert sieve.sift(f"bad {n}" for n in range(1000)) == frozenset()
    assert sieve.refused == 1000
    assert len(caplog.records) == 100
