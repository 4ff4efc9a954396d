"""From the load profile of a meter in another process to the energies of a balance."""

import asyncio
import json
import sys

import numpy as np
import pytest
from loss_grids import customer
from peers.waiting import patient

from address_space.catalogue import ValueType
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.driver import DlmsDriver
from twin_gateway.drivers.link import LinkSupervisor
from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.functions.intervals import FILE, IntervalSettings, make_intervals
from twin_gateway.functions.losses_inputs import read_inputs
from twin_gateway.functions.losses_settings import LossSettings

ROWS, WATTS = 20, 1200.0


@pytest.fixture
async def meter_port(tmp_path):
    """Port of a simulated meter that has drawn 1.2 kW for five hours."""
    file = {
        "port": 0,
        "meters": {
            "m1": {
                "registers": {"1-0:1.8.0": {"value": 500_000.0, "unit": "Wh", "rate": WATTS / 3600.0}},
                "profile": {"columns": ["1-0:1.8.0"], "period": "15 min", "rows": ROWS},
            }
        },
    }
    path = tmp_path / "meters.yaml"
    path.write_text(json.dumps(file))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "twin_gateway.simulate.dlms", str(path),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    yield next(iter(json.loads(await process.stdout.readline())["ports"].values()))
    process.kill()
    await process.wait()


async def test_load_profile_rows_become_energies(rig, tmp_path, meter_port):
    address = f"{customer(1, 1)}/MMTR1/DmdWh"
    point = BoundPoint(
        rig.table.find(address), address, "BCR", ValueType.DOUBLE,
        {"obis": "1-0:1.8.0", "profile": "1-0:99.1.0"}, quantity="active energy",
    )  # fmt: skip
    config = DlmsConfig.model_validate({"host": "127.0.0.1", "port": meter_port, "poll": 3600})
    link = LinkSupervisor(
        "field", DlmsDriver("field", config, [point]), table=rig.table, events=rig.events,
        address="g/_sys/_/_/_/field", data_directory=tmp_path / "field",
    )  # fmt: skip
    intervals = make_intervals(rig.context, IntervalSettings())
    tasks = [asyncio.create_task(intervals.run()), asyncio.create_task(link.run())]
    try:
        async with patient(15):
            while intervals.store.counters.written < ROWS:
                await asyncio.sleep(0.05)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    reader = IntervalReader(tmp_path / FILE)
    ends, _ = reader.touched_since(0)
    inputs = read_inputs(reader, rig.grid.meters, ends[0], ends[-1], LossSettings())
    energy = inputs.energy[:, inputs.columns[customer(1, 1), "", False]]
    assert len(energy) == ROWS - 1
    assert energy.tolist() == pytest.approx([WATTS / 4] * (ROWS - 1), abs=1.5)
    assert not inputs.flags.any()
    assert np.isclose(inputs.last[customer(1, 1)], ends[-1])
    reader.close()
