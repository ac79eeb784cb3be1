"""Delta-state replicated data types: pure, usable without any network.

A :class:`~pyhorde.crdt.replica.Replica` holds two things that converge on every node whatever the
order, loss or doubling of messages: an observed-remove map of *claims* (several concurrent values
of one key all stay visible) and tables of last-writer-wins *registers*.

>>> a, b = Replica("a"), Replica("b")
>>> _ = a.add("meeting-7", b"on a"); _ = b.add("meeting-7", b"on b")
>>> for delta in a.deltas_for(b.vector): _ = b.join(delta, wall=0.0)
>>> sorted(claim.value for claim in b.claims("meeting-7"))
[b'on a', b'on b']
"""

from pyhorde.crdt.delta import Delta, RegisterRow, Row, Segment
from pyhorde.crdt.dots import Dot
from pyhorde.crdt.hlc import HybridClock
from pyhorde.crdt.joined import Joined
from pyhorde.crdt.registers import Register
from pyhorde.crdt.replica import Claimed, Replica

__all__ = (
    "Claimed",
    "Delta",
    "Dot",
    "HybridClock",
    "Joined",
    "Register",
    "RegisterRow",
    "Replica",
    "Row",
    "Segment",
)
