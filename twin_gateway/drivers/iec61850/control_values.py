"""Values of commands as MMS data: what the device's own type of ctlVal takes."""

from __future__ import annotations

from open61850.data import BitStringData, BoolData, FloatData, IECData, IntData, StructureData, UIntData
from open61850.mms.types import MmsType, PrimitiveType, StructureType

from .errors import ModelError

_LARGEST_SINGLE = 3.4e38


def switch_state(value: bool | float, double_point: bool) -> bool:
    """Whether a switch is to be on. Raises ModelError when the value is no state."""
    if isinstance(value, bool):
        return value
    if double_point:
        if value not in {1, 2}:
            raise ModelError(f"a double point is commanded 1 (off) or 2 (on), not {value:g}")
        return value == 2
    if value not in {0, 1}:
        raise ModelError(f"a switch is commanded 0 or 1, not {value:g}")
    return value == 1


def number_data(kind: MmsType, value: bool | float) -> IECData:
    """A number as data of the type. Raises ModelError when it does not fit."""
    if isinstance(kind, StructureType):
        # AnalogueValue {i, f}; where both are there both are filled
        return StructureData([number_data(inner, value) for _, inner in kind.components])
    if isinstance(kind, PrimitiveType):
        if kind.kind == "boolean":
            return BoolData(bool(value))
        if kind.kind == "float":
            double = kind.size == 64
            if not double and abs(value) > _LARGEST_SINGLE:
                raise ModelError(f"{value:g} is too large for the device")
            return FloatData(float(value), double=double)
        if kind.kind in {"integer", "unsigned"}:
            signed, bits = kind.kind == "integer", abs(kind.size or 32)
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
            if value != int(value) or not low <= value <= high:
                raise ModelError(f"{value:g} is no whole number from {low} to {high}")
            return IntData(int(value)) if signed else UIntData(int(value))
        if kind.kind == "bit-string" and kind.size == 2:
            step = 0x80 if value > 0 else 0x40 if value < 0 else 0  # Tcmd: higher, lower, stop
            return BitStringData(bytes((step,)), 6)
    raise ModelError("the type of ctlVal is not known")
