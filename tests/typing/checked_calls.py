"""What type checkers make of refs; read by mypy in ``test_typing.py``, never run."""

from __future__ import annotations

from typing import Any, assert_type

from pyhorde.node import Node
from pyhorde.runtime.process import Process, call, cast
from pyhorde.runtime.ref import Ref
from pyhorde.runtime.registry import Entry, Groups, Registration, Registry
from pyhorde.runtime.watching import MetaChanged, Missed, Registered, Unregistered


class Counter(Process):
    def __init__(self, start: int = 0) -> None:
        self.state = start

    @call
    async def increment(self, by: int = 1) -> int:
        return by

    @call
    async def words(self, text: str, *, limit: int | None = None) -> list[str]:
        return text.split()[:limit]

    @cast
    async def reset(self) -> None: ...


class Other(Process):
    @call
    async def own(self) -> bytes:
        return b""


class Special(Counter):
    @call
    async def more(self) -> str:
        return ""


async def results_are_those_of_the_method(ref: Ref[Counter]) -> None:
    assert_type(await ref.call(Counter.increment, 5), int)
    assert_type(await ref.call(Counter.increment), int)
    assert_type(await ref.call(Counter.increment, by=5), int)
    assert_type(await ref.call(Counter.words, "a b", limit=1), list[str])
    assert_type(await ref.call("increment", 5), Any)
    assert_type(await ref.options(timeout=1.0).call(Counter.increment), int)


async def casts_have_no_result(ref: Ref[Counter]) -> None:
    await ref.cast(Counter.reset)
    await ref.cast("reset")


async def a_ref_to_a_subclass_is_one_to_the_class(ref: Ref[Special]) -> None:
    general: Ref[Counter] = ref
    assert_type(await ref.call(Special.more), str)
    assert_type(await ref.call(Counter.increment, 1), int)
    assert_type(await general.call(Counter.increment, 1), int)


async def a_node_gives_refs_of_the_class(node: Node) -> None:
    assert_type(await node.start_child(Counter, "visits", 10), Ref[Counter])
    assert_type(node.ref("visits", Counter), Ref[Counter])
    assert_type(node.whereis("visits"), Ref[Any] | None)
    assert_type(await node.supervisor.start_child(Other), Ref[Other])


async def registries_are_of_the_kind_that_was_opened(node: Node) -> None:
    assert_type(node.registry, Registry)
    assert_type(node.open_registry("seats"), Registry)
    assert_type(node.open_registry("seats", keys="unique"), Registry)
    assert_type(node.open_registry("teams", keys="duplicate"), Groups)


async def entries_are_found_and_registered(unique: Registry, groups: Groups) -> None:
    assert_type(unique.lookup("k"), Entry | None)
    assert_type(groups.lookup("k"), list[Entry])
    assert_type(unique.register("k", 1, "p"), Registration)
    assert_type(await unique.register("k", 1, "p"), Entry)
    assert_type(await groups.register("k", 1, "p"), Entry)
    assert_type(await unique.register_many(["k"], "p"), int)
    assert_type(await unique.register_many({"k": 1}, "p"), int)
    assert_type(unique.unregister_match("k", "p", lambda entry: entry.value > 1), int)
    assert_type(unique.count_match("k"), int)
    assert_type(await groups.dispatch("k", Counter.reset, local=True), int)


async def events_are_of_four_kinds(unique: Registry) -> None:
    with unique.listen() as events:
        async for event in events:
            assert_type(event, Registered | Unregistered | MetaChanged | Missed)
