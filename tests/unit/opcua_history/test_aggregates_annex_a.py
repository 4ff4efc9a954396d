"""The aggregates against the example tables of OPC UA Part 13, Annex A, line by line."""

from __future__ import annotations

import pytest
from peers.opcua.part13_examples import HISTORIANS, NOON, SECOND, TABLES, Expected

from address_space.aggregates import AGGREGATES
from address_space.aggregates_series import intervals

_STATUS = {0x0: "Good", 0x40A4_0000: "Uncertain", 0x4000_0000: "RawUncertain", 0x809B_0000: "BadNoData"}
_BITS = {1: "Calculated", 2: "Interpolated", 4: "Partial", 8: "ExtraData", 16: "MultipleValues"}
_LINES = [
    (aggregate, historian, interval, number, line)
    for (aggregate, historian), (interval, lines) in TABLES.items()
    for number, line in enumerate(lines)
]


def words(status: int) -> str:
    bits = status & 0x1F
    assert bool(bits) == bool(status & 0x400), "historian bits go with InfoType DataValue"
    return " ".join([_STATUS[status & 0xFFFF_0000], *(word for bit, word in _BITS.items() if bits & bit)])


@pytest.mark.parametrize(
    ("aggregate", "historian", "interval", "number", "line"),
    _LINES,
    ids=[f"{aggregate}-{historian}-{line.second:g}" for aggregate, historian, _, _, line in _LINES],
)
def test_example_of_annex_a(aggregate: str, historian: str, interval: int, number: int, line: Expected) -> None:
    limits = intervals(NOON, NOON + 100 * SECOND, interval * SECOND)
    found = AGGREGATES[aggregate].of(HISTORIANS[historian], limits)
    second, value, status = line
    assert words(int(found.status[number])) == status
    assert (int(found.time[number]) - NOON) / SECOND == pytest.approx(second, abs=1e-6)
    if value is not None:
        assert found.value[number] == pytest.approx(value, abs=1e-3)
