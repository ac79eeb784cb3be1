"""The story: six meetings go on while one node is killed and another one is restarted.

Each step does one thing to the cluster and then looks closely: who runs what, how long callers
waited, and whether every meeting still knows each line it ever acknowledged.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyhorde.config import RuntimeConfig
from pyhorde.demo import timeline as words
from pyhorde.demo.accounting import Account, Excuse, Held, spans
from pyhorde.demo.app import App
from pyhorde.demo.client import Claim, Client
from pyhorde.demo.cluster import Trio
from pyhorde.demo.feeder import Feeder
from pyhorde.demo.timeline import Timeline, Tone
from pyhorde.demo.watch import StoryBroken, Watch, until, until_true

START_LIMIT = 15.0
FAILOVER_LIMIT = 15.0
DRAIN_LIMIT = 25.0
ANSWER_LIMIT = 10.0

CHECKPOINT_SLACK = 1.0
"""Seconds on top of the checkpoint interval for a copy to be made and to arrive."""

DYING_BREATH = 0.5
"""Seconds after the kill in which an answer of the dead node may still be read."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two lines of a meeting, and lines of calm before each step."""

    gap: float = 0.08
    calm: int = 30


class Story:
    """Runs the steps, one after the other."""

    def __init__(
        self,
        app: App,
        trio: Trio,
        client: Client,
        account: Account,
        timeline: Timeline,
        pace: Pace,
    ) -> None:
        self._app, self._trio, self._client = app, trio, client
        self._account, self._pace = account, pace
        self._timeline, self._tell = timeline, timeline.tell
        self._watch = Watch(trio, client, account.ledgers.keys())
        self._where: dict[str, Claim] = {}
        self._feeders = self._make_feeders(app.transcript())
        self._now = asyncio.get_running_loop().time

    def _make_feeders(self, script: list[str]) -> dict[str, Feeder]:
        """Each meeting enters the transcript at another place, so that no two are alike."""
        feeders, ledgers = {}, self._account.ledgers
        for index, (name, ledger) in enumerate(ledgers.items()):
            first = index * len(script) // len(ledgers)
            lines = script[first:] + script[:first]
            feeders[name] = Feeder(ledger, self._account, lines, self._client, self._addresses)
        return feeders

    async def tell(self) -> dict[str, Mapping[str, Any]]:
        """The whole story; returns the last summary of each meeting.

        Raises :class:`StoryBroken`, possibly in a group, when it cannot go on.
        """
        await self._start_nodes()
        await self._start_meetings()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for feeder in self._feeders.values():
                group.create_task(feeder.run(stop, self._pace.gap))
            victim = await self._crash()
            await self._rejoin(victim)
            await self._roll(other_than=victim)
            await self._calm()
            stop.set()
        return await self._compare()

    async def _start_nodes(self) -> None:
        places = [f"{name} on {address}" for name, address in self._trio.addresses.items()]
        self._tell("start", f"three nodes: {words.listing(places)}")
        for node in self._trio.nodes.values():
            await node.start()
        await self._watch.all_alive(START_LIMIT)
        self._tell("ready", "each node sees all three alive", Tone.GOOD)

    async def _start_meetings(self) -> None:
        for name, ledger in self._account.ledgers.items():
            type_ = self._app.type(durable=ledger.durable)
            args = [name.title(), ["what happened", "what it costs", "what is next"]]
            answer = await self._client.start(self._address(), type_, name, args)
            if answer.status != 201:
                raise StoryBroken(f"{name} could not be started: {answer.problem}")
        await self._look(START_LIMIT)
        kept = [x.name for x in self._account.ledgers.values() if x.durable]
        self._tell("meetings", self._placement())
        self._tell("", f"{words.listing(kept)} are replicated, the others keep checkpoints")

    async def _crash(self) -> str:
        await self._calm()
        victim, owned = self._busiest()
        self._tell("kill -9", f"{victim}, which runs {words.listing(owned)}", Tone.ACT)
        since = self._now()
        self._trio.nodes[victim].kill()
        await self._trio.nodes[victim].ended()
        interval = RuntimeConfig().checkpoint_interval + CHECKPOINT_SLACK
        excuse = Excuse(since - interval, since + DYING_BREATH)
        await self._aftermath("kill -9", "failover", since)
        await self._audit("kill -9", dict.fromkeys(owned, excuse))
        return victim

    async def _rejoin(self, name: str) -> None:
        since = self._now()
        self._tell("restart", f"{name} starts again, same name, same address", Tone.ACT)
        await self._trio.nodes[name].start()
        await self._watch.all_alive(START_LIMIT)
        took = words.duration(self._now() - since)
        self._tell("rejoin", f"all three see {name} alive again after {took}", Tone.GOOD)
        await self._aftermath("rejoin", "move", since)
        await self._audit("rejoin")

    async def _roll(self, other_than: str) -> None:
        await self._calm()
        name, owned = self._busiest(other_than)
        self._tell("SIGTERM", f"{name}, which runs {words.listing(owned)}", Tone.ACT)
        since, node = self._now(), self._trio.nodes[name]
        node.stop()
        await until_true(
            lambda: not node.up, DRAIN_LIMIT, lambda: f"{name} still runs after SIGTERM"
        )
        took = words.duration(self._now() - since)
        self._tell("left", f"{name} ended after {took} with exit code {node.exit_code}")
        if node.exit_code != 0:
            self._account.blame(f"{name} ended with exit code {node.exit_code} after SIGTERM")
        await self._aftermath("SIGTERM", "handoff", since)
        await self._audit("SIGTERM")
        await self._rejoin(name)

    async def _calm(self) -> None:
        """Let the meetings go on undisturbed for a while."""
        goal = {name: feeder.fed + self._pace.calm for name, feeder in self._feeders.items()}
        since = self._now()

        def behind() -> list[str]:
            return [name for name, feeder in self._feeders.items() if feeder.fed < goal[name]]

        limit = self._pace.calm * self._pace.gap * 2 + ANSWER_LIMIT
        await until_true(
            lambda: not behind(), limit, lambda: f"{', '.join(behind())} did not go on"
        )
        slowest = words.duration(self._longest(since))
        self._tell("talk", f"{self._account.total} lines acknowledged, slowest answer {slowest}")

    async def _aftermath(self, step: str, kind: str, since: float) -> None:
        """Wait until all is quiet and every meeting answers again; tell what moved."""
        before = self._where
        await self._look(FAILOVER_LIMIT)
        ledgers = self._account.ledgers

        def silent() -> list[str]:
            return [name for name, ledger in ledgers.items() if not ledger.heard_since(since)]

        await until_true(
            lambda: not silent(),
            ANSWER_LIMIT,
            lambda: f"{', '.join(silent())} did not answer since {step}",
        )
        moved = [name for name in ledgers if before[name].node != self._where[name].node]
        for name in moved:
            source, target = before[name].node, self._where[name]
            pause = ledgers[name].pause(since)
            text = words.move(ledgers[name], source, target.node, target.epoch, pause)
            self._tell(kind, text)
        others = max((x.pause(since) for x in ledgers.values() if x.name not in moved), default=0.0)
        stayed = "the others stayed" if moved else "nothing moved"
        self._tell("", f"{stayed}; their slowest answer took {words.duration(others)}")

    async def _audit(self, step: str, excuses: Mapping[str, Excuse] | None = None) -> None:
        """Ask each meeting what it remembers; send again what may be, and is, lost."""
        for name, feeder in self._feeders.items():
            due = feeder.ledger.acknowledged
            held = Held.of(await self._summary(name))
            loss = self._account.audit(step, name, due, held, (excuses or {}).get(name))
            if not loss.lost:
                continue
            tone = Tone.BAD if loss.unexcused else Tone.PLAIN
            lines = f"{len(loss.lost)} lines ({spans(loss.lost)})"
            self._tell("lost", f"{name} forgot {lines}; they are sent again", tone)
            await feeder.resend(loss.lost, step)
            again = Held.of(await self._summary(name))
            self._account.audit(f"sent again after {step}", name, due, again)
        self._tell("audit", f"after {step}: {self._account.total} acknowledged lines checked")

    async def _compare(self) -> dict[str, Mapping[str, Any]]:
        """Ask every meeting through every node; all must tell the same, complete story."""
        await self._look(FAILOVER_LIMIT)
        retries = sum(ledger.retries for ledger in self._account.ledgers.values())
        self._tell("", f"callers had to try another node {retries} times")
        self._tell("compare", f"asking all meetings through {words.listing(self._trio.live)}")
        summaries: dict[str, Mapping[str, Any]] = {}
        for node, address in self._trio.live.items():
            for name, feeder in self._feeders.items():
                summary = await self._summary(name, [address])
                self._account.compare(node, name, Held.of(summary), feeder.expected)
                summaries[name] = summary
        return summaries

    async def _summary(self, name: str, through: Sequence[str] = ()) -> Mapping[str, Any]:
        """What a meeting says of itself; 503 and the like are tried again, as a caller would."""
        problem = "no answer"

        async def look() -> Mapping[str, Any] | None:
            nonlocal problem
            address = random.choice(through) if through else self._address()
            answer = await self._client.call(address, name, "summary")
            problem = answer.problem
            return answer.body["result"] if answer.ok else None

        return await until(look, ANSWER_LIMIT, lambda: f"{name} gives no summary: {problem}")

    async def _look(self, seconds: float) -> None:
        self._where = await self._watch.settled(seconds)
        for name, claim in self._where.items():
            self._account.ledgers[name].moved_to(claim.node)

    def _busiest(self, other_than: str = "") -> tuple[str, list[str]]:
        """The node with most meetings, and which they are."""
        counts = Counter({name: 0 for name in self._trio.live if name != other_than})
        counts.update(c.node for c in self._where.values() if c.node != other_than)
        [(node, _)] = counts.most_common(1)
        return node, [name for name, claim in self._where.items() if claim.node == node]

    def _longest(self, since: float) -> float:
        return max(ledger.pause(since) for ledger in self._account.ledgers.values())

    def _placement(self) -> str:
        where = {name: claim.node for name, claim in self._where.items()}
        return words.placement(where, self._trio.live)

    def _addresses(self) -> list[str]:
        return list(self._trio.live.values())

    def _address(self) -> str:
        return random.choice(self._addresses())
