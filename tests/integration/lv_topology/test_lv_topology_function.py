"""The methods of twTOPO1: identify from the interval store, compare, accept, reject, export; durable, audited."""

from __future__ import annotations

import asyncio
import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from peers.waiting import patient

from address_space import clock
from address_space.ports import Caller, Right
from address_space.quality import StatusCode
from twin_gateway.bench.lv_areas import Truth
from twin_gateway.functions.lv_topology import LvTopology, make_lv_topology
from twin_gateway.functions.lv_topology_settings import LvTopologySettings
from twin_gateway.twin.lv_topology.data import AreaData

ENGINEER = Caller("eva", frozenset({"Engineer"}), "test")
OWNER = "dso1/north/_/_/_/_/twTOPO1"
COLUMNS = (
    "finding",
    "meter",
    "state",
    "confidence",
    "transformer",
    "phases",
    "recorded_transformer",
    "recorded_phases",
    "parent",
    "votes",
)
Make = Callable[[], SimpleNamespace]


@asynccontextmanager
async def running(bench: SimpleNamespace, **settings: Any) -> AsyncIterator[LvTopology]:
    chosen = LvTopologySettings(days=7, **{"answer_within": 90.0, **settings})
    function = make_lv_topology(bench.context, chosen, bench.context.worker)
    task = asyncio.create_task(function.run())
    await asyncio.sleep(0)
    try:
        yield function
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def call(function: LvTopology, name: str, *arguments: Any) -> Any:
    return await function.call(OWNER, name, list(arguments), ENGINEER)


async def identify(function: LvTopology, bench: SimpleNamespace, area: str = "") -> Any:
    end = clock.to_datetime(bench.end)
    return await call(function, "Identify", area, None, end, 0.0, [])


async def rows(function: LvTopology, name: str, area: str = "") -> list[dict[str, Any]]:
    result = await call(function, name, area)
    assert result.status == StatusCode.Good
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*result.outputs, strict=True)]


def value(bench: SimpleNamespace, address: str) -> Any:
    table = bench.context.table
    row = table.find(address)
    return table.sample(row).value


async def test_identify_compare_accept_reject_and_a_restart(
    make_context: Make, district: tuple[AreaData, Truth]
) -> None:
    data, truth = district
    bench = make_context()
    async with running(bench) as function:
        done = await identify(function, bench)
        result, state, percent, meters, agrees, differs, unknown, seconds, text = done.outputs
        assert (done.status, state, percent) == (StatusCode.Good, "done", 100.0), text
        assert meters == len(data.meters) == agrees + differs + unknown
        assert differs >= 2
        assert seconds > 0

        found = await rows(function, "Compare")
        assert len(found) == differs
        for row in found:
            at = data.meters.index(row["meter"])
            assert row["transformer"] == data.transformers[truth.transformer[at]]
            assert row["phases"] == truth.phases[at]
            assert row["confidence"] >= 0.95
        events = [event for event in bench.told() if event.code == "T01"]
        assert {event.address for event in events} == {row["meter"] for row in found}
        assert {event.severity for event in events} == {250}
        assert {event.correlation for event in events} == {result}
        assert value(bench, f"{OWNER}/DiffCnt") == differs
        assert value(bench, f"{OWNER}/LastId") == result
        assert value(bench, f"{OWNER}/Cov") == pytest.approx((agrees + differs) / meters)
        assert value(bench, "dso1/north/TS00/LV1/_/_/twTOPO1/AgrCnt") > 0

        first, second = found[0], found[1]
        before = function.meter(first["meter"])
        assert before is not None
        assert (before.transformer, before.phases) == (first["recorded_transformer"], first["recorded_phases"])
        accepted = await call(function, "Accept", first["finding"])
        assert accepted.status == StatusCode.Good, accepted.text
        assert accepted.outputs[0] == 1
        after = function.meter(first["meter"])
        assert after is not None
        assert (after.transformer, after.phases) == (first["transformer"], first["phases"])
        assert bench.audit.records[-1].kind == "topology.accept"
        assert bench.audit.records[-1].user == "eva"
        assert bench.audit.records[-1].address == first["meter"]

        rejected = await call(function, "Reject", second["finding"], "seen on site")
        assert rejected.status == StatusCode.Good, rejected.text
        assert bench.audit.records[-1].text == "seen on site"
        assert value(bench, f"{OWNER}/DiffCnt") == differs - 2

        again = await identify(function, bench)
        assert again.status == StatusCode.Good
        left = {row["meter"] for row in await rows(function, "Compare")}
        assert left == {row["meter"] for row in found[2:]}
        assert [event for event in bench.told() if event.code == "T01"] == []
        stale = await call(function, "Accept", found[2]["finding"])
        assert stale.status == StatusCode.BadNoMatch
        assert "superseded" in stale.text

    bench = make_context()
    async with running(bench) as function:
        restarted = function.meter(first["meter"])
        assert restarted is not None
        assert (restarted.transformer, restarted.phases) == (first["transformer"], first["phases"])
        states = {row["meter"]: row["state"] for row in await rows(function, "Findings")}
        assert states[second["meter"]] == "rejected"
        assert {row["meter"] for row in await rows(function, "Compare")} == left
        assert value(bench, f"{OWNER}/DiffCnt") == len(left)


async def test_nothing_changes_when_the_audit_cannot_be_written(make_context: Make) -> None:
    bench = make_context()
    async with running(bench) as function:
        await identify(function, bench)
        found = (await rows(function, "Compare"))[0]
        bench.audit.broken = True
        refused = await call(function, "Accept", found["finding"])
        assert refused.status == StatusCode.BadResourceUnavailable
        meter = function.meter(found["meter"])
        assert meter is not None
        assert meter.transformer == found["recorded_transformer"]
        assert function.references() == {}


async def test_who_may_not_see_a_meter_sees_no_finding_of_it(make_context: Make) -> None:
    bench = make_context()
    async with running(bench) as function:
        await identify(function, bench)
        found = (await rows(function, "Compare"))[0]
        bench.policy.refused.add(found["meter"])
        assert found["meter"] not in {row["meter"] for row in await rows(function, "Findings")}
        assert (await call(function, "Accept", found["finding"])).status == StatusCode.BadUserAccessDenied


async def test_one_transformer_alone_and_exports(make_context: Make, district: tuple[AreaData, Truth]) -> None:
    data, truth = district
    bench = make_context()
    async with running(bench) as function:
        done = await identify(function, bench, "dso1/north/TS01/LV1")
        assert done.status == StatusCode.Good, done.text
        found = await rows(function, "Findings")
        on_record = [
            meter
            for meter, at in zip(data.meters, truth.recorded_transformer, strict=True)
            if at >= 0 and data.transformers[at] == data.transformers[1]
        ]
        assert {row["meter"] for row in found} == set(on_record)

        text = (await call(function, "Export", "", "csv")).outputs[0]
        lines = list(csv.DictReader(io.StringIO(text)))
        assert [line["meter"] for line in lines] == [row["meter"] for row in found]
        document = ET.fromstring((await call(function, "Export", "", "cim")).outputs[0])
        points = document.findall("{http://iec.ch/TC57/CIM100#}UsagePoint")
        assert len(points) == sum(row["state"] in {"agrees", "confirmed"} for row in found)
        assert (await call(function, "Export", "", "pdf")).status == StatusCode.BadInvalidArgument


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("dso1/south", None, None, 0.0, []), "No transformer"),
        (("", None, None, 1000.0, []), "between 0 and 92 days"),
        (("", None, None, -1.0, []), "between 0 and 92 days"),
        (("", None, None, 0.0, ["tarot"]), "no method 'tarot'"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_sentence(
    make_context: Make, arguments: tuple[Any, ...], text: str
) -> None:
    async with running(make_context()) as function:
        refused = await call(function, "Identify", *arguments)
        assert refused.status == StatusCode.BadInvalidArgument
        assert text in refused.text
        assert len(refused.outputs) == 9


async def test_a_window_without_data_leaves_every_meter_unknown(make_context: Make) -> None:
    bench = make_context()
    async with running(bench) as function:
        long_ago = clock.to_datetime(bench.end - 100 * 86_400 * clock.TICKS_PER_SECOND)
        done = await call(function, "Identify", "", None, long_ago, 0.0, [])
        assert done.status == StatusCode.Good, done.text
        assert done.outputs[6] == done.outputs[3] > 0
        assert "told nothing" in done.outputs[8]


async def test_identify_answers_early_and_progress_tells_the_rest(make_context: Make) -> None:
    bench = make_context()
    async with running(bench, answer_within=0.01) as function:
        early = await identify(function, bench)
        assert early.status == StatusCode.Good
        assert (early.outputs[0], early.outputs[1]) == ("", "reading and computing")
        second = await identify(function, bench)
        assert second.status == StatusCode.BadResourceUnavailable
        async with patient(90):
            while (await call(function, "Progress")).outputs[1] != "done":
                await asyncio.sleep(0.05)
        assert (await call(function, "Progress")).outputs[0] == "LV1"


async def test_only_engineers_change_anything(make_context: Make) -> None:
    bench = make_context()
    async with running(bench) as function:
        rights = {spec.name: spec.right for spec in function.specs()}
        assert {name for name, right in rights.items() if right is Right.CONFIGURE} == {"Identify", "Accept", "Reject"}
        assert {spec.owner for spec in function.specs()} == {OWNER}
        assert (await call(function, "Reject", "LV9-9", "no such")).status == StatusCode.BadNoMatch
        assert (await call(function, "Accept", "'; DROP TABLE finding")).status == StatusCode.BadNoMatch
        assert (await call(function, "Reject", "LV1-1", " ")).status == StatusCode.BadInvalidArgument
