"""Handles to processes: what is sent, and by which name."""

from __future__ import annotations

from typing import Any

import pytest

from pyhorde import Process, call, cast
from pyhorde.runtime.ref import Ref


class Counter(Process):
    @call
    async def increment(self, by: int = 1) -> int:
        return by

    @cast
    async def reset(self) -> None: ...

    async def hidden(self) -> None: ...


class Recorder:
    """A caller that writes down what it is asked to do."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def call(
        self, name: str, method: str, args: list[Any], kwargs: dict[str, Any], **options: Any
    ) -> Any:
        self.sent.append(("call", name, method, args, kwargs, options))
        return "answer"

    async def cast(self, name: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.sent.append(("cast", name, method, args, kwargs))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


DEFAULT = {"timeout": None, "request_id": None}


async def test_a_call_by_method_by_name_and_by_attribute_is_the_same(recorder: Recorder):
    ref = Ref("n", recorder, Counter)
    assert await ref.call(Counter.increment, 5) == "answer"
    assert await ref.call("increment", 5) == "answer"
    assert await ref.increment(5) == "answer"
    assert recorder.sent == [("call", "n", "increment", [5], {}, DEFAULT)] * 3


async def test_a_cast_by_method_by_name_and_by_attribute_is_the_same(recorder: Recorder):
    ref = Ref("n", recorder, Counter)
    await ref.cast(Counter.reset)
    await ref.cast("reset")
    await ref.reset()
    assert recorder.sent == [("cast", "n", "reset", [], {})] * 3


async def test_without_the_class_any_attribute_is_a_call(recorder: Recorder):
    await Ref("n", recorder).reset(1, by=2)
    assert recorder.sent == [("call", "n", "reset", [1], {"by": 2}, DEFAULT)]


@pytest.mark.parametrize("attribute", ["hidden", "init", "nothing", "_private", "__fspath__"])
def test_with_the_class_only_marked_methods_are_attributes(recorder: Recorder, attribute: str):
    with pytest.raises(AttributeError):
        getattr(Ref("n", recorder, Counter), attribute)


@pytest.mark.parametrize("attribute", ["_private", "__len__", "__deepcopy__"])
def test_private_names_are_never_calls(recorder: Recorder, attribute: str):
    with pytest.raises(AttributeError):
        getattr(Ref("n", recorder), attribute)


async def test_options_make_another_handle_and_leave_the_first_alone(recorder: Recorder):
    ref = Ref("n", recorder, Counter)
    patient = ref.options(timeout=9.0)
    fixed = patient.options(request_id="x")
    for handle in (ref, patient, fixed, fixed.options()):
        await handle.increment()
    assert [options for *_, options in recorder.sent] == [
        DEFAULT,
        {"timeout": 9.0, "request_id": None},
        {"timeout": 9.0, "request_id": "x"},
        {"timeout": 9.0, "request_id": None},
    ]


async def test_a_time_out_of_zero_is_one(recorder: Recorder):
    await Ref("n", recorder).options(timeout=9.0).options(timeout=0.0).increment()
    assert recorder.sent[0][-1]["timeout"] == 0.0


def test_handles_of_one_name_are_equal(recorder: Recorder):
    assert Ref("n", recorder, Counter) == Ref("n", Recorder())
    assert hash(Ref("n", recorder, Counter)) == hash(Ref("n", Recorder()))
    assert Ref("n", recorder) != Ref("m", recorder)
    assert Ref("n", recorder) != "n"


def test_a_handle_shows_its_class_and_name(recorder: Recorder):
    assert repr(Ref("n", recorder, Counter)) == "<Ref Counter 'n'>"
    assert repr(Ref("n", recorder)) == "<Ref 'n'>"
