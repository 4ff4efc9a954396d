"""The record of a condition (Part 9): an alarm or another state that people acknowledge, confirm and shelve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as it is after a change. Times are FILETIME ticks, 0 for never.

    Attributes:
        address: its source: a point, a function or a place.
        code: of the alarm list (`C04`).
        type_name: OPC UA type: `OffNormalAlarmType`, `ExclusiveLimitAlarmType`, `TripAlarmType`, ...
        condition_class: `Process`, `Maintenance`, `System` or `Safety`.
        limit: of limit alarms: `HighHigh`, `High`, `Low`, `LowLow`; empty otherwise.
        event_id: EventId of its newest change, 16 octets.
        earlier: EventIds of earlier changes that Acknowledge, Confirm and AddComment still take, newest first.
        shelving: `Unshelved`, `TimedShelved` or `OneShotShelved`; `shelved_until` for the timed.
        suppressed: by maintenance, a test mode or a flood; such a condition is not told as an alarm.
        comment, comment_user, comment_time: the newest comment.
        user: who made the newest change (ClientUserId); empty for the gateway itself.
        status: StatusCode of the source when the condition changed last (Quality).
        value: of the source at that moment.
        correlation: joins all records of one fault.
        limits: of limit alarms, where it passes them: LowLow, Low, High, HighHigh in the unit of the source; None for
            one that is not used. Empty for other alarms.
        target: of discrepancy alarms: address of the point that the source should agree with.
        tolerance, expected: how far the two may be apart, and for how long, s; None where it is not known.
        expires: of certificate alarms: when the first of its certificates does.
        *_time: TransitionTime of each state.
    """

    address: str
    code: str
    type_name: str
    condition_class: str
    text: str
    severity: int
    active: bool
    event_id: bytes
    earlier: tuple[bytes, ...] = ()
    last_severity: int = 0
    enabled: bool = True
    acked: bool = True
    confirmed: bool = True
    shelving: str = "Unshelved"
    shelved_until: int = 0
    suppressed: bool = False
    limit: str = ""
    comment: str = ""
    comment_user: str = ""
    comment_time: int = 0
    user: str = ""
    status: int = 0
    value: bool | int | float | str | None = None
    correlation: str = ""
    limits: tuple[float | None, ...] = ()
    target: str = ""
    tolerance: float | None = None
    expected: float | None = None
    expires: int = 0
    source_time: int = 0
    received: int = 0
    active_time: int = 0
    acked_time: int = 0
    confirmed_time: int = 0
    enabled_time: int = 0
    shelving_time: int = 0
    suppressed_time: int = 0
    severity_time: int = 0
    status_time: int = 0

    @property
    def id(self) -> str:
        """ConditionId: `address$code`."""
        return f"{self.address}${self.code}"

    @property
    def retain(self) -> bool:
        """Whether it is of interest: enabled, and active or not yet acknowledged and confirmed (Part 9, 5.5.2)."""
        return self.enabled and (self.active or not self.acked or not self.confirmed)

    @staticmethod
    def of_members(members: Mapping[str, Any]) -> Condition:
        """The condition of its members as JSON has them, EventIds in hexadecimal; unknown members are left out.

        Raises:
            ValueError, TypeError, KeyError: they are not those of a condition.
        """
        known = {name: value for name, value in members.items() if name in _MEMBERS}
        known["event_id"] = bytes.fromhex(known["event_id"])
        known["earlier"] = tuple(bytes.fromhex(each) for each in known.get("earlier", ()))
        known["limits"] = tuple(known.get("limits", ()))
        return Condition(**known)


_MEMBERS = frozenset(each.name for each in fields(Condition))
