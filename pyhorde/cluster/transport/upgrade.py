"""How an HTTP connection becomes a stream between nodes. Pure.

::

    GET /_cluster/v1/stream HTTP/1.1
    Host: address that is dialled
    Connection: Upgrade
    Upgrade: pyhorde/3

is answered ``101 Switching Protocols`` with the same ``Upgrade``, and from there on both ends speak
frames. Any other status is a refusal: nobody is followed to another place. The number is the
version of what is spoken; a node that speaks another one is told so with ``426``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyhorde.cluster.transport.wire import VERSION
from pyhorde.errors import ProtocolError

STREAM_PATH: Final = "/_cluster/v1/stream"
PROTOCOL: Final = f"pyhorde/{VERSION}"
MAX_HEAD_BYTES: Final = 16 * 1024
"""The first line and the headers of a request or an answer."""
END: Final = b"\r\n\r\n"
_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Request:
    """The part of a request's head that decides who serves it."""

    method: str
    path: str
    upgrade: str
    """What it wants to speak instead; empty for nothing."""

    @property
    def is_for_peers(self) -> bool:
        """Whether only nodes ask for that."""
        return self.path == STREAM_PATH

    @property
    def is_probe(self) -> bool:
        """Whether somebody only wants to know how this node is."""
        return self.method in ("GET", "HEAD") and self.path in ("/healthz", "/readyz", "/metrics")


@dataclass(frozen=True, slots=True)
class Response:
    """What somebody who was dialled answered."""

    status: int
    upgrade: str
    reason: str
    """The answer's text, for people; perhaps only its beginning."""

    @property
    def is_accepted(self) -> bool:
        """Whether frames follow."""
        return self.status == 101 and self.upgrade == PROTOCOL


def request(address: str) -> bytes:
    """What a node sends that wants to speak to the one at this address."""
    lines = (f"GET {STREAM_PATH} HTTP/1.1", f"Host: {address}", "Connection: Upgrade")
    return "\r\n".join((*lines, f"Upgrade: {PROTOCOL}", "", "")).encode("ascii", "replace")


def accepted() -> bytes:
    """The answer after which frames are spoken."""
    lines = ("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", f"Upgrade: {PROTOCOL}")
    return "\r\n".join((*lines, "", "")).encode()


def refused(status: int, phrase: str, text: str) -> bytes:
    """An answer that ends the connection. The text is for people, and one line."""
    body = f"{text}\n".encode()
    lines = [f"HTTP/1.1 {status} {phrase}", "Connection: close", "Content-Type: text/plain"]
    lines.append(f"Content-Length: {len(body)}")
    if status == 426:
        lines.append(f"Upgrade: {PROTOCOL}")
    if status == 503:
        lines.append("Retry-After: 1")
    return "\r\n".join((*lines, "", "")).encode() + body


def read_request(head: bytes) -> Request | None:
    """The head of a request; None when it is none that this module could tell apart."""
    first, *rest = head.split(b"\r\n")
    words = first.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return None
    method, target = words[0].decode("latin-1"), words[1].decode("latin-1")
    upgrade = _headers(rest).get(b"upgrade", b"")
    return Request(method, target.partition("?")[0], upgrade.decode("latin-1")[:_REASON])


def read_response(data: bytes) -> tuple[Response, bytes] | None:
    """An answer and what follows its head; None while the head is not complete.

    Raises ``ProtocolError`` for what is no answer.
    """
    end = data.find(END)
    if not (data.startswith(b"HTTP/1.1 ") or b"HTTP/1.1 ".startswith(data[:9])):
        raise ProtocolError("no HTTP answer")
    if end < 0:
        if len(data) > MAX_HEAD_BYTES:
            raise ProtocolError("an HTTP answer without an end")
        return None
    first, *rest = data[:end].split(b"\r\n")
    status = first[9:12]
    if not status.isdigit():
        raise ProtocolError("no HTTP answer")
    upgrade = _headers(rest).get(b"upgrade", b"").decode("latin-1")[:_REASON]
    after = data[end + len(END) :]
    text = after[:_REASON].decode("utf-8", "replace").strip()
    return Response(int(status), upgrade, text), after


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
