"""Settings of the line-loss function."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from twin_gateway.durations import Seconds
from twin_gateway.twin.losses.regions import RegionKind


class Band(BaseModel):
    """Loss rates that are usual, percent of what enters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float = 0.0
    high: float = 5.0


class Unmetered(BaseModel):
    """A known load without a meter, as street light: its power over the day.

    Attributes:
        power: W when it is on.
        hours: part of the power in each hour of the day (UTC), 24 numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    power: Annotated[float, Field(gt=0)]
    hours: Annotated[tuple[float, ...], Field(min_length=24, max_length=24)] = (1.0,) * 24


def _bands() -> dict[RegionKind, Band]:
    return {kind: Band(high=7.0 if kind in (RegionKind.LV_AREA, RegionKind.PHASE) else 5.0) for kind in RegionKind}


class LossSettings(BaseModel):
    """Regional line losses.

    Attributes:
        delay: after the end of an interval until its provisional result (later than the grace of the interval data).
        final_days, final_hour: a day's results are final that many days later at that hour (UTC).
        bands: usual loss rates by kind of region, percent.
        coverage: factor k of the tests against the uncertainty.
        least_input: part of the rated energy of a region below which it has no loss rate.
        register_unit: Wh of one count of the registers whose digits the grid model names.
        power_factor: of loads whose reactive power is neither measured nor in the grid model.
        form_factor: I_rms / I_avg within an interval in low voltage; about 1.07 for single households and 15 min.
        technical_uncertainty: relative standard uncertainty of a computed technical loss.
        show_within: the points show the newest interval of so long that is complete enough, else the newest one.
        unknown_clock: standard uncertainty of a clock that nobody has read.
        split: count what was switched over by time; else such intervals are marked and excluded from decisions.
        unmetered: by address of the load.
        missing_after: a meter silent for so long makes its region incomplete (L03).
        detection_days: evidence window of the methods that look for a meter.
        retention_days: how long results and their revisions are kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delay: Seconds = 60.0
    final_days: Annotated[int, Field(ge=1, le=30)] = 2
    final_hour: Annotated[int, Field(ge=0, le=23)] = 12
    bands: dict[RegionKind, Band] = Field(default_factory=_bands)
    coverage: Annotated[float, Field(gt=0)] = 3.0
    least_input: Annotated[float, Field(ge=0, lt=1)] = 0.05
    register_unit: Annotated[float, Field(gt=0)] = 1000.0
    power_factor: Annotated[float, Field(gt=0, le=1)] = 0.95
    form_factor: Annotated[float, Field(ge=1, le=3)] = 1.07
    technical_uncertainty: Annotated[float, Field(ge=0, le=1)] = 0.10
    show_within: Seconds = 86_400.0
    unknown_clock: Seconds = 30.0
    split: bool = False
    unmetered: dict[str, Unmetered] = {}
    missing_after: Seconds = 86_400.0
    detection_days: Annotated[int, Field(ge=1, le=60)] = 7
    retention_days: Annotated[int, Field(ge=3, le=4000)] = 60
