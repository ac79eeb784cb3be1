"""What happened, and how it reads: events and the pure functions that put them into words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pyhorde.demo.accounting import Account, Ledger


class Tone(Enum):
    """How an event is meant; on a terminal its colour."""

    PLAIN = "none"
    ACT = "bold yellow"
    GOOD = "green"
    BAD = "bold red"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened ``at`` seconds after the demo began."""

    at: float
    kind: str
    text: str
    tone: Tone = Tone.PLAIN

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.kind:<9} {self.text}"


@dataclass(slots=True)
class Timeline:
    """Events in order; each is told to ``listener`` as it happens."""

    clock: Callable[[], float]
    listener: Callable[[Event], None]
    events: list[Event] = field(default_factory=list)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def tell(self, kind: str, text: str, tone: Tone = Tone.PLAIN) -> None:
        event = Event(self.clock() - self.began, kind, text, tone)
        self.events.append(event)
        self.listener(event)


MOST_REASONS = 12
HEADER = ("meeting", "kept", "ran on", "lines", "re-sent", "waited", "resumed", "talks about")


def duration(seconds: float) -> str:
    """``84 ms`` or ``1.32 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.2f} s"


def listing(words: Iterable[str]) -> str:
    """``a, b and c``; ``nothing`` for none."""
    *most, last = list(words) or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def placement(where: Mapping[str, str], nodes: Collection[str]) -> str:
    """Who runs what, node by node; ``where``: meeting → node."""
    by_node = {node: sorted(m for m, n in where.items() if n == node) for node in sorted(nodes)}
    return " | ".join(f"{node}: {listing(meetings)}" for node, meetings in by_node.items())


def move(ledger: Ledger, source: str, target: str, epoch: int, pause: float) -> str:
    """One meeting changed nodes."""
    kind = "replicated" if ledger.durable else "checkpoint"
    silence = f"longest wait for an answer {duration(pause)}"
    return f"{ledger.name:<10} {source} -> {target}  epoch {epoch}, {kind}, {silence}"


def row(ledger: Ledger, summary: Mapping[str, Any]) -> tuple[str, ...]:
    """One meeting in the table at the end, under :data:`HEADER`."""
    return (
        ledger.name,
        "replicated" if ledger.durable else "checkpoint",
        " > ".join(ledger.path),
        str(summary["lines"]),
        str(ledger.resent),
        duration(ledger.pause()),
        ", ".join(move["kind"] for move in summary["moves"]) or "never moved",
        ", ".join(summary["keywords"][:2]),
    )


def table(rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Aligned columns without any drawing, the last ones left out where ``width`` is too small."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    while width is not None and len(widths) > 1 and sum(widths) + 2 * len(widths) - 2 > width:
        widths.pop()
    return [
        "  ".join(cell.ljust(size) for cell, size in zip(each, widths, strict=False)).rstrip()
        for each in rows
    ]


def verdict(account: Account) -> list[str]:
    """The last lines: whether continuity held, and if not, why not."""
    reasons = account.verdict.reasons
    if reasons:
        more = [f"  - and {len(reasons) - MOST_REASONS} more"][: len(reasons) > MOST_REASONS]
        told = [f"  - {reason}" for reason in reasons[:MOST_REASONS]]
        return ["continuity did NOT hold:", *told, *more]
    lost = account.lost(durable=False)
    checkpoint = f"{lost} at the kill -9, sent again since" if lost else "none either"
    fed = f"{len(account.ledgers)} meetings, {account.total} acknowledged lines"
    kept = f"replicated meetings lost none, checkpoint meetings {checkpoint}"
    return [f"continuity held: {fed}; {kept}"]


def progress(ledgers: Iterable[Ledger]) -> str:
    """One line for the bottom of a terminal: where each meeting runs, and its lines."""
    return "   ".join(
        f"{x.name}@{x.path[-1] if x.path else '?'} {len(x.acknowledged)}" for x in ledgers
    )
