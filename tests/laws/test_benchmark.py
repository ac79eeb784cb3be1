"""``benchmarks/histories.py``: what it counts, and what it says of a history that diverges."""

from __future__ import annotations

import pytest

from benchmarks import histories as benchmark
from tests.laws import histories


def test_it_says_how_many_there_were(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--count", "3", "--from", "7"]) == 0
    assert capsys.readouterr().out.startswith("3 histories in ")


def test_it_names_the_seeds_that_diverge(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(seed: int) -> None:
        assert seed != 8, "replicas differ"

    monkeypatch.setattr(histories, "run", run)
    assert benchmark.main(["--count", "3", "--from", "7"]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("history 8: AssertionError: replicas differ")
    assert last.endswith("1 diverged")


def test_the_work_is_shared_out_whole() -> None:
    batches = benchmark.batches(5, 450)
    assert [seed for batch in batches for seed in batch] == list(range(5, 455))
    assert len(batches) > 2
