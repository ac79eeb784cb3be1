"""Packets: small messages outside of the streams, each sealed for itself. Pure.

::

    "h2" | sender's boot (16) | number (8) | one message, sealed (16 bytes longer)

The seal is AES-GCM under a key made of a secret of the cluster, its name and the sender's boot, so
that a number serves once under each key. It covers what stands before it and the boot that the
packet is meant for. A number counts once, and not when it is far behind the highest seen; so a
packet that somebody recorded says nothing a second time. Without a secret everybody knows the key,
and the seal guards against accidents only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.errors import ProtocolError

MAX_PACKET: Final = 1400
"""Bytes that get through nearly every network in one piece."""
WINDOW: Final = 1024
"""A packet may be overtaken by so many later ones and still count."""
_HEAD: Final = struct.Struct(">2s16sQ")
_MAGIC: Final = b"h2"
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
    """Makes packets of one boot, and opens those that are meant for it.

    Seals with the first secret of the keyring, and opens what any of them has sealed. Changes of
    the keyring count at once, and no packet counts twice because of one.
    """

    def __init__(self, boot: str, cluster: str, keyring: Keyring) -> None:
        self._me = _raw(boot)
        self._cluster = cluster
        self._keyring = keyring
        self._generation = -1
        """Of the keyring when the ciphers were made."""
        self._sealing: AESGCM
        self._opening: dict[str, list[AESGCM]] = {}
        """For each sender one cipher for each secret; what opened its last packet comes first."""
        self._number = 0
        self._windows: dict[str, Window] = {}

    def seal(self, boot: str, payload: bytes) -> bytes:
        """A packet with this payload for this boot. Raises ``ValueError`` for a strange boot."""
        receiver = _raw(boot)
        self._refresh()
        self._number += 1
        head = _HEAD.pack(_MAGIC, self._me, self._number)
        return head + self._sealing.encrypt(_nonce(self._number), payload, head + receiver)

    def open(self, packet: bytes, knows: Callable[[str], bool]) -> tuple[str, bytes]:
        """The sender's boot and the payload. Raises ``ProtocolError``.

        What it costs is bounded by the number of secrets, and what it keeps by the boots known.
        """
        if not _HEAD.size + _SEAL < len(packet) <= MAX_PACKET:
            raise ProtocolError("a packet of a wrong size")
        head = packet[: _HEAD.size]
        magic, sender, number = _HEAD.unpack(head)
        boot = sender.hex()
        if magic != _MAGIC or not knows(boot):
            raise ProtocolError("a packet of a stranger")
        payload = self._opened(boot, number, packet[_HEAD.size :], head + self._me)
        if not self._windows.setdefault(boot, Window()).admit(number):
            raise ProtocolError("a packet seen before")
        return boot, payload

    def forget(self, knows: Callable[[str], bool]) -> None:
        """Drop what is kept of boots that are not known any more."""
        self._windows = {boot: window for boot, window in self._windows.items() if knows(boot)}
        self._opening = {boot: ciphers for boot, ciphers in self._opening.items() if knows(boot)}

    def _opened(self, boot: str, number: int, sealed: bytes, covered: bytes) -> bytes:
        self._refresh()
        ciphers = self._opening.get(boot)
        if ciphers is None:
            ciphers = self._opening[boot] = self._ciphers(_raw(boot))
        nonce = _nonce(number)
        for place, cipher in enumerate(ciphers):
            try:
                payload = cipher.decrypt(nonce, sealed, covered)
            except InvalidTag:
                continue
            if place:
                ciphers.insert(0, ciphers.pop(place))
            return payload
        raise ProtocolError("a packet with a wrong seal")

    def _refresh(self) -> None:
        """Let go of ciphers whose secrets have changed."""
        if self._generation != self._keyring.generation:
            self._generation = self._keyring.generation
            self._sealing = self._ciphers(self._me)[0]
            self._opening.clear()

    def _ciphers(self, sender: bytes) -> list[AESGCM]:
        return [AESGCM(key) for key in self._keyring.packet_keys(self._cluster, sender)]


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _raw(boot: str) -> bytes:
    raw = bytes.fromhex(boot)
    if len(raw) != 16 or raw.hex() != boot:
        raise ValueError("a boot id is 32 hexadecimal digits")
    return raw
