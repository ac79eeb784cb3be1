"""Fresh bad days for three nodes."""

import pytest

from tests.simulation.stories import run_seed


@pytest.mark.parametrize("seed", range(20))
def test_three_nodes_survive_a_bad_day(seed: int):
    run_seed(seed)
