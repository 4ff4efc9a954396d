"""A fault on the simulated feeder as a gateway sees it: trip, reclosing, lockout, fault passages (61850, 104)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from peers.feeder.rig import AREA, BREAKER, HEAD, IED, FieldRig, until_true

from address_space.quality import StatusCode
from twin_gateway.gateway import Gateway

RECLOSING = f"{IED}/RREC1/AutoRecSt"
OPEN, CLOSED, LOCKED_OUT = 1, 2, 10


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FieldRig]:
    made = FieldRig(tmp_path_factory.mktemp("field"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def gateway(rig: FieldRig, tmp_path: Path) -> AsyncIterator[Gateway]:
    await asyncio.to_thread(rig.inject, "reset")
    made = await rig.gateway(data_directory=str(tmp_path / "data"))
    yield made
    await made.stop()


def value(gateway: Gateway, address: str) -> float:
    row = gateway.table.find(address)
    assert row >= 0, address
    return float(gateway.table.sample(row).value)


def good(gateway: Gateway, address: str) -> bool:
    return gateway.table.status[gateway.table.find(address)] == StatusCode.Good


async def test_a_fault_trips_locks_out_and_sets_the_indicators_on_its_way(rig: FieldRig, gateway: Gateway) -> None:
    await until_true(lambda: good(gateway, f"{AREA}/RMU09/MV1/C08/_/SFPI1/FltInd"))
    await asyncio.to_thread(rig.inject, "fault", line="L08")
    began = time.monotonic()
    await until_true(lambda: value(gateway, RECLOSING) == LOCKED_OUT, 10)
    print("lockout after", time.monotonic() - began)
    assert value(gateway, BREAKER) == OPEN
    await until_true(lambda: value(gateway, f"{AREA}/RMU08/MV1/C08/_/SFPI1/FltInd") == 1)
    assert value(gateway, f"{AREA}/RMU09/MV1/C08/_/SFPI1/FltInd") == 0
    await until_true(lambda: value(gateway, f"{AREA}/RMU30/MV1/T01/_/MMXU1/TotW") == 0)
    await until_true(lambda: value(gateway, f"{AREA}/RMU30/MV1/C29/_/SVPI1/Prs") == 0)
    assert value(gateway, f"{HEAD}/QA1/SCBR1/SwA") > 1000
