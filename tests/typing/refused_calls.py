"""What type checkers must refuse; read by mypy in ``test_typing.py``, never run.

Each line that ends in ``# refused`` is an error, and no other line is one.
"""

from __future__ import annotations

from pyhorde.node import Node
from pyhorde.runtime.ref import Ref
from tests.typing.checked_calls import Counter, Other, Special


async def wrong(ref: Ref[Counter], other: Ref[Other], special: Ref[Special], node: Node) -> None:
    await ref.call(Counter.increment, "5")  # refused
    await ref.call(Counter.increment, 1, 2)  # refused
    await ref.call(Counter.increment, to=1)  # refused
    await ref.call(Counter.words)  # refused
    await ref.call(Counter.words, "a", limit="b")  # refused
    await ref.call(Other.own)  # refused
    await other.call(Counter.increment, 1)  # refused
    await ref.call(Special.more)  # refused
    await ref.call(7)  # refused
    await ref.cast(Counter.reset, 1)  # refused
    narrow: Ref[Special] = ref  # refused
    text: str = await ref.call(Counter.increment, 1)  # refused
    await node.start_child(int, "name")  # refused
    node.open_registry("seats", keys="several")  # refused
    print(node.open_registry("seats").lookup("k").node)  # refused
    await node.open_registry("teams", keys="duplicate").register_many(["k"], "p")  # refused
    node.registry.register("k", 1)  # refused
    print(narrow, text)
