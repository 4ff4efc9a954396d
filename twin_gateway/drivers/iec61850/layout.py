"""Where in the octets of a message each value, quality and time lies, so that the next one like it costs a few gathers.

A device sends the same report again and again: equal tags and lengths, other contents. A layout remembers the offsets
and a mask of the octets that must not change; a message that fits the mask is decoded without walking it. One that does
not is walked and gets a layout of its own, so a layout can be wrong about nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from address_space.point import TextSample
from address_space.quality import Quality

from . import values as mms
from .plan import Plan
from .walk import Walk

_Integers = npt.NDArray[np.int64]
_NONE = np.zeros(0, np.int64)
_CONFIGURATION = int(Quality.INVALID | Quality.CONFIGURATION_ERROR)
_ERROR_WORDS = {0: Quality.INVALID | Quality.OLD_DATA, 1: Quality.INVALID | Quality.FAILURE, 2: Quality.OLD_DATA}


def error_word(code: int) -> int:
    """Quality word of a DataAccessError code: hardware fault, for the moment not available, or not what was mapped."""
    return int(_ERROR_WORDS.get(code, _CONFIGURATION))


@dataclass(slots=True)
class Columns:
    """Samples of one message, as in `address_space.point.Batch`.

    Attributes:
        rows: int32.
        values: float64.
        quality: uint32 with time flags.
        times: int64 FILETIME ticks, 0 for none.
        texts: samples of text points.
        errors: members that the device refused or that had another type than the model says.
    """

    rows: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint32]
    times: npt.NDArray[np.int64]
    texts: Sequence[TextSample]
    errors: int


def joined(columns: Sequence[Columns]) -> Columns:
    """The samples of several messages, one behind the other."""
    return Columns(
        np.concatenate([of.rows for of in columns]),
        np.concatenate([of.values for of in columns]),
        np.concatenate([of.quality for of in columns]),
        np.concatenate([of.times for of in columns]),
        [text for of in columns for text in of.texts],
        sum(of.errors for of in columns),
    )


@dataclass(slots=True)
class _TextPlace:
    """Where a text, its quality and its time start; -1 for none."""

    row: int
    word: int
    tag: int = 0
    start: int = 0
    stop: int = 0
    quality: int = -1
    time: int = -1


class Layout:
    """Offsets of one shape of message, relative to `base`, the offset of its first octet in the walked buffer."""

    def __init__(
        self,
        octets: mms.Octets,
        found: Walk,
        plan: Plan,
        *,
        base: int,
        included: Sequence[int],
        first: int,
    ) -> None:
        """Compile the layout of a message.

        Args:
            octets: the message from `base` on.
            found: its leaves.
            plan: what to take.
            base: offset of the message in the buffer that was walked.
            included: numbers of the members that are there, in order.
            first: number of the item (top-level value) of the first of them.
        """
        self._plan = plan
        self.length = len(octets)
        where, broken, refused = self._places(octets, base, found, included, first)
        value, quality, time = (_pick(where, leaf) for leaf in (plan.value, plan.quality, plan.time))
        error = broken[plan.value]
        touched = (value >= 0) | (quality >= 0) | (error != 0)
        self._slots = slots = np.nonzero(touched & ~plan.text)[0]
        self._rows = plan.rows[slots]
        self._scale = None if plan.plain else (plan.numerator[slots], plan.denominator[slots], plan.bias[slots])

        starts = np.array(found.starts, np.int64) - base
        lengths = np.array(found.stops, np.int64) - base - starts
        tags = np.array(found.tags, np.int64)
        words = error[slots].astype(np.uint32)
        groups: dict[tuple[int, int], list[int]] = {}
        for index, leaf in enumerate(value[slots].tolist()):
            if leaf < 0:
                continue
            tag, length = found.tags[leaf], int(lengths[leaf])
            if mms.readable(tag, length, int(octets[starts[leaf]]) if length else 0):
                groups.setdefault((tag, length), []).append(index)
            else:
                words[index] = _CONFIGURATION
        chosen = value[slots]
        self._groups = [
            (tag, np.array(at), mms.places(starts[chosen[at]], length)) for (tag, length), at in groups.items()
        ]
        self._valued = slots[np.sort(np.concatenate([at for _, at, _ in self._groups] or [_NONE]))]
        self._fresh = True

        leaf_of = quality[slots]
        good = leaf_of >= 0
        good[good] = (tags[leaf_of[good]] == mms.BIT_STRING) & (lengths[leaf_of[good]] >= 2)
        words[(leaf_of >= 0) & ~good & (words == 0)] = _CONFIGURATION
        self._with_quality = np.nonzero(good)[0]
        self._quality, self._bits = mms.quality_places(starts[leaf_of[good]], lengths[leaf_of[good]] == 2)
        leaf_of = time[slots]
        good = leaf_of >= 0
        good[good] = (tags[leaf_of[good]] == mms.UTC_TIME) & (lengths[leaf_of[good]] == 8)
        self._with_time = np.nonzero(good)[0]
        self._time = mms.places(starts[leaf_of[good]], 8)

        self._errors = np.nonzero(words)[0]
        self._error_words = words[self._errors]
        self._missing_value = np.nonzero((chosen < 0) & (words == 0))[0]
        self._texts = [
            self._text_place(
                found, base, int(plan.rows[slot]), (value[slot], quality[slot], time[slot]), int(error[slot])
            )
            for slot in np.nonzero(touched & plan.text)[0].tolist()
        ]
        self.errors = refused + int((words[error[slots] == 0] != 0).sum())
        self._fix(octets, base, found)

    # -- compiling -----------------------------------------------------------------------------------------------

    def _places(
        self, octets: mms.Octets, base: int, found: Walk, included: Sequence[int], first: int
    ) -> tuple[_Integers, _Integers, int]:
        """For each leaf of the plan the leaf of the message (or -1) and an error word (or 0); the number of errors."""
        plan = self._plan
        where = np.full(int(plan.bases[-1]) + 1, -1, np.int64)
        broken = np.zeros(len(where), np.int64)
        errors = 0
        for item, member in enumerate(included, first):
            low, high = found.items[item], found.items[item + 1]
            start, stop = int(plan.bases[member]), int(plan.bases[member + 1])
            if found.simple[item] and found.tags[low] == mms.ACCESS_ERROR:
                code = int.from_bytes(octets[found.starts[low] - base : found.stops[low] - base].tobytes(), "big")
                broken[start:stop] = error_word(code)
                errors += 1
            elif high - low != stop - start:
                broken[start:stop] = _CONFIGURATION
                errors += 1
            else:
                where[start:stop] = np.arange(low, high)
        return where, broken, errors

    @staticmethod
    def _text_place(found: Walk, base: int, row: int, leaf: tuple[int, int, int], word: int) -> _TextPlace:
        value, quality, time = leaf
        place = _TextPlace(row, word)
        if value >= 0 and found.tags[value] in mms.TEXT_TAGS:
            place.tag, place.start, place.stop = (
                found.tags[value],
                found.starts[value] - base,
                found.stops[value] - base,
            )
        elif not word:
            place.word = _CONFIGURATION
        if quality >= 0 and found.tags[quality] == mms.BIT_STRING and found.stops[quality] - found.starts[quality] >= 3:
            place.quality = found.starts[quality] - base
        if time >= 0 and found.tags[time] == mms.UTC_TIME and found.stops[time] - found.starts[time] == 8:
            place.time = found.starts[time] - base
        return place

    def _fix(self, octets: mms.Octets, base: int, found: Walk) -> None:
        """Remember which octets must be equal in a message of this shape: all but the contents of the leaves."""
        tags = np.array(found.tags, np.int64)
        # the width of a float and the number of unused bits belong to the shape
        starts = np.array(found.starts, np.int64) - base + ((tags == mms.FLOAT) | (tags == mms.BIT_STRING))
        stops = np.array(found.stops, np.int64) - base
        free = (tags != mms.ACCESS_ERROR) & (starts < stops)
        edges = np.bincount(starts[free], minlength=self.length + 1) - np.bincount(
            stops[free], minlength=self.length + 1
        )
        mask = np.where(np.cumsum(edges[: self.length]) > 0, 0, 0xFF).astype(np.uint8)
        self._mask = mask
        self._fixed = (octets & mask).tobytes()

    def pin(self, octets: mms.Octets, places: Sequence[tuple[int, int]]) -> None:
        """Make the octets of each (start, stop) part of the shape."""
        for start, stop in places:
            self._mask[start:stop] = 0xFF
        self._fixed = (octets & self._mask).tobytes()

    # -- using ---------------------------------------------------------------------------------------------------

    def fits(self, octets: mms.Octets) -> bool:
        """Whether a message of the same length has this shape."""
        return (octets & self._mask).tobytes() == self._fixed

    def columns(self, octets: mms.Octets) -> Columns:
        """The samples of a message that fits (or of the one that the layout was made from)."""
        plan, slots = self._plan, self._slots
        count = len(slots)
        values = np.empty(count, np.float64)
        for tag, at, where in self._groups:
            values[at] = mms.numbers(tag, octets, where)
        if self._scale is not None:
            numerator, denominator, bias = self._scale
            values *= numerator
            values /= denominator
            values += bias
        quality = mms.qualities(octets, self._quality, self._bits)
        if len(quality) != count:
            quality, some = np.zeros(count, np.uint32), quality
            quality[self._with_quality] = some
        if len(self._time) == count:
            times, flags = mms.times(octets, self._time)
        else:
            times, flags = np.zeros(count, np.int64), np.zeros(count, np.uint32)
            times[self._with_time], flags[self._with_time] = mms.times(octets, self._time)
        if plan.split:
            self._merge(values, quality, times, flags)
        if len(self._errors):
            self._mark(values, quality)
        plan.last_value[slots] = values
        if self._fresh:
            plan.seen[self._valued] = True
            self._fresh = False
        return Columns(self._rows, values, quality | flags, times, self._text_samples(octets), self.errors)

    def _merge(
        self,
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint32],
        times: npt.NDArray[np.int64],
        flags: npt.NDArray[np.uint32],
    ) -> None:
        """Take what did not come with this message from what came before; without that the sample is not usable."""
        plan, slots = self._plan, self._slots
        absent = self._missing_value
        values[absent] = np.where(plan.seen[slots[absent]], plan.last_value[slots[absent]], 0.0)
        no_quality = np.ones(len(slots), np.bool_)
        no_quality[self._with_quality] = False
        no_quality &= plan.quality[slots] >= 0
        quality[no_quality] = plan.last_quality[slots[no_quality]]
        no_time = np.ones(len(slots), np.bool_)
        no_time[self._with_time] = False
        no_time &= plan.time[slots] >= 0
        # a new value without its time keeps no old time: the table then takes the time of reception
        stays = np.zeros(len(slots), np.bool_)
        stays[absent] = True
        stays &= no_time
        times[stays], flags[stays] = plan.last_time[slots[stays]], plan.last_flags[slots[stays]]
        plan.last_quality[slots], plan.last_time[slots], plan.last_flags[slots] = quality, times, flags
        never = absent[~plan.seen[slots[absent]]]
        quality[never] |= np.uint32(Quality.NOT_INITIALISED)

    def _mark(self, values: npt.NDArray[np.float64], quality: npt.NDArray[np.uint32]) -> None:
        """Samples of refused members: the last value stays, the quality says what happened."""
        at = self._errors
        slots = self._slots[at]
        known = self._plan.seen[slots]
        values[at] = np.where(known, self._plan.last_value[slots], 0.0)
        words = self._error_words.copy()
        words[words == int(Quality.OLD_DATA)] |= np.uint32(Quality.QUESTIONABLE)
        words[~known] = (words[~known] & ~np.uint32(3)) | np.uint32(Quality.INVALID)
        quality[at] = words

    def _text_samples(self, octets: mms.Octets) -> list[TextSample]:
        samples = []
        for place in self._texts:
            word, ticks = place.word, 0
            if place.quality >= 0:
                where = mms.quality_places(np.array([place.quality]), np.zeros(1, np.bool_))
                word |= int(mms.qualities(octets, *where)[0])
            if place.time >= 0:
                found, flags = mms.times(octets, mms.places(np.array([place.time]), 8))
                ticks, word = int(found[0]), word | int(flags[0])
            content = mms.text(place.tag, octets[place.start : place.stop].tobytes()) if place.tag else ""
            samples.append(TextSample(place.row, content, word, ticks))
        return samples


def _pick(where: _Integers, leaf: _Integers) -> _Integers:
    """`where[leaf]`, and -1 where the leaf itself is -1 (the last element of `where` is -1)."""
    return where[leaf]
