"""The fingerprint of a table: the same for the same points in whatever order, another one for any other point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from address_space.catalogue import ValueType, VariableKind
from address_space.point import Point, PointProfile
from address_space.table import PointTable

PROFILE = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)
BAY = "dso1/north/PS01/MV1/F05/_/MMXU1"
POINTS = [
    Point(f"{BAY}/TotW", PROFILE, "rtu-1", 20, "Feeder 5", (), (("de", "Abgang 5"),)),
    Point(f"{BAY}/Hz", PROFILE, "rtu-1", 30),
    Point(f"{BAY}/TotVAr", PROFILE, "ied-1", "LD0/MMXU1.TotVAr"),
    Point(f"{BAY}/TotVA", PROFILE, "ied-1", "LD0/MMXU1.TotVA"),
]


def table(*points: Point) -> PointTable:
    made = PointTable()
    made.add(points)
    return made


def test_the_order_of_the_points_does_not_count() -> None:
    assert table(*POINTS).fingerprint() == table(*reversed(POINTS)).fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        replace(POINTS[0], address=f"{BAY}/TotPF"),
        replace(POINTS[0], profile=replace(PROFILE, gain=2.0)),
        replace(POINTS[0], link="rtu-2"),
        replace(POINTS[0], source=21),
        replace(POINTS[0], source="LD0/MMXU1.TotW"),
        replace(POINTS[0], display_name="Feeder 6"),
        replace(POINTS[0], display_names=()),
    ],
)
def test_another_point_is_another_fingerprint(other: Point) -> None:
    assert table(other, *POINTS[1:]).fingerprint() != table(*POINTS).fingerprint()


def test_bindings_that_are_exchanged_are_another_fingerprint() -> None:
    first, second = POINTS[2], POINTS[3]
    exchanged = [replace(first, source=second.source), replace(second, source=first.source)]
    assert table(*exchanged).fingerprint() != table(first, second).fingerprint()


def test_a_point_that_came_and_went_leaves_no_mark() -> None:
    made = table(*POINTS)
    before = made.fingerprint()
    made.add([replace(POINTS[0], address=f"{BAY}/TotPF")])
    assert made.fingerprint() != before
    made.retire(np.array([len(POINTS)], np.int32))
    assert made.fingerprint() == before


def test_no_points_have_a_fingerprint_too() -> None:
    assert len(PointTable().fingerprint()) == 16


def test_values_do_not_count() -> None:
    made = table(*POINTS)
    before = made.fingerprint()
    made.raw[0] = 7
    assert made.fingerprint() == before
