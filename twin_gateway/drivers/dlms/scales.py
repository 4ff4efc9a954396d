"""Scaler and unit of registers: what they make of a raw number, and what is known of them in an association."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from address_space import units
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms import obis, quality
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.errors import AccessError, DlmsError, MalformedApduError
from twin_gateway.drivers.dlms.obis import Attribute

_SCALER_UNIT = {obis.REGISTER: 3, obis.EXTENDED_REGISTER: 3, obis.DEMAND_REGISTER: 4}
_NO_UNIT = 255


@dataclass(frozen=True, slots=True)
class Scale:
    """value = raw * gain / divisor + bias; powers of ten below one are divided by, so that 2301e-1 is 230.1 exactly."""

    gain: float = 1.0
    divisor: float = 1.0
    bias: float = 0.0

    def __call__(self, raw: float) -> float:
        """The scaled value."""
        return raw * self.gain / self.divisor + self.bias


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


UNITY = Scale()


def scaler_of(attribute: Attribute) -> Attribute | None:
    """The scaler_unit of the object that an attribute belongs to; None for a class without one."""
    number = _SCALER_UNIT.get(attribute.class_id)
    return None if number is None else Attribute(attribute.class_id, attribute.logical_name, number)


class Scalers:
    """What a meter answered for its scaler_unit attributes: in this association, and before it."""

    def __init__(self) -> None:
        self._known: dict[Attribute, Value | DlmsError] = {}
        self._before: dict[Attribute, Value | DlmsError] = {}

    def forget(self, another_meter: bool = False) -> None:
        """A new association: scalers are read again, the meter may have been exchanged."""
        # What the meter pushes before they are read is still understood by those of the last association.
        self._before = {} if another_meter else self._before | self._known
        self._known = {}

    def missing(self, wanted: Iterable[Attribute]) -> list[Attribute]:
        """Those of the wanted ones that are not known in this association."""
        return [attribute for attribute in wanted if attribute not in self._known]

    def take(self, attributes: Sequence[Attribute], values: Sequence[Value | DlmsError]) -> None:
        """Keeps answers. A temporary failure is none: it is asked for again."""
        for attribute, value in zip(attributes, values, strict=True):
            if not (isinstance(value, AccessError) and quality.keeps_value(value.code)):
                self._known[attribute] = value

    def answer(self, attribute: Attribute, before: bool = False) -> Value | DlmsError:
        """Scaler and unit, or the refusal; None while it is not known. `before`: those of earlier associations do."""
        found = self._known.get(attribute)
        return self._before.get(attribute) if found is None and before else found

    def knows(self, attribute: Attribute, before: bool = False) -> bool:
        """Whether the meter has answered, be it with a refusal."""
        return attribute in self._known or (before and attribute in self._before)

    def kept(self) -> dict[str, list[int]]:
        """Scaler and unit by attribute, as text, to be kept over a restart."""
        known = self._before | self._known
        return {str(attribute): value for attribute, value in known.items() if isinstance(value, list)}

    def restore(self, kept: Mapping[str, Any], wanted: Iterable[Attribute]) -> None:
        """Takes what kept() gave; used for what is pushed until the meter's own are read."""
        self._before |= {attribute: kept[str(attribute)] for attribute in wanted if str(attribute) in kept}
