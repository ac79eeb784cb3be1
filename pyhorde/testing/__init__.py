"""A whole cluster in one OS process, under virtual time and one seed.

Real nodes run on a simulated event loop and network: no socket, no thread, no wall clock. The same
seed gives the same run, event by event.
"""

from pyhorde.testing.cluster import SimCluster
from pyhorde.testing.conditions import Conditions
from pyhorde.testing.fence import OutsideWorld
from pyhorde.testing.invariants import Violation
from pyhorde.testing.loop import Deadlock, Livelock, SimLoop
from pyhorde.testing.network import SimNetwork

__all__ = (
    "Conditions",
    "Deadlock",
    "Livelock",
    "OutsideWorld",
    "SimCluster",
    "SimLoop",
    "SimNetwork",
    "Violation",
)
