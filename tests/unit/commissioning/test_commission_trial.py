"""How a command can be tested follows from what the device shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from unit.commands.test_desk import BAY, NAMES, Rig, build, order

from address_space.quality import Quality
from twin_gateway.commands.target import ControlTarget
from twin_gateway.commissioning.record import Trial
from twin_gateway.commissioning.testing import way_of


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = await build(tmp_path, {"model": "direct-normal"})
    yield made
    await made.audit.close()


def target_of(rig: Rig, *modes: str) -> ControlTarget:
    found = rig.desk.target(order().address)
    assert found is not None
    return replace(found, mode=tuple(rig.rows[name] for name in modes))


async def test_every_mode_beside_a_command_says_test_or_that_is_named_which_does_not(rig: Rig) -> None:
    first, second = "QA1/CSWI1/Beh", "QA1/XCBR1/Pos"
    assert {first, second} <= set(NAMES)
    target = target_of(rig, first, second)
    rig.put(first, 3, int(Quality.TEST))
    rig.put(second, 2)
    way = way_of(rig.table, target, "iec104")
    assert (way.tested, way.why) == (
        Trial.NOT_IN_TEST, f"{BAY}/{second} is 2, not 3 (test): put the device in test mode"
    )  # fmt: skip
    rig.put(second, 3, int(Quality.INVALID))
    assert f"{second} is not known" in way_of(rig.table, target, "iec104").why
    rig.put(second, 3)
    assert way_of(rig.table, target, "iec104").tested is Trial.OPERATED
    assert way_of(rig.table, target, "dlms").tested is Trial.NO_TEST_MODE


@pytest.mark.parametrize(("protocol", "tested"), [("iec61850", Trial.NOT_IN_TEST), ("iec104", Trial.NO_TEST_MODE)])
async def test_without_a_mapped_mode_nothing_is_operated(rig: Rig, protocol: str, tested: Trial) -> None:
    assert way_of(rig.table, target_of(rig), protocol).tested is tested
