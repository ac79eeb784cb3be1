"""The hosts themselves: what passes between them, and what is left of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.netns.hosts import NAMESPACES, Hosts, remove, run, sweep

pytestmark = pytest.mark.netns

FRAMES = 100


def passes(hosts: Hosts, source: str, target: str) -> int:
    """How many of a number of datagrams arrive."""
    ip, _, _ = hosts.addresses[target].partition(":")
    kind = (socket.AF_INET, socket.SOCK_DGRAM, 0)
    with hosts.socket(target, *kind) as there, hosts.socket(source, *kind) as here:
        there.bind((ip, 7000))
        there.settimeout(0.3)
        for _ in range(FRAMES):
            here.sendto(b"x", (ip, 7000))
        return sum(1 for _ in received(there))


def received(there: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield there.recv(1)
        except TimeoutError:
            return


def outside() -> list[str]:
    """What the network of this machine looks like from outside of all hosts."""
    said = [run("ip", "-br", kind, "show") for kind in ("link", "address")]
    return [*said, run("ip", "route", "show"), run("nft", "-s", "list", "ruleset")]


def sleeper(namespace: str) -> subprocess.Popen[bytes]:
    """An OS process that has arrived in the namespace."""
    running = subprocess.Popen(["ip", "netns", "exec", namespace, "sleep", "600"])
    while str(running.pid) not in run("ip", "netns", "pids", namespace).split():
        assert running.poll() is None
    return running


def namespaces() -> set[str]:
    return {path.name for path in NAMESPACES.iterdir()}


def test_what_is_cut_in_one_direction_passes_in_the_other(hosts: Hosts):
    for source, target in ("ab", "ba"):
        assert passes(hosts, source, target) == FRAMES
    hosts.cut([("a", "b")])
    assert passes(hosts, "a", "b") == 0
    assert passes(hosts, "b", "a") == FRAMES
    assert hosts.heal() >= FRAMES
    assert passes(hosts, "a", "b") == FRAMES


def test_a_split_leaves_the_sides_whole_and_whoever_is_on_none_reaches_both(hosts: Hosts):
    hosts.split("ab", "de")
    for source, target in ("ab", "de", "ac", "ca", "cd", "dc"):
        assert passes(hosts, source, target)
    for source, target in ("ad", "da", "be", "eb"):
        assert not passes(hosts, source, target)


def test_of_lossy_cables_some_frames_get_through(hosts: Hosts):
    assert passes(hosts, "a", "b") == FRAMES
    hosts.lose(20)
    assert FRAMES * 0.6 < passes(hosts, "a", "b") < FRAMES
    assert passes(hosts, "a", "a") == FRAMES


def test_nothing_changes_outside_of_the_hosts_and_nothing_is_left_of_them(hosts: Hosts):
    before = outside()
    more = Hosts("a", "b")
    more.open()
    assert outside() == before
    running = sleeper(more.namespace("a"))
    made = {more.namespace(host) for host in ("a", "b", "switch")}
    assert made <= namespaces()
    more.close()
    assert running.wait(10) == -signal.SIGKILL
    assert not made & namespaces()
    assert outside() == before


def test_what_a_run_that_is_gone_left_behind_is_swept_away(hosts: Hosts):
    gone = subprocess.Popen(["true"])
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    left = f"pyhorde-{gone.pid}-0123ab-a"
    run("ip", "netns", "add", left)
    running = sleeper(left)
    try:
        sweep()
        assert running.wait(10) == -signal.SIGKILL
    finally:
        remove(left)
        gone.wait()
    remaining = namespaces()
    assert left not in remaining
    assert {hosts.namespace(host) for host in hosts.names} <= remaining
