"""Isolation of faulted zones by their boundary switches, moved outward where one cannot be opened (spec 3.4 S3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twin_gateway.twin.flisr.locate import tripped_area
from twin_gateway.twin.flisr.records import Boundary, Isolation, SwitchState
from twin_gateway.twin.flisr.zones import CLOSED, OPEN, Network, Positions


def plan_isolation(
    network: Network,
    states: Mapping[str, SwitchState],
    fault_zones: Iterable[str],
    *,
    device: str = "",
    before: Positions | None = None,
    now: Positions | None = None,
    reclose: bool = True,
) -> Isolation:
    """The switches that bound the faulted zones, in the order of opening.

    A boundary switch that is closed, or not known to be open, must be available for opening and, where it is live,
    able to break load; else the zone beyond it is given up too and its own boundary looked at. A switch towards a part
    that nothing can make live is left alone, and that part counts as isolated.

    Args:
        network: the grid.
        states: of the switches, now.
        fault_zones: addresses of the zones taken as faulted.
        device: the breaker that cleared the fault.
        before: positions by number of the switch before the trip; tells the source's side. As now when None.
        now: `network.positions(states)` for a caller that has it already.
        reclose: the device may be closed again (its lockout may be reset, reclosing can be blocked).

    Raises:
        KeyError: a zone or the device is not of the network.
    """
    now = network.positions(states) if now is None else now
    faulted = {network.zone_index[zone] for zone in fault_zones}
    live = _Live(network, now)
    inside = set(faulted)
    moved: dict[int, str] = {}
    problems: list[str] = []
    settled = False
    while not settled:
        settled = True
        for number in _crossing(network, inside):
            switch = network.switches[number]
            inner, beyond = _ends(network, number, inside)
            if now[number] == OPEN:
                continue
            if not _can_live(network, beyond, inside):
                inside |= _reached(network, now, [beyond], without=inside)
                settled = False
                break
            if _openable(states.get(switch.address), int(now[number]), switch.rating.load_break, live=beyond in live):
                continue
            if beyond in live or network.zones[beyond].source:
                continue
            inside.add(beyond)
            moved[beyond] = moved.get(inner, "") or switch.address
            settled = False
            break
    upstream = _source_side(network, now if before is None else before, device)
    boundaries = []
    for number in sorted(_crossing(network, inside)):
        switch = network.switches[number]
        inner, beyond = _ends(network, number, inside)
        open_now = now[number] == OPEN
        if not open_now and not _openable(
            states.get(switch.address), int(now[number]), switch.rating.load_break, live=beyond in live
        ):
            problems.append(f"{switch.address} towards a live part cannot be opened or its position is not known")
        outside = _reached(network, now, [beyond], without=inside)
        backfed = any(zone in live for zone in outside) or any(network.zones[zone].generators for zone in outside)
        side = "source" if number in upstream.get(inner, ()) else "load"
        boundaries.append(Boundary(switch.address, open_now, side, backfed, moved.get(inner, "")))
    boundaries.sort(key=lambda item: (not item.backfed, item.side != "source", item.switch))
    return Isolation(
        fault_zones=tuple(sorted(network.zones[zone].address for zone in faulted)),
        isolated_zones=tuple(sorted(network.zones[zone].address for zone in inside)),
        boundaries=tuple(boundaries),
        trip_device=device,
        reclose_upstream=reclose and bool(device) and _feeds_healthy(network, states, device, inside),
        complete=not problems,
        problems=tuple(problems),
    )


class _Live:
    """Which zones are live, or may be: looked up as far as asked."""

    def __init__(self, network: Network, now: Positions) -> None:
        self._network, self._now = network, now
        self._known: dict[int, bool] = {}

    def __contains__(self, zone: int) -> bool:
        if zone not in self._known:
            stack, seen, live = [zone], {zone}, False
            while stack and not live:
                here = stack.pop()
                live = self._network.zones[here].source or self._known.get(here, False)
                for number in self._network.switches_at[here]:
                    beyond = self._network.switches[number].other(here)
                    if self._now[number] != OPEN and beyond not in seen:
                        seen.add(beyond)
                        stack.append(beyond)
            # of a dead part all zones are known now; of a live one those that were passed
            self._known.update(dict.fromkeys(seen, live))
        return self._known[zone]


def _crossing(network: Network, inside: set[int]) -> list[int]:
    """Switches with exactly one zone inside."""
    found = {
        number
        for zone in inside
        for number in network.switches_at[zone]
        if (network.switches[number].zones[0] in inside) != (network.switches[number].zones[1] in inside)
    }
    return sorted(found)


def _ends(network: Network, number: int, inside: set[int]) -> tuple[int, int]:
    """The zones inside and outside of a crossing switch."""
    a, b = network.switches[number].zones
    return (a, b) if a in inside else (b, a)


def _openable(state: SwitchState | None, position: int, load_break: bool, *, live: bool) -> bool:
    return state is not None and position == CLOSED and state.can_open and not state.tagged and (load_break or not live)


def _reached(network: Network, positions: Positions, start: Iterable[int], without: Iterable[int] = ()) -> set[int]:
    """Zones joined to some by switches that are not known to be open."""
    stack = list(start)
    seen = {*stack, *without}
    found = set(stack)
    while stack:
        zone = stack.pop()
        for number in network.switches_at[zone]:
            beyond = network.switches[number].other(zone)
            if positions[number] != OPEN and beyond not in seen:
                seen.add(beyond)
                found.add(beyond)
                stack.append(beyond)
    return found


def _can_live(network: Network, start: int, inside: set[int]) -> bool:
    """Whether a source or a generator lies beyond, through switches in any position; the nearest zones first."""
    seen, queue = {start, *inside}, [start]
    for zone in queue:
        if network.zones[zone].source or network.zones[zone].generators:
            return True
        for number in network.switches_at[zone]:
            beyond = network.switches[number].other(zone)
            if beyond not in seen:
                seen.add(beyond)
                queue.append(beyond)
    return False


def _source_side(network: Network, before: Positions, device: str) -> dict[int, set[int]]:
    """Per zone of the tripped area the switch it was fed through."""
    if not device:
        return {}
    area = tripped_area(network, before, device)
    return {zone: {switch} for zone, switch in area.via.items()}


def _feeds_healthy(network: Network, states: Mapping[str, SwitchState], device: str, inside: set[int]) -> bool:
    """Whether the device is available and neither of its zones is given up."""
    switch = network.switches[network.switch_index[device]]
    state = states.get(device)
    return (
        state is not None
        and state.can_close
        and not state.tagged
        and switch.rating.fault_make
        and not inside.intersection(switch.zones)
    )
