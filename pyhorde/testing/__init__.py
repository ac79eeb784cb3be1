"""A whole cluster in one OS process, under virtual time and one seed.

Real nodes run on a simulated event loop and network: no socket, no thread, no wall clock. The same
seed gives the same run, event by event.
"""

from pyhorde.testing.cluster import SimCluster
from pyhorde.testing.loop import Deadlock, Livelock, OutsideWorld, SimLoop
from pyhorde.testing.network import SimNetwork

__all__ = ("Deadlock", "Livelock", "OutsideWorld", "SimCluster", "SimLoop", "SimNetwork")
