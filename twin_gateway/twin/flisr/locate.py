"""Maximum-likelihood location of a fault from fault passage indicators (spec 3.4 S2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twin_gateway.grid.model import FaultIndicator
from twin_gateway.twin.flisr.case import Flags, Floats
from twin_gateway.twin.flisr.records import Direction, FaultKind, Indication, LocateSettings, Location
from twin_gateway.twin.flisr.zones import OPEN, Network, Positions

_EARTH_CURRENT_SEEN = frozenset({"resistance", "solid"})
"""Neutral treatments where the fault's own earth current outweighs the capacitive current of healthy parts."""


def posterior(
    expected: Flags, observed: Flags, *, p_fn: float = 0.02, p_fp: float = 0.005, prior: Floats | None = None
) -> Floats:
    """Probability of each zone being the faulted one.

    Args:
        expected: zones x indicators; the indicator carries the current of a fault in the zone.
        observed: indicators; what they said. One without a say is left out of both.
        p_fn: probability of silence although fault current passed.
        p_fp: probability of an indication without it.
        prior: weight of each zone; equal when None.

    Returns:
        zones; sums to 1.
    """
    chance = np.where(
        expected,
        np.where(observed, 1.0 - p_fn, p_fn),
        np.where(observed, p_fp, 1.0 - p_fp),
    )
    likelihood = np.log(chance).sum(1)
    if prior is not None:
        likelihood = likelihood + np.log(prior)
    weight = np.exp(likelihood - likelihood.max())
    result: Floats = weight / weight.sum()
    return result


def candidate_set(
    names: Sequence[str], probability: Floats, neighbours: Sequence[Sequence[int]], need: float = 0.95
) -> list[int]:
    """Zones by falling probability, each with the zones of the tree path that joins it, until `need` is reached.

    Args:
        names: of the zones; decides among equals.
        probability: of the zones.
        neighbours: of each zone, the zones it borders on.
        need: sum of probabilities to be reached.

    Returns:
        numbers of the zones, by name.
    """
    order = sorted(range(len(names)), key=lambda zone: (-round(float(probability[zone]), 12), names[zone]))
    chosen = {order[0]}
    for zone in order[1:]:
        if float(probability[sorted(chosen)].sum()) >= need:
            break
        if zone not in chosen:
            chosen |= _path(names, neighbours, chosen, zone)
    return sorted(chosen, key=lambda zone: names[zone])


def _path(names: Sequence[str], neighbours: Sequence[Sequence[int]], start: set[int], goal: int) -> set[int]:
    """Zones of the shortest way from a set to a zone, the zone included."""
    before: dict[int, int | None] = dict.fromkeys(sorted(start, key=lambda zone: names[zone]))
    queue = list(before)
    for zone in queue:
        if zone == goal:
            break
        for beyond in sorted(neighbours[zone], key=lambda other: names[other]):
            if beyond not in before:
                before[beyond] = zone
                queue.append(beyond)
    way: set[int] = set()
    step: int | None = goal
    while step is not None and step not in start:
        way.add(step)
        step = before.get(step)
    return way


@dataclass(slots=True)
class TrippedArea:
    """The zones that lost supply with one trip device, as the tree they were fed in.

    Attributes:
        zones: numbers, the first one next to the device; a parent stands before its children.
        parent: of each zone but the first, the zone it was fed from.
        via: of each zone the switch it was fed through.
        looped: switches that closed a loop; their indicators tell nothing.
    """

    zones: list[int]
    parent: dict[int, int]
    via: dict[int, int]
    looped: set[int]

    def below(self, zone: int) -> set[int]:
        """The zone and everything that was fed through it."""
        inside = {zone}
        for other in self.zones:
            if self.parent.get(other) in inside:
                inside.add(other)
        return inside


def tripped_area(network: Network, before: Positions, device: str) -> TrippedArea:
    """What a trip device fed before the fault.

    A position that was unknown counts as closed: the area is rather too large.

    Args:
        network: the grid.
        before: positions by number of the switch, before the trip.
        device: address of the breaker that tripped.

    Raises:
        KeyError: the device is not a switch of the network.
    """
    head = network.switch_index[device]
    start = _fed_side(network, before, head)
    area = TrippedArea([start], {}, {start: head}, set())
    seen = {start}
    for zone in area.zones:
        for number in network.switches_at[zone]:
            if number == head or number == area.via[zone] or before[number] == OPEN:
                continue
            beyond = network.switches[number].other(zone)
            if beyond in seen:
                area.looped.add(number)
                continue
            seen.add(beyond)
            area.zones.append(beyond)
            area.parent[beyond] = zone
            area.via[beyond] = number
    return area


def _fed_side(network: Network, before: Positions, head: int) -> int:
    """The zone of a switch that has no source when the switch is open; its second one when that does not decide."""
    first, second = network.switches[head].zones
    for zone, other in ((second, first), (first, second)):
        seen, stack = {zone}, [zone]
        while stack:
            here = stack.pop()
            for number in network.switches_at[here]:
                beyond = network.switches[number].other(here)
                if number != head and before[number] != OPEN and beyond not in seen:
                    seen.add(beyond)
                    stack.append(beyond)
        if other not in seen and not any(network.zones[item].source for item in seen):
            return zone
    return second


def locate(
    network: Network,
    before: Positions,
    device: str,
    indications: Mapping[str, Indication],
    trip_time: float,
    *,
    settings: LocateSettings | None = None,
    kind: FaultKind = FaultKind.UNKNOWN,
    neutral: str = "",
    prior: Mapping[str, float] | None = None,
) -> Location:
    """Where in the area of a trip device the fault is.

    Args:
        network: the grid.
        before: positions by number of the switch, before the trip.
        device: address of the breaker that tripped.
        indications: by address; indicators of the area that are missing here give no term.
        trip_time: s, on the clock of the indications.
        settings: probabilities and limits; those of the fault's kind and of the neutral treatment.
        kind: of the fault; earth faults make non-directional indicators useless where capacitive current is in the way.
        neutral: neutral treatment of the feeder, as in `Feeder.neutral`.
        prior: weight by zone address (fault history); by length of lines when None.
    """
    settings = settings or LocateSettings()
    area = tripped_area(network, before, device)
    names = [network.zones[zone].address for zone in area.zones]
    ignored: dict[str, str] = {}
    used: list[str] = []
    columns: list[Flags] = []
    said: list[bool] = []
    by_arrival = False
    fed_through = {switch: zone for zone, switch in area.via.items()}
    for address, indicator in sorted(network.grid.indicators.items()):
        switch = _switch_of(network, indicator, fed_through)
        if switch is None:
            if network.zone_of_equipment(indicator.equipment) in area.via:
                ignored[address] = "not at a switch of the area"
            continue
        if switch in area.looped:
            ignored[address] = "in a loop"
            continue
        below = area.below(fed_through[switch])
        forward = _forward(network, indicator, switch, fed_through[switch])
        outcome = _read(indications.get(address), indicator, forward, trip_time, settings)
        if isinstance(outcome, str):
            ignored[address] = outcome
            continue
        passed, arrived, directed = outcome
        if not directed and any(network.zones[zone].generators for zone in below):
            ignored[address] = "not directional, and generation beyond it"
            continue
        if not directed and kind is FaultKind.EARTH and neutral not in _EARTH_CURRENT_SEEN:
            ignored[address] = "not directional, and capacitive current beyond it"
            continue
        by_arrival |= arrived
        used.append(address)
        said.append(passed)
        columns.append(np.array([zone in below for zone in area.zones]))
    expected = np.array(columns, bool).T if columns else np.zeros((len(names), 0), bool)
    observed = np.array(said, bool)
    weight = _prior(network, area, names, prior)
    chance = posterior(expected, observed, p_fn=settings.p_fn, p_fp=settings.p_fp, prior=weight)
    place = {zone: i for i, zone in enumerate(area.zones)}
    neighbours: list[list[int]] = [[] for _ in names]
    for zone, above in area.parent.items():
        neighbours[place[zone]].append(place[above])
        neighbours[place[above]].append(place[zone])
    chosen = candidate_set(names, chance, neighbours, settings.need)
    wrong = (chance[:, None] * (expected != observed)).sum(0) if used else np.zeros(0)
    order = sorted(range(len(names)), key=lambda i: (-round(float(chance[i]), 12), names[i]))
    return Location(
        posterior={names[i]: float(chance[i]) for i in order},
        candidates=tuple(names[i] for i in chosen),
        probability=float(chance[chosen].sum()),
        implausible=tuple(address for address, p in zip(used, wrong, strict=True) if p > settings.implausible),
        ignored=ignored,
        by_arrival=by_arrival,
        auto_ok=len(chosen) <= settings.max_zones_auto,
    )


def _switch_of(network: Network, indicator: FaultIndicator, fed_through: Mapping[int, int]) -> int | None:
    """The switch of the area whose current an indicator sees; one at a line belongs to the only switch at that end."""
    number = network.switch_index.get(indicator.equipment)
    if number is not None:
        return number if number in fed_through else None
    item = network.grid.equipment.get(indicator.equipment)
    if item is None or len(item.nodes) < indicator.terminal:
        return None
    node = item.nodes[indicator.terminal - 1]
    zone = network.zone_of_equipment(node)
    if zone is None:
        return None
    there = [
        at for at in network.switches_at[zone] if node in {network.nodes[end] for end in network.switches[at].nodes}
    ]
    return there[0] if len(there) == 1 and there[0] in fed_through else None


def _forward(network: Network, indicator: FaultIndicator, switch: int, fed: int) -> bool:
    """Whether the source's fault current goes from the indicator's terminal into its equipment."""
    number = network.switch_index.get(indicator.equipment)
    if number is not None:
        # terminal 1 looks towards terminal 2; the fed zone lies at one of them
        fed_terminal = 2 if network.switches[number].zones[1] == fed else 1
        return fed_terminal != indicator.terminal
    # at a line behind the switch the current goes into the line, at one before the switch it comes out
    return network.zone_of_equipment(indicator.equipment) == fed


def _read(
    indication: Indication | None,
    indicator: FaultIndicator,
    forward: bool,
    trip_time: float,
    settings: LocateSettings,
) -> tuple[bool, bool, bool] | str:
    """(passed, ordered by arrival, direction told) of an indication, or why it gives no term."""
    if indication is None or indication.passed is None:
        return "missing or invalid"
    directed = indicator.directional and indication.direction is not Direction.UNKNOWN
    if not indication.passed:
        # silence of one that reports by exception says nothing, and an answer from before the trip says nothing of it
        answered = indication.answered if indicator.poll else indication.received
        if answered is None or answered < trip_time:
            return "no answer after the trip" if indicator.poll else "reports by exception and is silent"
        # a directional one that saw nothing has seen nothing from either side
        return False, False, indicator.directional
    arrived = indication.time is None or not indication.clock_good
    when = indication.received if arrived else indication.time
    if when is None:
        return "no time"
    if when < trip_time - settings.clock_tolerance:
        return "older than the trip"
    if directed and (indication.direction is Direction.FORWARD) is not forward:
        return False, arrived, True
    return True, arrived, directed


def _prior(network: Network, area: TrippedArea, names: Sequence[str], prior: Mapping[str, float] | None) -> Floats:
    """Weight of each zone; never zero."""
    if prior is None:
        weight = np.array([network.zones[zone].length for zone in area.zones])
    else:
        weight = np.array([float(prior.get(name, 0.0)) for name in names])
    known = weight[weight > 0.0]
    if not len(known):
        return np.ones(len(names))
    # a zone without lines (a ring-main unit) has faults too
    result: Floats = np.maximum(weight, 0.1 * float(known.mean()))
    return result
