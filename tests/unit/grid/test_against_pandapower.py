"""The 33- and 69-bus feeders against pandapower; all use of it is here, because it takes long to import."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from reference_grids import case33, case69, line, opened, reference

from twin_gateway.grid.model import Position
from twin_gateway.grid.powerflow import FlowModel


@pytest.fixture(scope="module")
def pandapower():
    reference("grids/case33bw.json")  # skip before the long import
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports are not ours to keep clean
        return pytest.importorskip("pandapower")


def solved_by(pandapower, model, positions):
    """The same grid in pandapower: (kW lost, per-unit voltages of our nodes)."""
    state, arrays = model.state(positions), model.arrays
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = pandapower.create_empty_network()
        for volts in state.nominal:
            pandapower.create_bus(net, volts / 1e3)
        for row, item in enumerate(arrays.lines):
            begin, end = (int(number) for number in state.joined[arrays.line_ends[row]])
            if state.line[row] and state.energised[begin]:
                pandapower.create_line_from_parameters(net, begin, end, 1.0, item.data.r, item.data.x, 0.0, 1e3)
        for number, power in zip(state.joined[arrays.injection_node], arrays.drawn.sum(1), strict=True):
            pandapower.create_load(net, int(number), power.real / 1e6, power.imag / 1e6)
        for number in state.joined[arrays.source_node]:
            pandapower.create_ext_grid(net, int(number))
        pandapower.runpp(net, tolerance_mva=1e-10, numba=False)
    return float(net.res_line.pl_mw.sum()) * 1e3, net.res_bus.vm_pu.to_numpy()[state.joined]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("case", "open_lines"),
    [
        (case33, (33, 34, 35, 36, 37)),
        (case33, (7, 9, 14, 32, 37)),
        (case33, (34, 36)),  # meshed
        (case69, (101, 102, 103, 104, 105)),
        (case69, (14, 57, 61, 101, 102)),
    ],
)
def test_pandapower_finds_the_same_losses_and_voltages(pandapower, case, open_lines):
    model = FlowModel(case())
    positions = {item.address: Position.CLOSED for item in model.arrays.switches} | opened(*open_lines)
    ours = model.solve(positions)
    kilowatts, voltages = solved_by(pandapower, model, positions)
    assert ours.total_loss.real / 1e3 == pytest.approx(kilowatts, abs=1e-3)
    there = np.isfinite(voltages)
    np.testing.assert_allclose(ours.voltage[there], voltages[there], atol=1e-7)
    assert there.sum() > len(model.arrays.lines)
    assert ours.branch_number[line(1)] == 0
