"""The link of the field's 104 stations: a fault changes nearly everything, and must not fill the send window."""

from __future__ import annotations

import json
from pathlib import Path

from twin_gateway.demo.files import find_mappings, make_secrets
from twin_gateway.mapping.check import check
from twin_gateway.simulate.feeder.devices import make_plans


def test_the_send_window_of_a_station_holds_all_its_values_twice(tmp_path: Path) -> None:
    mappings = find_mappings()
    mapping, problems = check([mappings / "templates", mappings / "demo"], environ=make_secrets())
    assert mapping is not None, problems
    plans = make_plans(mapping, tmp_path / "s", travel=lambda _address: 0.5)
    files = [json.loads(Path(plan.command[-1]).read_text("utf-8")) for plan in plans if plan.protocol == "iec104"]
    assert len(files) == 2
    for file in files:
        assert file["k"] == 2 * max(len(station["points"]) for station in file["stations"]) > 50
