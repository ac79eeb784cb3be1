"""Fresh bad days for five nodes."""

import pytest

from tests.simulation.stories import run_seed


@pytest.mark.parametrize("seed", range(100, 106))
def test_five_nodes_survive_a_bad_day(seed: int):
    run_seed(seed, nodes=5)
