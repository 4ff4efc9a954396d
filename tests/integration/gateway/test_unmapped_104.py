"""Objects of a 104 station that nobody has mapped: listed, counted, told once, proposed, and gone when mapped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from peers import unmapped_bed
from peers.acceptance.processes import Simulator
from peers.ports import free_port
from peers.unmapped_bed import Bed
from peers.waiting import until

from twin_gateway.mapping.check import check

pytestmark = pytest.mark.asyncio(loop_scope="module")
STATION = """\
stations:
- common_address: 7
  points:
  - {ioa: 10, type: M_DP_TB_1, value: 2}
  - {ioa: 20, type: M_ME_TF_1, value: 12.5}
  - {ioa: 30, type: M_ME_TF_1, value: 50}
  - {ioa: 40, type: M_SP_NA_1, value: 1}
"""
MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-1:
    protocol: iec104
    host: 127.0.0.1
    port: {port}
    common_address: 7
    at:
      MV1/F01:
        points:
          MMXU1/TotW: {{ioa: 20, type: M_ME_TF_1, unit: W}}   # made by hand
"""
LINK = "dso1/_sys/gw1/_/_/rtu-1/twLINK1"
PLACE = "dso1/north/PS01/_/_/rtu-1/GGIO1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    folder: Path = tmp_path_factory.mktemp("unmapped")
    (folder / "rtu.yaml").write_text(STATION)
    port = free_port()
    rtu = Simulator("rtu", "iec104", folder, folder / "rtu.yaml", "--port", port)
    await asyncio.to_thread(rtu.start)
    try:
        async with unmapped_bed.bed(folder, MAPPING.format(port=port)) as made:
            yield made
    finally:
        await asyncio.to_thread(rtu.stop)


async def test_what_no_point_takes_is_counted_at_the_link_and_told_once(bed: Bed) -> None:
    await until(lambda: bed.value(f"{LINK}/UnmCnt") == 3.0)
    await bed.link("rtu-1").serve("interrogate")
    await asyncio.sleep(1.2)
    (told,) = bed.told()
    assert told.startswith("Link rtu-1 brings what no point takes: common_address 7, ioa ")
    assert told.endswith("(unknown address) and 2 more")


async def test_the_list_says_type_value_count_and_times_and_is_a_mapping_file(bed: Bed) -> None:
    text = await bed.unmapped("rtu-1")
    assert "# rtu-1 (iec104): 3 unmapped" in text
    assert "#   common_address 7, ioa 30, type M_ME_TF_1: unknown address, last value 50, " in text
    assert "GGIO1/AnIn30:" in text
    (bed.folder / "proposal").mkdir()
    proposal = bed.folder / "proposal" / "pasted.yaml"
    proposal.write_text(text)
    mapping, problems = check([proposal])
    assert mapping is not None, [str(problem) for problem in problems]
    assert {point.address for _, point in mapping.points()} == {
        f"{PLACE}/DPCSO10",
        f"{PLACE}/AnIn30",
        f"{PLACE}/Ind40",
    }


async def test_a_stray_that_is_mapped_leaves_the_list_and_its_value_arrives(bed: Bed) -> None:
    said = await bed.unmapped("--into", bed.mapping)
    assert "3 new lines in" in said
    assert "# made by hand" in bed.mapping.read_text()
    not_yet = json.loads(await bed.unmapped("--json"))
    assert {each["why"] for each in not_yet["without_line"]} == {"the mapping files have it already"}
    await bed.apply()
    await until(lambda: bed.good(f"{PLACE}/AnIn30") and bed.value(f"{PLACE}/AnIn30") == 50.0)
    await until(lambda: bed.good(f"{PLACE}/Ind40") and bed.value(f"{PLACE}/Ind40") == 1.0)
    assert bed.link("rtu-1").driver.unmapped() == []
    await until(lambda: bed.value(f"{LINK}/UnmCnt") == 0.0)
    assert await bed.unmapped() == "# nothing is unmapped\n"
    assert bed.link("rtu-1").counters["connects"] == 1
