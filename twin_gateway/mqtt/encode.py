"""JSON of values, metadata, events and states, values in batches straight from columns.

A value is `{"v":…,"s":<StatusCode>,"t":"<source time>","q":"<raw quality>","tq":…}`, always with these five members in
this order. `v` is null before the first sample and for numbers JSON cannot write (NaN, infinities), text for Int64;
`tq` is null when `t` is simply the device's good time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType, enumeration
from address_space.conditions import Condition
from address_space.descriptions import description
from address_space.events import Event
from address_space.journal import Chunk
from address_space.point import Raw, Rows, Ticks, Words
from address_space.quality import FLAGS_MASK, VALIDITY_MASK, Quality, names, time_names
from address_space.table import PointTable

_SECONDS_KEPT = 4096
_WORDS_KEPT = 4096
_MAX_EXACT = 1 << 53
_TYPE_NAMES = {
    ValueType.BOOLEAN: "Boolean",
    ValueType.INT32: "Int32",
    ValueType.UINT32: "UInt32",
    ValueType.INT64: "Int64",
    ValueType.DOUBLE: "Double",
    ValueType.STRING: "String",
}
_TIME_WIDTH = len("2026-01-01T00:00:00.000000Z")
_SHORT_END = np.array([ord("Z"), 0, 0, 0], np.uint32)
_BOOLEANS = ("false", "true")
_QUALITY_MASK = FLAGS_MASK | VALIDITY_MASK

Binding = Callable[[str, int | str], str]
"""Alias text of a binding: (link, source) -> for example `iec104:PS01/1/1020`."""

_seconds: dict[int, npt.NDArray[np.uint32]] = {}


def number_texts(raw: Raw, kind: ValueType) -> list[str]:
    """JSON of value bits of one type."""
    if kind is ValueType.DOUBLE:
        floats = np.ascontiguousarray(raw).view(np.float64)
        texts = list(map(repr, floats.tolist()))
        finite = np.isfinite(floats)
        if not finite.all():
            for index in np.nonzero(~finite)[0]:
                texts[index] = "null"
        return texts
    if kind is ValueType.BOOLEAN:
        return [_BOOLEANS[bit] for bit in (raw & np.uint64(1)).tolist()]
    if kind is ValueType.INT64:
        # A JSON number would lose digits above 2^53 in most readers.
        return [f'"{number}"' for number in np.ascontiguousarray(raw).view(np.int64).tolist()]
    low = (raw & np.uint64(0xFFFF_FFFF)).astype(np.uint32)
    return list(map(str, (low.view(np.int32) if kind is ValueType.INT32 else low).tolist()))


def time_texts(ticks: Ticks) -> list[str]:
    """ISO 8601 UTC of FILETIME ticks, as of `clock.iso`: milliseconds, or microseconds where the time has them."""
    if not len(ticks):
        return []
    seconds, rest = np.divmod(ticks, clock.TICKS_PER_SECOND)
    micros = rest // 10
    # One row of characters a time; numpy leaves the empty ones at the end of a row out.
    letters = np.zeros((len(ticks), _TIME_WIDTH), np.uint32)
    if int(seconds.min()) == int(seconds.max()):
        letters[:, :20] = _second_letters(int(seconds[0]))
    else:
        unique, inverse = np.unique(seconds, return_inverse=True)
        letters[:, :20] = np.array([_second_letters(second) for second in unique.tolist()])[inverse]
    for place in range(25, 19, -1):
        micros, digit = np.divmod(micros, 10)
        letters[:, place] = digit + ord("0")
    letters[:, 26] = ord("Z")
    short = (letters[:, 23:26] == ord("0")).all(axis=1)
    letters[short, 23:] = _SHORT_END
    return list(letters.view(f"<U{_TIME_WIDTH}")[:, 0].tolist())


def _second_letters(second: int) -> npt.NDArray[np.uint32]:
    known = _seconds.get(second)
    if known is None:
        if len(_seconds) >= _SECONDS_KEPT:
            _seconds.clear()
        text = clock.to_datetime(second * clock.TICKS_PER_SECOND).strftime("%Y-%m-%dT%H:%M:%S.")
        known = _seconds[second] = np.array([ord(letter) for letter in text], np.uint32)
    return known


class _Surroundings(dict[int, tuple[str, str]]):
    """What stands before and after the time of a value, by status (high half) and quality word (low half)."""

    def __missing__(self, key: int) -> tuple[str, str]:
        if len(self) >= _WORDS_KEPT:
            self.clear()
        status, word = key >> 32, key & 0xFFFF_FFFF
        after = f'","q":"{names(word & _QUALITY_MASK)}","tq":{json.dumps(time_names(word))}}}'
        known = self[key] = (f',"s":{status},"t":"', after)
        return known


_around_time = _Surroundings()


def objects(values: Sequence[str], status: Words, source_time: Ticks, quality: Words) -> list[str]:
    """JSON objects of samples whose values are JSON already."""
    times = time_texts(source_time)
    keys = status.astype(np.uint64) << np.uint64(32) | quality
    if len(keys) and (keys == keys[0]).all():
        before, after = _around_time[int(keys[0])]
        return [f'{{"v":{value}{before}{time}{after}' for value, time in zip(values, times, strict=True)]
    return [
        f'{{"v":{value}{around[0]}{time}{around[1]}'
        for value, time, around in zip(values, times, map(_around_time.__getitem__, keys.tolist()), strict=True)
    ]


def table_objects(table: PointTable, rows: Rows) -> list[str]:
    """JSON objects of what the table holds in these rows."""
    raw, types, quality = table.raw[rows], table.value_type[rows], table.quality[rows]
    return objects(_mixed_texts(table, rows, raw, types, quality), table.status[rows], table.source_time[rows], quality)


def _mixed_texts(
    table: PointTable, rows: Rows, raw: Raw, types: npt.NDArray[np.uint8], quality: Words
) -> Sequence[str]:
    empty = quality & np.uint32(Quality.NOT_INITIALISED) != 0
    first = int(types[0]) if len(types) else int(ValueType.DOUBLE)
    if first != ValueType.STRING and (types == first).all() and not empty.any():
        return number_texts(raw, ValueType(first))
    texts = np.full(len(rows), "null", object)
    for kind in np.unique(types):
        where = (types == kind) & ~empty
        if kind == ValueType.STRING:
            texts[where] = [json.dumps(table.value(int(row)), ensure_ascii=False) for row in rows[where]]
        else:
            texts[where] = number_texts(raw[where], ValueType(int(kind)))
    return list(texts)


def late_objects(table: PointTable, chunk: Chunk) -> Iterable[tuple[int, str]]:
    """(row, event JSON) of late samples: the value object with `code`, `severity` and receive time in front."""
    if chunk.texts is not None:
        values: Sequence[str] = [json.dumps(text, ensure_ascii=False) for text in chunk.texts]
    else:
        values = _mixed_texts(table, chunk.rows, chunk.raw, table.value_type[chunk.rows], chunk.quality)
    head = f'{{"code":"late","severity":200,"rx":"{clock.iso(chunk.received)}",'
    for row, text in zip(
        chunk.rows.tolist(), objects(values, chunk.status, chunk.source_time, chunk.quality), strict=True
    ):
        yield row, head + text[1:]


def event_object(event: Event) -> str:
    """JSON of an event record: times `t` and `rx`, and only those of the other members that say something."""
    content: dict[str, Any] = {
        "id": event.id,
        "code": event.code,
        "state": event.state,
        "severity": event.severity,
        "text": event.text,
        "t": clock.iso(event.source_time),
        "rx": clock.iso(event.received),
        "tq": event.time_quality,
    }
    if event.value is not None:
        wide = isinstance(event.value, int) and abs(event.value) > _MAX_EXACT
        content["v"] = str(event.value) if wide else event.value
    for name in ("quality", "actor", "correlation"):
        text = getattr(event, name)
        if text:
            content["q" if name == "quality" else name] = text
    if event.details:
        content["details"] = dict(event.details)
    if event.condition is not None:
        content["condition"] = _condition_members(event.condition)
    return _dumps(content)


def _condition_members(condition: Condition) -> dict[str, Any]:
    """The state of a condition after a change; `user`, `comment`, `limit` and `until` only where there is one."""
    members: dict[str, Any] = {
        "id": condition.id,
        "event": condition.event_id.hex(),
        "type": condition.type_name,
        "class": condition.condition_class,
        "active": condition.active,
        "acked": condition.acked,
        "confirmed": condition.confirmed,
        "shelved": condition.shelving != "Unshelved",
        "suppressed": condition.suppressed,
        "enabled": condition.enabled,
        "retain": condition.retain,
    }
    if condition.shelved_until:
        members["until"] = clock.iso(condition.shelved_until)
    for name in ("limit", "user"):
        if getattr(condition, name):
            members[name] = getattr(condition, name)
    if condition.comment:
        members["comment"] = {
            "text": condition.comment,
            "user": condition.comment_user,
            "t": clock.iso(condition.comment_time),
        }
    return members


def metadata_object(table: PointTable, row: int, gateway: str, binding: Binding | None = None) -> str:
    """JSON of what does not change of a point: class, type, unit, states, name, meaning and where it comes from.

    Args:
        table: the point table.
        row: row of the point.
        gateway: address of the gateway that publishes it.
        binding: writes (link, source) as the alias people know from the mapping; the bare source without it.
    """
    profile = table.profile(row)
    link, source = table.binding(row)
    content: dict[str, Any] = {
        "address": table.address(row),
        "cdc": profile.cdc,
        "type": _TYPE_NAMES[profile.value_type],
        "controllable": profile.controllable,
        "gateway": gateway,
    }
    name = table.display_name(row)
    if name:
        content["name"] = name
    meaning = description(table.address(row))
    if meaning:
        content["description"] = meaning
    if profile.unit is not None:
        content["unit"] = profile.unit.symbol
        content["quantity"] = profile.unit.quantity
        content["unece"] = profile.unit.unece or None
    if profile.enumeration is not None:
        content["enumeration"] = profile.enumeration
        content["states"] = {str(value): label for value, label in enumeration(profile.enumeration)}
    for key in ("deadband", "stale_after"):
        if getattr(profile, key):
            content[key] = getattr(profile, key)
    if profile.low is not None or profile.high is not None:
        content["range"] = [profile.low, profile.high]
    if link:
        content["link"] = link
        content["binding"] = source if binding is None else binding(link, source)
    return _dumps(content)


def state_object(state: str, ticks: int) -> str:
    """JSON of the state of the gateway or a link."""
    return _dumps({"state": state, "t": clock.iso(ticks)})


def _dumps(content: dict[str, Any]) -> str:
    clean = {
        key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in content.items()
    }
    return json.dumps(clean, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
