"""The checks can fail: each bug planted here is found, by the same stories and histories that
pass without it.

A bug is a change of one place in the source of one method. When the source no longer contains that
place, the test says so: plant the bug anew; how to get this wrong is worth knowing.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import pytest

from pyhorde.crdt import HybridClock, Register, Replica, replica, transfer
from pyhorde.crdt.claims import Claims
from pyhorde.crdt.labels import Labels
from pyhorde.crdt.log import Kills, OriginLog
from pyhorde.crdt.registers import Registers
from pyhorde.crdt.rows import Run
from tests.laws import histories, test_forgotten_deletions, test_known_stories

HISTORIES = range(700)
STORIES = (test_known_stories, test_forgotten_deletions)
SLOW = "TestContextWiderThanTheData"


@dataclass(frozen=True)
class Bug:
    """``where.method`` with ``right`` replaced by ``wrong``."""

    where: Any
    method: str
    right: str
    wrong: str

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        planned = inspect.getattr_static(self.where, self.method)
        function = getattr(planned, "fget", planned)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.right) == 1, f"{self.method} reads differently now:\n{source}"
        module = sys.modules[function.__module__]
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
        OriginLog, "segment", "complete = self.kills.floor <= frm", "complete = True"
    ),
    "the list of live events is not sent": Bug(
        transfer, "_events", "log.kills.floor > max(at, listed)", "False"
    ),
    "the list of live events is ignored": Bug(
        Replica, "_join_live", "if seq not in alive:", "if False:"
    ),
    "a list of live events is about one too few": Bug(
        transfer, "_live", "sorted(log.seqs(0, upto))", "sorted(log.seqs(1, upto))"
    ),
    "removals are applied but not remembered": Bug(
        Replica, "_join_rows", "log.kills.remember(at, seq)", "pass"
    ),
    "removals by an own event are not remembered": Bug(
        Replica, "_kill_own", "self._own.kills.remember(self._own.seq, seq)", "pass"
    ),
    "a relay forgets that a snapshot had no removals": Bug(
        Replica, "_join_rows", "log.kills.forget(segment.to)", "pass"
    ),
    "the floor stays when removals are forgotten": Bug(
        Kills, "forget", "self.floor = upto\n", "pass\n"
    ),
    "an old piece that tells what is dead is dropped unread": Bug(
        Replica,
        "_join_segment",
        "segment.to <= log.seq and segment.complete",
        "segment.to <= log.seq",
    ),
    "a push starts where removals were forgotten": Bug(
        Replica, "can_push", "max(own.kills.floor, ", "max("
    ),
    "rows at or below the vector are accepted": Bug(
        Replica, "_join_rows", ".after(known)", ".after(0)"
    ),
    "a piece says it reaches further than its rows": Bug(
        transfer,
        "_events",
        "log.segment(at, end)",
        "type(log.segment(at, end))(log.origin, at, to)",
    ),
    "rows with gaps between them are numbered from one too many": Bug(
        Run, "seqs", "initial=self.start - 1", "initial=self.start"
    ),
    "the only one of several claims that is left is lost": Bug(
        Claims, "drop", "self.dots[key] = next(iter(several))", "pass"
    ),
    "keys that are claimed already are claimed by the first alone": Bug(
        Claims, "add_all", "contested.setdefault(key, {first: None})[dot] = None", "pass"
    ),
    "replace drops the label": Bug(Replica, "replace", "label_of(stored)", 'b""'),
    "rows of different labels get the label of the first": Bug(
        OriginLog, "extend", "piece.is_uniform and", "True and"
    ),
    "labels that were tidied lose the last row": Bug(
        Labels, "drop", "if not ranges.count:", "if ranges.count < 2:"
    ),
    "registers ahead of their segment are kept back": Bug(
        OriginLog, "registers", "for seq, name in early if seq > frm", "for seq, name in ()"
    ),
    "own registers that others overwrote are not pushed": Bug(
        Replica, "_touched", "if frm < at <= to", "if False"
    ),
    "own events are forgotten to be overwritten, and pushed": Bug(
        Replica, "can_push", ", self._push_floor)", ")"
    ),
    "segments go before the registers they cover": Bug(
        replica,
        "answer",
        "    for rows in register_rows(replica, names, chunk_bytes):\n"
        "        yield Delta(registers=rows)\n",
        "    for rows in ():\n        yield Delta(registers=rows)\n    names_later = names\n",
    ),
    "the order of registers ignores the rank": Bug(
        Register, "order", "return self.rank, self.stamp", "return 0, self.stamp"
    ),
    "equal stamps are not told apart by their origin": Bug(
        Replica,
        "_join_register",
        "new.order <= current.order:",
        "new.order[:2] <= current.order[:2]:",
    ),
    "the register that arrives last wins": Bug(
        Replica, "_join_register", "new.order <= current.order:", "new.order == current.order:"
    ),
    "a lower rank may write": Bug(Replica, "put", "current.rank > rank", "False"),
    "a put does not look at the stamp it overwrites": Bug(
        Replica, "put", "current.stamp if current is not None else -1", "-1"
    ),
    "a put does not look at the stamps that were forgotten": Bug(
        Replica, "put", 'self.marks.get(f"stamp/{table}", -1)', "-1"
    ),
    "a put looks at an old value instead of the stamps that were forgotten": Bug(
        Replica,
        "put",
        "current is None or self._registers.is_doubtful(table, current)",
        "current is None",
    ),
    "marks do not travel with what was forgotten": Bug(transfer, "_held", ", marks=marks", ""),
    "a stamp from the future is believed": Bug(
        HybridClock, "observe", "return False", "self.last = stamp"
    ),
    "a register that was deleted is taken in again": Bug(
        Replica, "_join_register", "not repair and self._has_seen(new.dot)", "False"
    ),
    "a value that was deleted wins over a lower one": Bug(
        Replica, "_join_register", "not repair and self", "current is None and not repair and self"
    ),
    "what the sender does not hold is kept": Bug(
        Replica, "_join_held", "order is None and not register.deleted", "False"
    ),
    "what the sender has not seen is dropped": Bug(
        Replica, "_join_held", "n > held.covers.get(o, 0)", "False"
    ),
    "deletions are dropped with what they deleted": Bug(
        Replica, "_join_held", "order is None and not register.deleted", "order is None"
    ),
    "another value that the sender holds is ignored": Bug(
        Replica,
        "_join_held",
        "order is not None and order != hash_of_order",
        "False and order != hash_of_order",
    ),
    "what the sender has not seen is not said again": Bug(
        Replica, "_join_held", "self._registers.is_doubtful(name[0], register)", "False"
    ),
    "deletions are not said again": Bug(
        Replica, "_join_register", "elif current.deleted and", "elif False and"
    ),
    "doubtful values are not said again": Bug(
        Replica, "_join_register", "self._registers.is_doubtful(row.table, new)", "False"
    ),
    "doubts are not passed on": Bug(
        Replica, "_join_forgotten", "self._registers.doubt(table, order)", "pass"
    ),
    "that deletions were forgotten is not passed on": Bug(
        Replica, "_join_forgotten", "max(log.register_floor, floor)", "log.register_floor"
    ),
    "nobody is told that deletions were forgotten": Bug(
        replica, "answer", "if floors:", "if False:"
    ),
    "forgotten deletions leave no floor": Bug(
        Replica, "forget_deletions", "max(log.register_floor, seq)", "log.register_floor"
    ),
    "one who knows nothing is not told what there is": Bug(
        replica, "answer", "if floors:", "if floors and any(vector.values()):"
    ),
    "whether deletions were forgotten is looked up too early": Bug(
        replica,
        "answer",
        "    for rows in register_rows(replica, names, chunk_bytes):\n"
        "        yield Delta(registers=rows)\n",
        "    rows_of = register_rows(replica, names, chunk_bytes)\n"
        "    early = {o: log.register_floor for o, log in logs.items()}\n"
        "    for rows in rows_of:\n"
        "        yield Delta(registers=rows)\n"
        "    if not any(early.values()):\n"
        "        logs = {o: log for o, log in logs.items() if not log.register_floor}\n",
    ),
    "what is sent of an origin outlives its being dropped": Bug(
        replica, "answer", "logs.get(log.origin) is not log", "False"
    ),
    "a retired origin speaks again": Bug(
        Replica, "_join_segment", "segment.origin in self.retired", "False"
    ),
    "a retired origin's registers are not carried on": Bug(
        Replica, "retire", "self._carry_on(name, dot)", "pass"
    ),
    "a register that one other carries is carried on by nobody": Bug(
        Replica, "_carry_on", "self._drop_carrier(name, dot)", "pass"
    ),
    "what a retired origin wrote is not carried on when it arrives": Bug(
        Replica, "_join_register", "row.origin in self.retired or", "False or"
    ),
    "the deletions of a retired origin that were forgotten stay a secret": Bug(
        Replica, "retire", "self._pass_on(origin, log.register_floor)", "pass"
    ),
    "that another stands for a retired origin is said of none": Bug(
        Replica, "_pass_on", "self._own.register_floor = self._own.seq", "pass"
    ),
    "a revived origin is known as far as before": Bug(
        Replica, "revive", "self._seen[origin] = known", "self._log(origin).seq = known"
    ),
    "the registers of a revived origin are news": Bug(
        Replica, "revive", "self._seen[origin] = known", "pass"
    ),
    "only one event carries a value": Bug(
        Replica, "_carry_by", "{*dots, dot}", "{max(dot, *dots)}"
    ),
    "other carriers are not noted": Bug(Replica, "_carry_by", "dot not in dots and", "False and"),
    "a value travels as another event than the one it is sent for": Bug(
        Replica, "row_of", "dot if dot in self._registers.carriers(name) else None", "None"
    ),
    "the floor of an origin that is learned anew is lost": Bug(
        Replica, "forget", "self._log(origin).register_floor = log.register_floor", "pass"
    ),
    "the registers of an origin that is learned anew are news": Bug(
        Replica, "forget", "self._seen[origin] = min(", "_ = min("
    ),
    "the registers of an origin that is learned anew are not carried": Bug(
        Replica, "forget", "self._log(origin).carry(name, dot.seq)", "pass"
    ),
    "own events that said what is gone are pushed": Bug(
        Replica, "_gone", "max([self._push_floor, *at])", "self._push_floor"
    ),
    "whoever was not counted is believed": Bug(
        Registers, "is_doubtful", "self.heeding.get(origin, seq)", "self.heeding.get(origin, 0)"
    ),
    "what others have forgotten raises no doubt": Bug(
        Replica, "_join_forgotten", "self._registers.heed({}, all_of_them=True)", "pass"
    ),
    "nobody is ever believed": Bug(
        Registers, "is_doubtful", "return seq <= self.heeding.get(origin, seq)", "return True"
    ),
    "what was forgotten leaves no doubt": Bug(
        Registers, "forget", "self.doubt(name[0], (gone.rank, gone.stamp))", "pass"
    ),
    "removals forgotten during an answer are not made up for again": Bug(
        transfer, "_events", "listed = log.kills.floor", "listed = 2**40"
    ),
    "those who were counted once are believed for ever": Bug(
        Registers, "heed", "self.heeding = dict(heeding)", "self.heeding |= heeding"
    ),
    "a round that did not see all is believed": Bug(
        Replica, "_heed", "log.register_floor <= events.get(origin, 0)", "True"
    ),
}


def stories() -> Iterator[tuple[str, Callable[[], None]]]:
    """Every known story; what it needs are replicas that are named like its parameters."""
    classes = [
        each
        for module in STORIES
        for name, each in vars(module).items()
        if "Test" in name and name != SLOW
    ]
    for each in classes:
        for name, story in vars(each).items():
            if name.startswith("test_"):
                _, *names = inspect.signature(story).parameters
                yield name, partial(story, each(), *map(Replica, names))


def found() -> str:
    """What the first story or history that breaks a promise says; empty when all keep them."""
    seeds = ((f"history {seed}", partial(histories.run, seed)) for seed in HISTORIES)
    for name, happens in chain(stories(), seeds):
        try:
            happens()
        except (AssertionError, AttributeError, KeyError, ValueError) as error:
            return f"{name}: {error!r}"
    return ""


def test_the_same_histories_find_nothing_in_the_code_as_it_is() -> None:
    assert found() == ""


@pytest.mark.parametrize("bug", BUGS.values(), ids=[name.replace(" ", "-") for name in BUGS])
def test_histories_find_that(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    assert found(), f"no history of {len(HISTORIES)} shows it"
