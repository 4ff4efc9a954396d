"""Checking single values of a grid file: quantities with their units, words, numbers, addresses' phases."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from address_space import units
from twin_gateway.mapping.field_error import FieldError, kind_of
from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.mapping.quantity import QuantityError
from twin_gateway.mapping.read import Map, Seq

Reader = Callable[[Any], Any]
"""Takes a value as read from YAML and gives the value in canonical units; raises `FieldError`."""

_NUMBER_WITH_UNIT = re.compile(
    r"([-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?)\s*(\S.*)?\Z"
)
_SUSCEPTANCE: Final = {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "nS": 1e-9}
_COMPLEX = re.compile(
    r"\s*([-+]?[0-9.eE]+(?:(?<=[eE])[-+]?[0-9]+)?)\s*([-+]\s*[0-9.eE]+(?:(?<=[eE])[-+]?[0-9]+)?)\s*[ij]\s*\Z"
)
_MOST: Final = 1e15


@dataclass(frozen=True, slots=True)
class Shaped:
    """A reader, and the JSON Schema of what it takes as far as a schema can say it."""

    read: Reader
    schema: Mapping[str, Any]

    def __call__(self, value: Any) -> Any:
        """Read a value."""
        return self.read(value)


@dataclass(frozen=True, slots=True)
class PerLength:
    """A value per kilometre that becomes a total with the length of the line."""

    per_km: Any

    def total(self, km: float) -> Any:
        """The total of a line of a length."""
        if isinstance(self.per_km, tuple):
            return tuple(value * km for value in self.per_km)
        return self.per_km * km


def _bounds(low: float, high: float, above: float | None = None) -> dict[str, float]:
    bounds = {"minimum": low} if low > -_MOST else {}
    bounds |= {"maximum": high} if high < _MOST else {}
    return bounds | ({"exclusiveMinimum": above} if above is not None else {})


def _with_unit(symbols: Iterable[str], more: str = "") -> dict[str, Any]:
    known = "|".join(re.sub(r"([.*+?^$()\[\]{}|\\/])", r"\\\1", symbol) for symbol in symbols)
    pattern = rf"^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*({known}){more}\s*$"
    return {"anyOf": [{"const": 0}, {"type": "string", "pattern": pattern}]}


def _symbols(quantity: str) -> list[str]:
    if quantity == "susceptance":
        return list(_SUSCEPTANCE)
    return [symbol for symbol in units.symbols() if units.unit(symbol).quantity == quantity]


def number(low: float = -_MOST, high: float = _MOST, *, above: float | None = None) -> Shaped:
    """A reader of plain numbers within bounds."""

    def read(value: Any) -> float:
        if type(value) not in (int, float):
            raise FieldError("TG203", f"a number expected, not {kind_of(value)}")
        return _within(float(value), low, high, above, "")

    return Shaped(read, {"type": "number", **_bounds(low, high, above)})


def whole(low: int, high: int) -> Shaped:
    """A reader of whole numbers within bounds."""

    def read(value: Any) -> int:
        if type(value) is not int:
            raise FieldError("TG203", f"a whole number expected, not {kind_of(value)}")
        return int(_within(value, low, high, None, ""))

    return Shaped(read, {"type": "integer", **_bounds(low, high)})


def measure(
    quantity: str,
    example: str,
    low: float = -_MOST,
    high: float = _MOST,
    *,
    above: float | None = None,
    per_length: bool = False,
) -> Shaped:
    """A reader of numbers with a unit, in the canonical unit of the quantity.

    Args:
        quantity: of `address_space.units`, or `susceptance`.
        example: for the hint, as in `12.66 kV`.
        low: least value in the canonical unit.
        high: most.
        above: a bound below that is excluded.
        per_length: a unit per m or km is taken too, and gives a `PerLength`.
    """

    def read(value: Any) -> float | PerLength:
        if type(value) in (int, float) and value == 0:
            return _within(0.0, low, high, above, "")
        if type(value) is not str:
            raise FieldError("TG504", f"a number with its unit expected, not {kind_of(value)}", f"as in '{example}'")
        amount, symbol = split(value, example)
        base, slash, length = symbol.rpartition("/")
        if per_length and slash and length in ("m", "km"):
            factor = _factor(base, quantity, example) * (1000.0 if length == "m" else 1.0)
            return PerLength(_within(amount * factor, low, high, above, f"{base}/{length}"))
        return _within(amount * _factor(symbol, quantity, example), low, high, above, symbol)

    described = _with_unit(_symbols(quantity), "(\\/k?m)?" if per_length else "")
    return Shaped(read, described | {"description": f"a number with its unit, as in '{example}'"})


def fraction(example: str, high: float = 1.0) -> Shaped:
    """A reader of percentages, as fractions of one: `4 %` is 0.04."""

    def read(value: Any) -> float:
        if type(value) in (int, float) and value == 0:
            return 0.0
        if type(value) is not str:
            raise FieldError("TG504", f"a percentage expected, not {kind_of(value)}", f"as in '{example}'")
        _, symbol = split(value, example)
        if symbol != "%":
            raise FieldError("TG503", f"a percentage expected, not '{value}'", f"as in '{example}'")
        # In decimals, so that every fraction can be written as a percentage and read back the same.
        amount = float(Decimal(value.strip().removesuffix("%").strip()).scaleb(-2))
        return _within(amount, 0.0, high, None, "")

    return Shaped(read, _with_unit(["%"]) | {"description": f"as in '{example}'"})


def matrix(quantity: str, example: str) -> Shaped:
    """A reader of a full matrix by phase: `{unit: ohm/km, rows: [[0.2+0.6j, …], …]}`; row by row in one tuple."""

    def read(value: Any) -> tuple[complex, ...] | PerLength:
        if not isinstance(value, Map) or set(value) != {"unit", "rows"}:
            raise FieldError("TG203", f"a matrix with unit and rows expected, not {kind_of(value)}", f"as in {example}")
        rows = value["rows"]
        size = len(rows) if isinstance(rows, Seq) else 0
        if not 1 <= size <= 3 or not all(isinstance(row, Seq) and len(row) == size for row in rows):
            raise FieldError("TG711", "a matrix has one row and one column for each phase", f"as in {example}")
        symbol = text(value["unit"])
        base, slash, length = symbol.rpartition("/")
        per = bool(slash) and length in ("m", "km")
        factor = _factor(base if per else symbol, quantity, "ohm/km") * (1000.0 if per and length == "m" else 1.0)
        parts = tuple(_complex(item) * factor for row in rows for item in row)
        return PerLength(parts) if per else parts

    row = {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": ["number", "string"]}}
    fields = {"unit": {"type": "string"}, "rows": {**row, "items": row}}
    schema = {"type": "object", "required": ["unit", "rows"], "additionalProperties": False, "properties": fields}
    return Shaped(read, {**schema, "description": f"as in {example}"})


def _complex(value: Any) -> complex:
    if type(value) in (int, float) and math.isfinite(value) and abs(value) <= _MOST:
        return complex(value)
    match = _COMPLEX.match(value) if type(value) is str else None
    if match is None:
        raise FieldError("TG203", f"a complex number as '0.2+0.6j' expected, not {kind_of(value)}")
    try:
        found = complex(float(match[1]), float(match[2].replace(" ", "")))
    except ValueError:
        raise FieldError("TG203", f"a complex number as '0.2+0.6j' expected, not {kind_of(value)}") from None
    if not math.isfinite(abs(found)) or abs(found) > _MOST:
        raise FieldError("TG206", f"'{value}' is beyond all measure")
    return found


def split(value: str, example: str) -> tuple[float, str]:
    """Number and unit of a text."""
    match = _NUMBER_WITH_UNIT.match(value.strip())
    if match is None or not match[2]:
        raise FieldError("TG504", f"'{value}' is not a number with a unit", f"as in '{example}'")
    amount = float(match[1])
    if not math.isfinite(amount):
        raise FieldError("TG206", f"'{value}' is beyond all measure")
    return amount, match[2].strip()


def _factor(symbol: str, quantity: str, example: str) -> float:
    if quantity == "susceptance":
        if symbol not in _SUSCEPTANCE:
            raise FieldError("TG502", f"no unit '{symbol}' of susceptance", ", ".join(_SUSCEPTANCE))
        return _SUSCEPTANCE[symbol]
    try:
        unit = units.unit(symbol)
    except (units.UnitError, QuantityError) as error:
        raise FieldError("TG502", f"no unit '{symbol}'", did_you_mean(symbol, units.symbols())) from error
    if unit.quantity != quantity:
        raise FieldError("TG503", f"'{symbol}' is {unit.quantity}, {quantity} expected", f"as in '{example}'")
    return unit.factor


def _within(value: float, low: float, high: float, above: float | None, unit: str) -> float:
    if not math.isfinite(value) or not low <= value <= high:
        bounds = f"between {low:g} and {high:g}" if abs(low) < _MOST and high < _MOST else f"{low:g} or more"
        raise FieldError("TG206", f"{value:g} is not {bounds}" if math.isfinite(value) else f"{value} is not finite")
    if above is not None and value <= above:
        raise FieldError("TG206", f"{value:g}{' ' if unit else ''}{unit} is not more than {above:g}")
    return value


def text(value: Any) -> str:
    """One line of text; numbers are taken as they stand."""
    if type(value) in (int, float):
        return str(value)
    if type(value) is not str:
        raise FieldError("TG203", f"text expected, not {kind_of(value)}")
    if not value or len(value) > 1024 or "\n" in value:
        raise FieldError("TG207", "the text is empty" if not value else "one line of at most 1024 characters expected")
    return value


def choice(*words: str) -> Shaped:
    """A reader of one of some words."""

    def read(value: Any) -> str:
        if type(value) is str and value in words:
            return value
        raise FieldError("TG204", f"{kind_of(value)} is not one of {', '.join(words)}", did_you_mean(str(value), words))

    return Shaped(read, {"enum": list(words)})


def _phases(value: Any) -> str:
    letters = text(value)
    if not re.fullmatch(r"[ABCN]{1,4}", letters) or len(set(letters)) != len(letters) or letters == "N":
        raise FieldError("TG711", f"'{letters}' are no phases", "letters among ABC, and N for a modelled neutral")
    return "".join(letter for letter in "ABCN" if letter in letters)


phases: Final = Shaped(_phases, {"type": "string", "pattern": "^[ABCN]{1,4}$"})
"""Letters among ABC, and N where the neutral is modelled; put in order."""


def several(each: Reader, most: int = 64) -> Reader:
    """A reader of one value or a list of them, as a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        items = value if isinstance(value, Seq) else [value]
        if len(items) > most:
            raise FieldError("TG206", f"{len(items)} values are more than {most}")
        return tuple(each(item) for item in items)

    return read


def by_phase(each: Shaped) -> Shaped:
    """A reader of one value, or of a mapping of phases (`A`) or pairs of them (`AB`) to values."""

    def read(value: Any) -> Any:
        if not isinstance(value, Map):
            return each(value)
        if not value or not all(re.fullmatch(r"A|B|C|AB|BC|CA", key) for key in value):
            raise FieldError("TG711", "a value a phase has the keys A, B, C, or AB, BC, CA", "{A: 10 kW, B: 12 kW}")
        if len({len(key) for key in value}) != 1:
            raise FieldError("TG711", "phases and pairs of phases are mixed")
        return {key: each(item) for key, item in value.items()}

    by_key = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "patternProperties": {"^(A|B|C|AB|BC|CA)$": each.schema},
    }
    return Shaped(read, {"if": {"type": "object"}, "then": by_key, "else": each.schema})
