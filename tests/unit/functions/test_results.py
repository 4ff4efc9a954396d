"""Result points and the host of the twin functions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from peers.waiting import patient

from address_space import clock
from address_space.catalogue import CatalogueError
from address_space.events import EventJournal
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.host import FunctionHost, Hosted
from twin_gateway.functions.results import ResultPoints

PLACE = "dso1/north/TS14/LV1/_/_/twLOSS1"
PAST = clock.from_unix(1_750_000_000)


def test_values_carry_the_quality_and_time_of_what_they_come_from() -> None:
    table = PointTable()
    results = ResultPoints(table)
    results.add([f"{PLACE}/LosWh", f"{PLACE}/Rev", f"{PLACE}/T0"])
    uncertain = int(Quality.QUESTIONABLE | Quality.OLD_DATA)
    results.write({f"{PLACE}/LosWh": 12.5, f"{PLACE}/Rev": 2, f"{PLACE}/T0": "2026-11-23T00:00:00Z"}, uncertain, PAST)
    for name, value in (("LosWh", 12.5), ("Rev", 2), ("T0", "2026-11-23T00:00:00Z")):
        sample = table.sample(table.find(f"{PLACE}/{name}"))
        assert (sample.value, sample.source_time, sample.quality) == (value, PAST, uncertain)


def test_a_result_that_cannot_be_had_is_bad_and_no_old_one() -> None:
    table = PointTable()
    results = ResultPoints(table)
    results.add([f"{PLACE}/LosWh", f"{PLACE}/T0"])
    results.write({f"{PLACE}/LosWh": 12.5, f"{PLACE}/T0": "then"})
    results.write({f"{PLACE}/LosWh": None, f"{PLACE}/T0": None})
    for name in ("LosWh", "T0"):
        assert table.sample(table.find(f"{PLACE}/{name}")).status & 0x8000_0000


def test_a_point_is_added_once_and_only_when_the_catalogue_knows_it() -> None:
    table = PointTable()
    results = ResultPoints(table)
    results.add([f"{PLACE}/LosWh"] * 2)
    results.add([f"{PLACE}/LosWh"])
    assert len(table) == 1
    assert f"{PLACE}/LosWh" in results
    with pytest.raises(CatalogueError):
        results.add([f"{PLACE}/Nonsense"])
    assert len(table) == 1


class Echo:
    def __init__(self, name: str, *owners: str) -> None:
        self.name = name
        self._owners = owners

    def specs(self) -> Sequence[MethodSpec]:
        return [MethodSpec(owner, "Say", (), ()) for owner in self._owners]

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        return MethodResult(StatusCode.Good, (self.name, owner, name))

    async def run(self) -> None: ...


def hosted(*functions: Any, results: ResultPoints | None = None) -> list[Hosted]:
    return [Hosted(function, results or ResultPoints(PointTable())) for function in functions]


class Failing(Echo):
    """Fails the first time it runs."""

    runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise ValueError("no such island")
        await asyncio.sleep(60)


async def test_a_function_that_fails_is_told_its_results_are_bad_and_it_runs_again() -> None:
    table, events = PointTable(), EventJournal()
    results, cursor = ResultPoints(table), events.cursor("test")
    results.add([f"{PLACE}/LosWh"])
    results.write({f"{PLACE}/LosWh": 12.5})
    failing = Failing("losses", "a")
    host = FunctionHost(hosted(failing, results=results), Alarms(events), "dso1/_sys/gw1", pause=0.2)
    task = asyncio.create_task(host.keep(host.hosted[0]))
    async with patient(5):
        while not host.failed:
            await asyncio.sleep(0.01)
        assert host.failed == {"losses": "ValueError: no such island"}
        assert table.sample(table.find(f"{PLACE}/LosWh")).status & 0x8000_0000
        while failing.runs < 2:
            await asyncio.sleep(0.01)
    assert not host.failed
    (event,) = cursor.take()
    assert (event.code, event.severity, event.address) == ("G02", 800, "dso1/_sys/gw1")
    assert "no such island" in event.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_host_hands_each_call_to_the_function_that_offers_it() -> None:
    host = FunctionHost(hosted(Echo("one", "a"), Echo("two", "b")), Alarms(EventJournal()))
    caller = Caller("anna", frozenset({"Observer"}))
    assert len(host.specs()) == 2
    assert (await host.call("b", "Say", (), caller)).outputs == ("two", "b", "Say")
    assert (await host.call("c", "Say", (), caller)).status == StatusCode.BadMethodInvalid


def test_one_method_has_one_function() -> None:
    with pytest.raises(ValueError, match="offered twice"):
        FunctionHost(hosted(Echo("one", "a"), Echo("two", "a")), Alarms(EventJournal()))


@pytest.mark.parametrize(
    ("point", "unit"),
    [
        ("twLOSS1/TecWh", "Wh"),
        ("twLOSS1/Cmpl", "%"),
        ("twFLSR1/SAIDI", "min"),
        ("twFLSR1/RestW", "W"),
        ("twHLTH1/DaysToAlm", "d"),
        ("twHLTH1/PresN", "Pa"),
        ("twSUPV1/TmOfs", "s"),
        ("twTOPO1/VMin", "1"),
        ("twMMXU1/TotW", "W"),
        ("twMMXU1/AvAPhs", "A"),
        ("twTOPO1/FedFrom", None),
    ],
)
def test_results_have_units(point: str, unit: str | None) -> None:
    table = PointTable()
    address = f"{PLACE.rsplit('/', 1)[0]}/{point}"
    ResultPoints(table).add([address])
    found = table.profile(table.find(address)).unit
    assert (found.symbol if found is not None else None) == unit


def test_every_alarm_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms(EventJournal())
    with caplog.at_level("INFO"):
        alarms.raise_("P01", "dso1/north/PS01/MV1/F01", "Protection trip", 900)
        alarms.raise_("P01", "dso1/north/PS01/MV1/F01", "Protection trip", 900)
        alarms.clear("P01", "dso1/north/PS01/MV1/F01")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "alarm P01 active 900 at dso1/north/PS01/MV1/F01: Protection trip"),
        ("INFO", "alarm P01 inactive 900 at dso1/north/PS01/MV1/F01: Protection trip (over)"),
    ]
