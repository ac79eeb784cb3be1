"""Sends and receives packets: the way of probes that waits for nothing.

What is too large for a packet, or for somebody who cannot be reached by one, goes over the stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyhorde.cluster.member import Member
from pyhorde.cluster.transport.sealing import MAX_PACKET, Sealer
from pyhorde.cluster.transport.wire import Wire
from pyhorde.errors import ProtocolError
from pyhorde.seam import Datagrams, Network

log = logging.getLogger("pyhorde.packets")


@dataclass(slots=True)
class PacketStatistics:
    """What went by packet since the start."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    refused: int = 0


class Packets:
    """The shell: one bound address, and the member records that say where the others are."""

    def __init__(
        self,
        sealer: Sealer,
        wire: Wire,
        find: Callable[[str], Member | None],
        deliver: Callable[[str, Any], None],
    ) -> None:
        self.statistics = PacketStatistics()
        self._sealer = sealer
        self._wire = wire
        self._find = find
        self._deliver = deliver
        self._datagrams: Datagrams | None = None

    async def open(self, network: Network, address: str) -> bool:
        """Bind; False when there are no packets to be had here."""
        self._datagrams = await network.datagrams(address, self._received)
        return self._datagrams is not None

    async def aclose(self) -> None:
        """Stop. Idempotent."""
        if self._datagrams is not None:
            await self._datagrams.close()
            self._datagrams = None

    def send(self, boot: str, message: Any) -> bool:
        """Send one message; False when it has to go another way."""
        member = self._find(boot)
        if self._datagrams is None or member is None:
            return False
        try:
            packet = self._sealer.seal(boot, self._wire.encode(message))
        except ValueError:
            return False
        if len(packet) > MAX_PACKET:
            return False
        self._datagrams.send(member.address, packet)
        self.statistics.sent += 1
        self.statistics.sent_bytes += len(packet)
        return True

    def forget(self) -> None:
        """Drop what is kept of boots that are no members any more."""
        self._sealer.forget(self._knows)

    def _knows(self, boot: str) -> bool:
        return self._find(boot) is not None

    def _received(self, packet: bytes) -> None:
        try:
            boot, payload = self._sealer.open(packet, self._knows)
            messages = list(self._wire.decode(payload))
            self.statistics.received += 1
            for message in messages:
                self._deliver(boot, message)
        except (ProtocolError, ValueError) as error:
            self.statistics.refused += 1
            log.debug("packet_refused", extra={"fields": {"error": str(error)}})
