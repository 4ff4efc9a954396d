"""From what a meter answers to samples: which attributes the points need, values, quality and time.

A Reading is made for the points of one device and lives as long as they do; scalers are read anew in every association.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from enum import Enum, auto

from address_space import clock as ticks
from address_space.catalogue import ValueType
from address_space.point import Batch, TextSample
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms import obis, quality
from twin_gateway.drivers.dlms.axdr import BitString, Value
from twin_gateway.drivers.dlms.clock import MeterTime, zone_time
from twin_gateway.drivers.dlms.config import attribute_of
from twin_gateway.drivers.dlms.errors import AccessError, DlmsError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.scales import UNITY, Scale, Scalers, scale_of, scaler_of

_CAPTURE_TIME = {obis.EXTENDED_REGISTER: 5, obis.DEMAND_REGISTER: 6}
"""Attribute with the time a value was captured, where a class has one."""
_DOUBLE_POINTS = frozenset({"DPC", "DPS"})
_SINGLE_POINTS = frozenset({"SPC", "SPS"})


class Kind(Enum):
    """How a point takes what the meter sends."""

    NUMBER = auto()
    DOUBLE_POINT = auto()
    SINGLE_POINT = auto()
    TEXT = auto()
    CLOCK = auto()


@dataclass(frozen=True, slots=True)
class Drop:
    """A register that counts less than before; raw numbers, without scaler."""

    point: BoundPoint
    before: float
    after: float


@dataclass(slots=True)
class _Entry:
    """One point of a plan: where its value and capture time are among the attributes read."""

    point: BoundPoint
    attribute: Attribute
    kind: Kind
    at: int
    time_at: int = -1
    scaler: Attribute | None = None
    last: float = math.nan
    last_text: str = ""
    scale: Scale | None = None
    counts: bool = False
    raw: float = math.nan
    polled: bool = False
    counted_at: int = 0


@dataclass(slots=True)
class _Samples:
    """Columns of a batch under way."""

    rows: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    texts: list[TextSample] = field(default_factory=list)

    def batch(self) -> Batch:
        return Batch.of(self.rows, self.numbers, self.words, self.times, texts=self.texts)


def _counts(attribute: Attribute) -> bool:
    """Whether a value only ever grows: time integral 1 or 7 of energy (D = 8) in a register."""
    return attribute.class_id in obis.WITH_UNIT and attribute.number == 2 and attribute.logical_name[3] == 8


def _kind_of(point: BoundPoint, attribute: Attribute) -> Kind:
    if attribute.class_id == obis.CLOCK and attribute.number == 2:
        return Kind.TEXT if point.value_type is ValueType.STRING else Kind.CLOCK
    if point.value_type is ValueType.STRING:
        return Kind.TEXT
    if point.cdc in _DOUBLE_POINTS:
        return Kind.DOUBLE_POINT
    return Kind.SINGLE_POINT if point.cdc in _SINGLE_POINTS else Kind.NUMBER


class Reading:
    """What one device's points read.

    Args:
        points: all points of the device.
        zone: time zone of meter times without deviation.
        deviation_sign: -1 for meters that invert it.

    Attributes:
        attributes: what one poll asks for, each once.
        problems: addresses whose unit or type does not fit, with the reason, as found so far.
        drops: energy registers that counted less than before, since they were taken last.
        scalers: what the meter said of its scalers and units.
    """

    def __init__(self, points: Iterable[BoundPoint], zone: tzinfo, deviation_sign: int) -> None:
        self._zone = zone
        self._sign = deviation_sign
        self.attributes: list[Attribute] = []
        self.problems: dict[str, str] = {}
        self.drops: list[Drop] = []
        self.scalers = Scalers()
        self._scalers_known = False
        index: dict[Attribute, int] = {}

        def place(attribute: Attribute) -> int:
            if attribute not in index:
                index[attribute] = len(self.attributes)
                self.attributes.append(attribute)
            return index[attribute]

        self._entries: list[_Entry] = []
        for point in points:
            attribute = attribute_of(point.fields)
            entry = _Entry(point, attribute, _kind_of(point, attribute), place(attribute), counts=_counts(attribute))
            entry.scaler = scaler_of(attribute)
            captured = _CAPTURE_TIME.get(attribute.class_id)
            if captured is not None and attribute.number == 2:
                entry.time_at = place(Attribute(attribute.class_id, attribute.logical_name, captured))
            self._entries.append(entry)

    def adopt(self, before: Reading) -> None:
        """Takes over scalers and last values of points that an earlier reading already knew."""
        self.scalers = before.scalers
        known = {entry.point.row: entry for entry in before._entries}
        for entry in self._entries:
            old = known.get(entry.point.row)
            if old is not None and old.attribute == entry.attribute:
                entry.last, entry.last_text, entry.raw = old.last, old.last_text, old.raw
                entry.polled, entry.counted_at = old.polled, old.counted_at

    # --- scalers -------------------------------------------------------------------------------------------------

    def forget_scalers(self, another_meter: bool = False) -> None:
        """A new association: scalers are read again. Another meter begins to count anew as well."""
        self.scalers.forget(another_meter)
        self._scalers_known = False
        for entry in self._entries:
            entry.scale = None
            if another_meter:
                entry.raw, entry.polled, entry.counted_at = math.nan, False, 0

    def _wanted_scalers(self) -> list[Attribute]:
        wanted = {entry.scaler: None for entry in self._entries if entry.kind is Kind.NUMBER}
        return [scaler for scaler in wanted if scaler is not None]

    def missing_scalers(self) -> list[Attribute]:
        """scaler_unit attributes that are needed and not known yet."""
        if self._scalers_known:
            return []
        missing = self.scalers.missing(self._wanted_scalers())
        self._scalers_known = not missing
        return missing

    def restore_scalers(self, kept: Mapping[str, object]) -> None:
        """Takes what Scalers.kept gave before a restart."""
        self.scalers.restore(kept, self._wanted_scalers())

    def _scale(self, entry: _Entry, before: bool = False) -> Scale | None:
        """The scale of an entry; None when there is none that could be trusted.

        `before`: one of an earlier association does, as long as the meter's own is not known.
        """
        if entry.scale is not None:
            return entry.scale
        if entry.scaler is None:
            return UNITY
        value = self.scalers.answer(entry.scaler, before)
        try:
            if isinstance(value, DlmsError):
                raise value
            scale = scale_of(value, entry.point)
        except DlmsError as error:
            self.problems[entry.point.address] = str(error)
            return None
        if self.scalers.knows(entry.scaler):
            entry.scale = scale
            self.problems.pop(entry.point.address, None)
        return scale

    # --- values --------------------------------------------------------------------------------------------------

    def batch(self, values: Sequence[Value | DlmsError], now: datetime) -> Batch:
        """Samples from the values of `attributes`; `now` is when they were received (for clock errors)."""
        samples = _Samples()
        rows, numbers, words, times = samples.rows, samples.numbers, samples.words, samples.times
        for entry in self._entries:
            raw = values[entry.at]
            scale = entry.scale
            if scale is not None and entry.time_at < 0 and type(raw) is int:
                # Nearly every value of nearly every meter.
                entry.last = raw * scale.gain / scale.divisor + scale.bias
                if entry.counts:
                    self._note_count(entry, raw)
                rows.append(entry.point.row)
                numbers.append(entry.last)
                words.append(0)
                times.append(0)
                continue
            common = self._captured(values[entry.time_at]) if entry.time_at >= 0 else (0, 0)
            self._add(samples, entry, raw, common, now=now)
        return samples.batch()

    def _add(
        self,
        samples: _Samples,
        entry: _Entry,
        raw: Value | DlmsError,
        time: tuple[int, int],
        *,
        now: datetime,
        pushed: bool = False,
    ) -> None:
        """One sample; `time` is the quality word and the ticks of its time."""
        word, moment = time
        if entry.kind is Kind.TEXT:
            text, more = self._text(entry, raw)
            samples.texts.append(TextSample(entry.point.row, text, word | more, moment))
            return
        number, more = self._number(entry, raw, now, pushed)
        if entry.counts and not more and isinstance(raw, int | float):
            if pushed:
                self._note_pushed_count(entry, raw, moment)
            else:
                self._note_count(entry, raw)
        samples.rows.append(entry.point.row)
        samples.numbers.append(number)
        samples.words.append(word | more)
        samples.times.append(moment)

    def _note_count(self, entry: _Entry, raw: float) -> None:
        if raw < entry.raw:
            self.drops.append(Drop(entry.point, entry.raw, raw))
        entry.raw, entry.polled = raw, True

    def _note_pushed_count(self, entry: _Entry, raw: float, moment: int) -> None:
        # Pushes may be overtaken, by a reading or by each other: only a meter that is never read is watched by them.
        if entry.polled or moment < entry.counted_at:
            return
        if raw < entry.raw:
            self.drops.append(Drop(entry.point, entry.raw, raw))
        entry.raw, entry.counted_at = raw, moment

    def take_drops(self) -> list[Drop]:
        """Registers that counted less than before, each once."""
        drops, self.drops = self.drops, []
        return drops

    def pushed(self, values: Mapping[Attribute, Value], time: MeterTime | None, now: datetime) -> tuple[Batch, int]:
        """Samples from what the meter sent unasked.

        Args:
            values: by attribute.
            time: of the meter, for values that bring none of their own.
            now: of reception.

        Returns:
            The batch, and how many values were left out because their scaler is not known yet.
        """
        samples, unscaled = _Samples(), 0
        common = (quality.of_time(time), ticks.from_datetime(time.utc)) if time is not None and time.utc else (0, 0)
        for entry in self._entries:
            if entry.attribute not in values:
                continue
            if entry.kind is Kind.NUMBER and entry.scaler is not None and not self.scalers.knows(entry.scaler, True):
                unscaled += 1
                continue
            own = common
            captured = _CAPTURE_TIME.get(entry.attribute.class_id)
            if captured is not None:
                at = Attribute(entry.attribute.class_id, entry.attribute.logical_name, captured)
                own = self._captured(values[at]) if at in values else common
            self._add(samples, entry, values[entry.attribute], own, now=now, pushed=True)
        return samples.batch(), unscaled

    def refusals(self, values: Sequence[Value | DlmsError]) -> Iterator[tuple[str, DlmsError]]:
        """Addresses of the points whose attribute the meter refused, with its refusal."""
        for entry in self._entries:
            value = values[entry.at]
            if isinstance(value, DlmsError):
                yield entry.point.address, value

    def _captured(self, value: Value | DlmsError) -> tuple[int, int]:
        """Time flags and ticks of a capture time; (0, 0), receive time, where the meter gives none."""
        time = None if isinstance(value, DlmsError) else zone_time(value, self._zone, self._sign)
        if time is None:
            return 0, 0
        return quality.of_time(time), ticks.from_datetime(time.utc) if time.utc else 0

    def _number(self, entry: _Entry, raw: Value | DlmsError, now: datetime, pushed: bool = False) -> tuple[float, int]:
        if isinstance(raw, DlmsError):
            code = raw.code if isinstance(raw, AccessError) else -1
            return entry.last, quality.of_access_result(code)
        if entry.kind is Kind.NUMBER:
            if isinstance(raw, bool | int | float):
                scale = self._scale(entry, before=pushed)
                if scale is None:
                    return entry.last, quality.CONFIGURATION
                entry.last = scale(raw)
                return entry.last, 0
            if isinstance(raw, BitString) and raw.length <= 32:
                entry.last = float(int.from_bytes(raw.octets, "big") >> (-raw.length % 8))
                return entry.last, 0
        elif entry.kind is Kind.CLOCK:
            return self._clock_error(entry, raw, now)
        else:
            state = _position(raw)
            if state is not None:
                entry.last = float(state + 1 if entry.kind is Kind.DOUBLE_POINT else state)
                return entry.last, 0
        if raw is None:
            return entry.last, quality.INVALID
        self.problems[entry.point.address] = f"the meter sends {type(raw).__name__}, which this point cannot take"
        return entry.last, quality.CONFIGURATION

    def _clock_error(self, entry: _Entry, raw: Value, now: datetime) -> tuple[float, int]:
        """A numeric clock point is the clock's error in seconds, positive when the meter is ahead."""
        time = zone_time(raw, self._zone, self._sign)
        if time is None or time.utc is None:
            return entry.last, quality.INVALID
        entry.last = (time.utc - now).total_seconds()
        # How wrong a clock is, is known also while the clock says that it may be wrong.
        return entry.last, 0

    def _text(self, entry: _Entry, raw: Value | DlmsError) -> tuple[str, int]:
        if isinstance(raw, DlmsError):
            code = raw.code if isinstance(raw, AccessError) else -1
            return entry.last_text, quality.of_access_result(code)
        if entry.attribute.class_id == obis.CLOCK and isinstance(raw, bytes):
            time = zone_time(raw, self._zone, self._sign)
            if time is None:
                return entry.last_text, quality.INVALID
            entry.last_text = time.utc.isoformat() if time.utc else ""
            return entry.last_text, quality.of_time(time) if time.utc else quality.INVALID
        if isinstance(raw, bytes):
            entry.last_text = text_of(raw)
        elif isinstance(raw, str | bool | int | float):
            entry.last_text = str(raw)
        else:
            return entry.last_text, quality.INVALID
        return entry.last_text, 0

    # --- profiles and commands -----------------------------------------------------------------------------------

    def _entry_of(self, point: BoundPoint) -> _Entry | None:
        # By its address: a row may belong to another point by now.
        return next((entry for entry in self._entries if entry.point.address == point.address), None)

    def scale_for(self, point: BoundPoint) -> Scale | None:
        """The scale of a point's register, for rows of its profile; None where there is none."""
        entry = self._entry_of(point)
        return self._scale(entry) if entry is not None else None

    def awaits_scaler(self, point: BoundPoint) -> bool:
        """Whether the scale of a point is not known only because the meter has not answered for it yet."""
        entry = self._entry_of(point)
        return entry is not None and entry.scaler is not None and not self.scalers.knows(entry.scaler)

    def position_batch(self, logical_name: bytes, state: int) -> Batch:
        """Samples of the points that show the control state of a disconnector, just read."""
        rows, numbers = [], []
        for entry in self._entries:
            at = entry.attribute
            if at.class_id == obis.DISCONNECT and at.logical_name == logical_name and at.number in (2, 3):
                number, word = self._number(entry, state if at.number == 3 else state == 1, datetime.now(UTC))
                if not word:
                    rows.append(entry.point.row)
                    numbers.append(number)
        return Batch.of(rows, numbers)


def _position(raw: Value) -> int | None:
    """0 off or 1 on of an output state (boolean) or control state (0 off, 1 on, 2 ready for reconnection: off)."""
    if isinstance(raw, bool):
        return int(raw)
    if isinstance(raw, int) and raw in (0, 1, 2):
        return int(raw == 1)
    return None


def text_of(octets: bytes) -> str:
    """Octets as text: ASCII where they are printable, hexadecimal otherwise."""
    if octets and all(32 <= octet < 127 for octet in octets):
        return octets.decode("ascii").strip()
    return octets.hex()
