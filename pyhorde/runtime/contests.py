"""Keys that several processes hold: all but one let go.

Two nodes can register one key at once, or on both sides of a split. Every node sees the same claims
and chooses the same one; the others are withdrawn by those who made them, and their processes are
told. Nobody lets go on hearsay: the node of the claim that stays is asked first whether that claim
is still there. A process's own name beats a key of the same text in the default registry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from itertools import islice
from typing import Final

from pyhorde.cluster.tasks import Tasks
from pyhorde.crdt import Joined
from pyhorde.errors import HordeError
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.keys import DUPLICATE, UNIQUE, Held, Keys, KeyTable
from pyhorde.runtime.messages import KeyQuestion
from pyhorde.runtime.names import Names
from pyhorde.runtime.requests import Requests

log = logging.getLogger("pyhorde.registry")

AT_ONCE: Final = 500
"""Keys that are looked at in one step."""
ANSWER_WITHIN: Final = 2.0


class Contests:
    """This node's part in every contest. Level-triggered: what is contested is looked at again."""

    def __init__(
        self, keys: Keys, names: Names, requests: Requests, cells: dict[str, Cell]
    ) -> None:
        self._keys = keys
        self._names = names
        self._requests = requests
        self._cells = cells
        self._me = keys.replica.origin
        self._due: dict[tuple[str, str], None] = {}
        self._working = False
        self._tasks = Tasks()

    def learned(self, joined: Joined, specs: Iterable[str] = ()) -> None:
        """Keys were claimed, or names given: some may be contested now."""
        for added in joined.added:
            if added.table.startswith(UNIQUE):
                contested = self._keys.table(added.table).contested_among(added.run.keys)
                self.look_at((added.table, key) for key in contested)
        default = self._keys.default
        self.look_at((default.table, name) for name in specs if default.has(name))

    def look(self) -> None:
        """Look at everything that is contested."""
        for table in self._keys.tables():
            if not table.table.startswith(DUPLICATE):
                self.look_at((table.table, key) for key in table.contested())

    def look_at(self, contested: Iterable[tuple[str, str]]) -> None:
        """Look at these keys, soon."""
        self._due.update(dict.fromkeys(contested))
        if self._due and not self._working:
            self._working = True
            _ = self._tasks.spawn(self._work(), "settle contested keys")

    async def aclose(self) -> None:
        """Stop. Idempotent."""
        await self._tasks.aclose()

    async def _work(self) -> None:
        try:
            while self._due:
                some = list(islice(self._due, AT_ONCE))
                for each in some:
                    del self._due[each]
                await self._settle(some)
                await asyncio.sleep(0)
        finally:
            self._working = False

    async def _settle(self, contested: Iterable[tuple[str, str]]) -> None:
        losing: dict[tuple[str, str], list[tuple[Held, Held]]] = {}
        for table, key in contested:
            held = self._keys.table(table).holders(key)
            mine = [each for each in held if each.dot.origin == self._me]
            if not mine:
                continue
            if table == self._keys.default.table and self._is_name(key):
                self._let_go(self._keys.table(table), mine)
            elif len(held) > 1 and self._stays(held[0]):
                lost = [each for each in mine if each is not held[0]]
                pairs = [(each, held[0]) for each in lost]
                losing.setdefault((table, held[0].dot.origin), []).extend(pairs)
        for (table, winner), pairs in losing.items():
            await self._ask(self._keys.table(table), winner, pairs)

    def _stays(self, held: Held) -> bool:
        """Whether the winner's process runs there: a duplicate that yields takes its keys along."""
        owner = self._names.owner(held.process)
        return owner is not None and owner.boot == held.dot.origin

    def _is_name(self, key: str) -> bool:
        return self._names.spec(key) is not None and self._names.owner(key) is not None

    async def _ask(self, table: KeyTable, winner: str, pairs: list[tuple[Held, Held]]) -> None:
        """Let go of what the winner still holds."""
        seqs = [kept.dot.seq for _, kept in pairs]
        answer: bytes | None = b"\1" * len(seqs)
        if winner != self._me:
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    answer = await self._requests.ask(
                        winner, lambda number: KeyQuestion(number, table.table, seqs)
                    )
            except (HordeError, ConnectionError, TimeoutError) as error:
                fields = {"keys": len(seqs), "error": str(error), "next": "trying again"}
                log.info("contest_delayed", extra={"fields": fields})
                return
        if answer is not None and len(answer) == len(pairs):
            kept = [mine for (mine, _), lives in zip(pairs, answer, strict=True) if lives]
            self._let_go(table, kept, {mine.key: stays.node for mine, stays in pairs})

    def answer(self, question: KeyQuestion) -> bytes:
        """Which of these own claims are still there. Raises ``ValueError`` for bad numbers."""
        if not all(type(seq) is int and seq > 0 for seq in question.seqs):
            raise ValueError("a question about claims that are no numbers")
        return self._keys.table(question.table).which_live(question.seqs)

    def _let_go(
        self, table: KeyTable, mine: list[Held], winners: dict[str, str] | None = None
    ) -> None:
        released = table.release(mine)
        for held in released:
            cell = self._cells.get(held.process)
            owner = self._names.owner(held.key)
            node = winners[held.key] if winners else (owner.node if owner is not None else "")
            if cell is not None:
                registry = table.table[len(UNIQUE) :]
                lost = ("key_lost", held.key, node)
                cell.info((*lost, registry) if registry else lost)
        if released:
            fields = {"registry": table.table[len(UNIQUE) :], "keys": len(released)}
            log.info("keys_lost", extra={"fields": fields})
