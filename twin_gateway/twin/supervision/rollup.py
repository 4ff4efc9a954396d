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
    first: dict[tuple[DeviceState, bool], str] = {}
    numbers: dict[tuple[DeviceState, bool], int] = {}
    up = known = 0.0
    for member in members:
        kind = member.state, member.critical
        if kind in numbers:
            numbers[kind] += 1
        else:
            numbers[kind], first[kind] = 1, member.place
        if member.availability is not None:
            weight = CRITICAL_WEIGHT if member.critical else ORDINARY_WEIGHT
            up += weight * member.availability
            known += weight
    counts: Counter[DeviceState] = Counter()
    weights: dict[DeviceState, float] = {}
    for (state, is_critical), number in numbers.items():
        counts[state] += number
        weight = CRITICAL_WEIGHT if is_critical else ORDINARY_WEIGHT
        weights[state] = weights.get(state, 0.0) + number * weight
    availability = up / known if known else None
    relevant = sorted((state for state in counts if state not in _EXCLUDED), reverse=True)
    if not relevant:
        return Roll(counts, DeviceState.TEST if counts[DeviceState.TEST] else DeviceState.UNKNOWN, "", availability)
    whole = sum(weights[state] for state in relevant)
    below = 0.0
    for state in relevant:
        if state <= DeviceState.OK:
            break
        below += weights[state]
        critical = first.get((state, True))
        if critical is not None or below >= SHARE * whole:
            place = critical or first[state, False]
            return Roll(counts, state, f"{place} is {state.name.lower()}", availability)
    worst = relevant[0]
    if worst > DeviceState.OK:
        reason = f"{first[worst, False]} is {worst.name.lower()}"
        return Roll(counts, DeviceState.DEGRADED, reason, availability)
    # What is only not known does not spoil what is; all unknown stays unknown.
    return Roll(counts, worst, "", availability)


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
