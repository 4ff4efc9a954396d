"""Example data and results of OPC UA Part 13, Annex A: historians 1 to 4, seconds after 12:00:00."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from address_space.aggregates_series import AggregateConfiguration, Series

SECOND = 10_000_000
NOON = 133_800_048_000_000_000
_G, _U, _B = 0, 0x4000_0000, 0x8000_0000

H1 = [(10, 10, _G), (20, 20, _G), (30, 30, _G), (40, 40, _B), (50, 50, _G), (60, 60, _G), (70, 70, _U), (80, 80, _G)]
H1 = [(0, 0, 0x809B_0000), *H1, (90, 90, _G)]
H2 = [(0, 0, 0x809B_0000), (2, 10, _G), (25, 20, _G), (28, 25, _G), (39, 30, _G), (42, 0, _B), (48, 40, _G)]
H2 += [(52, 50, _G), (72, 60, _G), (77, 70, _U), (83, 70, _G), (86, 80, _G), (90, 90, _G)]
H4 = [(0, 0, 0x809B_0000), (2, 1, _G), (25, 0, _G), (28, 1, _G), (39, 1, _G), (42, 0, _B), (48, 1, _G)]
H4 += [(52, 0, _G), (72, 0, _G), (77, 1, _U), (83, 1, _G), (86, 0, _G), (90, 1, _G)]


def _series(rows: list[tuple[int, int, int]], stepped: bool, configuration: AggregateConfiguration) -> Series:
    seconds, values, statuses = (np.array(column) for column in zip(*rows, strict=True))
    made = Series.of(
        NOON + seconds * SECOND,
        values.astype(np.float64),
        statuses.astype(np.uint32),
        stepped=stepped,
        configuration=configuration,
    )
    assert made is not None
    return made


HISTORIANS = {
    "H1": _series(H1, False, AggregateConfiguration(False, 100, 100)),
    "H2": _series(H2, False, AggregateConfiguration(True, 100, 100)),
    "H3": _series(H2, True, AggregateConfiguration(True, 50, 50)),
    "H4": _series(H4, True, AggregateConfiguration(True, 100, 100)),
}


class Expected(NamedTuple):
    """One line of an example table: seconds, value (None for none), words of the status."""

    second: float
    value: float | None
    status: str


def _lines(text: str) -> list[Expected]:
    lines = []
    for line in text.strip().splitlines():
        second, value, *words = line.split()
        lines.append(Expected(float(second), None if value == "-" else float(value), " ".join(words)))
    return lines


# (aggregate, historian) -> (ProcessingInterval in seconds, lines); StartTime 12:00:00, EndTime 12:01:40.
TABLES: dict[tuple[str, str], tuple[int, list[Expected]]] = {
    ("Interpolative", "H1"): (
        5,
        _lines(
            """
            0 - BadNoData
            5 - BadNoData
            10 10 Good
            15 15 Good Interpolated
            20 20 Good
            25 25 Good Interpolated
            30 30 Good
            35 35 Uncertain Interpolated
            40 40 Uncertain Interpolated
            45 45 Uncertain Interpolated
            50 50 Good
            55 55 Good Interpolated
            60 60 Good
            65 65 Uncertain Interpolated
            70 70 RawUncertain
            75 75 Uncertain Interpolated
            80 80 Good
            85 85 Good Interpolated
            90 90 Good
            95 90 Uncertain Interpolated
            """
        ),
    ),
    ("TimeAverage", "H1"): (
        5,
        _lines(
            """
            0 - BadNoData
            5 - BadNoData
            10 12.5 Good Calculated
            15 17.5 Good Calculated
            20 22.5 Good Calculated
            25 27.5 Good Calculated
            30 32.5 Uncertain Calculated
            35 37.5 Uncertain Calculated
            40 42.5 Uncertain Calculated
            45 47.5 Uncertain Calculated
            50 52.5 Good Calculated
            55 57.5 Good Calculated
            60 62.5 Uncertain Calculated
            65 67.5 Uncertain Calculated
            70 72.5 Uncertain Calculated
            75 77.5 Uncertain Calculated
            80 82.5 Good Calculated
            85 87.5 Good Calculated
            90 90 Uncertain Calculated
            95 90 Uncertain Calculated
            """
        ),
    ),
    ("TimeAverage2", "H1"): (
        5,
        _lines(
            """
            0 - BadNoData
            5 - BadNoData
            10 12.5 Good Calculated
            15 17.5 Good Calculated
            20 22.5 Good Calculated
            25 27.5 Good Calculated
            30 30 Uncertain Calculated
            35 30 Uncertain Calculated
            40 - BadNoData
            45 - BadNoData
            50 52.5 Good Calculated
            55 57.5 Good Calculated
            60 62.5 Uncertain Calculated
            65 67.5 Uncertain Calculated
            70 72.5 Uncertain Calculated
            75 77.5 Uncertain Calculated
            80 82.5 Good Calculated
            85 87.5 Good Calculated
            90 90 Uncertain Calculated Partial
            95 - BadNoData
            """
        ),
    ),
    ("MinimumActualTime", "H1"): (
        16,
        _lines(
            """
            10 10 Good Partial
            20 20 Good
            32 - BadNoData
            50 50 Good
            64 - BadNoData
            80 80 Good Partial
            96 - BadNoData
            """
        ),
    ),
    ("MinimumActualTime", "H2"): (
        16,
        _lines(
            """
            2 10 Good Partial
            25 20 Good
            39 30 Uncertain
            48 40 Good
            72 60 Uncertain
            83 70 Good Partial
            96 - BadNoData
            """
        ),
    ),
    ("MaximumActualTime", "H1"): (
        16,
        _lines(
            """
            10 10 Good Partial
            30 30 Good
            32 - BadNoData
            60 60 Good
            64 - BadNoData
            90 90 Good Partial
            96 - BadNoData
            """
        ),
    ),
    ("MaximumActualTime", "H3"): (
        16,
        _lines(
            """
            2 10 Good Partial
            28 25 Good
            39 30 Uncertain
            52 50 Good
            72 60 Uncertain
            90 90 Good Partial
            96 - BadNoData
            """
        ),
    ),
    ("Minimum2", "H1"): (
        16,
        _lines(
            """
            0 10 Uncertain Calculated Partial
            16 16 Uncertain Interpolated
            32 30 Uncertain Interpolated
            48 50 Uncertain Calculated
            64 64 Uncertain Interpolated
            80 80 Uncertain Partial
            96 - BadNoData
            """
        ),
    ),
    ("Minimum2", "H2"): (
        16,
        _lines(
            """
            0 10 Uncertain Calculated Partial
            16 16.087 Good Interpolated
            32 26.818 Uncertain Interpolated
            48 40 Good
            64 56 Uncertain Interpolated
            80 70 Uncertain Calculated Partial
            96 - BadNoData
            """
        ),
    ),
    ("Minimum2", "H3"): (
        16,
        _lines(
            """
            0 10 Good Calculated Partial
            16 10 Good Interpolated
            32 25 Good Interpolated
            48 40 Good
            64 50 Good Interpolated
            80 70 Good Calculated Partial
            """
        ),
    ),
    ("MinimumActualTime2", "H1"): (
        16,
        _lines(
            """
            10 10 Uncertain Partial
            16 16 Uncertain Interpolated
            32 30 Uncertain Interpolated
            50 50 Uncertain
            64 64 Uncertain Interpolated
            80 80 Uncertain Partial
            96 - BadNoData
            """
        ),
    ),
    ("MinimumActualTime2", "H2"): (
        16,
        _lines(
            """
            2 10 Uncertain Partial
            16 16.087 Good Interpolated
            32 26.818 Uncertain Interpolated
            48 40 Good
            64 56 Uncertain Interpolated
            83 70 Uncertain Partial
            96 - BadNoData
            """
        ),
    ),
    ("MinimumActualTime2", "H3"): (
        16,
        _lines(
            """
            2 10 Good Partial
            16 10 Good Interpolated
            32 25 Good Interpolated
            48 40 Good
            64 50 Good Interpolated
            83 70 Good Partial
            96 - BadNoData
            """
        ),
    ),
    ("MaximumActualTime2", "H1"): (
        16,
        _lines(
            """
            15.999 16 Uncertain Interpolated Partial
            30 30 Uncertain MultipleValues
            32 30 Uncertain Interpolated
            63.999 64 Uncertain Interpolated
            79.999 80 Uncertain Interpolated
            90 90 Uncertain Partial
            96 - BadNoData
            """
        ),
    ),
    ("MaximumActualTime2", "H2"): (
        16,
        _lines(
            """
            15.999 16.087 Uncertain Interpolated Partial
            31.999 26.818 Good Interpolated
            47.999 40 Uncertain Interpolated
            63.999 56 Good Interpolated
            72 60 Uncertain
            90 90 Uncertain Partial
            96 - BadNoData
            """
        ),
    ),
    ("MaximumActualTime2", "H3"): (
        16,
        _lines(
            """
            2 10 Good Partial
            28 25 Good
            39 30 Good
            52 50 Good
            72 60 Good
            90 90 Good Partial
            96 - BadNoData
            """
        ),
    ),
    ("DurationInStateZero", "H4"): (
        16,
        _lines(
            """
            0 0 Uncertain Calculated Partial
            16 3000 Good Calculated
            32 0 Uncertain Calculated
            48 12000 Good Calculated
            64 13000 Uncertain Calculated
            80 4000 Uncertain Calculated Partial
            96 - BadNoData
            """
        ),
    ),
    ("DurationInStateNonZero", "H4"): (
        16,
        _lines(
            """
            0 14000 Uncertain Calculated Partial
            16 13000 Good Calculated
            32 10000 Uncertain Calculated
            48 4000 Good Calculated
            64 0 Uncertain Calculated
            80 3001 Uncertain Calculated Partial
            96 - BadNoData
            """
        ),
    ),
    ("StartBound", "H1"): (
        16,
        _lines(
            """
            0 - BadNoData Partial
            16 16 Good Interpolated
            32 30 Uncertain Interpolated
            48 - BadNoData
            64 64 Uncertain Interpolated
            80 80 Good Partial
            96 - BadNoData
            """
        ),
    ),
    ("StartBound", "H2"): (
        16,
        _lines(
            """
            0 - BadNoData Partial
            16 16.087 Good Interpolated
            32 26.818 Good Interpolated
            48 40 Good
            64 56 Good Interpolated
            80 - BadNoData Partial
            96 - BadNoData
            """
        ),
    ),
    ("StartBound", "H3"): (
        16,
        _lines(
            """
            0 - BadNoData Partial
            16 10 Good Interpolated
            32 25 Good Interpolated
            48 40 Good
            64 50 Good Interpolated
            80 - BadNoData Partial
            96 - BadNoData
            """
        ),
    ),
    ("DurationGood", "H1"): (
        16,
        _lines(
            """
            0 6000 Good Calculated Partial
            16 16000 Good Calculated
            32 0 Good Calculated
            48 14000 Good Calculated
            64 0 Good Calculated
            80 10001 Good Calculated Partial
            96 - BadNoData
            """
        ),
    ),
    ("DurationGood", "H2"): (
        16,
        _lines(
            """
            0 14000 Good Calculated Partial
            16 16000 Good Calculated
            32 10000 Good Calculated
            48 16000 Good Calculated
            64 13000 Good Calculated
            80 7001 Good Calculated Partial
            96 - BadNoData
            """
        ),
    ),
    ("VarianceSample", "H1"): (
        20,
        _lines(
            """
            0 0 Good Calculated Partial
            20 50 Good Calculated
            40 0 Uncertain Calculated
            60 0 Uncertain Calculated
            80 50 Good Calculated Partial
            """
        ),
    ),
    ("VarianceSample", "H2"): (
        20,
        _lines(
            """
            0 0 Good Calculated Partial
            20 25 Good Calculated
            40 50 Uncertain Calculated
            60 0 Uncertain Calculated
            80 100 Good Calculated Partial
            """
        ),
    ),
}
# H3 has the samples of H2 with another configuration, which changes nothing here.
TABLES["DurationGood", "H3"] = TABLES["DurationGood", "H2"]
