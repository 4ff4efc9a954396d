"""Objects of a meter that no point takes, and meters that push and nobody knows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from peers import unmapped_bed
from peers.acceptance.processes import Simulator
from peers.ports import free_port
from peers.waiting import until

from twin_gateway.drivers.dlms.wrapper import frame

METER = """\
port: {port}
meters:
  m1:
    registers:
      1-0:1.7.0: {value: 1000, unit: W}
      1-0:14.7.0: {value: 50, unit: Hz}
"""
MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  meter: {{protocol: dlms, host: 127.0.0.1, port: {port}, poll: 200 ms, push: {{listen: '127.0.0.1:{listen}'}},
    at: {{LV1/H1: {{points: {{ImpMMXU1/TotW: {{obis: 1-0:1.7.0}}}}}}}}}}
"""
HOME = "dso1/north/PS01/LV1/H1/_"
STRANGER = bytes.fromhex("0f00000001000203110111021103")
"""A DataNotification of three numbers."""


async def test_objects_and_new_meters_are_proposed_and_leave_the_list_when_mapped(tmp_path: Path) -> None:
    port, listen = free_port(), free_port()
    (tmp_path / "meter.yaml").write_text(METER.replace("{port}", str(port)))
    meter = Simulator("meter", "dlms", tmp_path, tmp_path / "meter.yaml")
    await asyncio.to_thread(meter.start)
    try:
        async with unmapped_bed.bed(tmp_path, MAPPING.format(port=port, listen=listen)) as bed:
            await until(lambda: bed.good(f"{HOME}/ImpMMXU1/TotW"))
            _, writer = await asyncio.open_connection("127.0.0.1", listen)
            writer.write(2 * frame(9, 1, STRANGER))
            await until(lambda: bed.link("meter").driver.unmapped_count == 1)
            writer.close()
            await until(bed.told)
            text = await bed.unmapped("meter")
            assert "#   obis 1-0:14.7.0: unmapped object" in text
            assert "#   host 127.0.0.1, logical_device 9: unknown meter, pushes unasked, 2 times" in text
            await bed.unmapped("meter", "--into", bed.mapping)
            await bed.apply()
            await until(lambda: bed.good(f"{HOME}/MMXU1/Hz") and bed.value(f"{HOME}/MMXU1/Hz") == 50.0)
            assert bed.gateway.table.find("dso1/north/PS01/_/_/meter-127-0-0-1-9/MMTR1/DmdWh") >= 0
            await until(lambda: not [s for s in bed.link("meter").driver.unmapped() if s.reason == "unknown meter"])
            assert "1-0:14.7.0" not in str(bed.link("meter").driver.unmapped())
            assert bed.link("meter").counters["connects"] == 1
    finally:
        await asyncio.to_thread(meter.stop)
