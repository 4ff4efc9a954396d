"""The aggregate functions of OPC UA Part 13, by name: pure functions over the samples of one point.

`AGGREGATES[name].of(series, intervals)` gives one result an interval. Where the examples of the standard's Annex A say
more than its text, the examples are followed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from address_space import aggregates_times as times
from address_space import aggregates_values as values
from address_space.aggregates_series import Intervals, Series
from address_space.aggregates_values import Processed

Function = Callable[[Series, Intervals], Processed]


class Result(Enum):
    """Data type of an aggregate's results."""

    DOUBLE = "Double"
    INT32 = "Int32"
    SOURCE = "same as source"
    DIFFERENCE = "same as source, may be negative"
    STATUS = "StatusCode"


class Applies(Enum):
    """What points an aggregate makes sense for."""

    NUMBERS = "numbers"
    NOT_TEXTS = "numbers and Booleans"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate function.

    Attributes:
        name: BrowseName of the AggregateFunction object.
        of: the function.
        result: data type of the results.
        applies: for what points it is defined.
    """

    name: str
    of: Function
    result: Result
    applies: Applies

    def suits(self, *, text: bool, boolean: bool) -> bool:
        """Whether it is defined for points of a kind of value."""
        if text:
            return self.applies is Applies.ALL
        return not boolean or self.applies is not Applies.NUMBERS


def _part(function: Any, *arguments: Any, **named: Any) -> Function:
    made: Function = partial(_call, function, arguments, named)
    return made


def _call(function: Any, arguments: Any, named: Any, series: Series, limits: Intervals) -> Processed:
    found: Processed = function(series, limits, *arguments, **named)
    return found


def _table() -> dict[str, Aggregate]:
    double, int32, source, difference = Result.DOUBLE, Result.INT32, Result.SOURCE, Result.DIFFERENCE
    numbers, no_texts, everything = Applies.NUMBERS, Applies.NOT_TEXTS, Applies.ALL
    rows: list[tuple[str, Function, Result, Applies]] = [
        ("Interpolative", times.interpolative, source, everything),
        ("Average", values.average, double, numbers),
        ("TimeAverage", times.time_average, double, numbers),
        ("TimeAverage2", times.time_average2, double, numbers),
        ("Total", _part(times.time_average, total=True), double, numbers),
        ("Total2", _part(times.time_average2, total=True), double, numbers),
        ("Minimum", _part(values.extreme, 1, actual_time=False), source, numbers),
        ("Maximum", _part(values.extreme, -1, actual_time=False), source, numbers),
        ("MinimumActualTime", _part(values.extreme, 1, actual_time=True), source, numbers),
        ("MaximumActualTime", _part(values.extreme, -1, actual_time=True), source, numbers),
        ("Range", values.value_range, difference, numbers),
        ("Minimum2", _part(times.extreme2, 1, actual_time=False), source, numbers),
        ("Maximum2", _part(times.extreme2, -1, actual_time=False), source, numbers),
        ("MinimumActualTime2", _part(times.extreme2, 1, actual_time=True), source, numbers),
        ("MaximumActualTime2", _part(times.extreme2, -1, actual_time=True), source, numbers),
        ("Range2", times.range2, difference, numbers),
        ("AnnotationCount", values.annotation_count, int32, everything),
        ("Count", values.count, int32, everything),
        ("DurationInStateZero", _part(times.duration_in_state, zero=True), double, no_texts),
        ("DurationInStateNonZero", _part(times.duration_in_state, zero=False), double, no_texts),
        ("NumberOfTransitions", values.number_of_transitions, int32, everything),
        ("Start", values.start, source, everything),
        ("End", values.end, source, everything),
        ("Delta", values.delta, difference, numbers),
        ("StartBound", times.start_bound, source, everything),
        ("EndBound", times.end_bound, source, everything),
        ("DeltaBounds", times.delta_bounds, difference, numbers),
        ("DurationGood", _part(times.duration_of_quality, bad=False, percent=False), double, everything),
        ("DurationBad", _part(times.duration_of_quality, bad=True, percent=False), double, everything),
        ("PercentGood", _part(times.duration_of_quality, bad=False, percent=True), double, everything),
        ("PercentBad", _part(times.duration_of_quality, bad=True, percent=True), double, everything),
        ("WorstQuality", _part(values.worst_quality, bounds=False), Result.STATUS, everything),
        ("WorstQuality2", _part(values.worst_quality, bounds=True), Result.STATUS, everything),
        ("StandardDeviationSample", _part(values.spread, sample=True, root=True), double, numbers),
        ("StandardDeviationPopulation", _part(values.spread, sample=False, root=True), double, numbers),
        ("VarianceSample", _part(values.spread, sample=True, root=False), double, numbers),
        ("VariancePopulation", _part(values.spread, sample=False, root=False), double, numbers),
    ]
    return {name: Aggregate(name, function, result, applies) for name, function, result, applies in rows}


AGGREGATES: dict[str, Aggregate] = _table()
"""Every standard aggregate by its name."""
