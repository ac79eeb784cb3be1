"""What can wait in a process's mailbox."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeAlias

from pyhorde.errors import HordeError
from pyhorde.runtime.process import Resume
from pyhorde.runtime.record import Answers


@dataclass(slots=True)
class CallItem:
    """Run a method; ``answer`` becomes its encoded result."""

    method: str
    arguments: bytes
    request_id: str
    answer: asyncio.Future[bytes]


@dataclass(slots=True)
class CastItem:
    """Run a method; nobody waits."""

    method: str
    arguments: bytes


@dataclass(slots=True)
class InfoItem:
    """Something for ``handle_info``."""

    message: Any


@dataclass(slots=True)
class MergeItem:
    """The state and answers of a duplicate that lost; ``done`` once they have been taken in."""

    other: Resume
    answers: Answers
    done: asyncio.Future[None]


Item: TypeAlias = CallItem | CastItem | InfoItem | MergeItem


def fail(future: asyncio.Future[Any], error: HordeError) -> None:
    """Give whoever waits the error, unless there is an outcome already.

    It counts as seen: every waiter may have gone by now.
    """
    if not future.done():
        future.set_exception(error)
        future.exception()
