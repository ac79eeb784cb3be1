"""How an HTTP connection becomes a stream: what is asked, and what counts as an answer."""

from __future__ import annotations

import pytest

from pyhorde.cluster.transport import upgrade
from pyhorde.errors import ProtocolError

ASKED = upgrade.request("peer:7411")


def test_a_request_says_where_it_was_sent_and_what_it_wants():
    request = upgrade.read_request(ASKED.removesuffix(upgrade.END))
    assert request == upgrade.Request("GET", upgrade.STREAM_PATH, upgrade.PROTOCOL)
    assert request.is_for_peers and not request.is_probe
    assert b"\r\nHost: peer:7411\r\n" in ASKED


def test_an_address_cannot_add_a_line_to_the_request():
    for address in ("a:1\r\nX: y", "ä:1"):
        lines = upgrade.request(address).split(b"\r\n")
        assert all(line.isascii() for line in lines)


@pytest.mark.parametrize(
    ("head", "probe"),
    [
        (b"GET /healthz HTTP/1.1", True),
        (b"HEAD /readyz?x=1 HTTP/1.1", True),
        (b"GET /metrics HTTP/1.0", True),
        (b"POST /healthz HTTP/1.1", False),
        (b"GET /v1/status HTTP/1.1\r\nHost: x", False),
    ],
)
def test_who_asks_how_the_node_is(head: bytes, probe: bool):
    request = upgrade.read_request(head)
    assert request is not None
    assert (request.is_probe, request.is_for_peers, request.upgrade) == (probe, False, "")


@pytest.mark.parametrize("head", [b"", b"\x16\x03\x01", b"GET /", b"GET / HTTP/2.0", b"a b c d"])
def test_what_is_no_request_is_left_to_others(head: bytes):
    assert upgrade.read_request(head) is None


@pytest.mark.parametrize("name", [b"Upgrade", b"UPGRADE", b"upgrade "])
def test_names_of_headers_are_read_in_any_case(name: bytes):
    request = upgrade.read_request(b"GET / HTTP/1.1\r\n" + name + b":  pyhorde/3 ")
    assert request is not None and request.upgrade == "pyhorde/3"


def test_an_acceptance_and_what_follows():
    read = upgrade.read_response(upgrade.accepted() + b"frames")
    assert read is not None
    response, rest = read
    assert response.is_accepted and rest == b"frames"
    for end in range(len(upgrade.accepted())):
        assert upgrade.read_response(upgrade.accepted()[:end]) is None


@pytest.mark.parametrize("status", [400, 403, 426, 503])
def test_a_refusal_says_why(status: int):
    read = upgrade.read_response(upgrade.refused(status, "No", "because"))
    assert read is not None
    response, _ = read
    assert (response.is_accepted, response.status, response.reason) == (False, status, "because")


def test_another_protocol_is_no_acceptance():
    answer = upgrade.accepted().replace(upgrade.PROTOCOL.encode(), b"websocket")
    read = upgrade.read_response(answer)
    assert read is not None and not read[0].is_accepted


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + bytes(upgrade.MAX_HEAD_BYTES),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes):
    with pytest.raises(ProtocolError):
        upgrade.read_response(data)
