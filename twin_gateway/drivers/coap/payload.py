"""What a response says of one point: text, a member of JSON or CBOR, a SenML record, or a resource of an object."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from . import objects, senml, tlv, units

TEXT = 0
LINK_FORMAT = 40
JSON = 50
OCTETS = 42
CBOR = 60
SENML_JSON = 110
SENML_CBOR = 112
_SENML = {SENML_JSON: senml.from_json, 111: senml.from_json, SENML_CBOR: senml.from_cbor, 113: senml.from_cbor}
_TRUE = frozenset({"true", "on", "yes"})
_FALSE = frozenset({"false", "off", "no"})
# Devices prefix their records with their own name: `urn:dev:mac:0024befffe804ff1/temp`.
_SEPARATORS = ("/", ":")
_OBJECT_NAME = re.compile(r"(?:^|/)([0-9]{1,5}(?:/[0-9]{1,5}){2,3})$")
_TIMESTAMP = 5518  # of an IPSO object: when its value was measured


class PayloadError(ValueError):
    """The payload cannot be understood, or says nothing of the point; the message says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a payload.

    Attributes:
        value: number, boolean, text or octets, as the device sent it.
        unit: SenML unit symbol, None when the payload says nothing.
        time: seconds since 1970 UTC, None when the payload gives no time.
        text: what the device wrote where it wrote plain text; `value` is what that could mean.
    """

    value: senml.Scalar
    unit: str | None = None
    time: float | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """Where in the payload a point is found.

    Attributes:
        name: SenML record, by its full name or by what follows the device's own prefix.
        pointer: JSON pointer (RFC 6901) into JSON or CBOR, empty for the whole.
        total: take the record's sum over time (SenML `s`) instead of its value.
        resource: LwM2M path of a resource, (object, instance, resource) and perhaps the instance of the resource.
        kind: what the resource holds, where `objects` does not know.
    """

    name: str | None = None
    pointer: str | None = None
    total: bool = False
    resource: tlv.Path = ()
    kind: str | None = None


class Document:
    """A payload parsed once for all the points it feeds."""

    def __init__(
        self,
        payload: bytes,
        content_format: int | None,
        now: float,
        *,
        senml_wanted: bool = False,
        asked: tlv.Path = (),
    ) -> None:
        """Parse.

        Args:
            payload: octets, at most `senml.MAX_PAYLOAD`.
            content_format: number of the Content-Format option; None when the device sent none.
            now: seconds since 1970 UTC that relative times count from.
            senml_wanted: a point names a record; decides when the device sent no format or plain JSON or CBOR.
            asked: object path of the request, which TLV is relative to.

        Raises:
            PayloadError: the payload cannot be parsed or its format is not known here.
        """
        self._records: list[senml.Record] | None = None
        self._tree: object = None
        self._text: str | None = None
        self._octets: dict[tlv.Path, bytes] | None = None
        self._asked = asked
        if len(payload) > senml.MAX_PAYLOAD:
            raise PayloadError(f"{len(payload)} octets, at most {senml.MAX_PAYLOAD} are taken")
        if content_format is None:
            content_format = _guess(payload, senml_wanted=senml_wanted)
        elif senml_wanted:
            content_format = {JSON: SENML_JSON, CBOR: SENML_CBOR}.get(content_format, content_format)
        try:
            if content_format in _SENML:
                self._records = _SENML[content_format](payload, now)
            elif content_format == tlv.TLV:
                self._octets = tlv.decode(payload, asked)
            elif content_format == OCTETS and len(asked) >= 3:
                self._octets = {asked: payload}
            elif content_format == TEXT:
                self._text = _text_of(payload)
                self._tree = _from_text(self._text)
            elif content_format == JSON:
                self._tree = senml.json_value(payload)
            elif content_format == CBOR:
                self._tree = senml.cbor_value(payload)
            else:
                raise PayloadError(f"content format {content_format} is not known here")
        except (senml.SenmlError, tlv.TlvError) as error:
            raise PayloadError(str(error)) from error

    def select(self, selector: Selector) -> list[Reading]:
        """The readings of one point in the order of the payload; the last is the newest in a SenML pack.

        Raises:
            PayloadError: there is none, or more than one could be meant.
        """
        if selector.resource:
            return self._of_object(selector)
        if self._octets is not None:
            raise PayloadError("the payload holds resources of an object, so the point has to say which ('object')")
        if self._records is not None:
            return self._from_records(self._records, selector)
        if selector.name is not None:
            raise PayloadError(f"not a SenML pack, so it has no record {selector.name!r}")
        return [self._reading(_walk(self._tree, selector.pointer or ""), None)]

    def _of_object(self, selector: Selector) -> list[Reading]:
        """The readings of a resource, with the unit that its object tells or has."""
        path = selector.resource
        text = "/".join(map(str, path))
        try:
            about = objects.about(path, selector.kind)
            if self._records is not None:
                names = {_object_of(record.name): record.name for record in self._records}
                if path not in names:
                    raise PayloadError(f"no resource {text} in the pack ({_some(dict.fromkeys(names.values()))})")
                found = self._from_records(self._records, Selector(name=names[path], total=selector.total))
                unit = self._told_unit(path) or about.unit
                return [each if each.unit else Reading(each.value, unit, each.time) for each in found]
            if self._octets is not None:
                if path not in self._octets:
                    raise PayloadError(f"no resource {text} in the payload")
                value = objects.value_of(self._octets[path], about.kind)
                return [Reading(value, self._told_unit(path) or about.unit, self._told_time(path))]
        except objects.ObjectError as error:
            raise PayloadError(f"resource {text}: {error}") from error
        if self._asked != path:
            raise PayloadError(f"the payload is one value and not object instance {path[0]}/{path[1]}")
        return [self._reading(self._tree, about.unit)]

    def _reading(self, value: object, unit: str | None) -> Reading:
        return Reading(_scalar(value), unit, None, self._text)

    def _told_unit(self, path: tlv.Path) -> str | None:
        """What resource 5701 of the same object instance says of the unit of its values."""
        sibling = (*path[:2], objects.UNITS)
        if not 5600 <= path[2] <= 5899:
            return None
        if self._octets is not None:
            octets = self._octets.get(sibling)
            return objects.unit_of(octets.decode("utf-8", "replace")) if octets is not None else None
        for record in self._records or ():
            if isinstance(record.value, str) and _object_of(record.name) == sibling:
                return objects.unit_of(record.value)
        return None

    def _told_time(self, path: tlv.Path) -> float | None:
        octets = (self._octets or {}).get((*path[:2], _TIMESTAMP))
        if octets is None:
            return None
        seconds = float(objects.value_of(octets, objects.Kind.TIME))
        return seconds if seconds > 0 else None

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


def _object_of(name: str) -> tlv.Path:
    """The object path that a record's name ends with; empty when it does not."""
    match = _OBJECT_NAME.search(name)
    return tuple(int(step) for step in match[1].split("/")) if match is not None else ()


def _some(names: dict[str, None]) -> str:
    listed = list(names)[:5]
    return ", ".join(repr(name[:60]) for name in listed) + (" …" if len(names) > len(listed) else "")


def _guess(payload: bytes, *, senml_wanted: bool) -> int:
    if not senml_wanted:
        return TEXT
    return SENML_JSON if payload.lstrip()[:1] in (b"[", b"{") else SENML_CBOR


def _text_of(payload: bytes) -> str:
    try:
        return payload.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise PayloadError("text is not UTF-8") from error


def _from_text(text: str) -> object:
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
