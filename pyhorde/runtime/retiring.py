"""Boots that are gone: their claims are dropped in one step, and learned anew should they return.

A boot is retired once all that it ran runs elsewhere and it is nobody's current boot, has left, or
has been dead for a while. Its registers are carried on: the member with the lowest boot id retires
first, and the others a little later, when they have usually seen what it carries on.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pyhorde.cluster.member import Status, View
from pyhorde.crdt import Replica
from pyhorde.runtime.names import Names
from pyhorde.seam import World

RETIRE_AFTER: Final = 10.0
"""Seconds after which a boot that is no member will not become one any more."""
RETIRE_DEAD_AFTER: Final = 60.0
"""Seconds after which a dead member's claims are dropped: not worth their memory any more."""
CARRIED_WITHIN: Final = 10.0
"""Seconds within which the first to retire a boot has carried its registers on."""


class Retiring:
    """Looks after the origins that a replica knows. Level-triggered: called once a second."""

    def __init__(self, replica: Replica, names: Names, world: World) -> None:
        self._replica = replica
        self._names = names
        self._world = world
        self._gone: dict[str, float] = {}
        self._sweeping = False

    def look(self, view: View) -> None:
        """Retire who is gone for good, and hear again who is back."""
        now, replica = self._world.now(), self._replica
        self._begin_to_sweep()
        for boot in [boot for boot in replica.retired if view.is_present(boot)]:
            replica.revive(boot)
        gone = [boot for boot in replica.vector if boot != replica.origin]
        gone = [boot for boot in gone if not view.is_present(boot)]
        self._gone = {boot: self._gone.get(boot, now) for boot in gone}
        first = all(replica.origin <= member.boot for member in view.present)
        for boot, since in list(self._gone.items()):
            member = view.by_boot.get(boot)
            dead = member is not None and member.status is not Status.LEFT
            patience = RETIRE_DEAD_AFTER if dead else RETIRE_AFTER
            if not first and replica.carries(boot):
                patience += CARRIED_WITHIN
            if now - since >= patience and self._names.have_moved_on(boot):
                del self._gone[boot]
                self._retire(boot)

    def _retire(self, boot: str) -> None:
        self._replica.retire(boot)
        self._names.forget_boot(boot)
        self._names.on_written()
        self._begin_to_sweep()

    def _begin_to_sweep(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._sweep()

    def _sweep(self) -> None:
        self._sweeping = self._replica.sweep() is not None
        if self._sweeping:
            asyncio.get_running_loop().call_soon(self._sweep)
