"""By which transformer and phase a meter is fed can be read at its place, uncertain until a person has accepted it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

from peers.waiting import until

from address_space import clock
from address_space.ports import Caller
from address_space.quality import StatusCode
from twin_gateway.bench.lv_areas import Truth
from twin_gateway.functions.lv_topology import LvTopology, make_lv_topology
from twin_gateway.functions.lv_topology_settings import LvTopologySettings
from twin_gateway.functions.lv_topology_store import StoredResult
from twin_gateway.twin.lv_topology.data import AreaData
from twin_gateway.twin.lv_topology.finding import Finding, State

ENGINEER = Caller("eva", frozenset({"Engineer"}), "test")
OWNER = "dso1/north/_/_/_/_/twTOPO1"


def read(bench: SimpleNamespace, meter: str, name: str) -> tuple[object, int]:
    table = bench.context.table
    sample = table.sample(table.find(f"{meter}/twTOPO1/{name}"))
    return sample.value, sample.status & 0xC000_0000


def finding(meter: str, transformer: str, phases: str, state: State) -> Finding:
    return Finding(meter, transformer, phases, 0.99, state)


async def started(bench: SimpleNamespace) -> tuple[LvTopology, asyncio.Task[None]]:
    function = make_lv_topology(bench.context, LvTopologySettings(), bench.context.worker)
    return function, asyncio.create_task(function.run())


async def test_references_are_uncertain_until_a_person_accepts_them_and_stay_good_after_a_restart(
    make_context: Callable[[], SimpleNamespace], district: tuple[AreaData, Truth]
) -> None:
    data, truth = district
    moved, agreed = [at for at, known in enumerate(truth.recorded_transformer) if known >= 0][:2]
    first, second = data.meters[moved], data.meters[agreed]
    record = data.transformers[truth.recorded_transformer[moved]]
    other = next(name for name in data.transformers if name != record)
    bench = make_context()
    function, task = await started(bench)
    await until(lambda: read(bench, first, "FedBy")[0] == record)
    assert read(bench, first, "FedBy") == (record, StatusCode.Uncertain)
    assert read(bench, first, "Phs") == (truth.recorded_phases[moved], StatusCode.Uncertain)
    own = data.transformers[truth.recorded_transformer[agreed]]
    answers = [
        finding(first, other, "B", State.DIFFERS),
        finding(second, own, truth.recorded_phases[agreed], State.AGREES),
    ]
    _, kept = function._store.add(StoredResult("", "", 0.0, 1.0, clock.now(), "eva", {}), answers)
    function._latest.update((item.finding.meter, item) for item in kept)
    for item in kept:
        answer = await function.call(OWNER, "Accept", [item.id], ENGINEER)
        assert answer.status == StatusCode.Good
    assert read(bench, first, "FedBy") == (other, StatusCode.Good)
    assert read(bench, first, "Phs") == ("B", StatusCode.Good)
    assert read(bench, second, "FedBy") == (own, StatusCode.Good)  # as it was on record
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again = make_context()
    function, task = await started(again)
    await until(lambda: read(again, second, "FedBy")[0] == own)
    assert read(again, first, "FedBy") == (other, StatusCode.Good)
    assert read(again, second, "FedBy") == (own, StatusCode.Good)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
