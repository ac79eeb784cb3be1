"""The answers a process gave lately: a repeated request is answered, not run again. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

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
    _given: OrderedDict[str, bytes | HordeError] = field(default_factory=OrderedDict)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._given

    def __len__(self) -> int:
        return len(self._given)

    def given(self, request_id: str) -> bytes:
        """The answer. Raises it if it was an error."""
        answer = self._given[request_id]
        if isinstance(answer, HordeError):
            raise answer
        return answer

    def remember(self, request_id: str, answer: bytes | HordeError) -> None:
        """Keep an answer; the oldest is forgotten past the limit."""
        self._given[request_id] = answer
        while len(self._given) > self.limit:
            self._given.popitem(last=False)

    def latest(self, room: int = SAVED_BYTES) -> Answers:
        """The latest answers as plain data, newest last, as far as they fit into ``room`` bytes."""
        kept: Answers = []
        for request_id, given in reversed(self._given.items()):
            answer = given
            if isinstance(answer, bytes) and len(answer) > ANSWER_BYTES:
                answer = CannotTravel("the answer given before", "it was too large to be kept")
            good = isinstance(answer, bytes)
            payload = answer if isinstance(answer, bytes) else to_wire(answer)
            room -= len(request_id) + len(payload if isinstance(payload, bytes) else str(payload))
            if room < 0:
                break
            kept.append([request_id, good, payload])
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
