"""A gateway's twin context over a simulated district, its interval store filled with a week."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from address_space import clock
from address_space.events import Event, EventJournal
from address_space.ports import AuditRecord, Caller, Right
from address_space.table import PointTable
from twin_gateway.bench.lv_areas import Case, Truth, simulate
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.interval_store import IntervalStore
from twin_gateway.functions.intervals import FILE
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.worker import Worker
from twin_gateway.grid.model import CimClass, ConnectivityNode, Equipment, Grid, Meter, MeterRole, TransformerData
from twin_gateway.twin.lv_topology.data import AreaData

END = 1_760_000_400.0 - 1_760_000_400.0 % 900
CASE = Case(areas=2, customers=20, days=7, outside=4, seed=12, volt_class=0.2, wrong=0.1)


class Audit:
    """An audit log in memory that can be made to fail."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.broken = False

    async def append(self, record: AuditRecord) -> None:
        if self.broken:
            raise OSError("the disk is full")
        self.records.append(record)


class Policy:
    """Permits everything but on the addresses named."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        return None

    def anonymous(self, client: str) -> Caller | None:
        return None

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return address not in self.refused


@pytest.fixture(scope="session")
def district() -> tuple[AreaData, Truth]:
    return simulate(CASE)


def grid_of(data: AreaData, truth: Truth) -> Grid:
    """The grid model of the district, with the records as they are kept, some of them wrong."""
    grid = Grid()
    grid.add([ConnectivityNode("dso1/north/RMU14/MV1/_/CN1", 12_660.0)])
    for number, address in enumerate(data.transformers):
        low = f"dso1/north/TS{number:02d}/LV1/_/CN1"
        grid.add([ConnectivityNode(low, 400.0)])
        ratings = TransformerData(12_660.0, 400.0, 400e3, 0.04, 4600.0)
        nodes = ("dso1/north/RMU14/MV1/_/CN1", low)
        grid.add([Equipment(address, CimClass.TRANSFORMER, nodes, ratings)])
        monitor = f"dso1/north/TS{number:02d}/LV1/_/M0"
        grid.meters[monitor] = Meter(monitor, address, MeterRole.BOUNDARY, terminal=2, direction=-1)
    for number, address in enumerate(data.meters):
        at = truth.recorded_transformer[number]
        grid.meters[address] = Meter(
            address,
            f"{address.removesuffix('M1')}LD1",
            phases=truth.recorded_phases[number],
            transformer=data.transformers[at] if at >= 0 else "",
        )
    return grid


def fill(path: Path, data: AreaData) -> None:
    """Write what meters and monitors told: registers in Wh, voltages and phase powers as means."""
    store = IntervalStore(path)
    count = data.intervals
    last = round(END / 900)
    columns: dict[str, np.ndarray] = {}
    for number, meter in enumerate(data.meters):
        rows = np.flatnonzero(data.channel_meter == number)
        power = np.where(np.isfinite(data.p[rows]), data.p[rows], 0.0).sum(0)
        for name, part in (("DmdWh", np.clip(power, 0, None)), ("SupWh", np.clip(-power, 0, None))):
            register = 1e6 + np.round(np.cumsum(np.append(0.0, part)) / 4)
            register[1:][~np.isfinite(data.p[rows[0]])] = np.nan
            columns[f"{meter}/MMTR1/{name}"] = register
        if len(rows) == 1:
            columns[f"{meter}/MMXN1/Vol"] = np.append(np.nan, data.v[rows[0]])
        else:
            for phase, row in zip("ABC", rows, strict=True):
                columns[f"{meter}/MMXU1/PhV/phs{phase}"] = np.append(np.nan, data.v[row])
                columns[f"{meter}/MMXU1/W/phs{phase}"] = np.append(np.nan, data.p[row])
    for number in range(len(data.transformers)):
        for at, phase in enumerate("ABC"):
            place = f"dso1/north/TS{number:02d}/LV1/_/M0/MMXU1"
            columns[f"{place}/PhV/phs{phase}"] = np.append(np.nan, data.vt[number, at])
            columns[f"{place}/W/phs{phase}"] = np.append(np.nan, data.pt[number, at])
    ids = store.ids(list(columns))
    values = np.array(list(columns.values()))
    numbers = np.broadcast_to(np.arange(last - count, last + 1), values.shape)
    told = np.isfinite(values)
    store.write(
        np.repeat(ids, told.sum(1)), numbers[told], values[told], np.zeros(int(told.sum()), np.uint32), replace=True
    )
    store.close()


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory: pytest.TempPathFactory, district: tuple[AreaData, Truth]) -> Path:
    path = tmp_path_factory.mktemp("lv_intervals") / FILE
    fill(path, district[0])
    return path


@pytest.fixture(scope="session")
def lv_worker() -> Iterator[Worker]:
    """One compute process for all tests: starting it takes longer than what it computes."""
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def make_context(
    tmp_path: Path, district: tuple[AreaData, Truth], filled_store: Path, lv_worker: Worker
) -> Callable[[], SimpleNamespace]:
    """A fresh context over the same data directory, as after a restart."""
    (tmp_path / FILE).symlink_to(filled_store)

    def make() -> SimpleNamespace:
        table, events, audit, policy = PointTable(), EventJournal(), Audit(), Policy()
        context = TwinContext(
            table=table,
            events=events,
            alarms=Alarms(events),
            results=ResultPoints(table),
            worker=lv_worker,
            grid=grid_of(*district),
            place="dso1/north",
            desk=None,  # type: ignore[arg-type] - this function commands nothing
            policy=policy,
            audit=audit,
            data_directory=tmp_path,
        )
        cursor = events.cursor("test")

        def told() -> list[Event]:
            return list(cursor.take(10_000))

        return SimpleNamespace(context=context, audit=audit, policy=policy, told=told, end=clock.from_unix(END))

    return make
