"""What lists and events say about pods, and what is refused of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyhorde.cluster.discovery import pods
from pyhorde.cluster.discovery.pods import Expired, Lines, Pods, Unintelligible, message_of


def pod(name: str, ip: str = "", phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    status = {"phase": phase, **({"podIP": ip} if ip else {})}
    return {"metadata": {"name": name, "resourceVersion": "7", **metadata}, "status": status}


def page(*items: Any, version: str = "5", more: str = "") -> bytes:
    metadata = {"resourceVersion": version, "continue": more}
    return json.dumps({"metadata": metadata, "items": items}).encode()


def event(kind: str, what: Any) -> bytes:
    return json.dumps({"type": kind, "object": what}).encode()


def listed(*items: Any) -> Pods:
    found = Pods(7411)
    found.begin_list()
    assert found.page(page(*items)) == ""
    return found


@pytest.mark.parametrize(
    ("one", "addresses"),
    [
        (pod("a", "10.1.0.1"), {"10.1.0.1:7411"}),
        (pod("a", "10.1.0.1", "Pending"), {"10.1.0.1:7411"}),
        (pod("a", "fd00::1"), {"[fd00::1]:7411"}),
        (pod("a", "10.1.0.1", deletionTimestamp="2026-01-05T11:03:44Z"), {"10.1.0.1:7411"}),
        (pod("a"), set()),
        (pod("a", "10.1.0.1", "Succeeded"), set()),
        (pod("a", "10.1.0.1", "Failed"), set()),
        ({"metadata": {"name": "a"}, "status": None}, set()),
        ({"metadata": {"name": 7}, "status": {"phase": "Running", "podIP": "10.1.0.1"}}, set()),
        ("no pod", set()),
    ],
)
def test_a_pod_counts_from_its_address_to_its_end(one: Any, addresses: set[str]):
    assert listed(one).addresses == addresses


def test_a_list_counts_when_its_last_page_is_there():
    found = listed(pod("a", "10.1.0.1"))
    found.begin_list()
    assert found.version == ""
    assert found.page(page(pod("b", "10.1.0.2"), more="next")) == "next"
    assert found.addresses == {"10.1.0.1:7411"}
    assert found.page(page(pod("c", "10.1.0.3"), version="9")) == ""
    assert found.addresses == {"10.1.0.2:7411", "10.1.0.3:7411"}
    assert found.version == "9"


def test_events_change_the_addresses_and_move_the_version_on():
    found = listed(pod("a", "10.1.0.1"))
    assert not found.event(event("ADDED", pod("b", phase="Pending", resourceVersion="11")))
    assert found.version == "11"
    assert found.event(event("MODIFIED", pod("b", "10.1.0.2", "Pending")))
    assert not found.event(event("MODIFIED", pod("b", "10.1.0.2", deletionTimestamp="x")))
    assert found.addresses == {"10.1.0.1:7411", "10.1.0.2:7411"}
    assert found.event(event("MODIFIED", pod("b", "10.1.0.2", "Failed")))
    assert found.event(event("DELETED", pod("a", "10.1.0.1", resourceVersion="12")))
    assert not found.event(event("DELETED", pod("unknown")))
    assert not found.event(event("BOOKMARK", {"metadata": {"resourceVersion": "20"}}))
    assert (found.addresses, found.version) == (frozenset(), "20")


def test_an_expired_version_is_told_from_other_errors():
    found = listed()
    with pytest.raises(Expired):
        found.event(event("ERROR", {"code": 410, "message": "too old"}))
    with pytest.raises(Unintelligible, match="etcd is away"):
        found.event(event("ERROR", {"code": 500, "message": "etcd is away"}))
    with pytest.raises(Unintelligible):
        found.event(event("ERROR", None))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b"[" * 100_000,
        b"{}",
        event("ADDED", None),
        event("ADDED", {"metadata": {}}),
        event("RENAMED", pod("a")),
        event("", pod("a")),
    ],
)
def test_what_is_no_event_is_refused(raw: bytes):
    with pytest.raises(Unintelligible):
        listed().event(raw)


@pytest.mark.parametrize(
    "raw", [b"{}", page(version=""), b'{"metadata": {"resourceVersion": "1"}}']
)
def test_what_is_no_list_is_refused(raw: bytes):
    with pytest.raises(Unintelligible):
        Pods(7411).page(raw)


def test_more_pods_than_anybody_has_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pods, "MAX_ADDRESSES", 2)
    with pytest.raises(Unintelligible, match=r"\?labels="):
        listed(pod("a", "10.1.0.1"), pod("b", "10.1.0.2"), pod("c", "10.1.0.3"))


def test_lines_come_out_whole_however_they_came_in():
    lines = Lines()
    fed = [list(lines.feed(piece)) for piece in (b"one\ntw", b"", b"o", b"\n\nthree\nfo")]
    assert fed == [[b"one"], [], [], [b"two", b"", b"three"]]


def test_a_line_without_an_end_is_refused():
    lines = Lines(limit=10)
    assert list(lines.feed(b"123456\n123456\n1234567890")) == [b"123456", b"123456"]
    with pytest.raises(Unintelligible, match="more than 10 bytes"):
        list(lines.feed(b"x"))


def test_a_refusal_says_what_its_status_or_its_text_says():
    assert message_of(b'{"message": "pods is forbidden"}') == "pods is forbidden"
    assert message_of(b" Forbidden\n") == "Forbidden"
    assert message_of(b'{"message": 7}') == ""
    assert len(message_of(json.dumps({"message": "x" * 1000}).encode())) == 200
