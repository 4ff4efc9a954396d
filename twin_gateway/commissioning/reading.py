"""What one point says at a moment: value, unit, quality and times, in words that people and machines read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from address_space import clock
from address_space.quality import Quality, StatusCode, TimeFlag, names, time_names
from address_space.table import PointTable
from twin_gateway.commands.tags import one_line

_NOT_THE_DEVICES = TimeFlag.RECEIVED | TimeFlag.FUTURE
_SEVERITY = 0xC000_0000
_CODE = 0xFFFF_0000


@dataclass(frozen=True, slots=True)
class Reading:
    """One point as the gateway has it.

    Attributes:
        address: of the point.
        name: its readable name; may be empty.
        device: the link that delivers it; empty where nothing does.
        type: common data class.
        value: None before the first sample.
        unit: of the value; empty where it has none.
        status: name of the StatusCode.
        good: it is Good, of any kind.
        quality: the raw quality as text.
        time: the device's own time, ISO 8601 in UTC; empty where the device gave none that could be kept.
        time_quality: what is to be said of the time, as on MQTT, or `future` where it lay ahead and was replaced; empty
            where it is simply good.
        received: when the sample came; empty before the first.
        delay_s: seconds from the device's time to reception: how long it was under way, how old the last change was
            when it was read, and how far the clocks differ, together.
        error: the last error that the driver noted for the point.
        answered: it came while it was waited for.
        device_type: the common data class that the device says, where it is another one than the mapping's.
        binding: digest of its binding (`Binding.digest`); empty where nobody asked.
    """

    address: str
    name: str
    device: str
    type: str
    value: bool | int | float | str | None
    unit: str
    status: str
    good: bool
    quality: str
    time: str
    time_quality: str
    received: str
    delay_s: float | None
    error: str = ""
    answered: bool = True
    device_type: str = ""
    binding: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(each.name for each in fields(Reading))


def reading_of(table: PointTable, row: int, error: str = "", **more: Any) -> Reading:
    """The point of a row as it is now; `more` are fields that the table does not know."""
    sample, profile = table.sample(row), table.profile(row)
    waiting = bool(sample.quality & Quality.NOT_INITIALISED)
    own_time = not waiting and not sample.quality & _NOT_THE_DEVICES
    delay = (sample.received - sample.source_time) / clock.TICKS_PER_SECOND if own_time else None
    return Reading(
        address=table.address(row),
        name=table.display_name(row),
        device=table.binding(row)[0],
        type=profile.cdc,
        value=sample.value,
        unit=profile.unit.symbol if profile.unit is not None else "",
        status=status_name(sample.status),
        good=not sample.status & _SEVERITY,
        quality="" if waiting else names(sample.quality),
        time=clock.iso(sample.source_time) if own_time else "",
        time_quality="" if waiting else _time_quality(sample.quality),
        received="" if waiting else clock.iso(sample.received),
        delay_s=round(delay, 3) if delay is not None else None,
        error=error,
        **more,
    )


def _time_quality(quality: int) -> str:
    return "future" if quality & TimeFlag.FUTURE else time_names(quality) or ""


def status_name(status: int) -> str:
    """Name of a StatusCode without its information bits; the number where it has no name here."""
    try:
        return StatusCode(status & _CODE).name
    except ValueError:
        return f"0x{status:08X}"


def value_text(value: bool | int | float | str | None, *, digits: int = 7) -> str:
    """A value as people read it, in one line; texts of devices cannot steer a terminal by it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.{digits}g}" if isinstance(value, float) else one_line(str(value))


def now_text() -> str:
    """The present second, ISO 8601 in UTC."""
    return clock.iso(clock.now() // clock.TICKS_PER_SECOND * clock.TICKS_PER_SECOND)
