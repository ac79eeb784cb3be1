"""The pods that a list and a watch of the Kubernetes API tell of. Pure: bytes in, addresses out.

A pod counts from the moment it has an address until it is really gone. In particular it counts
while it terminates, when no Service routes to it any more: it hands its processes off just then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from pyhorde.cluster.discovery.addresses import MAX_ADDRESSES, join_address

ALIVE: Final = ("Pending", "Running")
MAX_EVENT_BYTES: Final = 4 * 1024 * 1024


class Expired(Exception):
    """The server has forgotten the version: list again."""


class Unintelligible(ValueError):
    """What came is not what the Kubernetes API says."""


class Lines:
    """Splits a stream of bytes into lines of bounded length."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete now. Raises :class:`Unintelligible`."""
        *complete, rest = data.split(b"\n")
        for end in complete:
            self._keep(end)
            yield b"".join(self._parts)
            self._parts, self._size = [], 0
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise Unintelligible(f"a line of more than {self._limit} bytes")
        self._parts.append(part)


class Pods:
    """Address by name of pod, as of ``version``; empty when it is not known and must be listed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[str, str] = {}
        self._listed: dict[str, str] = {}
        self.version = ""

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(self._known.values())

    def begin_list(self) -> None:
        """Pages of a list follow. Until the last one is there, the former pods count."""
        self._listed = {}
        self.version = ""

    def page(self, raw: bytes) -> str:
        """Take a page of the list; what to ask for the next one with, empty after the last."""
        page = _decoded(raw)
        items = page.get("items")
        version, more = (_text(page, "metadata", key) for key in ("resourceVersion", "continue"))
        if not isinstance(items, list) or not version:
            raise Unintelligible("a list without items or without a version")
        for pod in items:
            self._put(self._listed, pod)
        if not more:
            self._known, self._listed, self.version = self._listed, {}, version
        return more

    def event(self, raw: bytes) -> bool:
        """Take an event of the watch; whether the addresses have changed.

        Raises :class:`Expired`, or :class:`Unintelligible`; after both all is to be listed again.
        """
        event = _decoded(raw)
        kind, subject = event.get("type"), event.get("object")
        if kind == "ERROR":
            self._error(subject)
        version = _text(subject, "metadata", "resourceVersion")
        if not version or kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
            raise Unintelligible(f"an event {str(kind)[:40]!r} without a version")
        before = self.addresses
        if kind == "DELETED":
            self._known.pop(_text(subject, "metadata", "name"), None)
        elif kind != "BOOKMARK":
            self._put(self._known, subject)
        self.version = version
        return self.addresses != before

    def _error(self, status: Any) -> None:
        code = status.get("code") if isinstance(status, dict) else None
        if code == 410:
            raise Expired
        raise Unintelligible(f"an error: {_text(status, 'message')[:200] or code}")

    def _put(self, pods: dict[str, str], pod: Any) -> None:
        name, ip = _text(pod, "metadata", "name"), _text(pod, "status", "podIP")
        pods.pop(name, None)
        if name and ip and _text(pod, "status", "phase") in ALIVE:
            pods[name] = join_address(ip, self._port)
        if len(pods) > MAX_ADDRESSES:
            raise Unintelligible(f"more than {MAX_ADDRESSES} pods; ?labels= can narrow them down")


def message_of(raw: bytes) -> str:
    """What a refusal says, in its Status object or as it is; at most 200 characters."""
    try:
        text = _text(_decoded(raw), "message")
    except Unintelligible:
        text = raw[:200].decode(errors="replace").strip()
    return text[:200]


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (RecursionError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise Unintelligible(f"no JSON object but {raw[:60]!r}")
    return found


def _text(found: Any, *path: str) -> str:
    """The text at this path, empty where there is none."""
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""
