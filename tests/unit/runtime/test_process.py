"""Process classes: what is marked, what is refused, what the hooks do by default."""

from __future__ import annotations

from typing import Any

import pytest

from pyhorde import Process, Resume, call, cast
from pyhorde.runtime.process import check_class, methods_of


class Base(Process):
    @call
    async def asked(self, by: int = 1) -> int:
        return by

    @cast
    async def told(self) -> None: ...

    @call
    def plain(self) -> str:
        return "plain"

    async def unmarked(self) -> None: ...


class Derived(Base):
    async def asked(self, by: int = 1) -> int:
        return -by

    @call
    async def more(self) -> None: ...


def test_only_marked_methods_can_be_reached_from_outside():
    found = {name: (m.kind, m.is_async) for name, m in methods_of(Base).items()}
    assert found == {
        "asked": ("call", True),
        "told": ("cast", True),
        "plain": ("call", False),
    }


def test_hooks_and_runtime_methods_are_never_reachable():
    hooks = {"init", "terminate", "handle_info", "merge", "dump", "load", "stop", "checkpoint"}
    assert not hooks & set(methods_of(Derived))


def test_marks_are_inherited_but_an_override_without_a_mark_is_out_of_reach():
    assert set(methods_of(Derived)) == {"told", "plain", "more"}


@pytest.mark.parametrize("mark", [call, cast])
def test_a_mark_on_something_that_is_no_method_is_refused(mark: Any):
    with pytest.raises(TypeError, match="marks methods"):
        mark(5)


async def test_arguments_that_do_not_fit_are_refused_before_anything_runs():
    ran = []

    class Picky(Process):
        @call
        async def waits(self, a: int) -> None:
            ran.append(a)

        @call
        def returns(self, a: int) -> None:
            ran.append(a)

    for method in methods_of(Picky).values():
        with pytest.raises(TypeError):
            method.invoke(Picky(), [1, 2], {})
        with pytest.raises(TypeError):
            method.invoke(Picky(), [], {"b": 1})
    assert ran == []


async def test_a_marked_method_that_does_not_wait_runs_when_awaited():
    assert await methods_of(Base)["plain"].invoke(Base(), [], {}) == "plain"


async def test_a_marked_method_that_returns_an_awaitable_is_waited_for():
    class Wrapped(Process):
        @call
        def later(self) -> Any:
            async def work() -> str:
                return "done"

            return work()

    assert await methods_of(Wrapped)["later"].invoke(Wrapped(), [], {}) == "done"


def offered(**attributes: Any) -> Any:
    return type("Offered", (Process,), attributes)


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (Process, "no subclass"),
        (int, "no subclass"),
        ("Counter", "no subclass"),
        (Base(), "no subclass"),
        (offered(restart="always"), "restart is 'always'"),
        (offered(durability="eternal"), "durability is 'eternal'"),
        (offered(shutdown=-1.0), "shutdown is negative"),
    ],
)
def test_a_class_that_cannot_be_offered_is_refused_with_the_reason(cls: Any, problem: str):
    with pytest.raises(TypeError, match=problem):
        check_class(cls)


@pytest.mark.parametrize("shutdown", [None, 0, 0.5])
def test_any_time_limit_from_zero_up_or_none_is_accepted(shutdown: float | None):
    check_class(offered(shutdown=shutdown))


async def test_the_hooks_do_nothing_by_default():
    process = Base()
    assert await process.init(None) is None
    assert await process.handle_info("anything") is None
    assert await process.terminate("normal") is None


def test_the_state_leaves_and_enters_as_it_is_by_default():
    process = Base()
    process.load({"count": 3}, version=1)
    assert process.state == process.dump() == {"count": 3}


def resume(state: Any) -> Resume:
    return Resume("conflict", state, 1, 1, "b")


async def test_merge_drops_the_losers_state_by_default():
    process = Base()
    process.state = {"count": 3}
    await process.merge(resume({"count": 99}))
    assert process.state == {"count": 3}


async def test_merge_joins_documents_by_default():
    pycrdt = pytest.importorskip("pycrdt")
    mine, theirs = pycrdt.Doc(), pycrdt.Doc()
    mine.get("m", type=pycrdt.Map)["mine"] = 1
    theirs.get("m", type=pycrdt.Map)["theirs"] = 2
    process = Base()
    process.state = mine
    await process.merge(resume(theirs))
    assert mine.get("m", type=pycrdt.Map).to_py() == {"mine": 1, "theirs": 2}


@pytest.mark.parametrize(
    "use",
    [
        lambda p: p.name,
        lambda p: p.node,
        lambda p: p.ref,
        lambda p: p.epoch,
        lambda p: p.stop(),
        lambda p: p.send_after(1, "x"),
    ],
)
def test_outside_a_node_the_error_says_how_to_start_a_process(use: Any):
    with pytest.raises(RuntimeError, match=r"this Base is not run by a node.*start_child"):
        use(Base())


async def test_outside_a_node_a_checkpoint_says_the_same():
    with pytest.raises(RuntimeError, match="not run by a node"):
        await Base().checkpoint()
