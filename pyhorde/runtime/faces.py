"""``node.supervisor`` and ``node.cluster``: what users see of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pyhorde.cluster.journal import Follower
from pyhorde.cluster.member import Member
from pyhorde.errors import NameNotFound, NoQuorum
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.process import Process
from pyhorde.runtime.ref import Caller, Ref
from pyhorde.runtime.starting import Starter
from pyhorde.runtime.supervisor import Supervisor
from pyhorde.runtime.wishes import Wishes

S = TypeVar("S", bound=Process)

SAYS_SO = 1.0
"""Seconds for a live member to say in its record that it is cordoned."""
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
        self,
        parts: Parts,
        supervisor: Supervisor,
        starter: Starter,
        caller: Caller,
        wishes: Wishes,
    ) -> None:
        self._parts = parts
        self._wishes = wishes
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
        await self._parts.cluster.acks.replicated(
            names.seq, None, STOP_TIMEOUT, f"the end of {name!r}"
        )
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

        The default is more than half of the members that count: those agreed on with
        ``cluster.set_members``, else those configured, else all that are known or configured as
        peers. It does not shrink because some are gone. Raises ``NoQuorum``.
        """
        deadline = self._parts.world.now() + timeout
        while True:
            present, needed = self._wishes.quorum(self._parts.cluster.view)
            if members is not None:
                present, needed = len(self._parts.cluster.view.present), members
            if present >= needed:
                return
            if not await self._parts.cluster.acks.changed(deadline - self._parts.world.now()):
                raise NoQuorum(present, needed)

    def local(self) -> list[Cell]:
        """The processes really running in this node."""
        return self._supervisor.local()


class ClusterFace:
    """Membership, seen from one node."""

    def __init__(self, parts: Parts, wishes: Wishes) -> None:
        self._parts = parts
        self._wishes = wishes

    def members(self) -> list[Member]:
        """All members this node knows, itself included, by name; dead ones too."""
        return list(self._parts.cluster.view.members)

    async def cordon(self, name: str) -> None:
        """Place nothing new on this member; what runs there stays.

        It holds until ``uncordon``, across restarts of the node. When only cordoned members can run
        a type, they do. Raises ``NameNotFound``, and ``NotReplicated`` when not every live member
        hears of it in time.
        """
        await self._wish(name, wanted=True)

    async def uncordon(self, name: str) -> None:
        """Take ``cordon`` back. Raises like it."""
        await self._wish(name, wanted=False)

    async def set_members(self, names: Iterable[str] | Literal["auto"]) -> None:
        """Fix which members count: for ``wait_for_quorum``, and as places for processes.

        Others may join and are replicated to, but nothing new is placed on them. ``"auto"``:
        whoever joins counts. Raises ``NotReplicated`` when not every live member hears of
        it in time.
        """
        self._wishes.set_members(() if names == "auto" else names)
        await self._heard("the list of members")

    async def _wish(self, name: str, *, wanted: bool) -> None:
        self._wishes.cordon(name, wanted=wanted)
        await self._heard(f"the cordon of {name!r}")
        cluster, deadline = self._parts.cluster, self._parts.world.now() + SAYS_SO
        while not self._wishes.is_done(name, wanted=wanted):
            if not await cluster.acks.changed(deadline - self._parts.world.now()):
                break

    async def _heard(self, what: str) -> None:
        await self._parts.cluster.acks.replicated(self._parts.names.seq, None, STOP_TIMEOUT, what)

    def events(self, after: str | None = None) -> Follower:
        """What happens on this node from now on, or after the event of this id: an async iterator.

        It ends when the node stops. The last 1,000 events are kept: an id that is not among them
        gives a ``gap`` and then all of these, ``"0"`` gives all of these. Whoever reads too slowly
        gets ``lost`` with the number of what was missed.
        """
        return self._parts.cluster.journal.follow(after)

    async def changed(self, timeout: float) -> bool:
        """Wait for any change; False when there was none within ``timeout`` seconds."""
        await asyncio.sleep(0)
        return await self._parts.cluster.acks.changed(timeout)
