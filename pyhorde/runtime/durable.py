"""Keeping a process's state on other nodes, as its ``durability`` promises.

``checkpoint``: at most ``checkpoint_interval`` after a change, and on request. ``replicated``:
before the caller hears the answer, together with the recent answers, so that a repeated request
finds its answer wherever the process lives by then and the effect happens once. A copy is written
only when the encoded state has changed, between two handlers, and never over the copy of a later
owner.
"""

from __future__ import annotations

import asyncio
import logging

from pyhorde.cluster.cluster import Cluster
from pyhorde.cluster.transport.codec import MAX_STATE_BYTES
from pyhorde.config import RuntimeConfig
from pyhorde.errors import CannotTravel, HordeError, Indeterminate
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.invocation import named, text_of
from pyhorde.runtime.names import Names
from pyhorde.runtime.phase import Phase
from pyhorde.runtime.record import StateRecord

log = logging.getLogger("pyhorde.durable")


class Durable:
    """One cell's :class:`~pyhorde.runtime.cell.Keeper`."""

    def __init__(self, names: Names, cluster: Cluster, config: RuntimeConfig) -> None:
        self._names = names
        self._cluster = cluster
        self._config = config
        self._last: bytes | None = None
        self._seq = 0
        self._promised = 0
        self._unsafe: HordeError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False

    async def after(self, cell: Cell) -> None:
        """See :class:`~pyhorde.runtime.cell.Keeper`. Raises ``NotReplicated``, ``CannotTravel``."""
        match cell.cls.durability:
            case "replicated":
                await self._make_safe(cell)
            case "checkpoint" if self._overdue:
                self.save(cell)
            case "checkpoint":
                self._schedule(cell)
            case "none":
                pass

    async def settled(self) -> None:
        """See :class:`~pyhorde.runtime.cell.Keeper`."""
        if self._unsafe is not None:
            raise self._unsafe
        await self._replicated(self._promised, "the answer given before")

    async def checkpoint(self, cell: Cell) -> None:
        """Copy the state now, and wait until it is on other nodes. Raises ``NotReplicated``."""
        self._write(cell, "checkpoint")
        await self._replicated(self._seq, f"the state of {cell.name!r}")

    def save(self, cell: Cell, *, anew: bool = False) -> bool:
        """Copy the state now, unless the process wants none kept; a failure is logged.

        ``anew``: even if it has not changed since the last copy. False when there is no copy now.
        """
        self.cancel()
        if cell.cls.durability == "none":
            return False
        if anew:
            self._last = None
        try:
            self._write(cell, "checkpoint")
        except HordeError as error:
            fields = {"name": cell.name, "error": str(error)}
            log.warning("checkpoint_failed", extra={"fields": fields})
        return self._last is not None

    def hand_over(self, cell: Cell, reason: str) -> None:
        """Write the final state for whoever goes on with the process."""
        self.cancel()
        self._last = None
        self._write(cell, "graceful", reason)

    def cancel(self) -> None:
        """Forget a checkpoint that was still to come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._overdue = False

    async def _make_safe(self, cell: Cell) -> None:
        try:
            self._write(cell, "checkpoint")
        except HordeError as error:
            self._unsafe = error
            raise
        await self._replicated(self._seq, f"the state of {cell.name!r}")

    async def _replicated(self, seq: int, what: str) -> None:
        config = self._config
        await self._cluster.acks.replicated(seq, config.replicas, config.replicate_timeout, what)

    def _schedule(self, cell: Cell) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._config.checkpoint_interval, self._due, cell)

    def _due(self, cell: Cell) -> None:
        self._timer = None
        if cell.phase is not Phase.RUNNING:
            return
        if cell.is_busy:
            self._overdue = True
        else:
            self.save(cell)

    def _write(self, cell: Cell, kind: str, reason: str = "") -> None:
        if cell.process is None:
            return
        state = dumped(cell)
        if state != self._last:
            self._put(cell, state, kind, reason)
        self._unsafe = None
        if cell.cls.durability == "replicated":
            self._promised = self._seq

    def _put(self, cell: Cell, state: bytes, kind: str, reason: str) -> None:
        kept = StateRecord(
            cell.epoch,
            kind,
            cell.cls.state_version,
            cell.setting.node,
            reason,
            state,
            cell.answers.latest(),
            cell.life.number,
        )
        if not self._names.save(cell.name, kept):
            raise Indeterminate(cell.name, "its last call", "another node runs it by now")
        self._last, self._seq = state, self._names.seq


def dumped(cell: Cell) -> bytes:
    """The encoded state of the cell's instance. Raises ``CannotTravel``."""
    what = f"the state of {cell.name!r}"
    assert cell.process is not None, "only an instance has a state"
    try:
        state = cell.process.dump()
    except Exception as error:
        raise CannotTravel(what, f"dump raised {named(error)}: {text_of(error)}") from error
    return cell.setting.codec.encode(state, what, MAX_STATE_BYTES)
