"""Grids for tests: small ones of our own, and the reference feeders from the folder TWIN_REFERENCE_DATA."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Grid,
    LineData,
    LoadData,
    Position,
    SourceData,
    SwitchRating,
    TransformerData,
)

TIES_69 = ((11, 43, 0.5, 0.5), (13, 21, 0.5, 0.5), (15, 46, 1.0, 0.5), (50, 59, 2.0, 1.0), (27, 65, 1.0, 0.5))
"""The usual tie lines of the 69-bus feeder: buses and ohm."""


def reference(name: str) -> Path:
    """Path of a reference file; skips the test where there is none."""
    folder = os.environ.get("TWIN_REFERENCE_DATA")
    if not folder:
        pytest.skip("TWIN_REFERENCE_DATA names no folder with reference data")
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"the reference data have no {name}")
    return path


def node(number: int | str) -> str:
    """Address of a node of the test grids."""
    return f"g/a/B{number}/MV1/_/CN1"


def line(number: int | str) -> str:
    """Address of a line."""
    return f"g/a/L{number}/MV1/_/WB1"


def switch(number: int | str) -> str:
    """Address of the switch at the first end of a line."""
    return f"g/a/L{number}/MV1/_/QB1"


def load(number: int | str) -> str:
    """Address of a load."""
    return f"g/a/B{number}/MV1/_/LD1"


SOURCE = "g/a/B1/MV1/_/SRC1"


def feeder(kv: float, buses: list, branches: list, *, switches: bool = True) -> Grid:
    """A feeder from rows of buses (id, kW, kvar) and branches (id, from, to, ohm, ohm, closed), fed at bus 1."""
    grid = Grid()
    grid.add(ConnectivityNode(node(int(bus[0])), kv * 1e3) for bus in buses)
    grid.add([Equipment(SOURCE, CimClass.SOURCE, (node(1),), SourceData())])
    for number, begin, end, r, x, closed in branches:
        number, first, second = int(number), node(int(begin)), node(int(end))
        if switches:
            middle = f"g/a/L{number}/MV1/_/CN1"
            grid.add([ConnectivityNode(middle, kv * 1e3)])
            rating = SwitchRating(normal_open=not closed)
            grid.add([Equipment(switch(number), CimClass.LOAD_BREAK_SWITCH, (first, middle), rating)])
            first = middle
        grid.add([Equipment(line(number), CimClass.LINE, (first, second), LineData(r, x))])
    for bus, p, q in buses:
        if p or q:
            grid.add([Equipment(load(int(bus)), CimClass.LOAD, (node(int(bus)),), LoadData(p * 1e3, q * 1e3))])
    return grid


def opened(*numbers: int | str) -> dict[str, Position]:
    """Positions in which the switches of some lines are open and the others of the feeder closed."""
    return {switch(number): Position.OPEN for number in numbers}


def case33() -> Grid:
    """Baran and Wu's 33-bus feeder with a switch in every line; lines 33 to 37 are open ties."""
    data = json.loads(reference("grids/case33bw.json").read_text())
    return feeder(data["kv"], data["bus"], data["branch"])


def case69() -> Grid:
    """The 69-bus feeder with its five ties as lines t1 … t5 → 101 … 105, open."""
    data = json.loads(reference("grids/case69.json").read_text())
    ties = [(101 + index, *tie, 0) for index, tie in enumerate(TIES_69)]
    return feeder(data["kv"], data["bus"], [*data["branch"], *ties])


def five_buses() -> Grid:
    """Own grid: 20 kV source, switch, 2 km of cable, a 630 kVA transformer, and two low-voltage lines with loads."""
    grid = Grid()
    grid.add(ConnectivityNode(node(k), 20e3 if k < 4 else 400.0) for k in range(1, 7))
    cable = LineData(0.4, 0.25, r0=1.2, x0=0.8, b=150e-6, i_max=250.0)
    low = LineData(0.02, 0.008, r0=0.06, x0=0.02, i_max=300.0)
    transformer = TransformerData(20e3, 400.0, 630e3, 0.06, 6500.0, p0=800.0, i0=0.01, connection="Dyn", clock=5)
    grid.add(
        [
            Equipment(SOURCE, CimClass.SOURCE, (node(1),), SourceData(1.02)),
            Equipment(switch(1), CimClass.BREAKER, (node(1), node(2)), SwitchRating(i_max=400.0)),
            Equipment(line(1), CimClass.LINE, (node(2), node(3)), cable),
            Equipment("g/a/B3/MV1/T01/TA1", CimClass.TRANSFORMER, (node(3), node(4)), transformer),
            Equipment(line(2), CimClass.LINE, (node(4), node(5)), low),
            Equipment(line(3), CimClass.LINE, (node(4), node(6)), low),
            Equipment(load(5), CimClass.LOAD, (node(5),), LoadData(90e3, 30e3, customers=20)),
            Equipment(load(6), CimClass.LOAD, (node(6),), LoadData(60e3, 15e3, customers=12)),
        ]
    )
    return grid


def european_low_voltage() -> tuple[Grid, np.ndarray]:
    """The IEEE European low-voltage test feeder, and one day of its loads: W drawn, shape (1440 minutes, 55 loads)."""
    files = {}
    with tarfile.open(reference("grids/dss_european_lv.tar.gz")) as archive:
        for member in archive.getmembers():
            handle = archive.extractfile(member) if member.isfile() else None
            if handle is not None and member.name.endswith(".txt"):
                files[Path(member.name).name] = handle.read().decode()
    codes = {}
    for text in files["LineCode.txt"].splitlines():
        if text.lower().startswith("new linecode."):
            fields = _fields(text)
            codes[fields[""].split(".", 1)[1].lower()] = [float(fields[key]) for key in ("r1", "x1", "r0", "x0")]
    grid = Grid()
    grid.add([ConnectivityNode(node("source"), 11e3)])
    known = set()
    equipment = []
    for text in files["Lines.txt"].splitlines():
        if not text.lower().startswith("new line."):
            continue
        fields = _fields(text)
        ends = [fields["bus1"].split(".")[0], fields["bus2"].split(".")[0]]
        for bus in ends:
            if bus not in known:
                known.add(bus)
                grid.add([ConnectivityNode(node(bus), 416.0)])
        r, x, r0, x0 = (value * float(fields["length"]) / 1e3 for value in codes[fields["linecode"].lower()])
        name = fields[""].split(".")[1]
        equipment.append(
            Equipment(line(name), CimClass.LINE, (node(ends[0]), node(ends[1])), LineData(r, x, r0=r0, x0=x0))
        )
    # XHL = 4 % and no resistance given: the engine's default is 0.2 % per winding.
    transformer = TransformerData(11e3, 416.0, 800e3, abs(0.004 + 0.04j), 0.004 * 800e3, connection="Dyn", clock=1)
    equipment.append(Equipment("g/a/T/MV1/_/TA1", CimClass.TRANSFORMER, (node("source"), node("1")), transformer))
    # Short-circuit currents of 3000 A and 5 A; the engine takes X / R = 4 in the positive, 3 in the zero sequence.
    z1 = 11e3 / np.sqrt(3) / 3000.0
    x1 = z1 / np.hypot(1, 1 / 4)
    source = SourceData(1.05, r=float(x1 / 4), x=float(x1))
    equipment.append(Equipment(SOURCE, CimClass.SOURCE, (node("source"),), source))
    factor = np.tan(np.arccos(0.95))
    profiles = []
    for text in files["Loads.txt"].splitlines():
        if not text.lower().startswith("new load."):
            continue
        fields = _fields(text)
        bus, phase = fields["bus1"].split(".")
        p = float(fields["kw"]) * 1e3
        data = LoadData(p, p * factor)
        name = fields[""].split(".")[1]
        equipment.append(Equipment(load(name), CimClass.LOAD, (node(bus),), data, phases="ABC"[int(phase) - 1]))
        shape = fields["yearly"].split("_")[1]
        values = np.loadtxt(io.StringIO(files[f"load_profile_{shape}.txt"]), delimiter=",", ndmin=2)
        profiles.append(values[:1440, -1] * p)
    grid.add(equipment)
    return grid, np.array(profiles).T


def _fields(text: str) -> dict[str, str]:
    words = text.split()
    pairs = [word.split("=", 1) for word in words[2:] if "=" in word]
    return {"": words[1]} | {key.lower(): value for key, value in pairs}
