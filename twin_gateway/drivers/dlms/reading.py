"""From what a meter answers to samples: which attributes the points need, scaler and unit, quality and time.

A Reading is made for the points of one device and lives as long as they do; scalers are read anew in every association.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import Enum, auto
from typing import Any

from address_space import clock as ticks
from address_space import units
from address_space.catalogue import ValueType
from address_space.point import Batch, TextSample
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms import obis, quality
from twin_gateway.drivers.dlms.axdr import BitString, Value
from twin_gateway.drivers.dlms.clock import MeterTime, decode_date_time
from twin_gateway.drivers.dlms.config import attribute_of
from twin_gateway.drivers.dlms.errors import AccessError, DlmsError, MalformedApduError
from twin_gateway.drivers.dlms.obis import Attribute

_CAPTURE_TIME = {obis.EXTENDED_REGISTER: 5, obis.DEMAND_REGISTER: 6}
"""Attribute with the time a value was captured, where a class has one."""
_SCALER_UNIT = {obis.REGISTER: 3, obis.EXTENDED_REGISTER: 3, obis.DEMAND_REGISTER: 4}
_DOUBLE_POINTS = frozenset({"DPC", "DPS"})
_SINGLE_POINTS = frozenset({"SPC", "SPS"})
_NO_UNIT = 255


class Kind(Enum):
    """How a point takes what the meter sends."""

    NUMBER = auto()
    DOUBLE_POINT = auto()
    SINGLE_POINT = auto()
    TEXT = auto()
    CLOCK = auto()


@dataclass(frozen=True, slots=True)
class Scale:
    """value = raw * gain / divisor + bias; powers of ten below one are divided by, so that 2301e-1 is 230.1 exactly."""

    gain: float = 1.0
    divisor: float = 1.0
    bias: float = 0.0

    def __call__(self, raw: float) -> float:
        """The scaled value."""
        return raw * self.gain / self.divisor + self.bias


@dataclass(frozen=True, slots=True)
class Drop:
    """A register that counts less than before; raw numbers, without scaler."""

    point: BoundPoint
    before: float
    after: float


class UnitMismatchError(DlmsError):
    """The meter's unit measures another quantity than the point."""


def scale_of(scaler_unit: Value, point: BoundPoint) -> Scale:
    """Scale from a meter's scaler_unit to what the point delivers.

    That is the unit the mapping names, or the canonical unit of the meter's own. A unit in the mapping also stands
    in for one that the meter does not give.

    Raises:
        MalformedApduError: not a scaler and a unit.
        UnitMismatchError: the units do not measure the same.
    """
    if not (isinstance(scaler_unit, list) and len(scaler_unit) == 2 and all(type(v) is int for v in scaler_unit)):
        raise MalformedApduError("scaler_unit is not a scaler and a unit")
    scaler, code = scaler_unit
    if not -30 <= scaler <= 30:
        raise MalformedApduError(f"a scaler of {scaler} is beyond reason")
    gain = 10.0**scaler if scaler > 0 else 1.0
    divisor = 10.0**-scaler if scaler < 0 else 1.0
    symbol = units.FROM_DLMS.get(code)
    if symbol is None or code == _NO_UNIT:
        if point.unit is None and point.quantity not in (None, "ratio", "percent"):
            raise UnitMismatchError(
                f"the meter gives no unit known here (code {code}) for {point.quantity}; name it with 'unit:'"
            )
        if symbol is None or point.unit is not None or point.quantity != "percent":
            return Scale(gain, divisor)
    source = units.unit(symbol)
    wanted = units.unit(point.unit) if point.unit is not None else units.canonical(point.quantity or source.quantity)
    if source.quantity == "ratio" and wanted.quantity == "percent":
        return Scale(gain * 100.0, divisor)
    try:
        factor, bias = units.conversion(source, wanted)
    except units.UnitError as error:
        raise UnitMismatchError(f"the meter delivers {symbol}, {error}") from error
    if factor < 1.0:
        divisor *= 1.0 / factor
    else:
        gain *= factor
    return Scale(gain, divisor, bias)


@dataclass(slots=True)
class _Entry:
    """One point of a plan: where its value and capture time are among the attributes read."""

    point: BoundPoint
    attribute: Attribute
    kind: Kind
    at: int
    time_at: int = -1
    last: float = math.nan
    last_text: str = ""
    scale: Scale | None = None
    counts: bool = False
    raw: float = math.nan


def _counts(attribute: Attribute) -> bool:
    """Whether a value only ever grows: time integral 1 or 7 of energy (D = 8) in a register."""
    return attribute.class_id in _SCALER_UNIT and attribute.number == 2 and attribute.logical_name[3] == 8


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
    """

    def __init__(self, points: Iterable[BoundPoint], zone: tzinfo, deviation_sign: int) -> None:
        self._zone = zone
        self._sign = deviation_sign
        self.attributes: list[Attribute] = []
        self.problems: dict[str, str] = {}
        self.drops: list[Drop] = []
        self._scalers_known = False
        self._scaler_values: dict[Attribute, Value | DlmsError] = {}
        self._scalers_before: dict[Attribute, Value | DlmsError] = {}
        self._pushing = False
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
            captured = _CAPTURE_TIME.get(attribute.class_id)
            if captured is not None and attribute.number == 2:
                entry.time_at = place(Attribute(attribute.class_id, attribute.logical_name, captured))
            self._entries.append(entry)

    def adopt(self, before: Reading) -> None:
        """Takes over scalers and last values of points that an earlier reading already knew."""
        self._scaler_values, self._scalers_before = before._scaler_values, before._scalers_before
        known = {entry.point.row: entry for entry in before._entries}
        for entry in self._entries:
            old = known.get(entry.point.row)
            if old is not None and old.attribute == entry.attribute:
                entry.last, entry.last_text, entry.raw = old.last, old.last_text, old.raw

    # --- scalers -------------------------------------------------------------------------------------------------

    def forget_scalers(self, another_meter: bool = False) -> None:
        """A new association: scalers are read again, the meter may have been exchanged."""
        # What the meter pushes before they are read is still understood by those of the last association.
        self._scalers_before = {} if another_meter else self._scalers_before | self._scaler_values
        self._scaler_values = {}
        self._scalers_known = False
        for entry in self._entries:
            entry.scale = None

    def missing_scalers(self) -> list[Attribute]:
        """scaler_unit attributes that are needed and not known yet."""
        if self._scalers_known:
            return []
        wanted = {
            Attribute(e.attribute.class_id, e.attribute.logical_name, _SCALER_UNIT[e.attribute.class_id]): None
            for e in self._entries
            if e.attribute.class_id in _SCALER_UNIT and e.kind is Kind.NUMBER
        }
        missing = [attribute for attribute in wanted if attribute not in self._scaler_values]
        self._scalers_known = not missing
        return missing

    def take_scalers(self, attributes: Sequence[Attribute], values: Sequence[Value | DlmsError]) -> None:
        """Keeps what was read for missing_scalers(). A temporary failure is asked for again with the next poll."""
        for attribute, value in zip(attributes, values, strict=True):
            if not (isinstance(value, AccessError) and quality.keeps_value(value.code)):
                self._scaler_values[attribute] = value

    def kept_scalers(self) -> dict[str, list[int]]:
        """Scaler and unit by attribute, as text, to be kept over a restart."""
        known = self._scalers_before | self._scaler_values
        return {str(attribute): value for attribute, value in known.items() if isinstance(value, list)}

    def restore_scalers(self, kept: Mapping[str, Any]) -> None:
        """Takes what kept_scalers gave; used until the meter's own are read."""
        for entry in self._entries:
            if entry.attribute.class_id in _SCALER_UNIT:
                name = entry.attribute.logical_name
                where = Attribute(entry.attribute.class_id, name, _SCALER_UNIT[entry.attribute.class_id])
                if str(where) in kept:
                    self._scalers_before[where] = kept[str(where)]

    def _scale(self, entry: _Entry) -> Scale | None:
        """The scale of an entry; None when there is none that could be trusted."""
        attribute = entry.attribute
        if entry.scale is not None:
            return entry.scale
        if attribute.class_id not in _SCALER_UNIT:
            return _UNITY
        where = Attribute(attribute.class_id, attribute.logical_name, _SCALER_UNIT[attribute.class_id])
        value = self._scaler_values.get(where)
        earlier = value is None and self._pushing
        if earlier:
            value = self._scalers_before.get(where)
        try:
            if isinstance(value, DlmsError):
                raise value
            scale = scale_of(value, entry.point)
            if earlier:
                return scale
            entry.scale = scale
        except DlmsError as error:
            self.problems[entry.point.address] = str(error)
            return None
        self.problems.pop(entry.point.address, None)
        return entry.scale

    # --- values --------------------------------------------------------------------------------------------------

    def batch(self, values: Sequence[Value | DlmsError], now: datetime) -> Batch:
        """Samples from the values of `attributes`; `now` is when they were received (for clock errors)."""
        rows: list[int] = []
        numbers: list[float] = []
        words: list[int] = []
        times: list[int] = []
        texts: list[TextSample] = []
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
            word, moment = self._captured(values[entry.time_at]) if entry.time_at >= 0 else (0, 0)
            if entry.kind is Kind.TEXT:
                text, more = self._text(entry, raw)
                texts.append(TextSample(entry.point.row, text, word | more, moment))
                continue
            number, more = self._number(entry, raw, now)
            rows.append(entry.point.row)
            numbers.append(number)
            words.append(word | more)
            times.append(moment)
        return Batch.of(rows, numbers, words, times, texts=texts)

    def _note_count(self, entry: _Entry, raw: float) -> None:
        if raw < entry.raw:
            self.drops.append(Drop(entry.point, entry.raw, raw))
        entry.raw = raw

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
        rows: list[int] = []
        numbers: list[float] = []
        words: list[int] = []
        times: list[int] = []
        texts: list[TextSample] = []
        unscaled = 0
        common = (quality.of_time(time), ticks.from_datetime(time.utc)) if time is not None and time.utc else (0, 0)
        for entry in self._entries:
            if entry.attribute not in values:
                continue
            raw = values[entry.attribute]
            word, moment = common
            captured = _CAPTURE_TIME.get(entry.attribute.class_id)
            if captured is not None:
                at = Attribute(entry.attribute.class_id, entry.attribute.logical_name, captured)
                word, moment = self._captured(values[at]) if at in values else common
            if entry.kind is Kind.TEXT:
                text, more = self._text(entry, raw)
                texts.append(TextSample(entry.point.row, text, word | more, moment))
                continue
            if entry.kind is Kind.NUMBER and not self._has_scale(entry):
                unscaled += 1
                continue
            self._pushing = True
            number, more = self._number(entry, raw, now)
            self._pushing = False
            rows.append(entry.point.row)
            numbers.append(number)
            words.append(word | more)
            times.append(moment)
        return Batch.of(rows, numbers, words, times, texts=texts), unscaled

    def _has_scale(self, entry: _Entry) -> bool:
        class_id, name = entry.attribute.class_id, entry.attribute.logical_name
        if class_id not in _SCALER_UNIT:
            return True
        where = Attribute(class_id, name, _SCALER_UNIT[class_id])
        return where in self._scaler_values or where in self._scalers_before

    def refusals(self, values: Sequence[Value | DlmsError]) -> Iterator[tuple[str, DlmsError]]:
        """Addresses of the points whose attribute the meter refused, with its refusal."""
        for entry in self._entries:
            value = values[entry.at]
            if isinstance(value, DlmsError):
                yield entry.point.address, value

    def _captured(self, value: Value | DlmsError) -> tuple[int, int]:
        """Time flags and ticks of a capture time; (0, 0), receive time, where the meter gives none."""
        if not isinstance(value, bytes) or len(value) != 12:
            return 0, 0
        try:
            time = decode_date_time(value, self._zone, self._sign)
        except MalformedApduError:
            return 0, 0
        return quality.of_time(time), ticks.from_datetime(time.utc) if time.utc else 0

    def _number(self, entry: _Entry, raw: Value | DlmsError, now: datetime) -> tuple[float, int]:
        if isinstance(raw, DlmsError):
            code = raw.code if isinstance(raw, AccessError) else -1
            return entry.last, quality.of_access_result(code)
        if entry.kind is Kind.NUMBER:
            if isinstance(raw, bool | int | float):
                scale = self._scale(entry)
                if scale is None:
                    return entry.last, quality.CONFIGURATION
                entry.last = scale(raw)
                if entry.counts:
                    self._note_count(entry, raw)
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
        if not isinstance(raw, bytes):
            return entry.last, quality.INVALID
        try:
            time = decode_date_time(raw, self._zone, self._sign)
        except MalformedApduError:
            return entry.last, quality.INVALID
        if time.utc is None:
            return entry.last, quality.INVALID
        entry.last = (time.utc - now).total_seconds()
        # How wrong a clock is, is known also while the clock says that it may be wrong.
        return entry.last, 0

    def _text(self, entry: _Entry, raw: Value | DlmsError) -> tuple[str, int]:
        if isinstance(raw, DlmsError):
            code = raw.code if isinstance(raw, AccessError) else -1
            return entry.last_text, quality.of_access_result(code)
        if entry.attribute.class_id == obis.CLOCK and isinstance(raw, bytes):
            try:
                time = decode_date_time(raw, self._zone, self._sign)
            except MalformedApduError:
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

    def scale_for(self, point: BoundPoint) -> Scale | None:
        """The scale of a point's register, for rows of its profile; None while it is not known."""
        for entry in self._entries:
            if entry.point.row == point.row:
                return self._scale(entry)
        return None

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


_UNITY = Scale()


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


def zone_time(value: Value, zone: tzinfo, sign: int, after: datetime | None = None) -> MeterTime | None:
    """The time in a clock value or profile column; None when it is no date-time."""
    if not isinstance(value, bytes) or len(value) != 12:
        return None
    try:
        return decode_date_time(value, zone, sign, after)
    except MalformedApduError:
        return None
