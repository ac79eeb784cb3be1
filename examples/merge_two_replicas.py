"""Two replicas, cut off from each other, and what becomes of what both wrote: no node, no network.

::

    python -m examples.merge_two_replicas
"""

from __future__ import annotations

from itertools import count

from pyhorde.crdt import Delta, Replica

WALL = count(1_700_000_000.0)
"""The time is given, never read: here each write is a second later than the one before."""


def sync(to: Replica, frm: Replica) -> None:
    """Give one replica what it lacks of the other, through the wire's form."""
    for delta in frm.answer(to.vector, asker=to.origin):
        to.join(Delta.from_wire(delta.to_wire()), wall=next(WALL))


def show(replica: Replica, when: str) -> None:
    claims = sorted((claim.value or b"").decode() for claim in replica.claims("room-7"))
    topic = replica.register("topics", "room-7")
    said = topic.value.decode() if topic is not None and not topic.deleted else "nothing"
    print(f"{when}: {replica.origin} knows {dict(sorted(replica.vector.items()))}")
    print(f"  room-7 is claimed by {', '.join(claims) or 'nobody'}; its topic is {said}")


def main() -> None:
    left, right = Replica("left"), Replica("right")

    # While they cannot hear each other, both claim a key and write a register.
    mine = left.add("room-7", b"Ana")
    left.put("topics", "room-7", b"budget", wall=next(WALL))
    right.add("room-7", b"Ben")
    right.put("topics", "room-7", b"holidays", wall=next(WALL))
    show(left, "apart")
    show(right, "apart")

    # Claims: both stay, and whoever reads them decides. Registers: the later write wins.
    sync(left, right)
    sync(right, left)
    show(left, "met")
    print("equal:", left.snapshot() == right.snapshot())

    # The same again changes nothing: there is nothing to send.
    print("to send:", len(right.deltas_for(left.vector)))

    # Ana lets go. Only the origin of a claim removes it, and so it cannot come back.
    left.remove(mine)
    late = left.own_deltas(0)
    sync(right, left)
    for delta in late:
        right.join(delta, wall=next(WALL))
    show(right, "let go")

    # The other one is gone for good: all that it claimed goes in one step, its registers stay.
    left.retire("right")
    show(left, "retired")


if __name__ == "__main__":
    main()
