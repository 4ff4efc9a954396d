"""Round trips to an OPC UA server: reads of one and of a thousand, browses, calls, writes; one client and many."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from twin_gateway.bench.opcua_subscriber import Subscriber

_NULL = b"\xff\xff\xff\xff"
_VALUE = struct.pack("<I", 13) + _NULL + b"\x00\x00" + _NULL
_READ, _BROWSE, _CALL, _WRITE = 631, 527, 712, 673
_MANY = "read_1_many"
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Places:
    """Nodes by which a server is measured: string identifiers in one namespace.

    Attributes:
        values: variables, a thousand at least where reads of a thousand are asked.
        folder: node with some references.
        owner, method: of a method that takes a Double and gives one.
    """

    namespace: int
    values: Sequence[str]
    folder: str
    owner: str
    method: str


def _node(identifier: str, namespace: int) -> bytes:
    octets = identifier.encode()
    return struct.pack("<BHi", 3, namespace, len(octets)) + octets


def read_body(places: Places, count: int) -> bytes:
    """Read of so many values, both timestamps."""
    nodes = b"".join(_node(each, places.namespace) + _VALUE for each in places.values[:count])
    return struct.pack("<dIi", 0.0, 2, count) + nodes


def browse_body(places: Places) -> bytes:
    """Browse of the folder: all references, all fields."""
    what = _node(places.folder, places.namespace) + struct.pack("<I", 0) + b"\x00\x00\x01" + struct.pack("<II", 0, 63)
    return b"\x00\x00" + bytes(16) + struct.pack("<i", 1) + what


def call_body(places: Places) -> bytes:
    """Call of the method with one Double."""
    ids = _node(places.owner, places.namespace) + _node(places.method, places.namespace)
    return struct.pack("<i", 1) + ids + struct.pack("<iBd", 1, 11, 21.0)


def write_body(places: Places) -> bytes:
    """Write of one Double, which the server may refuse."""
    value = b"\x01\x0b" + struct.pack("<d", 1.0)
    what = _node(places.values[0], places.namespace) + struct.pack("<I", 13) + _NULL
    return struct.pack("<i", 1) + what + value


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that is measured: its port on 127.0.0.1, and nodes of it."""

    port: int
    places: Places


def measure(subjects: Sequence[Subject], *, seconds: float, clients: int, timeout: float) -> list[dict[str, float]]:
    """Requests a second of each kind by one client, one after the other; single reads of many clients at once too.

    The servers take turns of a few short rounds for each kind, so that whatever else the machine does meets them alike;
    the median round of each counts.
    """
    kinds = [_kinds(subject.places) for subject in subjects]
    figures: list[dict[str, float]] = [{} for _ in subjects]
    several = [[Subscriber(subject.port, timeout) for _ in range(clients)] for subject in subjects]
    for name in (*kinds[0], _MANY):
        rounds: list[list[float]] = [[] for _ in subjects]
        for _ in range(_ROUNDS):
            for number, asking in enumerate(several):
                request = kinds[number].get(name, kinds[number]["read_1"])
                turn = asking if name == _MANY else asking[:1]
                rounds[number].append(_rate(turn, *request, seconds / _ROUNDS))
        for number, rates in enumerate(rounds):
            figures[number][name] = median(rates)
    for asking in several:
        for each in asking:
            each.close()
    return figures


def _kinds(places: Places) -> dict[str, tuple[int, bytes]]:
    return {
        "read_1": (_READ, read_body(places, 1)),
        "read_1000": (_READ, read_body(places, min(1000, len(places.values)))),
        "browse": (_BROWSE, browse_body(places)),
        "method": (_CALL, call_body(places)),
        "write": (_WRITE, write_body(places)),
    }


def _rate(clients: Sequence[Subscriber], number: int, body: bytes, seconds: float) -> float:
    """Answers a second when each client always has one request under way; the first tenth is not counted."""
    prepared = [client.prepared(number, body) for client in clients]
    pairs = list(zip(clients, prepared, strict=True))
    for warm in (True, False):
        done, began = 0, time.perf_counter()
        end = began + (seconds / 10 if warm else seconds)
        while (now := time.perf_counter()) < end:
            for client, request in pairs:
                client.ask(request)
            for client, _ in pairs:
                client.take()
            done += len(pairs)
    return done / (now - began)
