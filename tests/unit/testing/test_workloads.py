"""Workloads against a cluster in memory: silent about a correct one, and each defect is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from pyhorde.errors import HordeError, NameNotFound, NameTaken, NodeDraining
from pyhorde.runtime.process import Process
from pyhorde.testing import SimLoop
from pyhorde.testing.registry_work import Board, Tenant
from pyhorde.testing.work import GIVE_UP, Access, Workload
from pyhorde.testing.workloads import (
    ALL,
    Accounting,
    Churn,
    Clock,
    Clocks,
    Holder,
    Ledger,
    Meetings,
    Races,
    Talk,
    processes,
)
from tests.unit.testing.memory_node import memory_node


class Memory:
    """A correct cluster, in memory: an ``Access``."""

    def __init__(self) -> None:
        self.alive: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.ids: list[str | None] = []
        self.node = memory_node()
        self.refusals = 0
        """So many requests are refused first."""

    def machines(self) -> Sequence[str]:
        return ["a", "b", "c"]

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def call_through(
        self,
        machine: str,
        name: str,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        timeout: float,
        request_id: str | None,
    ) -> Any:
        self.ids.append(request_id)
        self._refuse(machine)
        if name not in self.alive:
            raise NameNotFound(name)
        if request_id is None or request_id not in self.answers:
            answer = await getattr(self.alive[name], method)(*args, **kwargs)
            self.answers[request_id or ""] = self.answered(answer)
            return self.answers[request_id or ""]
        return self.answers[request_id]

    async def start_through(
        self, machine: str, cls: type[Process], name: str, args: Sequence[Any] = ()
    ) -> None:
        self._refuse(machine)
        if name in self.alive:
            raise NameTaken(name, "a")
        self.alive[name] = process = cls(*args)
        loop = asyncio.get_running_loop()
        process._context = _Context(process, loop, name, self.node)  # type: ignore[assignment]
        await process.init(None)

    async def stop_through(self, machine: str, name: str) -> None:
        self._refuse(machine)
        if self.alive.pop(name, None) is None:
            raise NameNotFound(name)
        held = self.node.registry.held
        for key in [key for key, entry in held.items() if entry.process == name]:
            del held[key]

    def answered(self, answer: Any) -> Any:
        """What crosses a network is a copy."""
        if isinstance(answer, list):
            return list(answer)
        if isinstance(answer, dict):
            return {key: self.answered(value) for key, value in answer.items()}
        return answer

    def _refuse(self, machine: str) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise NodeDraining(machine) if self.refusals % 2 else ConnectionResetError(machine)


class _Context:
    """What a process of these workloads is lent."""

    def __init__(
        self, process: Process, loop: asyncio.AbstractEventLoop, name: str, node: Any
    ) -> None:
        self.name = name
        self.node = node
        self._process = process
        self._loop = loop

    def send_after(self, seconds: float, message: Any) -> None:
        self._loop.call_later(seconds, self._send, message)

    def _send(self, message: Any) -> None:
        self._last = asyncio.ensure_future(self._process.handle_info(message))


Break = Callable[[Any, Any], None]


def problems(
    kind: type[Workload],
    damage: Break | None = None,
    access: Access | None = None,
    seconds: float = 60.0,
) -> list[str]:
    """What a workload's audit finds after a minute and this damage."""
    access = access or Memory()

    async def story() -> list[str]:
        work = kind(access, Random(1), "x-", 0.5)
        await work.prepare()
        end = access.now() + seconds
        clients = [work.work(i, lambda: access.now() >= end) for i in range(work.clients)]
        await asyncio.gather(*clients)
        if damage is not None:
            damage(access, work)
        await work.audit()
        assert work.done > 4
        if not work.problems:
            await work.tidy()
            left = [name for name in getattr(access, "alive", {}) if name.startswith("x-")]
            assert left == []
        return work.problems

    loop = SimLoop(1)
    try:
        found: list[str] = loop.run_until_complete(story())
    finally:
        loop.close()
    assert loop.failures == []
    return found


@pytest.mark.parametrize("kind", ALL)
def test_a_correct_cluster_gives_no_reason_to_complain(kind: type[Workload]):
    assert problems(kind) == []


@pytest.mark.parametrize("kind", ALL)
def test_neither_does_one_that_refuses_now_and_then(kind: type[Workload]):
    memory, rng = Memory(), Random(2)
    refuse = memory._refuse

    def sometimes(machine: str) -> None:
        memory.refusals += rng.random() < 0.1
        refuse(machine)

    def calm(*_: Any) -> None:
        memory.refusals = 0
        memory._refuse = refuse  # type: ignore[method-assign]

    memory._refuse = sometimes  # type: ignore[method-assign]
    found = problems(kind, calm, access=memory)
    assert [text for text in found if "starts of" not in text] == []


def test_what_nodes_must_offer_for_all_workloads_is_known():
    assert set(processes()) == {Ledger, Holder, Talk, Clock, Tenant, Board}
    assert processes([Accounting]) == [Ledger]


# ---- accounting ----------------------------------------------------------------------------------


def the_ledger(memory: Memory) -> list[str]:
    entries: list[str] = memory.alive["x-ledger-0"].state
    return entries


def lose(memory: Memory, _: Any) -> None:
    del the_ledger(memory)[2]


def double(memory: Memory, _: Any) -> None:
    the_ledger(memory).append(the_ledger(memory)[1])


def invent(memory: Memory, _: Any) -> None:
    the_ledger(memory).append("9-99")


@pytest.mark.parametrize(
    ("damage", "said"),
    [(lose, "x-ledger-0 lost"), (double, "more than once"), (invent, "which nobody wrote")],
)
def test_accounting_finds_an_entry_that_is_lost_doubled_or_invented(damage: Break, said: str):
    (problem,) = problems(Accounting, damage)
    assert problem.startswith("Accounting: ")
    assert said in problem


def test_accounting_does_not_miss_an_entry_that_was_never_acknowledged():
    class Deaf(Memory):
        async def call_through(self, *args: Any, **kwargs: Any) -> Any:
            if args[2] == "add":
                raise NodeDraining("a")
            return await super().call_through(*args, **kwargs)

    async def story() -> list[str]:
        work = Accounting(Deaf(), Random(1), "x-", 0.5)
        await work.prepare()
        await work.step(0, lambda: False)
        await work.audit()
        return work.problems

    assert SimLoop(1).run_until_complete(story()) == []


def test_accounting_finds_a_request_that_runs_again_when_it_is_repeated():
    """The first answer is lost on the way, and the cluster forgets what it has answered."""

    class Forgetful(Memory):
        async def call_through(self, *args: Any, **kwargs: Any) -> Any:
            answer = await super().call_through(*args, **kwargs)
            self.answers.clear()
            if args[2] == "add" and len(self.ids) % 5 == 0:
                raise ConnectionResetError
            return answer

    assert any("more than once" in text for text in problems(Accounting, access=Forgetful()))


# ---- starts and stops ----------------------------------------------------------------------------


def resurrect(memory: Memory, work: Any) -> None:
    name = min(work._ended)
    memory.alive[name] = Holder(name)


def mix_up(memory: Memory, work: Any) -> None:
    memory.alive[min(work._running)].state = "somebody else's"


@pytest.mark.parametrize(
    ("damage", "said"), [(resurrect, "was ended, and answers"), (mix_up, "somebody else's")]
)
def test_churn_finds_an_ended_name_that_is_back_and_one_that_holds_another_value(
    damage: Break, said: str
):
    found = problems(Churn, damage)
    assert found
    assert all(said in problem for problem in found)


def vanish(memory: Memory, work: Any) -> None:
    del memory.alive[min(work._running)]


def test_churn_names_a_confirmed_start_that_runs_nowhere():
    try:
        found = str(problems(Churn, vanish))
    except (HordeError, TimeoutError) as error:
        found = str(error)
    assert "x-holder-" in found


def test_churn_does_not_blame_the_cluster_for_what_it_did_not_confirm():
    class Mute(Memory):
        async def start_through(self, *args: Any, **kwargs: Any) -> None:
            await super().start_through(*args, **kwargs)
            raise ConnectionResetError

    async def story() -> tuple[list[str], Any]:
        memory = Mute()
        work = Churn(memory, Random(1), "x-", 0.5)
        for _ in range(10):
            await work.step(0, lambda: False)
        await work.audit()
        await work.tidy()
        return work.problems, memory.alive

    assert SimLoop(1).run_until_complete(story()) == ([], {})


# ---- races ---------------------------------------------------------------------------------------


class Generous(Memory):
    """Lets everybody win."""

    async def start_through(self, *args: Any, **kwargs: Any) -> None:
        self.alive.pop(args[2], None)
        await super().start_through(*args, **kwargs)


class Closed(Memory):
    """Lets nobody win, and tells nobody who has."""

    async def start_through(
        self, machine: str, cls: type[Process], name: str, args: Sequence[Any] = ()
    ) -> None:
        raise NameTaken(name, machine)


@pytest.mark.parametrize(("cluster", "winners"), [(Generous, 3), (Closed, 0)])
def test_races_finds_that_not_just_one_start_succeeded(cluster: type[Memory], winners: int):
    async def story() -> list[str]:
        work = Races(cluster(), Random(1), "x-", 0.5)
        await work.prepare()
        return work.problems

    (problem,) = SimLoop(1).run_until_complete(story())
    assert f"{winners} starts of x-race-1 succeeded" in problem


def test_races_finds_a_process_that_holds_what_was_refused():
    def turn(memory: Memory, work: Any) -> None:
        memory.alive["x-race-1"].state = "x-race-1/c"

    (problem,) = problems(Races, turn, seconds=120)
    assert "whose start was refused" in problem


def test_races_passes_on_what_is_no_documented_error():
    class Broken(Memory):
        async def start_through(self, *args: Any, **kwargs: Any) -> None:
            raise KeyError("internal")

    with pytest.raises(KeyError):
        SimLoop(1).run_until_complete(Races(Broken(), Random(1), "x-").prepare())


# ---- meetings ------------------------------------------------------------------------------------


def minutes(memory: Memory) -> dict[str, Any]:
    found: dict[str, Any] = memory.alive["x-meeting"].state
    return found


def forget_a_line(memory: Memory, _: Any) -> None:
    del minutes(memory)["lines"]["speaker-1"][3]


def swap_two_lines(memory: Memory, _: Any) -> None:
    lines = minutes(memory)["lines"]["speaker-0"]
    lines[0], lines[1] = lines[1], lines[0]


def forget_a_speaker(memory: Memory, _: Any) -> None:
    del minutes(memory)["lines"]["speaker-0"]


def stop_the_clock(memory: Memory, _: Any) -> None:
    memory.alive["x-meeting"].handle_info = _nothing


async def _nothing(_: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (forget_a_line, "speaker 1 said 0 to"),
        (swap_two_lines, "speaker 0 said 0 to"),
        (forget_a_speaker, "speaker 0 said 0 to"),
        (stop_the_clock, "timer stands still"),
    ],
)
def test_meetings_finds_lost_and_swapped_lines_and_a_stopped_clock(damage: Break, said: str):
    (problem,) = problems(Meetings, damage)
    assert said in problem


# ---- the way to the cluster ----------------------------------------------------------------------


def asking(refusals: int, over: Callable[[], bool] = lambda: False) -> tuple[Any, Memory, float]:
    memory = Memory()

    async def story() -> Any:
        work = Accounting(memory, Random(1), "x-")
        await work.prepare()
        memory.refusals = refusals
        return await work.ask("x-ledger-0", "add", "entry", over=over)

    loop = SimLoop(1)
    try:
        return loop.run_until_complete(story()), memory, loop.time() - 1000
    except TimeoutError:
        return None, memory, loop.time() - 1000


def test_a_request_is_sent_again_with_its_id_until_it_is_answered():
    answer, memory, _ = asking(refusals=5)
    assert answer == 1
    assert len(memory.ids) == 6
    assert len(set(memory.ids)) == 1


def test_a_request_is_given_up_after_a_while_or_when_it_is_over():
    answer, _, seconds = asking(refusals=10**6)
    assert answer is None
    assert GIVE_UP <= seconds < GIVE_UP + 1
    answer, memory, seconds = asking(refusals=10**6, over=lambda: True)
    assert (answer, memory.ids, seconds) == (None, [], 0)


def test_without_machines_a_client_waits_for_one():
    class Empty(Memory):
        def machines(self) -> Sequence[str]:
            return ["a"] if self.now() > 1010 else []

    async def story() -> float:
        memory = Empty()
        work = Churn(memory, Random(1), "x-")
        await work.step(0, lambda: False)
        assert memory.alive == {}
        await work.started(Holder, "x-one", "value")
        return memory.now()

    assert SimLoop(1).run_until_complete(story()) >= 1010


# ---- what the processes promise ------------------------------------------------------------------


def test_a_ledgers_merge_keeps_what_either_side_had_once():
    async def story() -> None:
        one, two = Ledger(), Ledger()
        one.state, two.state = ["a", "b"], ["b", "c"]
        await one.merge(two)  # type: ignore[arg-type]
        assert one.state == ["a", "b", "c"]

    asyncio.run(story())


def test_a_talks_merge_keeps_the_lines_that_either_side_heard_in_order():
    async def story() -> None:
        one, two = Talk(), Talk()
        assert await one.say("x", 0) == 1
        assert await one.say("x", 0) == 1
        for number in (0, 1):
            await two.say("x", number)
        await two.say("y", 0)
        await one.merge(two)  # type: ignore[arg-type]
        assert (await one.minutes())["lines"] == {"x": [0, 1], "y": [0]}

    asyncio.run(story())


def stop_one_clock(memory: Memory, work: Any) -> None:
    memory.alive[work.names[0]].handle_info = _nothing


def test_a_clock_that_stands_still_is_named():
    assert problems(Clocks, stop_one_clock) == ["Clocks: x-clock-0 stands still"]
