"""Errors as they come out of the wire: the tree's own classes, whatever a peer has sent."""

from __future__ import annotations

from typing import Any

import pytest

from pyhorde.errors import NameTaken, RemoteError, from_wire, to_wire


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_an_error_crosses_the_network_as_its_code_and_data():
    error = from_wire(to_wire(NameTaken("x", "a")))
    assert isinstance(error, NameTaken)
    assert error.data == NameTaken("x", "a").data


@pytest.mark.parametrize(
    "raw",
    [None, 1, [], ["name_taken"], ["nothing", {}], [[], {}], nested(5000), ["x" * 10**6, {}]],
    ids="none number empty short unknown list nested long".split(),
)
def test_what_is_no_error_of_the_tree_is_a_remote_error(raw: Any):
    error = from_wire(raw)
    assert isinstance(error, RemoteError)
    assert len(str(error)) < 400
