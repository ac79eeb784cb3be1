"""Requests and replies between nodes: each request ends, once, and nobody else can end it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde.errors import NameTaken, RemoteError, StreamClosed, to_wire
from pyhorde.runtime.messages import CastMessage, Reply
from pyhorde.runtime.requests import Requests
from tests.unit.runtime.stage import FakeCluster, member, turns, virtual_time


def pair() -> tuple[FakeCluster, Requests]:
    cluster = FakeCluster(member("a"), member("b"), member("c"))
    shape: Any = cluster
    return cluster, Requests(shape)


def asking(requests: Requests, boot: str = "boot-b") -> asyncio.Task[Any]:
    return asyncio.create_task(
        requests.ask(boot, lambda number: CastMessage(str(number), "m", b""))
    )


@virtual_time
async def test_a_reply_goes_to_the_request_of_its_number():
    cluster, requests = pair()
    first, second = asking(requests), asking(requests)
    await turns()
    numbers = [int(message.name) for _, message in cluster.sent]
    cluster.deliver("boot-b", Reply(numbers[1], b"two", None))
    cluster.deliver("boot-b", Reply(numbers[0], b"one", None))
    assert (await first, await second) == (b"one", b"two")
    assert requests._pending == {}


@virtual_time
async def test_an_error_in_the_reply_is_raised():
    cluster, requests = pair()
    task = asking(requests)
    await turns()
    cluster.deliver("boot-b", Reply(1, None, to_wire(NameTaken("n", "b"))))
    with pytest.raises(NameTaken) as caught:
        await task
    assert caught.value.owner == "b"


@pytest.mark.parametrize(
    "error", [[], ["no_such_code", {}], ["name_taken", 5], [[], {}], [1, 2, 3]]
)
@virtual_time
async def test_a_malformed_error_is_an_error_all_the_same(error: list[Any]):
    cluster, requests = pair()
    task = asking(requests)
    await turns()
    cluster.deliver("boot-b", Reply(1, None, error))
    with pytest.raises(RemoteError):
        await task


@virtual_time
async def test_a_reply_from_another_node_or_to_no_request_changes_nothing():
    cluster, requests = pair()
    task = asking(requests)
    await turns()
    cluster.deliver("boot-c", Reply(1, b"forged", None))
    cluster.deliver("boot-b", Reply(77, b"stray", None))
    await turns()
    assert not task.done()
    cluster.deliver("boot-b", Reply(1, b"real", None))
    cluster.deliver("boot-b", Reply(1, b"twice", None))
    assert await task == b"real"


@virtual_time
async def test_without_a_link_it_is_certain_that_nothing_was_sent():
    cluster, requests = pair()
    with pytest.raises(ConnectionError):
        await asking(requests, "boot-unknown")
    assert cluster.sent == [] and requests._pending == {}


@virtual_time
async def test_a_lost_link_ends_the_requests_to_that_node_and_no_others():
    cluster, requests = pair()
    to_b, to_c = asking(requests), asking(requests, "boot-c")
    await turns()
    cluster.unlink("boot-b")
    with pytest.raises(StreamClosed):
        await to_b
    assert not to_c.done()
    cluster.deliver("boot-c", Reply(2, b"", None))
    assert await to_c == b""


@virtual_time
async def test_nothing_is_left_of_a_request_that_was_given_up():
    cluster, requests = pair()
    task = asking(requests)
    await turns()
    task.cancel()
    await asyncio.wait([task])
    assert requests._pending == {}
    cluster.deliver("boot-b", Reply(1, b"late", None))


async def _answer(result: Any) -> Any:
    if isinstance(result, BaseException):
        raise result
    return result


@virtual_time
async def test_what_is_asked_here_is_answered_with_the_result_or_the_error():
    cluster, requests = pair()
    requests.serve("boot-b", 1, _answer(b"done"))
    requests.serve("boot-b", 2, _answer(NameTaken("n", "a")))
    requests.serve("boot-b", 3, _answer(ValueError("a bug")))
    await turns()
    one, two, three = (message for _, message in cluster.sent)
    assert one == Reply(1, b"done", None)
    assert two == Reply(2, None, ["name_taken", {"name": "n", "owner": "a"}])
    assert three.error[0] == "remote_error" and three.error[1]["type_name"] == "ValueError"


@virtual_time
async def test_who_leaves_waits_for_what_it_was_asked_but_not_for_ever():
    cluster, requests = pair()
    requests.serve("boot-b", 1, asyncio.sleep(0.5, b"done"))
    await requests.settled(1.0)
    assert cluster.sent == [("boot-b", Reply(1, b"done", None))]
    requests.serve("boot-b", 2, asyncio.sleep(50, b"late"))
    await requests.settled(1.0)
    assert len(cluster.sent) == 1
    await requests.aclose()


@virtual_time
async def test_closing_ends_everything_and_can_be_done_twice():
    _, requests = pair()
    task = asking(requests)
    requests.serve("boot-b", 5, asyncio.sleep(50, b""))
    await turns()
    await requests.aclose()
    await requests.aclose()
    with pytest.raises(StreamClosed):
        await task
    assert len(asyncio.all_tasks()) == 1
