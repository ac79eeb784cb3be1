"""What the operating system says of a TCP socket, and what it is told about it.

Who breaks a stream behind which nothing answers any more? With nothing on its way the kernel does:
keepalive asks after five seconds and gives up four seconds later. With data on its way it would try
for a quarter of an hour. ``TCP_USER_TIMEOUT`` would shorten that, but it also ends the stream of a
peer whose kernel answers each question with "my buffer is full" (a node that is stopped, or blocked
in a handler, for eight seconds). So :func:`is_deaf` looks for the difference, and :func:`shut` acts
on it.

The kernel's pause between two questions doubles each time, to two minutes; where it can be told
(Linux 6.15), it is one second at most: the machine of a node that reads nothing is heard as often.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from functools import cache
from typing import Any, Final, NamedTuple

KEEPALIVE_IDLE: Final = 5
"""Seconds without a word from the other machine after which the kernel asks whether it is there."""
KEEPALIVE_INTERVAL: Final = 2
"""Seconds between two such questions."""
KEEPALIVE_COUNT: Final = 2
"""Unanswered questions after which the kernel breaks the stream."""
DEAF_AFTER: Final = 8.0
"""Seconds without a word from the other machine, although something is on its way to it, after
which it will not answer any more."""
UNSENT_BYTES: Final = 128 * 1024
"""How much the kernel takes that it cannot send yet. Low, so that a probe is never behind much
bulk; high enough for a fast network, where the window is sent data, not unsent."""
RETRY_MILLISECONDS: Final = 1_000
"""The longest pause of the kernel between two attempts to get an answer; it takes no less. After 15
attempts to send the same again it gives up by itself."""

LINEAR: Final = 16
"""Linux's number for: of a stream with little on its way, the first pauses between two attempts to
send the same do not double. On a bad network probes would else wait for minutes."""

_IS_LINUX: Final = sys.platform == "linux"
_RTO_MAX: Final = 44
"""``TCP_RTO_MAX_MS``, which Python does not name yet."""
_INFO: Final = struct.Struct("=2xBB12xI32x2I")
"""The head of Linux's ``struct tcp_info``: of its eight small fields the third and the fourth, of
the 32-bit numbers that follow the third and the last two before byte 60."""


class TcpInfo(NamedTuple):
    """The part of ``struct tcp_info`` that is of use here."""

    retransmits: int
    """Attempts in a row to send the same again, unanswered."""
    probes: int
    """Questions in a row whether somebody is there, or has room, unanswered."""
    snd_mss: int
    last_data_recv: int
    """Milliseconds since data came."""
    last_ack_recv: int
    """Milliseconds since a confirmation came: of data, or of a question."""

    @property
    def silence(self) -> float:
        """Seconds since the other machine gave the latest sign of life."""
        return min(self.last_data_recv, self.last_ack_recv) / 1000


def tune(sock: Any) -> bool:
    """Small frames leave at once, bulk does not pile up, and who is silent is asked.

    True: the streams of this machine need no heartbeat of their own, because its kernel breaks
    those that are idle, and says enough for :func:`is_deaf` to find the others.
    """
    _set(sock, "TCP_NODELAY", 1)
    _set(sock, "TCP_NOTSENT_LOWAT", UNSENT_BYTES)
    if _IS_LINUX:
        _set(sock, _RTO_MAX, RETRY_MILLISECONDS)
        _set(sock, LINEAR, 1)
    idle = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"  # macOS
    asks = [
        _set(sock, idle, KEEPALIVE_IDLE),
        _set(sock, "TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        _set(sock, "TCP_KEEPCNT", KEEPALIVE_COUNT),
    ]
    with suppress(OSError, ValueError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return all(asks) and info(sock) is not None
    return False


@cache
def kernel_breaks() -> bool:
    """Whether :func:`tune` will be true of every socket, tried on one that is never connected."""
    with socket.socket() as sock:
        return tune(sock)


def info(sock: Any) -> TcpInfo | None:
    """What the kernel knows; None where it does not say, or of a socket that is closed."""
    if not _IS_LINUX:
        return None
    with suppress(OSError, ValueError, struct.error):
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        known = TcpInfo(*_INFO.unpack(raw))
        # A kernel that imitates Linux leaves zeros in what it does not know.
        return known if known.snd_mss else None
    return None


def host_silence(sock: Any) -> float | None:
    """Seconds since the other machine's kernel was heard last, None where nobody knows."""
    known = info(sock)
    return None if known is None else known.silence


def is_deaf(sock: Any) -> bool:
    """Whether the other machine has not answered for ``DEAF_AFTER``, asked at least twice.

    Asked once is not enough: the answer to a question that has just been sent is still on its way.
    """
    known = info(sock)
    return (
        known is not None and known.silence > DEAF_AFTER and known.retransmits + known.probes >= 2
    )


def shut(sock: Any) -> None:
    """End a connection at once, whatever is on its way. Whoever reads it sees its end."""
    with suppress(OSError, ValueError), sock.dup() as own:
        own.shutdown(socket.SHUT_RDWR)


def _set(sock: Any, option: str | int, value: int) -> bool:
    number = getattr(socket, option, None) if isinstance(option, str) else option
    if number is None:
        return False
    with suppress(OSError, ValueError):
        sock.setsockopt(socket.IPPROTO_TCP, number, value)
        return True
    return False
