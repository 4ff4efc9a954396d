"""What a response says of one point: text, a member of JSON or CBOR, or a SenML record."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import senml, units

TEXT = 0
LINK_FORMAT = 40
JSON = 50
CBOR = 60
SENML_JSON = 110
SENML_CBOR = 112
_SENML = {SENML_JSON: senml.from_json, 111: senml.from_json, SENML_CBOR: senml.from_cbor, 113: senml.from_cbor}
_TRUE = frozenset({"true", "on", "yes"})
_FALSE = frozenset({"false", "off", "no"})
# Devices prefix their records with their own name: `urn:dev:mac:0024befffe804ff1/temp`.
_SEPARATORS = ("/", ":")


class PayloadError(ValueError):
    """The payload cannot be understood, or says nothing of the point; the message says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a payload.

    Attributes:
        value: number, boolean, text or octets, as the device sent it.
        unit: SenML unit symbol, None when the payload says nothing.
        time: seconds since 1970 UTC, None when the payload gives no time.
    """

    value: senml.Scalar
    unit: str | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """Where in the payload a point is found.

    Attributes:
        name: SenML record, by its full name or by what follows the device's own prefix.
        pointer: JSON pointer (RFC 6901) into JSON or CBOR, empty for the whole.
        total: take the record's sum over time (SenML `s`) instead of its value.
    """

    name: str | None = None
    pointer: str | None = None
    total: bool = False


class Document:
    """A payload parsed once for all the points it feeds."""

    def __init__(self, payload: bytes, content_format: int | None, now: float, *, senml_wanted: bool = False) -> None:
        """Parse.

        Args:
            payload: octets, at most `senml.MAX_PAYLOAD`.
            content_format: number of the Content-Format option; None when the device sent none.
            now: seconds since 1970 UTC that relative times count from.
            senml_wanted: a point names a record; decides when the device sent no format or plain JSON or CBOR.

        Raises:
            PayloadError: the payload cannot be parsed or its format is not known here.
        """
        self._records: list[senml.Record] | None = None
        self._tree: object = None
        if len(payload) > senml.MAX_PAYLOAD:
            raise PayloadError(f"{len(payload)} octets, at most {senml.MAX_PAYLOAD} are taken")
        if content_format is None:
            content_format = _guess(payload, senml_wanted=senml_wanted)
        elif senml_wanted:
            content_format = {JSON: SENML_JSON, CBOR: SENML_CBOR}.get(content_format, content_format)
        try:
            if content_format in _SENML:
                self._records = _SENML[content_format](payload, now)
            elif content_format == TEXT:
                self._tree = _from_text(payload)
            elif content_format == JSON:
                self._tree = senml.json_value(payload)
            elif content_format == CBOR:
                self._tree = senml.cbor_value(payload)
            else:
                raise PayloadError(f"content format {content_format} is not known here")
        except senml.SenmlError as error:
            raise PayloadError(str(error)) from error

    def select(self, selector: Selector) -> list[Reading]:
        """The readings of one point in the order of the payload; the last is the newest in a SenML pack.

        Raises:
            PayloadError: there is none, or more than one could be meant.
        """
        if self._records is not None:
            return self._from_records(self._records, selector)
        if selector.name is not None:
            raise PayloadError(f"not a SenML pack, so it has no record {selector.name!r}")
        return [Reading(_scalar(_walk(self._tree, selector.pointer or "")))]

    @staticmethod
    def _from_records(records: list[senml.Record], selector: Selector) -> list[Reading]:
        name = selector.name
        names = dict.fromkeys(record.name for record in records)
        if name is None:
            if len(names) != 1:
                raise PayloadError(f"the pack has {len(names)} names, so the point has to say which ({_some(names)})")
            wanted = next(iter(names))
        elif name in names:
            wanted = name
        else:
            ends = tuple(separator + name for separator in _SEPARATORS)
            fitting = [full for full in names if full.endswith(ends)]
            if len(fitting) != 1:
                kind = "no" if not fitting else "more than one"
                raise PayloadError(f"{kind} record {name!r} in the pack ({_some(names)})")
            wanted = fitting[0]
        found = []
        for record in records:
            value = record.total if selector.total else record.value
            if record.name == wanted and value is not None:
                unit = units.of_sum(record.unit) if selector.total else record.unit
                found.append(Reading(value, unit, record.time))
        if not found:
            raise PayloadError(f"record {wanted!r} has no {'sum' if selector.total else 'value'}")
        found.sort(key=lambda reading: math.inf if reading.time is None else reading.time)
        return found


def _some(names: dict[str, None]) -> str:
    listed = list(names)[:5]
    return ", ".join(repr(name[:60]) for name in listed) + (" …" if len(names) > len(listed) else "")


def _guess(payload: bytes, *, senml_wanted: bool) -> int:
    if not senml_wanted:
        return TEXT
    return SENML_JSON if payload.lstrip()[:1] in (b"[", b"{") else SENML_CBOR


def _from_text(payload: bytes) -> object:
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise PayloadError("text is not UTF-8") from error
    if "_" in text:
        return text  # Python would read 1_000 as a number
    try:
        return int(text)
    except ValueError:
        pass  # not an integer: the next kinds are tried
    try:
        return float(text)
    except ValueError:
        pass  # not a number either: it may be a boolean word, else it is text
    word = text.lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    return text


def _walk(tree: object, pointer: str) -> object:
    if pointer and not pointer.startswith("/"):
        raise PayloadError(f"{pointer!r} is no JSON pointer: it starts with '/'")
    node = tree
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isascii() and key.isdigit() and len(key) < 7 and int(key) < len(node):
            node = node[int(key)]
        else:
            raise PayloadError(f"no member {pointer!r}")
    return node


def _scalar(value: object) -> senml.Scalar:
    if isinstance(value, bool | str | bytes):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise PayloadError("the number does not fit 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PayloadError("the number is not finite")
        return value
    raise PayloadError(f"{type(value).__name__} is no value of a point")
