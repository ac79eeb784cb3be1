"""Packets: small messages outside of the streams, each sealed for itself. Pure.

::

    "h1" | sender's boot (16) | number (8) | seal (16) | one message

The seal is an HMAC over the rest and the boot that it is meant for, under a key made of the
cluster's secret and name. A number counts once, and not when it is far behind the highest seen; so
a packet that somebody recorded says nothing a second time.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from typing import Final

from pyhorde.errors import ProtocolError

MAX_PACKET: Final = 1400
"""Bytes that get through nearly every network in one piece."""
WINDOW: Final = 1024
"""A packet may be overtaken by so many later ones and still count."""
_HEAD: Final = struct.Struct(">2s16sQ")
_MAGIC: Final = b"h1"
_SEAL: Final = 16


class Window:
    """Which numbers of one sender have been seen."""

    def __init__(self) -> None:
        self._highest = 0
        self._seen = 0
        """Bit ``i``: number ``highest - i`` has been seen."""

    def admit(self, number: int) -> bool:
        """Whether this number is seen for the first time, and not too late."""
        ahead = number - self._highest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self._highest = number
            return True
        bit = 1 << -ahead
        if -ahead >= WINDOW or self._seen & bit:
            return False
        self._seen |= bit
        return True


class Sealer:
    """Makes packets of one boot, and opens those that are meant for it."""

    def __init__(self, boot: str, cluster: str, secret: bytes | None) -> None:
        self._me = _raw(boot)
        self._key = hmac.digest(secret or b"", b"packet\0" + cluster.encode(), "sha256")
        self._number = 0
        self._windows: dict[str, Window] = {}

    def seal(self, boot: str, payload: bytes) -> bytes:
        """A packet with this payload for this boot. Raises ``ValueError`` for a strange boot."""
        receiver = _raw(boot)
        self._number += 1
        head = _HEAD.pack(_MAGIC, self._me, self._number)
        return head + self._proof(head, receiver, payload) + payload

    def open(self, packet: bytes, knows: Callable[[str], bool]) -> tuple[str, bytes]:
        """The sender's boot and the payload. Raises ``ProtocolError``."""
        start = _HEAD.size + _SEAL
        if not start < len(packet) <= MAX_PACKET:
            raise ProtocolError("a packet of a wrong size")
        head, payload = packet[: _HEAD.size], packet[start:]
        magic, sender, number = _HEAD.unpack(head)
        boot = sender.hex()
        if magic != _MAGIC or not knows(boot):
            raise ProtocolError("a packet of a stranger")
        if not hmac.compare_digest(
            packet[_HEAD.size : start], self._proof(head, self._me, payload)
        ):
            raise ProtocolError("a packet with a wrong seal")
        if not self._windows.setdefault(boot, Window()).admit(number):
            raise ProtocolError("a packet seen before")
        return boot, payload

    def forget(self, knows: Callable[[str], bool]) -> None:
        """Drop what is kept of boots that are not known any more."""
        self._windows = {boot: window for boot, window in self._windows.items() if knows(boot)}

    def _proof(self, head: bytes, receiver: bytes, payload: bytes) -> bytes:
        return hmac.digest(self._key, head + receiver + payload, "sha256")[:_SEAL]


def _raw(boot: str) -> bytes:
    raw = bytes.fromhex(boot)
    if len(raw) != 16 or raw.hex() != boot:
        raise ValueError("a boot id is 32 hexadecimal digits")
    return raw
