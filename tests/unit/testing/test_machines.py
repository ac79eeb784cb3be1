"""What a simulated machine gives its node."""

from __future__ import annotations

from pyhorde.testing import SimLoop, SimNetwork
from pyhorde.testing.machines import Machine, SimWorld


def test_nobody_watches_an_event_loop_in_virtual_time():
    loop = SimLoop(1)
    machine = Machine("a", loop.create_future(), key="a#1")
    world = SimWorld(loop, SimNetwork(loop, 1), machine)
    assert world.watch(loop.time, lambda age, stack: None) is None
