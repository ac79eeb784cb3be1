r"""Hosts as network namespaces, each with one cable into the same switch, and faults in the switch.

::

    a  eth0 10.0.0.1 ----- to-a \
    b  eth0 10.0.0.2 ----- to-b  >  one Ethernet bridge, in a namespace of its own
    c  eth0 10.0.0.3 ----- to-c /

Every fault is a rule about what the bridge forwards from one port to another, so that it has a
direction, and hits all that goes that way: TCP, and the address resolution below it. A host does
not notice more of it than silence. What stays on a host (a client that talks to its node) never
comes to the switch.

Namespaces are named after the OS process that made them; nothing outside of them is changed.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import permutations
from pathlib import Path
from typing import Final

PORT: Final = 7411
TOOLS: Final = {"ip": "iproute2", "nft": "nftables"}
SWITCH: Final = "switch"
TABLE: Final = "bridge cables"
CLONE_NEWNET: Final = 0x40000000
NAMESPACES: Final = Path("/run/netns")
HERE: Final = Path("/proc/thread-self/ns/net")
NAME: Final = re.compile(r"pyhorde-(?P<pid>\d+)-[0-9a-f]+-\w+")

LIBC: Final = ctypes.CDLL(None, use_errno=True)

Cable = tuple[str, str]
"""One direction: from the first host to the second."""


class Unavailable(Exception):
    """This machine cannot do it; the text says why."""


class Hosts:
    """Hosts that reach each other. Of faults there is one at a time: each replaces the former."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.addresses = {host: f"10.0.0.{n}:{PORT}" for n, host in enumerate(names, 1)}
        self._run = f"pyhorde-{os.getpid()}-{secrets.token_hex(3)}"
        self._doors: dict[str, int] = {}
        self._held = ExitStack()

    def open(self) -> None:
        """Make them, all or none. Raises ``Unavailable`` where that cannot be done."""
        check()
        sweep()
        with ExitStack() as undo:
            undo.callback(self.close)
            self._build()
            undo.pop_all()

    def close(self) -> None:
        """Kill what runs on the hosts, and remove them. Idempotent."""
        self._held.close()
        for host in (*self.names, SWITCH):
            remove(self.namespace(host))

    def namespace(self, host: str) -> str:
        return f"{self._run}-{host}"

    def command(self, host: str, *words: str) -> list[str]:
        """The command line that runs ``words`` on the host, in the same OS process."""
        return ["ip", "netns", "exec", self.namespace(host), *words]

    def socket(self, host: str, family: int, kind: int, protocol: int) -> socket.socket:
        """A socket that belongs to the host, whoever uses it."""
        with self._inside(host):
            return socket.socket(family, kind, protocol)

    # ---- faults ------------------------------------------------------------------------------

    def split(self, *sides: Iterable[str]) -> None:
        """Hosts of different sides do not reach each other. Who is on no side reaches everybody."""
        groups = [set(side) for side in sides]
        self.cut(
            (one, other)
            for mine, theirs in permutations(groups, 2)
            for one in mine
            for other in theirs
        )

    def silence(self, host: str) -> None:
        """As if it had lost power: nothing comes from it, nothing gets there."""
        self.split({host}, set(self.names) - {host})

    def cut(self, cables: Iterable[Cable]) -> None:
        """Drop all that goes these ways."""
        self._rule(f"{_way(cable)} counter drop" for cable in sorted(cables))

    def cut_packets(self, cables: Iterable[Cable]) -> None:
        """Drop only UDP that goes these ways: a firewall that lets nothing but streams through."""
        self._rule(f"{_way(cable)} ip protocol udp counter drop" for cable in sorted(cables))

    def lose(self, percent: int) -> None:
        """Drop each frame between hosts with this probability."""
        self._rule([f"numgen random mod 100 < {percent} counter drop"])

    def heal(self) -> int:
        """End the fault; returns how many frames it has dropped."""
        dropped = self._dropped()
        self._rule([])
        return dropped

    def _rule(self, rules: Iterable[str]) -> None:
        chain = "chain forward { type filter hook forward priority 0; policy accept;"
        chain = "\n".join([chain, *rules, "}"])
        text = f"table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n{chain}\n}}\n"
        run(*self.command(SWITCH, "nft", "-f", "-"), given=text)

    def _dropped(self) -> int:
        said = run(*self.command(SWITCH, "nft", "-j", *f"list table {TABLE}".split()))
        expressions = [
            expression
            for each in json.loads(said)["nftables"]
            for expression in each.get("rule", {}).get("expr", [])
        ]
        return sum(e["counter"]["packets"] for e in expressions if "counter" in e)

    # ---- building ----------------------------------------------------------------------------

    def _build(self) -> None:
        for host in (*self.names, SWITCH):
            run("ip", "netns", "add", self.namespace(host))
        self._batch(SWITCH, ["link add bridge type bridge", "link set bridge up"])
        for host in self.names:
            there = f"peer name eth0 netns {self.namespace(host)}"
            port = f"to-{host}"
            cable = [f"link add {port} type veth {there}", f"link set {port} master bridge up"]
            self._batch(SWITCH, cable)
            ip, _, _ = self.addresses[host].partition(":")
            address = f"address add {ip}/24 dev eth0"
            self._batch(host, ["link set lo up", address, "link set eth0 up"])
        self._rule([])
        self._home = self._door(HERE)
        for host in self.names:
            self._doors[host] = self._door(NAMESPACES / self.namespace(host))

    def _door(self, place: Path) -> int:
        """A namespace, held open."""
        door = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        self._held.callback(os.close, door)
        return door

    def _batch(self, host: str, lines: list[str]) -> None:
        run("ip", "-n", self.namespace(host), "-batch", "-", given="\n".join(lines))

    @contextmanager
    def _inside(self, host: str) -> Iterator[None]:
        """This thread is on the host; nothing may be awaited meanwhile."""
        _enter(self._doors[host])
        try:
            yield
        finally:
            _enter(self._home)


def check() -> None:
    """Raise ``Unavailable`` where it is clear from the outset that it will not work."""
    if sys.platform != "linux":
        raise Unavailable("network namespaces exist on Linux only")
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        raise Unavailable("only root can make network namespaces")


def sweep() -> None:
    """Remove what runs left behind whose OS process is gone."""
    for path in NAMESPACES.glob("pyhorde-*"):
        made_by = NAME.fullmatch(path.name)
        if made_by is not None and not _runs(made_by["pid"]):
            remove(path.name)


def _runs(pid: str) -> bool:
    """Whether this OS process is there, and more than an entry that nobody has collected yet."""
    try:
        _, _, rest = Path("/proc", pid, "stat").read_text(encoding="utf-8").rpartition(")")
    except OSError:
        return False
    return rest.split()[0] != "Z"


def remove(namespace: str) -> None:
    """Kill what runs in the namespace, and remove it. Idempotent."""
    if not (NAMESPACES / namespace).exists():
        return
    for pid in _attempt("ip", "netns", "pids", namespace).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _attempt("ip", "netns", "delete", namespace)


def run(*command: str, given: str = "") -> str:
    """What the command says. Raises ``Unavailable`` with its complaint when it fails."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _attempt(*command: str) -> str:
    """Like ``run``; somebody else may have been faster."""
    with suppress(Unavailable):
        return run(*command)
    return ""


def _way(cable: Cable) -> str:
    here, there = cable
    return f'iifname "to-{here}" oifname "to-{there}"'


def _enter(door: int) -> None:
    if LIBC.setns(door, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
