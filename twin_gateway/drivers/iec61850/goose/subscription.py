"""One subscription with its points: values of each state as samples, and what LGOS says of the subscription."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.point import Batch, TextSample
from address_space.quality import TIME_MASK, Quality
from twin_gateway.drivers.contract import BoundPoint

from .. import values as mms
from ..errors import MmsProtocolError
from ..layout import Columns
from ..plan import Plan
from ..report import ReadDecoder
from ..walk import walk
from .dataset import DataSet
from .frame import Frame, Message
from .stream import Judgement, Stream, Taken

_NOT_MAPPED = int(Quality.INVALID | Quality.CONFIGURATION_ERROR)
_FLAGS = np.uint32(~TIME_MASK & 0xFFFF_FFFF)
_REFRESH_S = 1.0
_Rows = npt.NDArray[np.int32]
_Places = npt.NDArray[np.intp]
_TELL_EVERY_S = 1.0


class Subscription:
    """What is heard of one control block, for the points that are mapped to it.

    Args:
        name: as in the mapping.
        data: its data set; None when that is not known: then nothing is taken.
        stream: see `stream.Stream`; None without a data set.

    Attributes:
        reason: why the last message was not taken; empty when it was.
        faults: members of the last state that had another type than the data set says.
        started: when listening began, seconds of the loop's clock.
        lost_untold, restarts_untold: states that were lost and beginnings anew that no event has told yet.
    """

    def __init__(self, name: str, data: DataSet | None, stream: Stream | None) -> None:
        self.name, self.data, self.stream = name, data, stream
        self.reason = ""
        self.faults = 0
        self.started = 0.0
        self.lost_untold = self.restarts_untold = 0
        self._told: dict[str, float] = {}
        self._mine: list[BoundPoint] = []
        self._broken: list[tuple[BoundPoint, str]] = []
        self._points: list[BoundPoint] = []
        self._items: list[BoundPoint] = []
        self._said: dict[str, int | str | None] = {}
        self._decoder = ReadDecoder(Plan((), ()))
        self._refresh = math.inf
        self._payload: bytes | None = None
        self._last: tuple[bytes, Message] | None = None
        self._columns: Columns | None = None
        self._published = 0.0

    def renewed(self) -> Batch | None:
        """The last state for points that have changed since; None where nothing has, or nothing valid is known."""
        stream = self.stream
        if self._payload is not None or self._last is None or stream is None or not stream.alive or stream.misfit:
            return None
        octets, message = self._last
        return self._samples(octets, message, octets[message.start : message.stop], followed=True)

    def begin(self, now: float) -> None:
        """Listening begins, perhaps anew: what was heard before is known, but nothing is alive."""
        self.started = now
        self._payload = None
        self._said.clear()
        if self.stream is not None:
            self.stream.alive = self.stream.misfit = False

    def arrange(self, points: Iterable[BoundPoint]) -> list[tuple[BoundPoint, str]]:
        """Deliver these points from now on; returns those that the data set has nothing for, with the reason."""
        mine = list(points)
        if mine == self._mine:
            return self._broken
        self._mine = mine
        self._items = [point for point in mine if point.fields.get("item") is not None]
        self._points = [point for point in mine if point.fields.get("item") is None]
        self._said.clear()
        self._payload = None
        old = [point.stale_after for point in self._points if point.stale_after]
        self._refresh = min(_REFRESH_S, min(old) / 2) if old else math.inf
        if self._columns is not None:
            # Those that stay keep their times, and are lost with the others when nothing comes any more.
            self._columns = _of_rows(self._columns, {point.row for point in self._points})
        if self.data is None:
            return []
        plan, self._broken = self.data.plan(self._points)
        self._decoder = ReadDecoder(plan)
        return self._broken

    def never_heard(self, now: float, within: float) -> bool:
        """Whether nobody has ever been heard, and there was time enough."""
        stream = self.stream
        return stream is not None and stream.state < 0 and not stream.misfit and now - self.started >= within

    def may_tell(self, code: str, now: float) -> bool:
        """Whether an event of this code may be told now: at most one a second, whatever the network brings."""
        if now - self._told.get(code, float("-inf")) < _TELL_EVERY_S:
            return False
        self._told[code] = now
        return True

    @property
    def supervised(self) -> bool:
        """Whether a point shows that it is alive, so that its loss becomes an alarm of that point."""
        return any(point.fields["item"] == "St" for point in self._items)

    def unusable(self, points: Iterable[BoundPoint] | None = None) -> Batch:
        """These points, or all of the data set, as wrongly configured: there is nothing to take their values from."""
        chosen = self._points if points is None else list(points)
        rows = [point.row for point in chosen if point.value_type is not ValueType.STRING]
        texts = [TextSample(point.row, "", _NOT_MAPPED) for point in chosen if point.value_type is ValueType.STRING]
        return Batch.of(rows, [0.0] * len(rows), _NOT_MAPPED, texts=texts)

    def take(self, octets: bytes, frame: Frame, message: Message, now: float) -> tuple[Judgement, Batch | None]:
        """Judge a message; with the samples when it brings some.

        Raises:
            MmsProtocolError: its data cannot be read.
        """
        stream = self.stream
        if stream is None:
            return Judgement(Taken.NOT), None
        payload = octets[message.start : message.stop]
        again = payload == self._payload
        if not again and len(walk(octets, message.start, message.stop).items) - 1 != message.entries:
            raise MmsProtocolError(f"not the {message.entries} values that numDatSetEntries says")
        misfit_before = stream.misfit
        judgement = stream.judge(frame, message, now)
        self.reason = judgement.reason
        if judgement.taken is Taken.MISFIT:
            return judgement, None if misfit_before else self.misfit()
        if judgement.taken is Taken.NOT:
            return judgement, None
        recent = now - self._published < self._refresh
        if judgement.taken is Taken.REPETITION and again and recent:
            return judgement, None
        self._published = now
        return judgement, self._samples(octets, message, payload, followed=judgement.followed)

    def lost(self) -> Batch | None:
        """The last values without communication; None before there are any."""
        return self._again(int(Quality.COMM_LOST)) if self._columns is not None else None

    def items(self, *, first_within: float, now: float) -> Batch | None:
        """What has changed of LGOS since it was last asked, in samples; None for nothing."""
        stream = self.stream
        if not self._items:
            return None
        said: dict[str, int | str | None]
        if stream is not None:
            # Silence is a loss only after it had time to be broken.
            known = stream.alive or stream.state >= 0 or stream.misfit or now - self.started >= first_within
            expected = stream.expected
            said = {
                "St": int(stream.alive) if known else None,
                "SimSt": int(stream.alive and stream.simulated) if known else None,
                "NdsCom": int(stream.misfit) if known else None,
                "LastStNum": stream.state if stream.state >= 0 else None,
                "RxConfRevNum": stream.revision if stream.revision >= 0 else None,
                "ConfRevNum": expected.revision,
                "GoCBRef": expected.control_block,
            }
        else:
            said = {"St": 0, "SimSt": 0, "NdsCom": 1}
        changed = {item for item, value in said.items() if value is not None and self._said.get(item) != value}
        if not changed:
            return None
        self._said.update((item, said[item]) for item in changed)
        present = clock.now()
        rows: list[int] = []
        numbers: list[float] = []
        texts: list[TextSample] = []
        for point in self._items:
            value = said[item] if (item := str(point.fields["item"])) in changed else None
            if isinstance(value, str):
                texts.append(TextSample(point.row, value, 0, present))
            elif value is not None:
                rows.append(point.row)
                numbers.append(float(value))
        return Batch.of(rows, numbers, 0, present, texts=texts) if rows or texts else None

    # ---- samples ----------------------------------------------------------------------------------------------

    def _samples(self, octets: bytes, message: Message, payload: bytes, *, followed: bool) -> Batch:
        """The values of a state. One without a time of its own has `t` of the state in which it changed."""
        found = self._decoder.decode(octets, message.start, message.stop)
        at, word = _time(octets[message.time : message.time + 8])
        before = self._columns if followed else None
        own = found.times != 0
        times = np.where(own, found.times, at)
        quality = np.where(own, found.quality, found.quality | np.uint32(word))
        if before is not None:
            here, there = _common(found.rows, before.rows)
            alike = (before.values[there] == found.values[here]) & ~own[here]
            alike &= (before.quality[there] ^ found.quality[here]) & _FLAGS == 0
            here, there = here[alike], there[alike]
            times[here], quality[here] = before.times[there], before.quality[there]
        old_texts = {sample.row: sample for sample in before.texts} if before is not None else {}
        texts = [
            sample if sample.source_time else _dated(sample, old_texts.get(sample.row), at, word)
            for sample in found.texts
        ]
        self._payload, self._last, self.faults = payload, (octets, message), found.errors
        self._columns = Columns(found.rows, found.values, quality.astype(np.uint32), times, texts, found.errors)
        simulated = self.stream is not None and self.stream.simulated
        return self._again(int(Quality.SIMULATED) if simulated else 0)

    def _again(self, flags: int) -> Batch:
        columns = self._columns
        if columns is None:
            return Batch.of((), ())
        texts = [replace(sample, quality=sample.quality | flags) for sample in columns.texts]
        quality = columns.quality | np.uint32(flags)
        return Batch(columns.rows, columns.values, quality, columns.times, texts=texts)

    def misfit(self) -> Batch:
        """What came last, as of no use: the members are not those that the mapping means."""
        columns, self._payload = self._columns, None
        if columns is None:
            return self.unusable()
        word = np.uint32(_NOT_MAPPED)
        quality = columns.quality & ~np.uint32(Quality.QUESTIONABLE) | word
        texts = [replace(sample, quality=sample.quality & ~1 | _NOT_MAPPED) for sample in columns.texts]
        known = {*columns.rows.tolist(), *(sample.row for sample in columns.texts)}
        others = self.unusable(point for point in self._points if point.row not in known)
        shown = Batch(columns.rows, columns.values, quality, columns.times, texts=texts)
        return joined(shown, others) or shown


def _common(first: _Rows, second: _Rows) -> tuple[_Places, _Places]:
    """Where the rows that are in both lie in each; most often both are equal."""
    if np.array_equal(first, second):
        everywhere = np.arange(len(first))
        return everywhere, everywhere
    _, here, there = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    return here, there


def _of_rows(columns: Columns, rows: set[int]) -> Columns:
    """The samples of these rows."""
    kept = np.isin(columns.rows, list(rows))
    texts = [sample for sample in columns.texts if sample.row in rows]
    return Columns(
        columns.rows[kept], columns.values[kept], columns.quality[kept], columns.times[kept], texts, columns.errors
    )


def joined(first: Batch | None, second: Batch | None) -> Batch | None:
    """Two batches as one: to take one in costs as much for few samples as for many."""
    if first is None or second is None:
        return first or second
    return Batch(
        np.concatenate((first.rows, second.rows)),
        np.concatenate((first.values, second.values)),
        np.concatenate((first.quality, second.quality)),
        np.concatenate((first.source_time, second.source_time)),
        texts=[*first.texts, *second.texts],
    )


def _time(octets: bytes) -> tuple[int, int]:
    """(FILETIME ticks, time flags) of one UtcTime, as `values.times`; 0 ticks for a clock that was never set."""
    seconds = int.from_bytes(octets[:4], "big")
    fraction = int.from_bytes(octets[4:7], "big") * clock.TICKS_PER_SECOND + (1 << 23) >> 24
    ticks = seconds * clock.TICKS_PER_SECOND + fraction + clock.UNIX_EPOCH_TICKS if seconds else 0
    return ticks, int(mms.TIME_FLAGS[octets[7]])


def _dated(sample: TextSample, before: TextSample | None, at: int, word: int) -> TextSample:
    if before is not None and before.text == sample.text and (before.quality ^ sample.quality) & int(_FLAGS) == 0:
        return before
    return replace(sample, source_time=at, quality=sample.quality | word)
