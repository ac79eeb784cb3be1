"""``node.supervisor`` and ``node.cluster``: what users see of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeVar

from pyhorde.cluster.member import Member
from pyhorde.errors import NameNotFound, NoQuorum
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.process import Process
from pyhorde.runtime.ref import Caller, Ref
from pyhorde.runtime.starting import Starter
from pyhorde.runtime.supervisor import Supervisor

S = TypeVar("S", bound=Process)

STOP_TIMEOUT = 10.0
"""Seconds for a stop to be known to every live member."""


@dataclass(frozen=True, slots=True)
class Child:
    """One process of the cluster: its name, type, owner (None while it is taken over), epoch."""

    name: str
    type: str
    node: str | None
    epoch: int
    restart: str


class SupervisorFace:
    """The distributed supervisor, seen from one node."""

    def __init__(
        self, parts: Parts, supervisor: Supervisor, starter: Starter, caller: Caller
    ) -> None:
        self._parts = parts
        self._supervisor = supervisor
        self._starter = starter
        self._caller = caller

    async def start_child(
        self, cls: type[S], name: str | None = None, /, *args: Any, **kwargs: Any
    ) -> Ref[S]:
        """See :meth:`pyhorde.Node.start_child`."""
        type_name = self._parts.offers.name_of(cls)
        started = await self.launch(type_name, name, list(args), kwargs)
        return Ref(started, self._caller, cls)

    async def launch(
        self, type_name: str, name: str | None, args: list[Any], kwargs: dict[str, Any]
    ) -> str:
        """Start by type name; see :meth:`pyhorde.runtime.starting.Starter.launch`."""
        return await self._starter.launch(type_name, name, args, kwargs)

    async def terminate_child(self, name: str) -> None:
        """End a process for good, wherever it runs.

        On return every live member knows that the name has ended, so that it will not be started
        again. Raises ``NameNotFound``, ``NotReplicated``.
        """
        names = self._parts.names
        if names.spec(name) is None:
            raise NameNotFound(name)
        names.end(name, "terminated")
        await self._parts.cluster.replicated(names.seq, None, STOP_TIMEOUT, f"the end of {name!r}")
        cluster, deadline = self._parts.cluster, self._parts.world.now() + STOP_TIMEOUT
        while names.owner(name) is not None and self._parts.world.now() < deadline:
            if cluster.closed:
                break
            await names.changed(name, 0.2)

    def which_children(self) -> list[Child]:
        """Every process that should run in the cluster, by name, as this node sees it."""
        return [child for n in self._parts.names.processes() if (child := self.child(n))]

    def child(self, name: str) -> Child | None:
        """One of them."""
        names = self._parts.names
        spec, owner = names.spec(name), names.owner(name)
        if spec is None:
            return None
        epoch = owner.epoch if owner is not None else names.floor(name)
        return Child(name, spec.type, owner.node if owner else None, epoch, spec.restart)

    def count_children(self) -> int:
        """How many there are."""
        return self._parts.names.process_count()

    async def wait_for_quorum(self, timeout: float, members: int | None = None) -> None:
        """Wait until ``members`` nodes are alive.

        The default is more than half of all addresses that are known as a member's or configured
        as a peer's.

        Raises ``NoQuorum``.
        """
        deadline = self._parts.world.now() + timeout
        while True:
            view = self._parts.cluster.view
            known = {m.address for m in view.members} | set(self._parts.config.peers)
            needed = members or len(known) // 2 + 1
            present = len(view.present)
            if present >= needed:
                return
            if not await self._parts.cluster.changed(deadline - self._parts.world.now()):
                raise NoQuorum(present, needed)

    def local(self) -> list[Cell]:
        """The processes really running in this node."""
        return self._supervisor.local()


class ClusterFace:
    """Membership, seen from one node."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def members(self) -> list[Member]:
        """All members this node knows, itself included, by name; dead ones too."""
        return list(self._parts.cluster.view.members)

    async def changed(self, timeout: float) -> bool:
        """Wait for any change; False when there was none within ``timeout`` seconds."""
        await asyncio.sleep(0)
        return await self._parts.cluster.changed(timeout)
