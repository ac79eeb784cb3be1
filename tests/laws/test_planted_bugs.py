"""The checks can fail: each bug planted here is found, by the same histories that pass without it.

A bug is a change of one place in the source of one method. When the source no longer contains that
place, the test says so: plant the bug anew; how to get this wrong is worth knowing.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest

from pyhorde.crdt import HybridClock, Replica, replica
from pyhorde.crdt.log import OriginLog
from tests.laws import histories

HISTORIES = range(700)


@dataclass(frozen=True)
class Bug:
    """``where.method`` with ``right`` replaced by ``wrong``."""

    where: Any
    method: str
    right: str
    wrong: str

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        planned = inspect.getattr_static(self.where, self.method)
        source = textwrap.dedent(inspect.getsource(getattr(planned, "fget", planned)))
        assert source.count(self.right) == 1, f"{self.method} reads differently now:\n{source}"
        module = sys.modules[getattr(self.where, "__module__", self.where.__name__)]
        wrong = source.replace(self.right, self.wrong)
        code = compile(f"from __future__ import annotations\n{wrong}", "planted", "exec")
        names: dict[str, Any] = {}
        exec(code, vars(module), names)
        monkeypatch.setattr(self.where, self.method, names[self.method])


BUGS = {
    "a gap is taken for known": Bug(Replica, "_join_segment", "segment.frm > log.seq", "False"),
    "what an overlap leaves out stays": Bug(
        Replica, "_join_rows", "if seq not in listed:", "if False:"
    ),
    "forgotten removals count as sent": Bug(
        OriginLog, "_segment", "complete = self.floor <= frm", "complete = True"
    ),
    "the list of live events is ignored": Bug(
        Replica, "_join_rows", "segment.live is not None", "False"
    ),
    "removals are applied but not remembered": Bug(
        Replica, "_join_rows", "log.remember_kill(at, seq)", "pass"
    ),
    "removals by an own event are not remembered": Bug(
        Replica, "_kill_own", "self._own.remember_kill(self._own.seq, seq)", "pass"
    ),
    "a relay forgets that a snapshot had no removals": Bug(
        Replica, "_join_rows", "log.floor = segment.to", "pass"
    ),
    "the floor stays when removals are forgotten": Bug(
        OriginLog, "remember_kill", "self.floor = self.kills.popleft()[0]", "self.kills.popleft()"
    ),
    "an old piece that tells what is dead is dropped unread": Bug(
        Replica,
        "_join_segment",
        "segment.to <= log.seq and segment.complete",
        "segment.to <= log.seq",
    ),
    "registers ahead of their segment are kept back": Bug(
        Replica, "_register_rows", "log.early", "()"
    ),
    "own registers that others overwrote are not pushed": Bug(
        Replica, "own_deltas", "if seq > frm\n", "if False\n"
    ),
    "segments go before the registers they cover": Bug(
        replica,
        "_packed",
        "deltas.append(Delta(tuple(chunk), (segments[0],)))\n"
        "    return deltas + [Delta(segments=(segment,)) for segment in segments[1:]]",
        "return [Delta(segments=(s,)) for s in segments] + [*deltas, Delta(tuple(chunk))]",
    ),
    "the order of registers ignores the rank": Bug(
        replica.Register, "order", "return self.rank, self.stamp", "return 0, self.stamp"
    ),
    "equal stamps are not told apart by their origin": Bug(
        Replica,
        "_join_register",
        "current.order >= new.order",
        "current.order[:2] >= new.order[:2]",
    ),
    "the register that arrives last wins": Bug(
        Replica, "_join_register", "current.order >= new.order", "current == new"
    ),
    "a lower rank may write": Bug(Replica, "put", "current.rank > rank", "False"),
    "a put does not look at the stamp it overwrites": Bug(
        Replica, "put", "current.stamp + 1 if current else 0", "0"
    ),
    "a stamp from the future is believed": Bug(
        HybridClock, "observe", "return False", "self.last = stamp"
    ),
    "rows at or below the vector are accepted": Bug(
        Replica, "_join_rows", "if row.seq > known:", "if row.seq not in log.rows:"
    ),
    "a retired origin speaks again": Bug(
        Replica, "_join_segment", "if not log.retired:", "if True:"
    ),
    "a piece says it reaches further than its rows": Bug(
        OriginLog, "_cuts", "chunk[-1].seq)", "self.seq)"
    ),
}


def found() -> str:
    """What the first history that breaks a promise says; empty when all keep them."""
    for seed in HISTORIES:
        try:
            histories.run(seed)
        except (AssertionError, KeyError, ValueError) as error:
            return f"history {seed}: {error!r}"
    return ""


def test_the_same_histories_find_nothing_in_the_code_as_it_is() -> None:
    assert found() == ""


@pytest.mark.parametrize("bug", BUGS.values(), ids=[name.replace(" ", "-") for name in BUGS])
def test_histories_find_that(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    assert found(), f"no history of {len(HISTORIES)} shows it"
