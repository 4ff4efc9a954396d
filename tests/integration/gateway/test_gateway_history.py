"""A gateway keeps a history by itself: composed, counted, written before it has ended."""

from __future__ import annotations

import re
from pathlib import Path

from peers.gateway_config import gateway_config
from peers.ports import free_port

from address_space.point import Batch
from twin_gateway.gateway import Gateway
from twin_gateway.gateway_metrics import collect
from twin_gateway.history.offline import OfflineStore
from twin_gateway.history.reading import Reader
from twin_gateway.mapping.check import check
from twin_gateway.metrics import render

STATION = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu:
    protocol: iec104
    host: 127.0.0.1
    port: {port}
    at:
      MV1/F07: {points: {QA1/MMXU1/TotW: {ioa: 100, type: M_ME_TF_1}}}
"""
ADDRESS = "dso1/north/PS01/MV1/F07/QA1/MMXU1/TotW"


async def test_what_a_gateway_received_is_counted_and_there_when_it_has_stopped(tmp_path: Path) -> None:
    path = tmp_path / "station.yaml"
    path.write_text(STATION.replace("{port}", str(free_port())))
    mapping, problems = check([path])
    assert mapping is not None, [str(problem) for problem in problems]
    config = gateway_config(tmp_path, path, history={"exclude": ["*/_sys/*"], "reserve_mb": 0})
    gateway = Gateway(config, mapping, {})
    await gateway.start()
    try:
        history, row = gateway.history, gateway.table.find(ADDRESS)
        assert history is not None and history.keeps(ADDRESS)
        assert not history.keeps(f"{gateway.place}/_/_/_/twGWAY1/SmpCnt")
        for value in (1.5, 2.5):
            gateway.table.ingest(Batch.of([row], [value]))
        page = await history.raw(ADDRESS, 0, 1 << 61, 10)
        # the link is down: the last value comes a second time, with that status
        assert list(dict.fromkeys(page.values.raw.view(float).tolist()))[-2:] == [1.5, 2.5]
        written = re.search(r"^twin_gateway_history_written_total (\d+)", render(collect(gateway)), re.MULTILINE)
        assert written is not None and int(written[1]) >= 2
    finally:
        gateway.table.ingest(Batch.of([row], [3.5]))
        await gateway.stop()
    store = OfflineStore(config.data_directory / "history")
    store.open()
    samples = Reader(store).raw(ADDRESS, 0, 1 << 61, 0).samples
    assert 3.5 in samples.value.tolist()
    store.close()
