"""The aggregates of Part 13 once more, one interval and one sample at a time, in exact fractions: to compare with.

Written from the text of the standard, without arrays, running sums or binary searches. Times are whole seconds, so that
every result is a fraction; the unit of time resolution behind the last sample is a millisecond.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

GOOD, UNCERTAIN, BAD = "good", "uncertain", "bad"
_MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Dot:
    """A sample: time in seconds, value, quality."""

    time: int
    value: Fraction
    quality: str


@dataclass(frozen=True)
class Hand:
    """Samples in order of time (no two at the same) and how they count."""

    dots: tuple[Dot, ...]
    stepped: bool
    uncertain_is_bad: bool
    percent_bad: int = 100
    percent_good: int = 100

    def used(self, dot: Dot) -> bool:
        """Whether a sample is used."""
        return dot.quality == GOOD or (dot.quality == UNCERTAIN and not self.uncertain_is_bad)

    def before(self, time: Fraction) -> Dot | None:
        """The sample right before a time, or at it."""
        found = None
        for dot in self.dots:
            if dot.time <= time:
                found = dot
        return found

    def after(self, time: Fraction) -> Dot | None:
        """The sample right behind a time."""
        for dot in self.dots:
            if dot.time > time:
                return dot
        return None

    # ---- bounds ----------------------------------------------------------------------------------------------------

    def simple(self, time: Fraction) -> tuple[Fraction, str] | None:
        """(value, quality) of the simple bounding value."""
        before, after = self.before(time), self.after(time)
        if before is None or not self.used(before):
            return None
        if before.time == time:
            return before.value, before.quality
        if after is None:
            return None
        if self.stepped:
            return before.value, before.quality
        if not self.used(after):
            return before.value, UNCERTAIN
        quality = GOOD if before.quality == after.quality == GOOD else UNCERTAIN
        return _line(before, after, time), quality

    def interpolated(self, time: Fraction, stepped: bool) -> tuple[Fraction, str] | None:
        """(value, quality) of the interpolated bounding value, held behind the last usable sample."""
        befores = [dot for dot in self.dots if dot.time <= time and self.used(dot)]
        afters = [dot for dot in self.dots if dot.time > time and self.used(dot)]
        if not befores:
            return None
        before = befores[-1]
        if before.time == time:
            return before.value, before.quality
        if stepped:
            skipped = any(before.time < dot.time <= time for dot in self.dots)
            doubtful = skipped or before.quality != GOOD or time > self.dots[-1].time
            return before.value, UNCERTAIN if doubtful else GOOD
        if not afters:
            return before.value, UNCERTAIN
        after = afters[0]
        skipped = any(before.time < dot.time < after.time for dot in self.dots)
        doubtful = skipped or before.quality != GOOD or after.quality != GOOD
        return _line(before, after, time), UNCERTAIN if doubtful else GOOD

    # ---- intervals -------------------------------------------------------------------------------------------------

    def inside(self, low: int, high: int) -> list[Dot]:
        """Samples of an interval: its start belongs to it, its end does not."""
        return [dot for dot in self.dots if low <= dot.time < high]

    def gone(self, low: int, high: int) -> bool:
        """Whether the interval lies before or behind the data."""
        return high <= self.dots[0].time or low > self.dots[-1].time

    def pieces(self, low: int, high: int) -> list[tuple[Fraction, Fraction, Fraction, Fraction, str]]:
        """Regions between simple bounds: (from, to, value there, value at the end, quality); Bad before the data."""
        made: list[tuple[Fraction, Fraction, Fraction, Fraction, str]] = []
        zero = Fraction(0)
        if low < self.dots[0].time:
            made.append((Fraction(low), Fraction(min(high, self.dots[0].time)), zero, zero, BAD))
        for number, dot in enumerate(self.dots):
            following = self.dots[number + 1] if number + 1 < len(self.dots) else None
            begin = Fraction(dot.time)
            end = Fraction(following.time) if following is not None else begin + _MILLISECOND
            first, last = max(begin, Fraction(low)), min(end, Fraction(high))
            if first >= last:
                continue
            if not self.used(dot):
                made.append((first, last, zero, zero, BAD))
                continue
            quality, at_first, at_last = dot.quality, dot.value, dot.value
            if not self.stepped:
                if following is None or not self.used(following):
                    quality = UNCERTAIN
                else:
                    at_first, at_last = _line(dot, following, first), _line(dot, following, last)
                    if following.quality != GOOD:
                        quality = UNCERTAIN
            made.append((first, last, at_first, at_last, quality))
        return made

    def judged(self, good: Fraction, bad: Fraction, total: Fraction) -> str:
        """Quality by the percentages; `none` when nothing but Bad data is there."""
        if total == 0:
            return GOOD
        is_bad = bad > 0 and bad / total * 100 >= self.percent_bad
        is_good = good / total * 100 >= self.percent_good
        if self.percent_good == 100 - self.percent_bad and is_good:
            is_bad = False
        if is_bad:
            return "none" if bad == total else BAD
        return GOOD if is_good else UNCERTAIN

    # ---- aggregates: (value, quality), None for no data -------------------------------------------------------------

    def average(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """Average."""
        dots = self.inside(low, high)
        good = [dot.value for dot in dots if dot.quality == GOOD]
        if self.gone(low, high) or not good:
            return None
        return sum(good, Fraction(0)) / len(good), self._by_number(dots)

    def _by_number(self, dots: list[Dot]) -> str:
        good = sum(1 for dot in dots if dot.quality == GOOD)
        bad = sum(1 for dot in dots if not self.used(dot))
        return self.judged(Fraction(good), Fraction(bad), Fraction(len(dots)))

    def variance(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """VariancePopulation."""
        dots = self.inside(low, high)
        good = [dot.value for dot in dots if dot.quality == GOOD]
        if self.gone(low, high) or not good:
            return None
        mean = sum(good, Fraction(0)) / len(good)
        return sum(((each - mean) ** 2 for each in good), Fraction(0)) / len(good), self._by_number(dots)

    def time_average(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """TimeAverage: sloped, second by second, reaching across what is not used."""
        usable = [dot for dot in self.dots if self.used(dot)]
        if not usable or high <= usable[0].time:
            return None
        points = [Fraction(max(low, usable[0].time))]
        points += [Fraction(dot.time) for dot in usable if points[0] < dot.time < high]
        points.append(Fraction(high))
        area, quality = Fraction(0), GOOD if low >= usable[0].time else UNCERTAIN
        for first, last in itertools.pairwise(points):
            at_first, at_last = self.interpolated(first, False), self.interpolated(last, False)
            middle = self.interpolated((first + last) / 2, False)
            assert at_first is not None
            assert at_last is not None
            assert middle is not None
            area += (at_first[0] + at_last[0]) / 2 * (last - first)
            if middle[1] != GOOD:
                quality = UNCERTAIN
        return area / (points[-1] - points[0]), quality

    def time_average2(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """TimeAverage2."""
        if self.gone(low, high):
            return None
        pieces = self.pieces(low, high)
        used = sum((last - first for first, last, *_, quality in pieces if quality != BAD), Fraction(0))
        if not used:
            return None
        area = sum(((a + b) / 2 * (last - first) for first, last, a, b, _ in pieces), Fraction(0))
        return area / used, self._by_time(pieces)

    def _by_time(self, pieces: list[tuple[Fraction, Fraction, Fraction, Fraction, str]]) -> str:
        spans = {kind: Fraction(0) for kind in (GOOD, UNCERTAIN, BAD)}
        for first, last, _, _, quality in pieces:
            spans[quality] += last - first
        return self.judged(spans[GOOD], spans[BAD], sum(spans.values(), Fraction(0)))

    def minimum2(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """Minimum2."""
        if self.gone(low, high):
            return None
        candidates = [dot.value for dot in self.inside(low, high) if self.used(dot)]
        start, end = self.simple(Fraction(low)), self.simple(Fraction(high))
        candidates += [] if start is None else [start[0]]
        candidates += [end[0]] if end is not None and not self.stepped else []
        return (min(candidates), self._by_time(self.pieces(low, high))) if candidates else None

    def duration_good(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """DurationGood in ms: regions by the sample they begin with, the first one by its bound."""
        if self.gone(low, high):
            return None
        seconds = Fraction(0)
        starts = [(Fraction(dot.time), dot.quality == GOOD) for dot in self.inside(low, high)]
        if not starts or starts[0][0] != low:
            bound = self.simple(Fraction(low))
            starts.insert(0, (Fraction(low), bound is not None and bound[1] == GOOD))
        limit = min(Fraction(high), self.dots[-1].time + _MILLISECOND)
        for number, (first, good) in enumerate(starts):
            last = starts[number + 1][0] if number + 1 < len(starts) else limit
            seconds += max(last - first, Fraction(0)) if good else 0
        return seconds * 1000, GOOD

    def transitions(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """NumberOfTransitions."""
        if self.gone(low, high):
            return None
        count, last = 0, None
        for dot in self.dots:
            if not self.used(dot):
                continue
            if low <= dot.time < high and dot.value != last:
                count += 1
            last = dot.value
        return Fraction(count), self._by_number(self.inside(low, high))

    def minimum(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """Minimum."""
        dots = self.inside(low, high)
        good = [dot.value for dot in dots if dot.quality == GOOD]
        if self.gone(low, high) or not good:
            return None
        lower = any(dot.quality == UNCERTAIN and self.used(dot) and dot.value < min(good) for dot in dots)
        doubtful = lower or any(not self.used(dot) for dot in dots)
        return min(good), UNCERTAIN if doubtful else GOOD

    def interpolative(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """Interpolative."""
        return self.interpolated(Fraction(low), self.stepped)

    def delta_bounds(self, low: int, high: int) -> tuple[Fraction, str] | None:
        """DeltaBounds."""
        start, end = self.simple(Fraction(low)), self.simple(Fraction(high))
        if self.gone(low, high) or start is None or end is None:
            return None
        return end[0] - start[0], GOOD if start[1] == end[1] == GOOD else UNCERTAIN


def _line(before: Dot, after: Dot, time: Fraction) -> Fraction:
    return before.value + (after.value - before.value) * (time - before.time) / (after.time - before.time)
