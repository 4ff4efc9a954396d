"""Compares what the devices sent with what clients got. Everything that differs is explained by a fault, or told.

Live values are checked one by one: that the device has sent such a value, with this time, in this order, once. What a
subscriber has not got must be in the history when the device keeps what it cannot deliver (104, 61850); where it does
not (CoAP), or the keeper itself was killed, a fault must explain it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from soak.faults import BROKER, EVERYTHING, Fault
from soak.ledger import EVENT, STATE

Array = npt.NDArray[np.void]
Mask = npt.NDArray[np.bool_]

SETTLE_MS = 10_000
"""How long after its end a fault may still show: time-outs of the protocol, a new connection, an interrogation."""
_BEFORE_MS = 1_500
"""How long before a fault what is lost by it may have been sent: it was under way, in buffers of the system."""
_RECENT_MS = 5_000
_ANSWER_MS = 6_000
"""How long an answer to an interrogation may be under way through a slow wire."""
_FUTURE_MS = 2_000
"""Spec 8.4: a device's time so far ahead is replaced with the time of reception."""
_CONFLATED_MS = 10_000
"""Retained state shows the newest value; what was superseded so soon may be left out, or shown as it is twice."""
_GATEWAY_KILL_MS = 500
"""docs/history.md: what the journals of a killed gateway held is gone; acknowledged, and in no history."""
_DEVICE_KILL_MS = 50
_OVERFLOW = 0x480
_INFO = 0xFFFF
_SHOWN = 5


@dataclass
class Report:
    """What was found.

    Attributes:
        counted: how many records of what kind there were.
        explained: differences that a fault explains, by explanation.
        differences: those that nothing explains, by kind.
        examples: some of them in words.
    """

    counted: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def tell(self, kind: str, examples: Iterable[str], count: int) -> None:
        if count:
            self.differences[kind] += count
            self.examples += [f"{kind}: {text}" for text, _ in zip(examples, range(_SHOWN), strict=False)]

    def text(self) -> str:
        lines = [f"{count:>12} {name}" for name, count in sorted(self.counted.items())]
        lines += ["explained:"] + [f"{count:>12} {name}" for name, count in sorted(self.explained.items())]
        lines += ["not explained:"] + [f"{count:>12} {name}" for name, count in sorted(self.differences.items())]
        return "\n".join(lines + self.examples)


class Windows:
    """The times in which faults of some kinds or places may show.

    Args:
        faults: these.
        before, after: how long (ms) before and after each.
        lag: how long at most what came just before the fault had been under way; it delays what was sent before.
    """

    def __init__(
        self, faults: Iterable[Fault], before: float, after: float, lag: Callable[[float], float] = lambda _: 0.0
    ) -> None:
        self._spans = sorted((fault.began - before - lag(fault.began), fault.ended + after) for fault in faults)

    def hold(self, times: npt.NDArray[np.float64]) -> Mask:
        found = np.zeros(len(times), bool)
        for begin, end in self._spans:
            found |= (times >= begin) & (times <= end)
        return found


class Sent:
    """The ledger of a device: events by point and number.

    Args:
        records: of `ledger.SENT`, in the order of sending.
        points: how many points the device has.
    """

    def __init__(self, records: Array, points: int) -> None:
        events = records[records["kind"] == EVENT]
        self.events = events[np.lexsort((events["number"], events["point"]))]
        self.count = np.bincount(self.events["point"], minlength=points)
        self.offset = np.concatenate(([0], np.cumsum(self.count)[:-1]))
        expected = np.arange(len(self.events)) - np.repeat(self.offset, self.count) + 1
        assert (self.events["number"] == expected).all(), "the ledger has a gap or a number twice"
        self.states = records[records["kind"] == STATE]

    def told(self, got: Array) -> Mask:
        """Which events these records show."""
        found = np.zeros(len(self.events), bool)
        place = self.index(got["point"].astype(np.int64), got["value"].astype(np.int64))
        found[place[place >= 0]] = True
        return found

    def index(self, points: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Places of events in `events`; -1 of those that were never sent."""
        place = self.offset[points] + numbers - 1
        return np.where((numbers >= 1) & (numbers <= self.count[points]), place, -1)

    def answered(self, points: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64], times: Mask) -> Mask:
        """Whether the device said such a value when it was asked, shortly before each of the times (ms)."""
        keys = self.states["point"].astype(np.int64) << 32 | self.states["number"]
        order = np.lexsort((self.states["true"], keys))
        keys, moments = keys[order], self.states["true"][order].astype(np.float64)
        wanted = points << 32 | numbers
        low, high = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right")
        found = np.zeros(len(points), bool)
        for at in range(int((high - low).max(initial=0))):
            place = low + at
            inside = place < high
            moment = moments[np.minimum(place, max(0, len(moments) - 1))] if len(moments) else np.zeros(len(points))
            found |= inside & (times >= moment - 2) & (times <= moment + _ANSWER_MS)
        return found


@dataclass(frozen=True)
class Subject:
    """A device as the audit sees it.

    Attributes:
        buffers: it keeps what it cannot deliver.
        time_ms: what rounding of its times on the way may amount to; None: it has no clock.
    """

    name: str
    sent: Sent
    first: int
    points: int
    buffers: bool
    time_ms: float | None


class Audit:
    """One run."""

    def __init__(self, subjects: list[Subject], faults: list[Fault]) -> None:
        self._subjects, self._faults = subjects, faults
        self.report = Report()
        self._lag: dict[str, Callable[[float], float]] = {}
        for subject in subjects:
            self.report.counted[f"sent by {subject.name}"] = len(subject.sent.events)
        self.report.counted["faults"] = len(faults)

    def _windows(self, subject: Subject, *more: str, got: Array | None = None) -> Windows:
        touched = {subject.name, EVERYTHING, *more}
        faults = [fault for fault in self._faults if fault.of in touched]
        if got is None:
            return Windows(faults, _BEFORE_MS, SETTLE_MS)
        received = got["received"]
        place = subject.sent.index(got["point"].astype(np.int64), got["value"].astype(np.int64))
        true = subject.sent.events["true"][np.maximum(place, 0)].astype(np.float64)

        def lag(began: float) -> float:
            before = (place >= 0) & (received <= began)
            recent = before & (received > began - _RECENT_MS)
            newest = float(true[before].max(initial=began - SETTLE_MS))
            return max(float((received - true)[recent].max(initial=0.0)), began - newest)

        self._lag.setdefault(subject.name, lag)  # the subscriber's, which is asked for first
        return Windows(faults, _BEFORE_MS, SETTLE_MS, lag)

    def _of_kind(self, kind: str, before: float, after: float, name: str = "") -> Windows:
        chosen = [fault for fault in self._faults if fault.kind == kind and name in ("", fault.of)]
        return Windows(chosen, before, after)

    def live(self, client: str, got: Array, *more: str) -> dict[str, Array]:
        """Check the notifications of one life of a client, in the order of arrival.

        Returns:
            The records of each device that show a value, points counted from its first.
        """
        found = {}
        self.report.counted[f"got by {client}"] += len(got)
        for subject in self._subjects:
            found[subject.name] = self._check(client, subject, self._own(subject, got), more)
        return found

    @staticmethod
    def _own(subject: Subject, got: Array) -> Array:
        own = got[(got["point"] >= subject.first) & (got["point"] < subject.first + subject.points)].copy()
        own["point"] -= subject.first
        return own

    def _check(self, client: str, subject: Subject, got: Array, more: tuple[str, ...]) -> Array:
        windows = self._windows(subject, *more)
        who = f"{client}, {subject.name}"
        overflown = got["status"] & _INFO & _OVERFLOW == _OVERFLOW
        self._differ(f"queue overflow ({who})", subject, got[overflown], windows)
        empty = np.isnan(got["value"])
        self._differ(f"no value ({who})", subject, got[empty], windows, since=True)
        got = got[~empty]
        bad = got["status"] & 0xFFFF0000 != 0
        self._differ(f"not Good ({who})", subject, got[bad], windows)
        numbers = got["value"].astype(np.int64)
        points = got["point"].astype(np.int64)
        place = subject.sent.index(points, numbers)
        never = ((place < 0) & (numbers != 0)) | (got["value"] != numbers)
        self._differ(f"never sent ({who})", subject, got[never], None)
        self._times(who, subject, got[~never & ~bad], windows)
        self._order(client, subject, got[~never], windows)
        return got[~never]

    def _times(self, who: str, subject: Subject, got: Array, windows: Windows) -> None:
        """Each value has the device's time; or that of its reception, where the device gave none to believe."""
        points, numbers = got["point"].astype(np.int64), got["value"].astype(np.int64)
        place = subject.sent.index(points, numbers)
        events = subject.sent.events[np.maximum(place, 0)]
        source = got["source"]
        exact = np.zeros(len(got), bool)
        if subject.time_ms is not None:
            exact = (place >= 0) & (np.abs(source - events["tag"]) <= subject.time_ms)
        ahead = events["tag"] > events["true"] + _FUTURE_MS - 50
        no_clock = ahead if subject.time_ms is not None else np.ones(len(got), bool)
        true = events["true"].astype(np.float64)
        received = (place >= 0) & no_clock & (source >= true - 2) & (source <= got["received"] + 2)
        received &= (source <= true + _ANSWER_MS) | windows.hold(true)
        asked = np.zeros(len(got), bool)
        rest = ~(exact | received)
        asked[rest] = subject.sent.answered(points[rest], numbers[rest], source[rest])
        wrong_clock = self._of_kind("gateway clock", 0, 3_000).hold(got["received"])
        rest = ~(exact | received | asked)
        self.report.explained[f"time by the gateway's wrong clock ({who})"] += int((rest & wrong_clock).sum())
        self._differ(f"another time ({who})", subject, got[rest & ~wrong_clock], None)

    def _order(self, client: str, subject: Subject, got: Array, windows: Windows) -> None:
        who = f"{client}, {subject.name}"
        order = np.argsort(got["point"], kind="stable")
        sorted_ = got[order]
        if len(sorted_) < 2:
            return
        same = sorted_["point"][1:] == sorted_["point"][:-1]
        back = same & (sorted_["value"][1:] < sorted_["value"][:-1])
        self._differ(f"out of order ({who})", subject, sorted_[1:][back], None)
        again = same.copy()
        for name in ("value", "source", "status"):
            again &= sorted_[name][1:] == sorted_[name][:-1]
        if client == "mqtt":
            self.report.explained[f"repeated ({who})"] += int(again.sum())
        else:
            self._differ(f"twice ({who})", subject, sorted_[1:][again], windows)

    def _differ(self, kind: str, subject: Subject, got: Array, windows: Windows | None, since: bool = False) -> None:
        if windows is not None:
            inside = windows.hold(got["received"])
            if since:  # a client that has just subscribed gets what there is
                first = got["received"].min() if len(got) else 0
                inside |= got["received"] <= first + 5_000
            self.report.explained[kind] += int(inside.sum())
            got = got[~inside]
        self.report.tell(kind, (self._words(subject, record) for record in got), len(got))

    @staticmethod
    def _words(subject: Subject, record: np.void) -> str:
        text = (
            f"point {record['point']} value {record['value']:.0f} status {record['status']:08X}"
            f" source {record['source']:.1f} received {record['received']:.0f}"
        )
        place = subject.sent.index(
            np.array([record["point"]], np.int64), np.array([np.nan_to_num(record["value"])], np.int64)
        )
        if place[0] >= 0:
            event = subject.sent.events[place[0]]
            text += f"; sent with {event['tag']} at {event['true']}"
        return text

    def missing(
        self, lives: Mapping[str, list[Array]], since: float, until: float, drops: Mapping[str, int]
    ) -> dict[str, Array]:
        """Events that no life of the subscriber was told, of each device; outside of faults there may be none.

        Args:
            lives: what `live` gave for each life, by device.
            since, until: the time in which it was subscribed, ms.
            drops: datagrams of a device that the system dropped.
        """
        found = {}
        for subject in self._subjects:
            got = np.concatenate(lives[subject.name])
            events = subject.sent.events
            true = events["true"].astype(np.float64)
            absent = ~subject.sent.told(got) & (true >= since) & (true <= until)
            inside = self._windows(subject, got=got).hold(true)
            self.report.explained[f"not live ({subject.name})"] += int((absent & inside).sum())
            lost = events[absent & ~inside]
            if len(lost) <= drops.get(subject.name, 0):
                self.report.explained[f"dropped by the system ({subject.name})"] += len(lost)
            else:
                self._lost(f"not live ({subject.name})", lost)
            found[subject.name] = events[absent & inside]
        return found

    def _lost(self, kind: str, events: Array) -> None:
        texts = (f"point {each['point']} number {each['number']} sent at {each['true']}" for each in events)
        self.report.tell(kind, texts, len(events))

    def kept(self, subject: Subject, absent: Array, points: Array, values: Array, sources: Array) -> None:
        """What was not live must be in the history, once; `points`, `values`, `sources` is what the history gave."""
        inside = values >= 1
        points, values, sources = points[inside].astype(np.int64), values[inside].astype(np.int64), sources[inside]
        place = subject.sent.index(points, values)
        events = subject.sent.events[np.maximum(place, 0)]
        tolerance = subject.time_ms or 0.0
        exact = (place >= 0) & (np.abs(sources - events["tag"]) <= tolerance)
        exact |= (place >= 0) & (events["tag"] > events["true"] + _FUTURE_MS - 50)
        times = np.bincount(place[exact], minlength=len(subject.sent.events))
        wanted = subject.sent.index(absent["point"].astype(np.int64), absent["number"].astype(np.int64))
        self.report.explained[f"late, in the history ({subject.name})"] += int((times[wanted] > 0).sum())
        lost = absent[times[wanted] == 0]
        for kind, before, name, why in (
            ("kill", _DEVICE_KILL_MS, subject.name, "gone with the killed device"),
            ("gateway killed", _GATEWAY_KILL_MS, "", "gone with the killed gateway"),
        ):
            killed = [
                Fault(fault.kind, fault.of, fault.began, fault.began)
                for fault in self._faults
                if fault.kind == kind and name in ("", fault.of)
            ]
            hit = Windows(killed, before, 50, self._lag[subject.name]).hold(lost["true"].astype(np.float64))
            self.report.explained[f"{why} ({subject.name})"] += int(hit.sum())
            lost = lost[~hit]
        if subject.buffers:
            self._lost(f"lost ({subject.name})", lost)
        else:
            self.report.explained[f"not kept by the device ({subject.name})"] += len(lost)
        twice = subject.sent.events[times > 1]
        killed = self._of_kind("gateway killed", _BEFORE_MS, SETTLE_MS).hold(twice["true"].astype(np.float64))
        self.report.explained[f"twice in the history ({subject.name})"] += int(killed.sum())
        self._lost(f"twice in the history ({subject.name})", twice[~killed])

    def late(self, got: Array) -> None:
        """Late samples that the mirror told as events: each was sent, with this time."""
        self.report.counted["got late by mqtt"] += len(got)
        for subject in self._subjects:
            own = self._own(subject, got)
            place = subject.sent.index(own["point"].astype(np.int64), own["value"].astype(np.int64))
            events = subject.sent.events[np.maximum(place, 0)]
            wrong = (place < 0) | (np.abs(own["source"] - events["tag"]) > (subject.time_ms or 0.0))
            # a time too far ahead was replaced, here as elsewhere
            wrong &= (place < 0) | (events["tag"] <= events["true"] + _FUTURE_MS - 50)
            # asked after its start, a device says its state, which may be told after what it sent next
            wrong[wrong] = ~subject.sent.answered(
                own["point"][wrong].astype(np.int64), own["value"][wrong].astype(np.int64), own["source"][wrong]
            )
            self._differ(f"another late sample (mqtt, {subject.name})", subject, own[wrong], None)

    def conflated(self, subject: Subject, got: Array, since: float, until: float) -> None:
        """A mirror of state may leave out what was superseded at once, and what a fault kept from it."""
        told = subject.sent.told(got)
        events = subject.sent.events
        true = events["true"].astype(np.float64)
        # the next one of the same point that was told came soon
        following = np.full(len(events), np.inf)
        positions = np.nonzero(told)[0]
        after = np.searchsorted(positions, np.arange(len(events)))
        has = after < len(positions)
        nearest = positions[np.minimum(after, max(0, len(positions) - 1))] if len(positions) else after
        same = has & (events["point"][np.minimum(nearest, len(events) - 1)] == events["point"])
        following[same] = true[nearest[same]]
        superseded = following - true < _CONFLATED_MS
        absent = ~told & (true >= since) & (true <= until)
        inside = self._windows(subject, BROKER, got=got).hold(true)
        self.report.explained[f"superseded at once (mqtt, {subject.name})"] += int(
            (absent & ~inside & superseded).sum()
        )
        self.report.explained[f"not published (mqtt, {subject.name})"] += int((absent & inside).sum())
        self._lost(f"not published (mqtt, {subject.name})", events[absent & ~inside & ~superseded])

    def last(self, client: str, subject: Subject, got: Array) -> None:
        """In the end every point shows its last value, Good."""
        latest = np.full(subject.points, -1.0)
        status = np.full(subject.points, 0xFFFF_FFFF, np.uint32)
        latest[got["point"]], status[got["point"]] = got["value"], got["status"]  # the last of equal places counts
        wrong = np.nonzero((latest != subject.sent.count) | (status != 0))[0]
        texts = (
            f"point {n} shows {latest[n]:.0f} {status[n]:08X}, not {subject.sent.count[n]}" for n in wrong.tolist()
        )
        self.report.tell(f"last value ({client}, {subject.name})", texts, len(wrong))
