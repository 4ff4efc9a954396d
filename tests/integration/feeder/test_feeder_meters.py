"""Meters and sensors of the simulated field over DLMS and CoAP: values, load profiles, and injected troubles."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from peers.feeder.rig import AREA, FieldRig
from peers.waiting import until

from address_space.journal import Chunk, Cursor
from address_space.quality import StatusCode
from twin_gateway.gateway import Gateway

HOUSE, STREET = f"{AREA}/SP140002/LV1/_/M1", f"{AREA}/TS14/LV1/_/M0"
ROOM = f"{AREA}/PS01/MV1/_/_/MENV1/SmokAlm"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def cursors() -> list[Cursor[Chunk]]:
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(rig: FieldRig, cursors: list[Cursor[Chunk]]) -> AsyncIterator[Gateway]:
    await inject(rig, "reset")
    made = await rig.gateway(
        data_directory=str(rig.folder / "meters"),
        prepare=lambda gateway: cursors.append(gateway.table.late.cursor("test")),
    )
    await until(lambda: value(made, f"{HOUSE}/MMXU1/TotW") > 0)
    yield made
    await made.stop()


@pytest.fixture
def late(gateway: Gateway, cursors: list[Cursor[Chunk]]) -> Cursor[Chunk]:
    return cursors[0]


def value(gateway: Gateway, address: str) -> float:
    found = gateway.table.sample(gateway.table.find(address)).value
    return float("nan") if found is None else float(found)


async def inject(rig: FieldRig, do: str, **order: Any) -> None:
    await asyncio.to_thread(lambda: rig.inject(do, **order))


async def test_the_transformer_gives_what_the_customers_draw_and_what_is_lost(gateway: Gateway) -> None:
    customers = [f"{AREA}/SP14{number:04}/LV1/_/M1/MMXU1/TotW" for number in range(1, 10)]
    await until(lambda: value(gateway, f"{STREET}/MMXU1/TotW") < 0)
    await until(lambda: all(value(gateway, address) > 0 for address in customers))
    drawn = sum(value(gateway, address) for address in customers)
    assert drawn == pytest.approx(120e3, rel=0.01)
    assert drawn < -value(gateway, f"{STREET}/MMXU1/TotW") < 1.05 * drawn


async def test_the_day_before_comes_as_late_samples_that_grow_with_what_was_drawn(
    gateway: Gateway, late: Cursor[Chunk]
) -> None:
    known: dict[int, float] = {}

    row = gateway.table.find(f"{HOUSE}/MMTR1/DmdWh")

    def rows() -> list[tuple[int, float]] | None:
        for chunk in late.take():
            own = chunk.rows == row
            known.update(zip(chunk.source_time[own].tolist(), chunk.raw[own].view(np.float64).tolist(), strict=True))
        # The oldest: what is counted since the start comes short when the machine is too busy to live every second.
        return sorted(known.items())[:90] if len(known) > 90 else None

    steps = list(itertools.pairwise(await until(rows)))
    assert {after[0] - before[0] for before, after in steps} == {900 * 10_000_000}
    assert all(after[1] - before[1] == pytest.approx(1500, abs=2) for before, after in steps), "6 kW, all day"


async def test_a_bypassed_meter_shows_its_share_and_the_street_all_of_it(rig: FieldRig, gateway: Gateway) -> None:
    street = value(gateway, f"{STREET}/MMXU1/TotW")
    await inject(rig, "bypass", meter="SP140002", share=0.3)
    await until(lambda: value(gateway, f"{HOUSE}/MMXU1/TotW") == pytest.approx(4200, rel=0.01))
    assert value(gateway, f"{STREET}/MMXU1/TotW") == pytest.approx(street, rel=0.01)
    await inject(rig, "reset")
    await until(lambda: value(gateway, f"{HOUSE}/MMXU1/TotW") == pytest.approx(6000, rel=0.01))


async def test_a_silent_meter_and_a_silent_sensor_lose_their_own_links(rig: FieldRig, gateway: Gateway) -> None:
    for device, point in (("meter-220004", f"{AREA}/SP220004/LV1/_/M1/MMXU1/TotW"), ("sensor-room", ROOM)):
        await inject(rig, "lose", device=device)
        await until(lambda device=device: set(gateway.health()[1]["links_down"]) == {device}, 25)
        await inject(rig, "restore", device=device)
        await until(lambda: not gateway.health()[1]["links_down"], 20)
        row = gateway.table.find(point)
        await until(lambda row=row: gateway.table.status[row] == StatusCode.Good)


async def test_a_forced_alarm_of_a_sensor_is_told(rig: FieldRig, gateway: Gateway) -> None:
    await inject(rig, "value", address=ROOM, value=True)
    await until(lambda: value(gateway, ROOM) == 1)
    await inject(rig, "value", address=ROOM)
    await until(lambda: value(gateway, ROOM) == 0)


async def test_a_sensor_with_a_wrong_clock_sends_times_that_are_wrong_by_so_much(
    rig: FieldRig, gateway: Gateway
) -> None:
    row = gateway.table.find(f"{AREA}/PS01/LV1/_/S1/MMET1/EnvTmp")
    await inject(rig, "clock", device="sensor-weather", offset=1.9)
    await inject(rig, "value", address="PS01/LV1/_/S1/MMET1/EnvTmp", value=-11.0)
    await until(lambda: value(gateway, f"{AREA}/PS01/LV1/_/S1/MMET1/EnvTmp") == pytest.approx(-11.0))
    assert int(gateway.table.source_time[row]) / 1e7 - 11_644_473_600 > time.time() + 0.3
