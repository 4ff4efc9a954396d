"""The server side of the OPC UA benchmark: the gateway's server over a point table that is written in batches.

Arguments: `serve POINTS DIRECTORY`, or `table POINTS DIRECTORY` for building and memory alone. `serve` prints a line
when it listens, with a history of all points and an alarm rule on one in twenty; every line on its standard input,
`{"points": …, "seconds": …, "rate": …}`, has it write the first points for so long (rate 0: as fast as the subscriber
follows) and print what it did. Without seconds it only tells its memory; `"beside": false`
leaves history and rules out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import uvloop

from address_space import clock
from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import Ports, ServerSettings
from address_space.point import Batch, PointProfile, Raw
from address_space.ports import Argument, Caller, MethodResult, MethodSpec, Right
from address_space.quality import Quality
from address_space.table import PointTable
from address_space.units import Unit
from twin_gateway.alarms.store import ConditionBook
from twin_gateway.bench.memory import resident
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.rule_alarms import RuleAlarms
from twin_gateway.history.service import History
from twin_gateway.history.settings import HistorySettings
from twin_gateway.mapping.alarm_rule import AlarmRule

BAY = (
    ("MMXU1/TotW", 0),
    ("MMXU1/TotVAr", 1),
    ("MMXU1/Hz", 2),
    ("MMXU1/PhV/phsA", 3),
    ("MMXU1/PhV/phsB", 3),
    ("MMXU1/PhV/phsC", 3),
    ("MMXU1/A/phsA", 4),
    ("MMXU1/A/phsB", 4),
    ("MMXU1/A/phsC", 4),
    ("MMTR1/TotWh", 0),
    ("MMTR1/TotVArh", 1),
    ("CSWI1/Pos", 5),
    ("XCBR1/Pos", 5),
    ("XCBR1/OpCnt", 5),
    ("PTOC1/Op", 6),
    ("GGIO1/Ind1", 6),
    ("GGIO1/Ind2", 6),
    ("GGIO1/Cnt1", 7),
    ("GGIO1/Cnt2", 7),
    ("GGIO1/Cnt3", 8),
)
"""Data objects of one bay and the number of their profile: 11 Double, 3 Int32, 3 Boolean, 2 UInt32, 1 Int64."""

_FIRST_STATE = 5
"""Number of the first profile that has no limits."""
PLACE = "dso1/region0/PS00000/MV1/F00"
METHOD = "Double"
_BATCH = 2500
_AHEAD = 200_000
"""Samples that may wait for the subscriber while the writer goes as fast as it can."""


def _profile(kind: ValueType, variable: VariableKind, symbol: str = "") -> PointProfile:
    unit = Unit(symbol, "bench") if symbol else None
    return PointProfile("MV", kind, variable, None, unit, low=0.0, high=1000.0)


PROFILES = (
    _profile(ValueType.DOUBLE, VariableKind.ANALOG, "W"),
    _profile(ValueType.DOUBLE, VariableKind.ANALOG, "var"),
    _profile(ValueType.DOUBLE, VariableKind.ANALOG, "Hz"),
    _profile(ValueType.DOUBLE, VariableKind.ANALOG, "V"),
    _profile(ValueType.DOUBLE, VariableKind.ANALOG, "A"),
    _profile(ValueType.INT32, VariableKind.MULTI_STATE),
    _profile(ValueType.BOOLEAN, VariableKind.TWO_STATE),
    _profile(ValueType.UINT32, VariableKind.BASE_ANALOG),
    _profile(ValueType.INT64, VariableKind.DATA),
)


def addresses(count: int) -> Iterator[str]:
    """Addresses of `count` points: 20 a bay, 20 bays a substation."""
    made = 0
    for bay in range(count // len(BAY) + 1):
        place = f"dso1/region{bay // 8000}/PS{bay // 20:05}/MV1/F{bay % 20:02}/QA1/"
        for name, _ in BAY[: count - made]:
            yield place + name
        made += len(BAY)
        if made >= count:
            return


def fill(table: PointTable, count: int) -> float:
    """Put the points into the table; returns the seconds of `add_columns`."""
    numbers = [table.profile_number(profile) for profile in PROFILES]
    bay = array("I", [numbers[profile] for _, profile in BAY])
    profiles = (bay * (count // len(bay) + 1))[:count]
    link = [table.link_number(f"rtu{number}") for number in range(200)]
    links = array("H", [link[point * 200 // count] for point in range(count)])
    sources = array("Q", [table.source_number(point) for point in range(count)])
    began = time.perf_counter()
    table.add_columns(addresses(count), profiles, links, sources)
    return time.perf_counter() - began


class _Policy:
    """Anyone may read below dso1: the access check has something to say to every item."""

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        return None

    def anonymous(self, client: str) -> Caller | None:
        return Caller("", frozenset({"Observer"}), client)

    async def authenticate_certificate(self, certificate: bytes, client: str) -> Caller | None:
        return None

    def role_rights(self) -> Mapping[str, frozenset[Right]]:
        return {"Observer": frozenset({Right.BROWSE, Right.READ})}

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return right in {Right.BROWSE, Right.READ} and (not address or address.startswith("dso1/"))


class _Doubles:
    """A method on the first bay, for round trips."""

    def specs(self) -> list[MethodSpec]:
        number = Argument("value", int(ValueType.DOUBLE))
        return [MethodSpec(PLACE, METHOD, (number,), (number,), Right.READ)]

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        return MethodResult(0, (2 * arguments[0],))


def _server(table: PointTable, directory: str, **ports: Any) -> GatewayServer:
    settings = ServerSettings(
        "https://example.org/bench",
        Path(directory),
        port=0,
        security=("None", "SignAndEncrypt"),
        trust_any_client=True,
    )
    return GatewayServer(table, settings, ports=Ports(policy=_Policy(), providers=(_Doubles(),), **ports))


class _Beside:
    """What works beside the server in a gateway: a history of all points, alarm rules on one in twenty."""

    def __init__(self, table: PointTable, directory: str) -> None:
        self.events = EventJournal()
        self.conditions = ConditionBook(self.events)
        self._table, self._folder = table, Path(directory) / "history"
        self._alarms = Alarms(self.events, self.conditions)
        numeric = {number for number, (_, profile) in enumerate(BAY) if profile < _FIRST_STATE}
        rows = [row for row in range(0, len(table), 20) if row % len(BAY) in numeric]
        limits = AlarmRule("A01", limits=(None, None, 5_000.0, 9_000.0), hysteresis=10.0)
        self._rules = {table.address(row): limits for row in rows}
        self._history: History | None = None
        self._judging: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the history and begin to judge."""
        self._history = History(self._table, self.events, HistorySettings(), self._folder)
        await self._history.start()
        await self._history.events("", 0, 1, 1)  # its process is there
        self._judging = asyncio.get_running_loop().create_task(RuleAlarms(self._table, self._alarms, self._rules).run())

    async def stop(self) -> dict[str, float]:
        """End both; what the history kept and lost."""
        if self._history is None or self._judging is None:
            return {}
        self._judging.cancel()
        await asyncio.gather(self._judging, return_exceptions=True)
        await self._history.stop()
        counters = asdict(self._history.counters)
        self._history = self._judging = None
        return {name: value for name, value in counters.items() if isinstance(value, (int, float))}


class _Writer:
    """Writes every point in turn; a value always differs from the one before by 2, a Boolean changes."""

    def __init__(self, server: GatewayServer, count: int) -> None:
        self._server, self._table = server, server.table
        self._rows = [np.arange(start, min(start + _BATCH, count), dtype=np.int32) for start in range(0, count, _BATCH)]
        types = self._table.value_type
        self._values: list[list[npt.NDArray[np.float64]]] = []
        self._quality = []
        for rows in self._rows:
            boolean = types[rows] == ValueType.BOOLEAN
            low = np.where(boolean, 0.0, 100.0 + rows % 500)
            self._values.append([low, np.where(boolean, 1.0, low + 2.0)])
            # One sample in a hundred is questionable: the status column is not all the same.
            self._quality.append(np.where(rows % 100 == 7, np.uint32(Quality.QUESTIONABLE), np.uint32(0)))
        self._round = 0

    async def write(self, seconds: float, rate: float) -> dict[str, float]:
        """Write for some seconds at a rate (samples a second, 0 as fast as the subscriber follows)."""
        began, cpu, written = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < seconds:
            self._round ^= 1
            for number, rows in enumerate(self._rows):
                times = np.full(len(rows), clock.now(), np.int64)
                self._table.ingest(Batch(rows, self._values[number][self._round], self._quality[number], times))
                written += len(rows)
                if rate:
                    await asyncio.sleep(max(0.0, written / rate - (time.perf_counter() - began)))
                else:
                    await asyncio.sleep(0)
                    while self._waiting() > _AHEAD and time.perf_counter() - began < seconds:  # noqa: ASYNC110 - the writer has no part in the server's events
                        await asyncio.sleep(0.001)
        spent = time.perf_counter() - began
        return {
            "written": written,
            "seconds": spent,
            "cpu": (time.process_time() - cpu) / spent,
            "rss_mb": resident() / 1e6,
            "dropped": sum(points.dropped + points.lost for points in self._points()),
        }

    def _points(self) -> list[Any]:
        internal = self._server.internal
        if internal is None:
            return []
        each = internal.subscription_service.subscriptions.values()
        return [subscription.points for subscription in each if hasattr(subscription, "points")]

    def _waiting(self) -> int:
        unread = max((cursor.pending for cursor in self._table.journal.cursors), default=0)
        return int(unread + sum(points.queued for points in self._points()))


async def _serve(count: int, directory: str) -> None:
    table = PointTable()
    fill(table, count)
    beside = _Beside(table, directory)
    server = _server(table, directory, events=beside.events, conditions=beside.conditions)
    await server.start()
    certificate = str(server.identity.certificate_file) if server.identity is not None else ""
    print(json.dumps({"port": server.port, "namespace": 2, "certificate": certificate}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job = json.loads(line)
        answer: dict[str, Any] = {"rss": resident()}
        if "seconds" in job:
            if job.get("beside", True):
                await beside.start()
            answer |= await _Writer(server, job["points"]).write(job["seconds"], job["rate"])
            answer["history"] = await beside.stop()
        print(json.dumps(answer), flush=True)
    await server.stop()


async def _table(count: int, directory: str) -> None:
    table = PointTable()
    fill(table, 1000)
    table = PointTable()
    before = resident()
    seconds = fill(table, count)
    after = resident()
    raw: Raw = table.raw
    server = _server(table, directory)
    await server.start()
    report = {
        "build_s": seconds,
        "bytes_per_variable": (after - before) / len(raw),
        "rss_mb": resident() / 1e6,
    }
    print(json.dumps(report), flush=True)
    await server.stop()


if __name__ == "__main__":
    uvloop.run((_serve if sys.argv[1] == "serve" else _table)(int(sys.argv[2]), sys.argv[3]))
