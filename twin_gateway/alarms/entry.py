"""What the book keeps of each condition, what sources say of its kind, and the counts of all."""

from __future__ import annotations

from dataclasses import dataclass, replace

from address_space.conditions import Condition
from twin_gateway.alarms.catalogue import alarm_code
from twin_gateway.alarms.chatter import Chatter
from twin_gateway.alarms.machine import Demands

Details = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a source says of its condition as such; what it leaves open is as in the alarm list.

    Attributes:
        type_name: OPC UA type.
        condition_class: one of `catalogue.CONDITION_CLASSES`.
        demands: what it wants of people.
        limits, target, tolerance, expected, expires: as of `Condition`.
    """

    type_name: str = ""
    condition_class: str = ""
    demands: Demands | None = None
    limits: tuple[float | None, ...] = ()
    target: str = ""
    tolerance: float | None = None
    expected: float | None = None
    expires: int = 0

    def described(self, condition: Condition) -> Condition:
        """The condition as this kind has it, also where an earlier mapping had another; the same one if it is so."""
        members = {name: getattr(self, name) for name in _JUDGED_BY}
        members["type_name"] = self.type_name or condition.type_name
        members["condition_class"] = self.condition_class or alarm_code(condition.code).condition_class
        if all(getattr(condition, name) == value for name, value in members.items()):
            return condition
        return replace(condition, **members)


_JUDGED_BY = ("limits", "target", "tolerance", "expected", "expires")


CERTIFICATE_EXPIRES = Kind("CertificateExpirationAlarmType", "System")
"""Of D09 where it is about a certificate."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Conditions by state; `dropped` have been forgotten to make room, `refused` found none."""

    kept: int
    active: int
    unacknowledged: int
    shelved: int
    dropped: int
    refused: int


@dataclass(slots=True)
class Entry:
    """A condition with what the book keeps beside it.

    Attributes:
        demands: what it wants of people.
        details, time_quality: of the newest word of its source.
        chatter: counts beginnings once they come within a minute.
        muted: its source has suppressed it.
        began: when it became active last, monotonic s.
    """

    condition: Condition
    demands: Demands
    details: Details = ()
    time_quality: str | None = None
    chatter: Chatter | None = None
    muted: bool = False
    began: float = float("-inf")
