"""Mutations of what nodes say to each other, and everything that reads them first.

Each case is made of its number, the target's name and a seed, so that it can be had again::

    python -m tests.attacks.mutations --count 1000000
    python -m tests.attacks.mutations --target frames --seed 1 --first 4711 --count 1

A target may refuse with ``ProtocolError`` or ``ValueError``, and with nothing else. It may take
memory in proportion to the bytes it was given, and keeps nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import sys
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import msgpack
from pycrdt import Doc, Map, Text

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.health import Vitals
from pyhorde.cluster.membership.messages import MEMBERSHIP_MESSAGES, Reached, Update
from pyhorde.cluster.membership.roster import read_row
from pyhorde.cluster.replication.messages import REPLICATION_MESSAGES
from pyhorde.cluster.transport.codec import Codec
from pyhorde.cluster.transport.handshake import HANDSHAKE
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.cluster.transport.noise import CipherState, Initiator, Responder
from pyhorde.cluster.transport.sealing import Sealer
from pyhorde.cluster.transport.wire import Wire
from pyhorde.crdt import Delta, Replica
from pyhorde.errors import NameTaken, ProtocolError, from_wire, to_wire
from pyhorde.runtime.messages import RUNTIME_MESSAGES

ME, YOU = "a" * 32, "b" * 32
REFUSALS: Final = (ProtocolError, ValueError)
PEAK_PER_BYTE: Final = 100
PEAK_BASE: Final = 512 * 1024
MAX_GROWTH: Final = 512 * 1024
"""Bytes that a whole run may leave behind: caches of the interpreter, for example."""

INTEGERS: Final = [0, 1, -1, 127, 128, 255, 2**16, 2**31, 2**32, 2**40 - 1, 2**40, 2**53]
INTEGERS.extend([2**61 - 1, 2**61, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63)])
ODD: Final[list[Any]] = [None, True, False, "", "\0", "x" * 2000, "\u202e", b"", b"\xff" * 16]
ODD.extend([[], [[]], {}, {"a": 1}, {1: 2}, {b"k": None}, 1.5, float("nan"), float("inf"), -0.0])
ODD.extend([ME, YOU, "a", msgpack.ExtType(1, b"\x90"), msgpack.Timestamp(1, 2)])
HEADS: Final = bytes([0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, *range(0xC0, 0xE0), 0xFF])
LENGTHS: Final = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x00\x7f\xff\xff", b"\x00\x00\xff\xff"]


# ---- mutations ----------------------------------------------------------------------------------


class Mutator:
    """Changes of one byte string, drawn from ``rng``; ``others`` are what it is spliced with."""

    def __init__(self, rng: Random, others: Sequence[bytes]) -> None:
        self._rng = rng
        self._others = others

    def mutate(self, data: bytes, *, is_msgpack: bool) -> bytes:
        """The same bytes, changed in one way or in some."""
        if is_msgpack and self._rng.random() < 0.6:
            return self._structure(data)
        ways = [self._flip, self._overwrite, self._cut, self._grow, self._splice, self._length]
        for _ in range(self._rng.choice([1, 1, 1, 2, 4])):
            data = self._rng.choice(ways)(data)
        return data

    def _at(self, data: bytes) -> int:
        return self._rng.randrange(len(data) + 1)

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._rng.choice([1, 1, 2, 8]) if data else 0):
            changed[self._rng.randrange(len(changed))] ^= 1 << self._rng.randrange(8)
        return bytes(changed)

    def _overwrite(self, data: bytes) -> bytes:
        at, some = self._at(data), self._rng.randbytes(self._rng.choice([1, 2, 8]))
        return data[:at] + some + data[at + len(some) :]

    def _cut(self, data: bytes) -> bytes:
        frm, to = sorted((self._at(data), self._at(data)))
        return self._rng.choice([data[:frm], data[to:], data[:frm] + data[to:]])

    def _grow(self, data: bytes) -> bytes:
        at, some = self._at(data), self._rng.randbytes(self._rng.randrange(1, 9))
        return data[:at] + some * self._rng.choice([1, 1, 100]) + data[at:]

    def _splice(self, data: bytes) -> bytes:
        other = self._rng.choice(self._others)
        at, frm = self._at(data), self._at(other)
        length = self._rng.randrange(1, 60)
        return data[:at] + other[frm : frm + length] + data[at + self._rng.choice([0, length]) :]

    def _length(self, data: bytes) -> bytes:
        """A head of msgpack, which says how long something is, or of what type."""
        at, head = self._at(data), bytes([self._rng.choice(HEADS)])
        if self._rng.random() < 0.5:
            return data[:at] + head + data[at + 1 :]
        some = (head + self._rng.choice(LENGTHS)) * self._rng.choice([1, 1, 50, 1000])
        return data[:at] + some + data[at + self._rng.choice([0, len(some)]) :]

    def _structure(self, data: bytes) -> bytes:
        value = msgpack.unpackb(data, strict_map_key=False)
        for _ in range(self._rng.choice([1, 1, 1, 2, 3])):
            value = self._within(value) if self._rng.random() < 0.7 else self._value(value)
        if self._rng.random() < 0.05:
            return self._deep(data)
        try:
            packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
        except (ValueError, OverflowError):  # beyond 64 bits, or nested too deeply
            return self._flip(data)
        return packed

    def _deep(self, data: bytes) -> bytes:
        """A value within a thousand lists or maps; somewhere in the message, or around it."""
        depth = self._rng.choice([5, 7, 100, 510, 900, 1022, 1100, 20_000])
        shell = self._rng.choice(
            [b"\x91", b"\x81\xa1k", b"\xc7\x04\x01\x91", b"\xdd\x00\x00\x00\x01"]
        )
        at = self._at(data)
        return data[:at] + shell * depth + data[at:]

    def _within(self, message: Any) -> Any:
        """Inside of one of the fields, so that its type stays and the message is looked into."""
        if not isinstance(message, list):
            return message
        places = [at for at, each in enumerate(message) if isinstance(each, list | dict) and each]
        if places:
            at = self._rng.choice(places)
            inner = message[at]
            change = self._list if isinstance(inner, list) else self._map
            message[at] = change(inner.copy())
        return message

    def _value(self, value: Any) -> Any:
        if isinstance(value, list) and value and self._rng.random() < 0.85:
            return self._list(list(value))
        if isinstance(value, dict) and value and self._rng.random() < 0.8:
            return self._map(dict(value))
        if type(value) is int and self._rng.random() < 0.7:
            return self._rng.choice([*INTEGERS, value + 1, value - 1, -value, value * 2])
        if isinstance(value, bytes) and self._rng.random() < 0.7:
            return self._rng.choice([self._flip, self._cut, self._grow])(value)
        if isinstance(value, str) and self._rng.random() < 0.5:
            return value + self._rng.choice(["\0", "x", "\ud800", "é", "\u202e", "y" * 1000])
        return self._rng.choice([*ODD, *INTEGERS])

    def _list(self, value: list[Any]) -> Any:
        at, way = self._rng.randrange(len(value)), self._rng.random()
        if way < 0.75:
            value[at] = self._value(value[at])
        elif way < 0.82:
            del value[at]
        elif way < 0.89:
            value.insert(at, self._rng.choice(value))
        elif way < 0.95:
            self._rng.shuffle(value)
        else:
            value = value * self._rng.choice([2, 10, 200])
        return value

    def _map(self, value: dict[Any, Any]) -> Any:
        key = self._rng.choice(list(value))
        if self._rng.random() < 0.6:
            value[key] = self._value(value[key])
        else:
            value[self._rng.choice([0, 2**40, "new", ME, b"k", "x" * 2000])] = value.pop(key)
        return value


# ---- targets ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Something that reads what strangers or peers have sent."""

    name: str
    samples: list[bytes]
    read: Callable[[bytes], object]
    is_msgpack: bool = True


VALUE: Final = Codec().encode([[1, "x", {"a": (1, 2)}, {3, 4}, 2**70], {"k": None}])
MEMBER: Final = Member(
    name="b",
    address="127.0.0.1:2",
    boot=YOU,
    generation=5,
    status=Status.SUSPECT,
    types=("x:Y",),
    labels=(("zone", "eu"),),
)
UPDATE: Final = Update(MEMBER, "a", evidence=True).to_wire()
SPECIAL: Final[dict[str, Any]] = {
    "arguments": VALUE,
    "heeding": {YOU: 3},
    "holder": MEMBER.to_wire(),
    "member": MEMBER.to_wire(),
    "members": [[MEMBER.to_wire(), 3.5, "a"]],
    "result": VALUE,
    "state": VALUE,
    "updates": [UPDATE, UPDATE],
    "vector": {YOU: 3, ME: 0},
    "vitals": [1, 0, 5],
}
"""What fields hold that are more than their type says."""
PLAIN: Final[dict[str, Any]] = {
    "int": 7,
    "str": "text",
    "bytes": b"data",
    "bool": True,
    "float": 1.5,
    "list[Any]": [["text", True, b"data"], 3],
    "dict[str, Any]": {"a": 1},
    "Any": None,
}


def example(cls: type[Any], **values: Any) -> Any:
    """A message of this class as nodes send it, with these fields."""
    for each in dataclasses.fields(cls):
        kind = str(each.type)
        value = SPECIAL.get(each.name)
        if value is None or (kind == "int") != isinstance(value, int):
            value = PLAIN[kind.split(" | ", maxsplit=1)[0]]
        values.setdefault(each.name, value)
    return cls(**values)


def deltas() -> Iterator[Delta]:
    """Parts of a replica in every form that travels."""
    replica = Replica(YOU)
    for number in range(30):
        table = "u:" if number % 2 else ""
        delta = replica.add(f"k{number}", bytes([number]), label=b"p%d" % (number % 3), table=table)
        if number % 5 == 0:
            replica.remove(delta)
        value = None if number % 7 == 0 else b"v" * number
        replica.put("meta", f"m{number}", value, 1e9 + number, rank=number % 3)
    replica.mark("epoch", 5)
    yield from replica.own_deltas(0, 2048)
    yield from replica.deltas_for({}, 1024)
    yield from replica.deltas_for({YOU: 10})
    replica.forget_deletions(replica.deleted())
    yield from replica.deltas_for({})


def frames() -> Target:
    """Frames of members: everything that is checked of a message before anybody acts on it."""
    wire = Wire(MEMBERSHIP_MESSAGES, (Reached,), REPLICATION_MESSAGES, RUNTIME_MESSAGES)
    samples: list[bytes] = []
    for cls in (*MEMBERSHIP_MESSAGES, Reached, *REPLICATION_MESSAGES, *RUNTIME_MESSAGES):
        names = {each.name for each in dataclasses.fields(cls)}
        if "delta" in names:
            samples += [wire.encode(example(cls, delta=each.to_wire())) for each in deltas()]
        elif "error" in names:
            samples.append(wire.encode(example(cls, error=to_wire(NameTaken("x", "a")))))
            samples.append(wire.encode(example(cls, error=None)))
        else:
            samples.append(wire.encode(example(cls)))

    def read(frame: bytes) -> None:
        for message in wire.decode(frame):
            for each in dataclasses.fields(message):
                understand(each.name, getattr(message, each.name))

    return Target("frames", samples, read)


def understand(name: str, value: Any) -> None:
    """What the receivers of messages make of a field."""
    if name == "updates":
        for each in value:
            repr(Update.from_wire(each).to_wire())
    elif name == "members" and isinstance(value, list):
        for each in value:
            read_row(each)
    elif name in {"member", "holder"} and value is not None:
        Member.from_wire(value).to_wire()
    elif name == "vitals":
        Vitals.from_wire(value)
    elif name == "delta":
        delta = Delta.from_wire(value)
        msgpack.packb(delta.to_wire())
        assert all(piece.run() for segment in delta.segments for piece in segment.pieces)
    elif name == "error" and value is not None:
        str(from_wire(value))


def greetings() -> Target:
    """Frames of strangers, before they have shown that they belong here."""
    classes = [shape.cls for shape in HANDSHAKE._shapes.values()]
    samples = [HANDSHAKE.encode(example(cls)) for cls in classes]

    def read(frame: bytes) -> None:
        message = HANDSHAKE.decode_greeting(frame)
        for each in dataclasses.fields(message):
            understand(each.name, getattr(message, each.name))

    return Target("greetings", samples, read)


def values() -> Target:
    """Arguments, results and states."""
    document: Any = Doc({"text": Text("hello"), "map": Map({"a": 1})})
    codec = Codec()
    samples = [codec.encode(each) for each in ({"a": [1, 2, {3}]}, document, [document, "x"])]
    return Target("values", [VALUE, *samples], codec.decode)


def packets() -> Target:
    """Datagrams."""
    keyring = Keyring([b"new", b"old"])
    senders = [Sealer(YOU, "horde", Keyring([secret])) for secret in (b"new", b"old", b"other")]
    samples = [sender.seal(ME, VALUE) for sender in senders for _ in range(3)]

    def read(packet: bytes) -> None:
        Sealer(ME, "horde", keyring).open(packet, {YOU}.__contains__)

    return Target("packets", samples, read, is_msgpack=False)


PSK, PROLOGUE = b"k" * 32, b"horde"


def first_messages() -> Target:
    """What dials."""
    samples = [Initiator(PSK, PROLOGUE, bytes([each]) * 32).write(VALUE) for each in range(3)]

    def read(message: bytes) -> None:
        responder = Responder(PSK, PROLOGUE, b"r" * 32)
        responder.read(message)
        responder.write()

    return Target("first-messages", samples, read, is_msgpack=False)


def second_messages() -> Target:
    """What answers a dialler."""
    responder = Responder(PSK, PROLOGUE, b"r" * 32)
    responder.read(Initiator(PSK, PROLOGUE, b"i" * 32).write())
    sample = responder.write(VALUE)

    def read(message: bytes) -> None:
        initiator = Initiator(PSK, PROLOGUE, b"i" * 32)
        initiator.write()
        initiator.read(message)
        initiator.split()

    return Target("second-messages", [sample], read, is_msgpack=False)


def sealed_frames() -> Target:
    """What follows a handshake."""
    samples = [CipherState(b"k" * 32).encrypt(VALUE * count) for count in (1, 20)]
    return Target(
        "sealed-frames",
        samples,
        lambda frame: CipherState(b"k" * 32).decrypt(frame),
        is_msgpack=False,
    )


TARGETS: Final = {
    target.name: target
    for target in (
        frames(),
        greetings(),
        values(),
        packets(),
        first_messages(),
        second_messages(),
        sealed_frames(),
    )
}


# ---- running ------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of some cases."""

    counts: Counter[str] = field(default_factory=Counter)
    """How many were read, refused, or neither."""
    failures: dict[str, str] = field(default_factory=dict)
    """What must not be, each with the case that showed it first."""
    growth: int = 0
    """Bytes that all cases together left behind."""

    def fail(self, what: str, case: str, data: bytes) -> None:
        """This case is one too many."""
        self.counts["failed"] += 1
        self.failures.setdefault(what, f"{case}, {len(data)} bytes: {data[:300].hex()}")


def case(target: Target, seed: int, number: int) -> bytes:
    """The bytes of one case."""
    rng = Random(f"{target.name} {seed} {number}")
    sample = rng.choice(target.samples)
    return Mutator(rng, target.samples).mutate(sample, is_msgpack=target.is_msgpack)


def run(target: Target, seed: int, numbers: range, *, measured: bool = True) -> Outcome:
    """Try these cases; ``measured``: what memory they take as well (slower)."""
    outcome = Outcome()
    for number in numbers[:200] if measured else ():  # what is kept of the first ones is no growth
        attempt(target, case(target, seed, number))
    if measured:
        gc.collect()
        tracemalloc.start()
    try:
        for number in numbers:
            data = case(target, seed, number)
            before = 0
            if measured:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
            what = attempt(target, data)
            if measured:
                peak = tracemalloc.get_traced_memory()[1] - before
                if peak > PEAK_BASE + PEAK_PER_BYTE * len(data):
                    what = f"{peak // 1024} KiB of memory"
            if what in {"read", "refused"}:
                outcome.counts[what] += 1
            else:
                outcome.fail(what, f"{target.name}, seed {seed}, number {number}", data)
        if measured:
            gc.collect()
            outcome.growth = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    if outcome.growth > MAX_GROWTH:
        outcome.failures["growth"] = f"{target.name}: {outcome.growth} bytes are left"
    return outcome


def attempt(target: Target, data: bytes) -> str:
    """What came of it: read, refused, or what was raised and where."""
    try:
        target.read(data)
    except REFUSALS:
        return "refused"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is reported
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {place.filename}:{place.lineno} ({place.name})"
    return "read"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 1 when something came out that must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.mutations")
    parser.add_argument("--count", type=int, default=10_000, help="cases for each target")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--fast", action="store_true", help="do not measure memory")
    options = parser.parse_args(arguments)
    numbers = range(options.first, options.first + options.count)
    failed = 0
    for name in options.target or TARGETS:
        outcome = run(TARGETS[name], options.seed, numbers, measured=not options.fast)
        print(f"{name}: {dict(outcome.counts)}, {outcome.growth} bytes left", flush=True)
        for what, where in outcome.failures.items():
            print(f"  {what}\n    {where}", flush=True)
        failed += len(outcome.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
