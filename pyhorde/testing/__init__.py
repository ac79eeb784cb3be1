"""A whole cluster in one OS process, under virtual time and one seed.

Real nodes run on a simulated event loop and network: no socket, no thread, no wall clock. The same
seed gives the same run, event by event.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULE_OF = {
    "Conditions": "pyhorde.testing.conditions",
    "Deadlock": "pyhorde.testing.loop",
    "Livelock": "pyhorde.testing.loop",
    "OutsideWorld": "pyhorde.testing.fence",
    "SimCluster": "pyhorde.testing.cluster",
    "SimLoop": "pyhorde.testing.loop",
    "SimNetwork": "pyhorde.testing.network",
    "Violation": "pyhorde.testing.invariants",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use: the pytest plugin is loaded by every test run."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'pyhorde.testing' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value
