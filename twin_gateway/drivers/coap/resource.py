"""A resource and the points it feeds: from responses and the passing of time to samples; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from address_space import clock, units
from address_space.catalogue import ValueType
from address_space.point import Batch, TextSample
from address_space.quality import Quality, TimeFlag
from twin_gateway.drivers.contract import BoundPoint

from . import objects
from . import units as senml_units
from .client import Response
from .payload import Document, PayloadError, Reading, Selector

DEFAULT_MAX_AGE = 60.0
"""Seconds that a response stays fresh which says nothing of it (RFC 7252 5.10.5)."""

_LEAST_LIFETIME = 1.0  # Max-Age 0 means "do not cache", not "never true"
_LOST_AFTER = 3.0
_OLD = Quality.QUESTIONABLE | Quality.OLD_DATA
_LOST = _OLD | Quality.COMM_LOST
_WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
_OFF, _ON = 1.0, 2.0  # double point
_TOO_MANY_REQUESTS = 429


class Age(IntEnum):
    """How old the last value of a point is."""

    NEVER = 0
    FRESH = 1
    OLD = 2
    LOST = 3


@dataclass(slots=True)
class Samples:
    """Samples on their way into one batch; late ones (older records of a pack) apart."""

    rows: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    texts: list[TextSample] = field(default_factory=list)

    def add(self, row: int, value: float | str, quality: int, ticks: int) -> None:
        """Add one sample; a text goes to the text points."""
        if isinstance(value, str):
            self.texts.append(TextSample(row, value, quality, ticks))
            return
        self.rows.append(row)
        self.values.append(value)
        self.quality.append(quality)
        self.times.append(ticks)

    def batch(self, *, late: bool = False) -> Batch | None:
        """The batch; None when there is nothing in it."""
        if not self.rows and not self.texts:
            return None
        return Batch.of(self.rows, self.values, self.quality, self.times, late=late, texts=self.texts)


@dataclass(slots=True)
class Feed:
    """One point of a resource and what was last published of it (delivered value, time in ticks, quality word).

    Attributes:
        heard: `time.monotonic()` of the last response that told of this point; a resource may tell of some only.
    """

    point: BoundPoint
    selector: Selector
    age: Age = Age.NEVER
    value: float | str | None = None
    ticks: int = 0
    quality: int = 0
    lifetime: float = DEFAULT_MAX_AGE
    heard: float = 0.0

    def take(self, readings: list[Reading], received: int, live: Samples, late: Samples) -> None:
        """Publish the newest reading; older ones that were not seen before are late.

        Raises:
            PayloadError: the reading is no value for this point; nothing was published.
        """
        converted = [(self._convert(reading), _ticks(reading.time)) for reading in readings]
        value, stated = converted[-1]
        # A clock that stepped back makes every record new; otherwise what was seen before is not told again.
        known = 0 if stated and stated < self.ticks else self.ticks
        for older, ticks in converted[:-1]:
            if ticks > known:
                late.add(self.point.row, older[0], older[1], ticks)
        self.value, self.quality, self.ticks = value[0], value[1], stated or received
        if not stated:
            self.quality |= TimeFlag.RECEIVED
        self.age = Age.FRESH
        live.add(self.point.row, value[0], self.quality, self.ticks)

    @property
    def next_age(self) -> float:
        """When the value becomes older than it counts now, `time.monotonic()`; infinity when never."""
        if self.age is Age.FRESH:
            return self.heard + self.lifetime
        return self.heard + _LOST_AFTER * self.lifetime if self.age is Age.OLD else float("inf")

    def mark(self, flags: int, live: Samples) -> None:
        """Publish the last value with flags added; without a value, a value that is invalid."""
        text = self.point.value_type is ValueType.STRING
        value = self.value if self.value is not None else ("" if text else 0.0)
        quality = self.quality
        if self.value is None:
            flags |= Quality.INVALID
        if flags & Quality.INVALID:
            quality &= ~Quality.QUESTIONABLE
            flags &= ~Quality.QUESTIONABLE
        elif quality & Quality.INVALID:
            flags &= ~Quality.QUESTIONABLE
        live.add(self.point.row, value, quality | flags, self.ticks)

    def _convert(self, reading: Reading) -> tuple[float | str, int]:
        """(delivered value, quality word) of a reading."""
        point, value = self.point, reading.value
        if point.value_type is ValueType.STRING:
            return _worded(reading), 0
        if isinstance(value, str):
            if value.lower() not in _WORDS:
                raise PayloadError(f"{value[:40]!r} is no value of a {point.cdc}")
            value = _WORDS[value.lower()]
        elif isinstance(value, bytes):
            raise PayloadError(f"octets are no value of a {point.cdc}")
        if isinstance(value, bool):
            if point.cdc in {"DPS", "DPC"}:
                return (_ON if value else _OFF), 0
            return float(value), 0
        number = float(value)
        below = point.fields.get("below")
        if below is not None:
            return float(number < below), 0
        if reading.unit is None:
            return number, 0
        try:
            converted = self._unit(reading.unit)
        except units.UnitError:
            # A temperature where the mapping says voltage: the value is true, but not for this point.
            return number, int(Quality.INVALID | Quality.CONFIGURATION_ERROR)
        return (number if converted is None else number * converted[0] + converted[1]), 0

    def _unit(self, symbol: str) -> tuple[float, float] | None:
        """(gain, bias) from the record's own unit to what the table expects: the mapping's unit, else the canonical."""
        point = self.point
        if point.unit is not None:
            return senml_units.conversion(symbol, point.unit)
        if point.quantity is not None:
            return senml_units.conversion(symbol, units.canonical(point.quantity).symbol)
        known = senml_units.FROM_SENML.get(symbol)
        if known is None:
            return None
        return senml_units.conversion(symbol, units.canonical(units.unit(known[0]).quantity).symbol)


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two points share a resource: asked for once, parsed once."""

    path: str
    accept: int | None


class Resource:
    """One resource of a device with the points it feeds.

    Attributes:
        observe: at least one point wants it observed.
        poll: seconds between two requests when it is not observed; None: by its lifetime.
        heard: `time.monotonic()` of the last good response; 0 before.
        due: when it is to be asked for next, `time.monotonic()`.
        failures: attempts without a good response since the last one.
        payload: last payload, to see that something changed without a notification.
    """

    def __init__(self, key: Key, poll: float | None) -> None:
        self.key = key
        self.feeds: list[Feed] = []
        self.observe = False
        self.refused_observe = False
        self.heard = 0.0
        self.due = 0.0
        self.failures = 0
        self.payload = b""
        self._poll = poll
        self._ages_at = float("inf")
        self._asked = objects.numbers_of(key.path)

    @property
    def poll(self) -> float | None:
        """Seconds between two requests; None by lifetime."""
        chosen = [float(p) for feed in self.feeds if (p := feed.point.fields.get("poll")) is not None]
        return min(chosen, default=self._poll)

    @property
    def lifetime(self) -> float:
        """Seconds until the first of the points becomes old."""
        return min((feed.lifetime for feed in self.feeds), default=DEFAULT_MAX_AGE)

    def add(self, point: BoundPoint) -> None:
        """Feed one more point."""
        fields = point.fields
        member = fields.get("member")
        pointer = fields.get("pointer")
        if member is not None:
            pointer = "/" + str(member).replace("~", "~0").replace("/", "~1")
        named = fields.get("object")
        selector = Selector(
            fields.get("name"),
            pointer,
            bool(fields.get("sum", False)),
            objects.parse(str(named)) if named is not None else (),
            fields.get("type"),
        )
        self.feeds.append(Feed(point, selector))
        self.observe = self.observe or bool(fields.get("observe", True))

    def remove(self, rows: set[int]) -> bool:
        """Feed these points no more; whether any of them was fed."""
        before = len(self.feeds)
        self.feeds = [feed for feed in self.feeds if feed.point.row not in rows]
        self.observe = any(bool(feed.point.fields.get("observe", True)) for feed in self.feeds)
        return len(self.feeds) != before

    def restart(self) -> None:
        """Begin a new association: nothing has been heard in it yet; the values of the last one are known."""
        self.heard = self.due = 0.0
        self.failures = 0
        self.refused_observe = False
        self._ages_at = float("inf")
        for feed in self.feeds:
            feed.age = Age.NEVER

    def take(self, response: Response, live: Samples, late: Samples) -> list[str]:
        """Samples of a response or notification. Returns what was wrong with its payload, one text a point."""
        if not response.good:
            self._refused(response.code, live)
            return []
        errors: list[str] = []
        named = any(feed.selector.name is not None for feed in self.feeds)
        try:
            document = Document(
                response.payload, response.content_format, response.received, senml_wanted=named, asked=self._asked
            )
        except PayloadError as error:
            self._unreadable(self.feeds, live)
            return [str(error)]
        received = clock.from_unix(response.received)
        for feed in self.feeds:
            try:
                feed.take(document.select(feed.selector), received, live, late)
            except PayloadError as error:
                errors.append(f"{feed.point.address}: {error}")
                self._unreadable([feed], live)
            else:
                feed.lifetime = self._lifetime(feed, response.max_age)
                feed.heard = response.clock
        if len(errors) < len(self.feeds) or not self.feeds:
            self.payload = response.payload
            self.heard = response.clock
        self._ages_at = min((feed.next_age for feed in self.feeds), default=float("inf"))
        return errors

    def grow_old(self, now: float, live: Samples) -> None:
        """Publish what has become old by `now` (`time.monotonic()`): age over the lifetime, and over three of it."""
        if now <= self._ages_at:
            return
        following = float("inf")
        for feed in self.feeds:
            age = now - feed.heard
            if feed.age is Age.FRESH and age > feed.lifetime:
                feed.age = Age.OLD
                if age <= _LOST_AFTER * feed.lifetime:
                    feed.mark(_OLD, live)
            if feed.age is Age.OLD and age > _LOST_AFTER * feed.lifetime:
                feed.age = Age.LOST
                feed.mark(_LOST, live)
            following = min(following, feed.next_age)
        self._ages_at = following

    def _lifetime(self, feed: Feed, max_age: int | None) -> float:
        if feed.point.stale_after:
            return float(feed.point.stale_after)  # the engineer knows the sensor better than a default of the protocol
        if max_age is not None:
            return max(float(max_age), _LEAST_LIFETIME)
        if not self.observe and self.poll is not None:
            # The device says nothing: a value lives from one poll to the next, with some air for the answer.
            return max(DEFAULT_MAX_AGE, self.poll * 1.25)
        return DEFAULT_MAX_AGE

    def _refused(self, code: int, live: Samples) -> None:
        if code == _TOO_MANY_REQUESTS:
            return  # says nothing about the value: its age will tell
        flags = Quality.INVALID | (Quality.CONFIGURATION_ERROR if code < 500 else Quality.FAILURE)
        for feed in self.feeds:
            feed.mark(flags, live)
            feed.age = Age.NEVER
        self._ages_at = float("inf")

    @staticmethod
    def _unreadable(feeds: Iterable[Feed], live: Samples) -> None:
        # One damaged payload costs a counted error and the value lives on until it is old. A point that never had a
        # value cannot wait for that: its mapping does not fit what the device sends.
        for feed in feeds:
            if feed.value is None:
                feed.mark(Quality.INVALID | Quality.CONFIGURATION_ERROR, live)


def path_of(fields: Mapping[str, Any]) -> str:
    """Path that is asked for: the one given, or the object instance that has the resource."""
    named = fields.get("object")
    return objects.instance_path(objects.parse(str(named))) if named is not None else str(fields["path"])


def resources_of(points: Iterable[BoundPoint], config: Any, known: dict[Key, Resource]) -> None:
    """Put points to the resources that feed them; `known` grows."""
    for point in points:
        accept = point.fields.get("accept")
        key = Key(path_of(point.fields), None if accept is None else int(accept))
        resource = known.get(key)
        if resource is None:
            resource = known[key] = Resource(key, config.poll)
        resource.add(point)


def _worded(reading: Reading) -> str:
    """A reading as text: what the device wrote, words of JSON for booleans, hexadecimal digits for octets."""
    value = reading.value
    if reading.text is not None:
        return reading.text
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.hex() if isinstance(value, bytes) else str(value)


def _ticks(seconds: float | None) -> int:
    return 0 if seconds is None else clock.from_unix(seconds)
