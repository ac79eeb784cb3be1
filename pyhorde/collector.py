"""How the garbage collector is set for an OS process that is a node and nothing else.

A full collection looks at every container: with a million names that takes tens of milliseconds,
and it finds nothing, since what a node keeps is in use. So what was imported is left out of every
collection, and collections are rarer than by default.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 50)


def tune_collector() -> None:
    """Set it for this OS process; called once, when everything has been imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
