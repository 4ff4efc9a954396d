"""Members of an IED's data sets that nobody has mapped: listed with their values, proposed where their node stands."""

from __future__ import annotations

import asyncio
from pathlib import Path

from peers import unmapped_bed
from peers.acceptance.processes import ROOT, Simulator
from peers.ports import free_port
from peers.waiting import until

MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  ied: {{protocol: iec61850, host: 127.0.0.1, port: {port}, ied: F07Q1, data_sets: false, at: {{MV1/F07: {{points:
    {{MMXU1/TotW: {{ref: LD0/MMXU1.TotW}}}}}}}}}}
"""
BAY = "dso1/north/PS01/MV1/F07"


async def test_a_reported_member_is_listed_with_its_value_and_becomes_a_point_of_the_bay(tmp_path: Path) -> None:
    port = free_port()
    ied = Simulator("ied", "iec61850", tmp_path, ROOT / "mappings/demo/scl/F07Q1.cid", "--port", port, "--still")
    await asyncio.to_thread(ied.start)
    try:
        async with unmapped_bed.bed(tmp_path, MAPPING.format(port=port)) as bed:
            driver = bed.link("ied").driver
            await until(lambda: driver.unmapped_count)
            await until(lambda: bed.value("dso1/_sys/gw1/_/_/ied/twLINK1/UnmCnt") == driver.unmapped_count)
            before = {stray.fields["ref"]: stray for stray in driver.unmapped()}
            assert "LD0/MMXU1.TotW" not in before
            assert before["LD0/MMXU1.Hz"].reason == "unmapped member"
            ied.order(ref="LD0/MMXU1.Hz", value=49.5)
            text = await bed.unmapped("ied")
            assert "#   ref LD0/MMXU1.Hz: unmapped member, last value 49.5," in text
            assert "MV1/F07:" in text
            await bed.unmapped("--into", bed.mapping)
            await bed.apply()
            await until(lambda: bed.good(f"{BAY}/_/MMXU1/Hz") and bed.value(f"{BAY}/_/MMXU1/Hz") == 49.5)
            left = {stray.fields["ref"] for stray in driver.unmapped()}
            assert "LD0/MMXU1.Hz" not in left
            assert bed.link("ied").counters["connects"] == 1
    finally:
        await asyncio.to_thread(ied.stop)
