"""The answers a process gave lately: a repeated request is answered, not run again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pyhorde.errors import CannotTravel, HordeError, from_wire, to_wire
from pyhorde.runtime.record import Answers

SAVED_BYTES: Final = 64 * 1024
"""As many of the latest answers as fit into this travel with the state."""
ANSWER_BYTES: Final = 8 * 1024
"""Of a larger answer only the fact that it was given travels: the request is not run again."""


@dataclass(slots=True)
class RecentAnswers:
    """Request id to encoded result, or to the error that was the answer."""

    limit: int = 256
    _given: dict[str, list[Any]] = field(default_factory=dict)
    """The answers as they travel, oldest first."""
    _whole: dict[str, bytes | HordeError] = field(default_factory=dict)
    """Those that travel in another form than they were given in."""
    _size: int = 0

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._given

    def __len__(self) -> int:
        return len(self._given)

    def given(self, request_id: str) -> bytes:
        """The answer. Raises it if it was an error."""
        answer = self._whole.get(request_id)
        if isinstance(answer, HordeError):
            raise answer
        kept: bytes = self._given[request_id][2]
        return kept if answer is None else answer

    def remember(self, request_id: str, answer: bytes | HordeError) -> None:
        """Keep an answer; the oldest is forgotten past the limit."""
        if request_id in self._given:
            self._size -= _size(self._given[request_id])
            self._whole.pop(request_id, None)
        if isinstance(answer, bytes) and len(answer) <= ANSWER_BYTES:
            entry: list[Any] = [request_id, True, answer]
        else:
            self._whole[request_id] = answer
            entry = [request_id, False, to_wire(_as_error(answer))]
        self._given[request_id] = entry
        self._size += _size(entry)
        while len(self._given) > self.limit:
            oldest = next(iter(self._given))
            self._size -= _size(self._given.pop(oldest))
            self._whole.pop(oldest, None)

    def latest(self, room: int = SAVED_BYTES) -> Answers:
        """The latest answers as plain data, newest last, as far as they fit into ``room`` bytes."""
        if self._size <= room:
            return list(self._given.values())
        kept: Answers = []
        for entry in reversed(self._given.values()):
            room -= _size(entry)
            if room < 0:
                break
            kept.append(entry)
        return kept[::-1]

    def restore(self, saved: Answers, *, replace: bool = True) -> None:
        """Take over what ``latest`` gave; malformed entries are passed over.

        Without ``replace``, an answer that was given here stays.
        """
        for entry in saved:
            match entry:
                case [str(request_id), *_] if not replace and request_id in self._given:
                    pass
                case [str(request_id), True, bytes(payload)]:
                    self.remember(request_id, payload)
                case [str(request_id), False, payload]:
                    self.remember(request_id, from_wire(payload))


def _as_error(answer: bytes | HordeError) -> HordeError:
    """What is said instead of an answer that is too large to travel."""
    if isinstance(answer, HordeError):
        return answer
    return CannotTravel("the answer given before", "it was too large to be kept")


def _size(entry: list[Any]) -> int:
    request_id, _, payload = entry
    return len(request_id) + len(payload if isinstance(payload, bytes) else str(payload))
