"""Roll-up: how many devices below a place are in which state, and what that makes of the place (spec 7.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from twin_gateway.twin.rules import DeviceState

CRITICAL_WEIGHT = 10.0
ORDINARY_WEIGHT = 1.0
SHARE = 0.10
_EXCLUDED = frozenset({DeviceState.TEST, DeviceState.RETIRED})


@dataclass(frozen=True, slots=True)
class Member:
    """A device as the roll-up sees it; a protection device is critical."""

    place: str
    state: DeviceState
    critical: bool = False
    availability: float | None = None


@dataclass(frozen=True, slots=True)
class Roll:
    """The devices of a place together.

    Attributes:
        counts: devices by state.
        state: the worst state that a critical device has, or devices with a tenth of the weight; where there is less
            than that, but something, the place is degraded. Devices in test and retired ones do not count.
        reason: which device makes the state.
        availability: mean of the devices' availability weighted as they are, percent; None when none has any.
    """

    counts: Counter[DeviceState]
    state: DeviceState
    reason: str
    availability: float | None


def roll_up(members: Iterable[Member]) -> Roll:
    """Roll up the devices of one place."""
    members = list(members)
    counts = Counter(member.state for member in members)
    counted = [(member, CRITICAL_WEIGHT if member.critical else ORDINARY_WEIGHT) for member in members]
    known = [(member, weight) for member, weight in counted if member.availability is not None]
    total = sum(weight for _, weight in known)
    availability = sum(weight * (member.availability or 0.0) for member, weight in known) / total if total else None
    relevant = [(member, weight) for member, weight in counted if member.state not in _EXCLUDED]
    if not relevant:
        return Roll(counts, DeviceState.TEST if counts[DeviceState.TEST] else DeviceState.UNKNOWN, "", availability)
    whole = sum(weight for _, weight in relevant)
    relevant.sort(key=lambda pair: -pair[0].state)
    below = 0.0
    for member, weight in relevant:
        if member.state <= DeviceState.OK:
            break
        below += weight
        if member.critical or below >= SHARE * whole:
            return Roll(counts, member.state, f"{member.place} is {member.state.name.lower()}", availability)
    worst = relevant[0][0]
    if worst.state > DeviceState.OK:
        return Roll(counts, DeviceState.DEGRADED, f"{worst.place} is {worst.state.name.lower()}", availability)
    # What is only not known does not spoil what is; all unknown stays unknown.
    return Roll(counts, worst.state, "", availability)


def places_above(place: str) -> list[str]:
    """The places that a device at an equipment place is rolled up at: bay, site, area, grid; fillers are left out."""
    parts = place.split("/")
    found = []
    for depth in (5, 3, 2, 1):
        head = parts[:depth]
        if len(head) == depth and head[-1] != "_" and head != parts:
            found.append("/".join(head))
    return found


def function_of(place: str, function: str) -> str:
    """Address of a function of a place: fillers up to level 6, then the function."""
    parts = place.split("/")
    return "/".join((*parts, *("_",) * (6 - len(parts)), function))
