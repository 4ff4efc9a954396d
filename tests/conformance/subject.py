"""What is checked: the gateway's server, or stock asyncua with the same small address space in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from peers.opcua.rig import BAY, CONTROL, POSITION, POWER, Rig, Users, grid, point
from peers.waiting import patient

from address_space import clock
from address_space.catalogue import ValueType, VariableKind
from address_space.point import Batch, Point, PointProfile, TextSample
from address_space.ports import Caller, Right
from address_space.table import PointTable

PASSWORDS = {
    "olga": "o-secret",
    "otto": "w-secret",
    "nina": "n-secret",
    "sara": "s-secret",
    "eva": "e-secret",
    "nobody": "x-secret",
}
"""olga operates, otto observes, nina observes one feeder, sara administers security, eva supervises and configures,
nobody has no role."""
NAMESPACE = 2
METHODS_OBJECT = BAY
"""Has the methods `Double` (factor: Double, names: String[]) -> result, and `Refused`, which may never be called."""
TEXT = "dso1/conf/PS01/MV1/F00/QA1/GGIO1/Val"
_TEXT_PROFILE = PointProfile("VSS", ValueType.STRING, VariableKind.DATA)
_FRESH = 1_200
HIDDEN = f"dso1/conf/PS01/MV1/F{_FRESH // 40 + 1:02d}/_/MMXU1/TotW"
"""A point that everybody may see and nobody may read."""


def fresh_address(number: int) -> str:
    """Address of a Double with EURange 0 to 200, of which every check takes its own."""
    return f"dso1/conf/PS01/MV1/F{number // 40 + 1:02d}/_/MMXU{number % 40 + 1}/TotW"


def table() -> PointTable:
    """The points of both subjects."""
    made = grid()
    made.add(point(fresh_address(number), link="conf", low=0.0, high=200.0) for number in range(_FRESH))
    made.add([point(HIDDEN, link="conf")])
    made.add([Point(TEXT, _TEXT_PROFILE, "conf")])
    rows = [made.find(fresh_address(number)) for number in range(_FRESH)]
    made.ingest(Batch.of(rows, [10.0] * _FRESH, 0, clock.now()))
    made.ingest(Batch.of([], [], texts=[TextSample(made.find(TEXT), "first text", 0, clock.now())]))
    return made


def node(address: str, member: str = "") -> str:
    """NodeId of an address, or of a property or method of it."""
    return f"ns={NAMESPACE};s={address}{'#' + member if member else ''}"


class CheckUsers(Users):
    """Users of the checks."""

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        """As of the users, and nobody reads what is hidden."""
        return not (right is Right.READ and address == HIDDEN) and super().permits(caller, right, address)


class Subject(Protocol):
    """A running server with the address space of `table`."""

    name: str
    url: str
    port: int

    def fresh(self) -> str:
        """Address of a Double that no other check uses; its value is 10.0."""
        ...

    async def write(self, *values: tuple[str, float], status: int = 0) -> None:
        """New values of points, as from the field; a `status` other than 0 is a loss of communication."""
        ...


class Ours:
    """The gateway's server, in the test's own process; `rig` has its table, desk, audit and journal."""

    name = "ours"

    def __init__(self, directory: Path) -> None:
        self._numbers = itertools.count()
        self.rig = Rig(directory, table=table(), policy=CheckUsers())

    async def __aenter__(self) -> Ours:
        await self.rig.server.start()
        self.url, self.port = self.rig.server.url, self.rig.server.port
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rig.server.stop()

    def fresh(self) -> str:
        """Address of a Double that no other check uses."""
        return fresh_address(next(self._numbers))

    async def write(self, *values: tuple[str, float], status: int = 0) -> None:
        """New values of points."""
        points = self.rig.table
        rows = [points.find(address) for address, _ in values]
        points.ingest(Batch.of(rows, [value for _, value in values], 0, clock.now()))
        if status:
            points.comm_lost(np.array(rows, np.int32))
        await asyncio.sleep(0)


class Stock:
    """asyncua as it comes; `stock_server` is its process."""

    name = "stock"

    def __init__(self) -> None:
        self._numbers = itertools.count()

    async def __aenter__(self) -> Stock:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("stock_server.py")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with patient(15):
            self.port = int((await self._line())["port"])
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with patient(10):
            await self._process.wait()

    async def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())

    def fresh(self) -> str:
        """Address of a Double that no other check uses."""
        return fresh_address(next(self._numbers))

    async def write(self, *values: tuple[str, float], status: int = 0) -> None:
        """New values of points."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"write": values, "status": status}).encode() + b"\n")
        await self._line()


__all__ = [
    "BAY",
    "CONTROL",
    "HIDDEN",
    "METHODS_OBJECT",
    "NAMESPACE",
    "PASSWORDS",
    "POSITION",
    "POWER",
    "TEXT",
    "Ours",
    "Stock",
]
