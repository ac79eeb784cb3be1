"""Calls by name: which are sent again, which are not, and what the caller hears."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde import Process, call, cast
from pyhorde.cluster.member import Status
from pyhorde.crdt import Dot
from pyhorde.errors import (
    CallTimeout,
    CannotTravel,
    Indeterminate,
    InvalidName,
    MailboxFull,
    NameNotFound,
    NotHere,
    RemoteError,
    to_wire,
)
from pyhorde.runtime.messages import CallRequest, CastMessage, Reply
from pyhorde.runtime.record import Claim, Life, Spec, encode_claim
from tests.unit.runtime.stage import Stage, member, outcome, turns, until, virtual_time

TYPE = f"{__name__}:Echo"
LIFE = Life(1, "start")


class Echo(Process):
    shutdown = 1.0
    heard: list[Any]

    def __init__(self) -> None:
        self.heard = []

    @call
    async def echo(self, what: Any = None) -> Any:
        self.heard.append(what)
        return what

    @call
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @call
    async def ask_itself(self) -> Any:
        return await self.ref.options(timeout=1.0).call("echo", 1)

    @cast
    async def note(self, what: Any) -> None:
        self.heard.append(what)


def trio() -> Stage:
    return Stage(Echo, others=(member("b", TYPE), member("c", TYPE)), call_timeout=5.0)


class Elsewhere:
    """The name ``far``, run by another node as far as this one knows."""

    def __init__(self, stage: Stage, node: str = "b", durability: str = "none") -> None:
        self.stage = stage
        self.durability = durability
        self.epoch = 0
        self.runs_on(node)
        spec = Spec(TYPE, b"", "permanent", durability, 1, LIFE)
        stage.names.publish("far", spec)
        stage.supervisor.phases.clear()

    def runs_on(self, node: str) -> None:
        replica = self.stage.other(node)
        self.stage.take(replica)
        self.epoch += 1
        said = Claim("far", Dot(replica.origin, 0), self.epoch, node, TYPE, LIFE)
        replica.add("far", encode_claim(said))
        self.stage.bring(replica)


def calling(stage: Stage, *args: Any, **options: Any) -> asyncio.Task[Any]:
    options = {"timeout": 5.0, **options}
    work = stage.router.call("far", "echo", list(args), {}, **options)
    return asyncio.create_task(outcome(work))


def reply(stage: Stage, request: CallRequest, result: Any, boot: str = "boot-b") -> None:
    if isinstance(result, Exception):
        error: Any = result
        stage.cluster.deliver(boot, Reply(request.id, None, to_wire(error)))
    else:
        stage.cluster.deliver(boot, Reply(request.id, stage.codec.encode(result), None))


async def request(stage: Stage, number: int = 1) -> CallRequest:
    await until(lambda: len(stage.cluster.messages(CallRequest)) >= number, "the request")
    found: CallRequest = stage.cluster.messages(CallRequest)[number - 1]
    return found


# ---- to this node -------------------------------------------------------------------------


@virtual_time
async def test_a_process_of_this_node_is_called_without_the_network():
    async with Stage(Echo) as stage:
        await stage.face.start_child(Echo, "near")
        assert await stage.router.call("near", "echo", [7], {}) == 7
        assert stage.cluster.sent == []


@virtual_time
async def test_a_name_that_nothing_has_is_not_found_at_once():
    async with Stage(Echo) as stage:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(NameNotFound):
            await stage.router.call("nobody", "echo", [], {})
        with pytest.raises(NameNotFound):
            await stage.router.cast("nobody", "note", [1], {})
        assert loop.time() == began


@pytest.mark.parametrize("name", ["", "x" * 513, "\ud800"])
@virtual_time
async def test_what_is_no_name_is_refused(name: str):
    async with Stage(Echo) as stage:
        with pytest.raises(InvalidName):
            await stage.router.call(name, "echo", [], {})
        with pytest.raises(InvalidName):
            await stage.router.cast(name, "note", [], {})


@virtual_time
async def test_what_cannot_travel_is_refused_before_anything_is_sent():
    async with Stage(Echo) as stage:
        await stage.face.start_child(Echo, "near")
        for method, args, options in (
            ("echo", [object()], {}),
            ("\ud800", [], {}),
            ("echo", [], {"request_id": "\ud800"}),
        ):
            with pytest.raises(CannotTravel):
                await stage.router.call("near", method, args, {}, **options)
        with pytest.raises(CannotTravel):
            await stage.router.cast("near", "\ud800", [], {})
        assert await stage.router.call("near", "echo", [1], {}) == 1


@virtual_time
async def test_a_process_that_calls_itself_times_out_and_lives_on():
    async with Stage(Echo) as stage:
        ref = await stage.face.start_child(Echo, "near")
        error = await outcome(ref.call(Echo.ask_itself))
        assert isinstance(error, RemoteError) and error.type_name == "CallTimeout"
        assert await ref.call(Echo.echo, 5) == 5


@virtual_time
async def test_a_call_into_a_full_mailbox_is_refused():
    async with Stage(Echo, mailbox_limit=1) as stage:
        ref = await stage.face.start_child(Echo, "near")
        hanging = []
        for _ in range(2):
            hanging.append(asyncio.create_task(outcome(ref.call(Echo.hang))))
            await turns()
        assert isinstance(await outcome(ref.call(Echo.echo)), MailboxFull)
        assert isinstance(await outcome(ref.cast(Echo.note, 1)), MailboxFull)
        for task in hanging:
            task.cancel()


# ---- to another node ----------------------------------------------------------------------


@virtual_time
async def test_a_call_goes_to_the_node_of_the_owner_and_its_reply_comes_back():
    async with trio() as stage:
        Elsewhere(stage)
        task = calling(stage, 7, request_id="x")
        sent = await request(stage)
        assert (sent.name, sent.method, sent.request_id) == ("far", "echo", "x")
        assert 4.9 <= sent.timeout <= 5.0
        reply(stage, sent, "seven")
        assert await task == "seven"


@virtual_time
async def test_an_error_of_the_process_is_the_callers_and_is_not_retried():
    async with trio() as stage:
        Elsewhere(stage)
        task = calling(stage)
        reply(stage, await request(stage), RemoteError("ValueError", "no"))
        assert isinstance(await task, RemoteError)
        assert len(stage.cluster.messages(CallRequest)) == 1


@virtual_time
async def test_a_call_that_certainly_did_not_run_follows_the_process_to_its_next_owner():
    async with trio() as stage:
        far = Elsewhere(stage)
        task = calling(stage, request_id="x")
        reply(stage, await request(stage), NotHere("far", "b"))
        await turns()
        assert not task.done()
        far.runs_on("c")
        again = await request(stage, 2)
        assert stage.cluster.sent[-1][0] == "boot-c" and again.request_id == "x"
        reply(stage, again, "from c", "boot-c")
        assert await task == "from c"


@virtual_time
async def test_a_call_without_a_link_waits_for_one():
    async with trio() as stage:
        Elsewhere(stage)
        stage.cluster.unlink("boot-b")
        task = calling(stage)
        await asyncio.sleep(1.0)
        assert stage.cluster.messages(CallRequest) == []
        stage.cluster.link("boot-b")
        reply(stage, await request(stage), "at last")
        assert await task == "at last"


@virtual_time
async def test_a_call_of_a_name_without_an_owner_waits_for_one():
    async with trio() as stage:
        far = Elsewhere(stage)
        stage.supervisor.draining = True
        stage.cluster.lose("b")
        task = calling(stage)
        await asyncio.sleep(1.0)
        assert stage.cluster.messages(CallRequest) == []
        far.runs_on("c")
        reply(stage, await request(stage), "adopted", "boot-c")
        assert await task == "adopted"


@virtual_time
async def test_a_call_of_a_name_that_ends_meanwhile_is_not_found():
    async with trio() as stage:
        Elsewhere(stage)
        task = calling(stage)
        sent = await request(stage)
        stage.names.end("far", "over")
        stage.cluster.see(member("b", TYPE, status=Status.DEAD))
        reply(stage, sent, NotHere("far", "b"))
        assert isinstance(await task, NameNotFound)


# ---- a link lost during the call ----------------------------------------------------------


@virtual_time
async def test_the_fate_of_a_call_whose_node_died_is_not_guessed():
    async with trio() as stage:
        Elsewhere(stage)
        task = calling(stage)
        await request(stage)
        stage.cluster.unlink("boot-b")
        await asyncio.sleep(1.0)
        assert not task.done()
        stage.cluster.lose("b")
        error = await task
        assert isinstance(error, Indeterminate) and "'b'" in error.reason
        assert len(stage.cluster.messages(CallRequest)) == 1


@virtual_time
async def test_the_fate_of_a_call_whose_node_came_back_as_another_boot_is_not_guessed_either():
    async with trio() as stage:
        Elsewhere(stage)
        task = calling(stage)
        await request(stage)
        stage.cluster.unlink("boot-b")
        stage.cluster.see(member("b", TYPE, boot="newer"))
        assert isinstance(await task, Indeterminate)


@virtual_time
async def test_a_replicated_process_is_asked_again_with_the_same_id_wherever_it_runs():
    async with trio() as stage:
        far = Elsewhere(stage, durability="replicated")
        stage.supervisor.draining = True
        task = calling(stage, request_id="x")
        await request(stage)
        stage.cluster.lose("b")
        far.runs_on("c")
        again = await request(stage, 2)
        assert again.request_id == "x"
        reply(stage, again, "recorded", "boot-c")
        assert await task == "recorded"


@virtual_time
async def test_when_the_link_comes_back_the_same_request_is_sent_again():
    async with trio() as stage:
        Elsewhere(stage)
        task = calling(stage)
        first = await request(stage)
        stage.cluster.unlink("boot-b")
        await turns()
        stage.cluster.link("boot-b")
        again = await request(stage, 2)
        assert again.request_id == first.request_id and again.id != first.id
        reply(stage, again, "once")
        assert await task == "once"


@virtual_time
async def test_a_node_that_left_in_good_order_has_handed_over_what_it_answered():
    async with trio() as stage:
        far = Elsewhere(stage)
        stage.supervisor.draining = True
        task = calling(stage, request_id="x")
        await request(stage)
        stage.cluster.lose("b", Status.LEFT)
        far.runs_on("c")
        again = await request(stage, 2)
        assert again.request_id == "x"
        reply(stage, again, "handed over", "boot-c")
        assert await task == "handed over"


# ---- time-outs ----------------------------------------------------------------------------


@virtual_time
async def test_a_time_out_names_the_handler_when_that_is_what_hangs():
    async with Stage(Echo) as stage:
        ref = await stage.face.start_child(Echo, "near")
        error = await outcome(ref.options(timeout=1.0).call(Echo.hang))
        assert isinstance(error, CallTimeout)
        assert (error.name, error.method, error.timeout) == ("near", "hang", 1.0)
        assert error.detail == "the handler has not finished"


@virtual_time
async def test_a_time_out_says_that_nobody_runs_the_name():
    async with trio() as stage:
        Elsewhere(stage)
        stage.supervisor.draining = True
        stage.cluster.lose("b")
        error = await calling(stage)
        assert isinstance(error, CallTimeout) and error.detail == "no node runs it now"


@virtual_time
async def test_a_time_out_says_that_there_was_no_connection():
    async with trio() as stage:
        Elsewhere(stage)
        stage.cluster.unlink("boot-b")
        error = await calling(stage)
        assert isinstance(error, CallTimeout) and "no connection to node 'b'" in error.detail


@virtual_time
async def test_a_time_out_says_that_the_connection_was_lost_on_the_way():
    async with trio() as stage:
        Elsewhere(stage)
        task = calling(stage)
        await request(stage)
        stage.cluster.unlink("boot-b")
        error = await task
        assert isinstance(error, CallTimeout) and "was lost during the call" in error.detail


@virtual_time
async def test_a_time_out_says_that_the_process_is_not_where_it_should_be():
    async with trio() as stage:
        Elsewhere(stage)
        task = calling(stage)
        for number in range(1, 500):
            if task.done():
                break
            await asyncio.wait(
                [task, asyncio.ensure_future(request(stage, number))],
                return_when=asyncio.FIRST_COMPLETED,
                timeout=1.0,
            )
            found = stage.cluster.messages(CallRequest)
            if not task.done() and len(found) >= number:
                reply(stage, found[number - 1], NotHere("far", "b"))
        error = await task
        assert isinstance(error, CallTimeout) and "does not run on node 'b'" in error.detail
        assert 10 <= len(stage.cluster.messages(CallRequest)) <= 100


@virtual_time
async def test_a_time_out_after_a_move_names_what_holds_it_up_now():
    async with trio() as stage:
        far = Elsewhere(stage)
        task = calling(stage)
        reply(stage, await request(stage), NotHere("far", "b"))
        far.runs_on("c")
        await request(stage, 2)
        error = await task
        assert isinstance(error, CallTimeout) and error.detail == "the handler has not finished"


# ---- casts --------------------------------------------------------------------------------


@virtual_time
async def test_a_cast_is_sent_once_to_the_owner():
    async with trio() as stage:
        Elsewhere(stage)
        await stage.router.cast("far", "note", [1], {})
        assert stage.cluster.messages(CastMessage) == [
            CastMessage("far", "note", stage.codec.encode([[1], {}]))
        ]


@virtual_time
async def test_a_cast_waits_for_an_owner():
    async with trio() as stage:
        far = Elsewhere(stage)
        stage.supervisor.draining = True
        stage.cluster.lose("b")
        task = asyncio.create_task(stage.router.cast("far", "note", [1], {}))
        await asyncio.sleep(1.0)
        assert not task.done()
        far.runs_on("c")
        await task
        assert [boot for boot, _ in stage.cluster.sent] == ["boot-c"]


@virtual_time
async def test_a_cast_that_nobody_takes_times_out():
    async with trio() as stage:
        Elsewhere(stage)
        stage.cluster.unlink("boot-b")
        with pytest.raises(CallTimeout):
            await stage.router.cast("far", "note", [1], {})


@virtual_time
async def test_a_cast_that_arrives_for_a_process_on_the_move_reaches_its_next_owner():
    async with trio() as stage:
        await stage.face.start_child(Echo, "far")
        cell = stage.cells["far"]
        await cell.freeze()
        message = CastMessage("far", "note", stage.codec.encode([[1], {}]))
        stage.cluster.deliver("boot-b", message)
        await turns()
        stage.supervisor.draining = True
        stage.names.release(stage.names.own_claims("far"))
        await asyncio.sleep(0.5)
        replica, spec = stage.other("c"), stage.names.spec("far")
        assert spec is not None
        said = Claim("far", Dot("boot-c", 0), 2, "c", TYPE, spec.life)
        stage.take(replica)
        replica.add("far", encode_claim(said))
        stage.bring(replica)
        await until(lambda: ("boot-c", message) in stage.cluster.sent, "the cast moves on")


@virtual_time
async def test_a_cast_that_arrives_for_nobody_is_dropped():
    async with trio() as stage:
        stage.cluster.deliver("boot-b", CastMessage("nobody", "note", b""))
        await turns()
        assert stage.cluster.sent == []


# ---- what other nodes ask -----------------------------------------------------------------


@virtual_time
async def test_a_call_from_another_node_is_answered():
    async with trio() as stage:
        await stage.starter._start_here("near", TYPE, stage.codec.encode([[], {}]), "s")
        stage.cluster.sent.clear()
        data = stage.codec.encode([[7], {}])
        stage.cluster.deliver("boot-b", CallRequest(3, "near", "echo", data, "x", 1.0))
        stage.cluster.deliver("boot-b", CallRequest(4, "gone", "echo", data, "y", 1.0))
        await until(lambda: len(stage.cluster.messages(Reply)) == 2, "both replies")
        replies = {r.id: r for r in stage.cluster.messages(Reply)}
        assert replies[3].result == stage.codec.encode(7)
        assert replies[4].error[0] == "not_here"


@virtual_time
async def test_closing_drops_what_was_to_be_forwarded():
    async with trio() as stage:
        await stage.face.start_child(Echo, "far")
        await stage.cells["far"].freeze()
        data = stage.codec.encode([[1], {}])
        stage.cluster.deliver("boot-b", CastMessage("far", "note", data))
        await turns()
        await stage.router.aclose()
        await stage.router.aclose()
        assert len(asyncio.all_tasks()) == 1
