"""A meeting that outlives the machine it runs on: one long-lived process per running meeting.

The process listens to the transcript line by line and remembers who is in the room and what the
talk is about. Handlers run one at a time, so plain Python on ``self.state`` is all it takes; where
the process runs, and what happens when that node dies, is the cluster's business.

``pyhorde demo`` runs six of these while it kills one node and restarts another.
"""

from __future__ import annotations

import hashlib
import re
from itertools import zip_longest
from typing import Any, TypedDict

from pyhorde import Process, Resume, call, cast

MOST_LINES = 100_000
TOP_KEYWORDS = 5

_PREFIX = re.compile(r"^\[[\d:]+\]\s*")
_DOOR = re.compile(r"^\* (?P<who>.+) (?P<way>joined|left)$")
_SPEAKER = re.compile(r"^[^:]{1,40}:\s+")
_WORD = re.compile(r"[a-z]{5,}")
_FILLERS = (
    "about after again against almost already always another anyone anything because been before"
    " being better between could doing during either enough every everyone everything first from"
    " given going great happen happened having instead itself least maybe might minute minutes"
    " morning nobody nothing often other people perhaps please point quite rather really right"
    " second shall should since somebody someone something still thank thanks their theirs there"
    " these thing things think third those three through today together tomorrow under until"
    " wants whatever where whether which while whole whose without would yesterday yours"
)
_COMMON = frozenset(_FILLERS.split())


class Minutes(TypedDict):
    """What a meeting remembers: plain values, so it can travel to another node as it is."""

    title: str
    agenda: list[str]
    lines: list[str]  # line n stands at position n - 1; "" marks one that has not arrived
    keywords: dict[str, int]
    present: list[str]
    notes: list[str]
    moves: list[dict[str, Any]]


class Meeting(Process):
    """One meeting. ``checkpoint``: a crash may cost the last second, a graceful move nothing."""

    durability = "checkpoint"

    def __init__(self, title: str = "Untitled", agenda: list[str] | None = None) -> None:
        self.state: Minutes = {
            "title": title,
            "agenda": list(agenda or ()),
            "lines": [],
            "keywords": {},
            "present": [],
            "notes": [],
            "moves": [],
        }

    async def init(self, resume: Resume | None) -> None:
        """Before the first message; after a move or a crash ``self.state`` is already back."""
        if resume is not None:
            self.state["moves"].append(
                {"kind": resume.kind, "from": resume.node, "epoch": resume.epoch}
            )

    async def merge(self, other: Resume) -> None:
        """A duplicate was found, say after a partition: keep what either of the two heard."""
        theirs: Minutes = other.state
        both = zip_longest(self.state["lines"], theirs["lines"], fillvalue="")
        self.state["lines"] = [ours or heard for ours, heard in both]
        known = set(self.state["notes"])
        self.state["notes"] += [note for note in theirs["notes"] if note not in known]
        self._listen_again()

    @call
    async def add_line(self, number: int, text: str) -> int:
        """Remember line ``number`` (from 1); the same number again changes nothing.

        Returns how many lines the meeting has heard.
        """
        if not 1 <= number <= MOST_LINES or not text.strip():
            raise ValueError(f"line {number} needs a number from 1 to {MOST_LINES} and a text")
        lines = self.state["lines"]
        newest = number > len(lines)
        lines += [""] * (number - len(lines))
        if not lines[number - 1]:
            lines[number - 1] = text
            if newest:
                self._listen(text)
            else:  # it came late: who is present depends on the order
                self._listen_again()
        return self._heard()

    @call
    async def summary(self) -> dict[str, Any]:
        """The meeting in brief. ``missing``: numbers below ``last`` that never arrived."""
        lines, words = self.state["lines"], self.state["keywords"]
        return {
            "title": self.state["title"],
            "agenda": self.state["agenda"],
            "lines": self._heard(),
            "last": len(lines),
            "missing": [number for number, text in enumerate(lines, 1) if not text],
            "digest": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
            "keywords": sorted(words, key=lambda word: (-words[word], word))[:TOP_KEYWORDS],
            "present": self.state["present"],
            "notes": self.state["notes"],
            "moves": self.state["moves"],
        }

    @call
    async def lines(self, first: int = 0, count: int = 50) -> list[str]:
        """``count`` lines from position ``first`` (from 0)."""
        return self.state["lines"][max(first, 0) : max(first, 0) + max(count, 0)]

    @call
    async def present(self) -> list[str]:
        """Who is in the room, in the order of joining."""
        return self.state["present"]

    @call
    async def search(self, word: str) -> list[str]:
        """The lines that contain ``word``, whatever its case."""
        return [line for line in self.state["lines"] if word.casefold() in line.casefold()]

    @cast
    async def note(self, text: str) -> None:
        """Leave a note for the minutes; nobody waits for an answer."""
        self.state["notes"].append(text)

    def _heard(self) -> int:
        return sum(1 for line in self.state["lines"] if line)

    def _listen(self, text: str) -> None:
        said = _PREFIX.sub("", text)
        if door := _DOOR.match(said):
            self._pass_door(door["who"], came=door["way"] == "joined")
            return
        keywords = self.state["keywords"]
        for word in _WORD.findall(_SPEAKER.sub("", said).lower()):
            if word not in _COMMON:
                keywords[word] = keywords.get(word, 0) + 1

    def _pass_door(self, who: str, *, came: bool) -> None:
        present = self.state["present"]
        if came and who not in present:
            present.append(who)
        elif not came and who in present:
            present.remove(who)

    def _listen_again(self) -> None:
        self.state["keywords"] = {}
        self.state["present"] = []
        for line in filter(None, self.state["lines"]):
            self._listen(line)


class DurableMeeting(Meeting):
    """A meeting that loses no acknowledged line, not even to a crash.

    Each answer waits until another node holds the change, which costs one round trip.
    """

    durability = "replicated"
