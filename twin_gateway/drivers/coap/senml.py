"""SenML packs (RFC 8428) in JSON and CBOR, resolved to plain records: base fields applied, times absolute."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import cbor2

MAX_PAYLOAD = 65_536
"""Largest payload that is looked at, octets: checked before anything is parsed."""
MAX_RECORDS = 1_000
"""Most records of one pack."""
MAX_DEPTH = 16
"""Deepest nesting of a CBOR payload."""

_VERSION = 10
# RFC 8428 4.5.3: times below 2**28 s are relative to now.
_RELATIVE = 2**28
_FURTHEST = 253_402_300_800.0  # the year 10000: what no calendar type of ours can show is an error, not a time

_CBOR_LABELS = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
_VALUES = ("v", "vs", "vb", "vd")
_NUMBERS = frozenset({"bver", "bt", "bv", "bs", "v", "s", "t", "ut"})
_TEXTS = frozenset({"bn", "bu", "n", "u", "vs"})
# Tags that the CBOR library turns into objects by itself. SenML knows only number tags; the others (shared references,
# regular expressions, MIME messages …) are refused because they cost much or nest endlessly.
_REFUSED_TAGS = (
    0, 1, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip

Scalar = float | int | bool | str | bytes


class SenmlError(ValueError):
    """The payload is no SenML pack that can be understood; the message says which record and why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One resolved record.

    Attributes:
        name: base name and name joined.
        unit: SenML unit symbol, None when the pack says nothing.
        value: number, text (`vs`), boolean (`vb`) or octets (`vd`); None for a record that has only a sum.
        total: the sum `s` (unit seconds times `unit`), None without one.
        time: seconds since 1970 UTC; None when the pack gives no time, which means "now".
        update_time: seconds within which the sensor promises its next value; None without.
    """

    name: str
    unit: str | None
    value: Scalar | None
    total: float | None
    time: float | None
    update_time: float | None


def from_json(payload: bytes, now: float, *, max_records: int = MAX_RECORDS) -> list[Record]:
    """Records of an `application/senml+json` payload.

    Args:
        payload: the octets received.
        now: seconds since 1970 UTC that relative times count from.
        max_records: more records are an error.

    Raises:
        SenmlError: for anything that is not a pack of RFC 8428.
    """
    return resolve(json_value(payload), now, max_records=max_records)


def from_cbor(payload: bytes, now: float, *, max_records: int = MAX_RECORDS) -> list[Record]:
    """Records of an `application/senml+cbor` payload; arguments and errors as `from_json`."""
    return resolve(cbor_value(payload), now, max_records=max_records)


def json_value(payload: bytes) -> object:
    """The JSON value of a payload; NaN and Infinity, which JSON does not have, are refused.

    Raises:
        SenmlError: too long, not UTF-8, not JSON, nested too deep, or a number of thousands of digits.
    """
    _check_size(payload)
    try:
        value: object = json.loads(payload, parse_constant=_no_constant)
    except RecursionError:
        raise SenmlError("JSON nested too deep") from None
    except ValueError as error:
        raise SenmlError(f"not JSON: {error}") from error
    return value


def cbor_value(payload: bytes) -> object:
    """The CBOR value of a payload: exactly one item, no tags but bignums, decimal fractions and big floats.

    Raises:
        SenmlError: too long, not CBOR, nested too deep, a refused tag, or octets behind the item.
    """
    _check_size(payload)
    try:
        # The array wrapped around costs one octet and shows octets behind the item, which loads() would not tell.
        value = cbor2.loads(
            b"\x9f" + payload + b"\xff", max_depth=MAX_DEPTH, tag_hook=_refuse_tag, semantic_decoders=_SEMANTICS
        )
    except (cbor2.CBORError, ValueError, ArithmeticError, RecursionError, TypeError) as error:
        raise SenmlError(f"not CBOR: {error}") from error
    if not isinstance(value, list) or len(value) != 1:
        raise SenmlError("not CBOR: not exactly one item")
    return value[0]


def resolve(pack: object, now: float, *, max_records: int = MAX_RECORDS) -> list[Record]:
    """Resolve a decoded pack (list of maps with text or CBOR number labels), RFC 8428 section 4.6.

    Raises:
        SenmlError: wrong shape, unknown version or must-understand field, empty name, value that is not finite.
    """
    if not isinstance(pack, list):
        raise SenmlError("a SenML pack is an array")
    if len(pack) > max_records:
        raise SenmlError(f"{len(pack)} records, at most {max_records} are taken")
    base: dict[str, Any] = {}
    records: list[Record] = []
    for number, entry in enumerate(pack):
        fields = _fields(entry, number)
        for label in ("bver", "bn", "bt", "bu", "bv", "bs"):
            if label in fields:
                base[label] = fields[label]
        if base.get("bver", _VERSION) > _VERSION:
            raise SenmlError(f"record {number}: SenML version {base['bver']} is not known")
        found = [label for label in _VALUES if label in fields]
        if len(found) > 1:
            raise SenmlError(f"record {number}: two values ({', '.join(found)})")
        has_sum = "s" in fields or ("bs" in base and not fields.keys() <= _BASE)
        # A base value alone makes a record too: `{"bv": 20}` and then `{"n": "x"}` is x = 20.
        if not found and not has_sum and not ("bv" in base and "n" in fields):
            if fields.keys() <= _BASE:
                continue
            raise SenmlError(f"record {number}: no value and no sum")
        try:
            records.append(_record(fields, base, found, has_sum=has_sum, now=now))
        except SenmlError as error:
            raise SenmlError(f"record {number}: {error}") from error
    return records


def _record(
    fields: Mapping[str, Any], base: Mapping[str, Any], found: list[str], *, has_sum: bool, now: float
) -> Record:
    name = base.get("bn", "") + fields.get("n", "")
    if not name:
        raise SenmlError("no name")
    value: Scalar | None = None
    if found:
        value = fields[found[0]]
        if found[0] == "v" and "bv" in base:
            value = _finite(base["bv"] + fields["v"])
    elif "bv" in base:
        value = base["bv"]  # a missing value counts as zero beside a base value
    total = _finite(fields.get("s", 0) + base.get("bs", 0)) if has_sum else None
    return Record(name, fields.get("u", base.get("bu")), value, total, _time(fields, base, now), fields.get("ut"))


def _time(fields: Mapping[str, Any], base: Mapping[str, Any], now: float) -> float | None:
    stated = base.get("bt", 0) + fields.get("t", 0)
    if stated == 0:
        return None
    absolute = float(stated + now if stated < _RELATIVE else stated)
    if not 0.0 < absolute < _FURTHEST:
        raise SenmlError(f"time {stated} is outside the calendar")
    return absolute


def _fields(entry: object, number: int) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise SenmlError(f"record {number} is not a map")
    fields: dict[str, Any] = {}
    for key, value in entry.items():
        label = _CBOR_LABELS.get(key) if isinstance(key, int) and not isinstance(key, bool) else key
        if not isinstance(label, str):
            # RFC 8428 section 6: unknown integer labels may be ignored, they cannot be must-understand.
            continue
        if label.endswith("_"):
            raise SenmlError(f"record {number}: field {label!r} must be understood and is not")
        if label in _NUMBERS:
            fields[label] = _number(value, label, number)
        elif label in _TEXTS:
            if not isinstance(value, str):
                raise SenmlError(f"record {number}: {label} is not text")
            fields[label] = value
        elif label == "vb":
            if not isinstance(value, bool):
                raise SenmlError(f"record {number}: vb is not a boolean")
            fields[label] = value
        elif label == "vd":
            if not isinstance(value, str | bytes):
                raise SenmlError(f"record {number}: vd is not data")
            fields[label] = value
    return fields


def _number(value: object, label: str, number: int) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise SenmlError(f"record {number}: {label} is not a number")
    try:
        return _finite(value)
    except SenmlError as error:
        raise SenmlError(f"record {number}: {label}: {error}") from error


def _finite(value: float | Decimal) -> float | int:
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    try:
        real = float(value)
    except (OverflowError, ValueError) as error:
        raise SenmlError("the number does not fit 64 bits") from error
    if not math.isfinite(real):
        raise SenmlError("the number is not finite")
    return real


def _check_size(payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD:
        raise SenmlError(f"{len(payload)} octets, at most {MAX_PAYLOAD} are taken")


def _no_constant(name: str) -> NoReturn:
    raise SenmlError(f"not JSON: {name}")


def _refuse_tag(_decoder: object, tag: object) -> NoReturn:
    raise SenmlError(f"CBOR tag {getattr(tag, 'tag', tag)} is not part of SenML")


def _refuse_semantic(_decoder: object, *_rest: object) -> NoReturn:
    raise SenmlError("CBOR tag is not part of SenML")


_BASE = frozenset({"bver", "bn", "bt", "bu", "bv", "bs"})
_SEMANTICS: dict[int, Callable[..., NoReturn]] = dict.fromkeys(_REFUSED_TAGS, _refuse_semantic)
