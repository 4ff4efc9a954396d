"""What belongs to a feeder: the switches that its plans look at, and which feeders something borders on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Items

import numpy as np

from twin_gateway.functions.flisr.observe import GridEye
from twin_gateway.grid.model import Position
from twin_gateway.grid.zones import Flags


class Regions:
    """Regions of all feeders: those of the normal state, found once, and what depends on the positions now."""

    def __init__(self, eye: GridEye) -> None:
        self._eye = eye
        self.feeders = tuple(eye.network.heads)
        self._regions: dict[str, frozenset[str]] = {}
        self._areas: dict[str, set[int]] = {}
        for feeder in self.feeders:  # while nobody waits
            self.region(feeder)

    def area(self, feeder: str) -> set[int]:
        """Zones that a feeder feeds in the normal state."""
        return self._areas[feeder]

    def closed(self, positions: Mapping[str, Position]) -> Flags:
        """Of each switch of the network whether it is known to be closed."""
        switches = self._eye.network.switches
        return np.array([positions.get(switch.address) is Position.CLOSED for switch in switches], bool)

    def _sections(self, positions: Mapping[str, Position]) -> list[int]:
        """Number of the section of each zone: what is joined by closed switches that are no heads of feeders."""
        closed = self.closed(positions)
        closed[list(self._eye.network.heads.values())] = False
        sections: list[int] = self._eye.islands(closed).tolist()
        return sections

    def _behind(self, feeder: str, sections: Items[int]) -> set[int]:
        """Sections behind the head of a feeder."""
        network = self._eye.network
        head = network.switches[network.heads[feeder]]
        return {sections[zone] for zone in head.zones if not network.trunk[zone]}

    def region(self, feeder: str) -> frozenset[str]:
        """Switches of a feeder and of its neighbours over at most two ties: what its plans look at."""
        found = self._regions.get(feeder)
        if found is None:
            network = self._eye.network
            if not self._areas:
                sections = self._sections(network.normal)
                members: dict[int, set[int]] = {}
                for zone, section in enumerate(sections):
                    members.setdefault(section, set()).add(zone)
                for each in network.heads:
                    self._areas[each] = {z for section in self._behind(each, sections) for z in members[section]}
            feeder_of = {zone: each for each, zones in self._areas.items() for zone in zones}
            near = {feeder}
            for _ in range(2):
                zones = {zone for each in near for zone in self._areas[each]}
                near |= {
                    feeder_of[beyond]
                    for zone in zones
                    for number in network.switches_at[zone]
                    if (beyond := network.switches[number].other(zone)) in feeder_of
                }
            zones = {zone for each in near for zone in self._areas[each]}
            found = frozenset(
                network.switches[number].address for zone in zones for number in network.switches_at[zone]
            )
            self._regions[feeder] = found
        return found

    def involved(self, feeder: str, touched: Iterable[str]) -> frozenset[str]:
        """Feeders that switches of a plan border on, as things stand."""
        zones = {zone for switch in touched for zone in self._eye.zones_of(switch)}
        sections = self._sections(self._eye.positions())
        at = {sections[zone] for zone in zones}
        return frozenset({feeder, *(each for each in self.feeders if at & self._behind(each, sections))})

    def feeding(self, switch: str) -> frozenset[str]:
        """Feeders whose closed head feeds a switch, or whose head it is."""
        zones, positions = self._eye.zones_of(switch), self._eye.positions()
        grid, sections = self._eye.network.grid, self._sections(positions)
        at = {sections[zone] for zone in zones}
        return frozenset(
            feeder
            for feeder in self.feeders
            if (head := grid.feeders[feeder].head) == switch
            or (positions[head] is not Position.OPEN and at & self._behind(feeder, sections))
        )

    def feeder_of(self, zone: int, positions: Mapping[str, Position]) -> str:
        """The feeder whose head feeds a zone; empty for none."""
        sections = self._sections(positions)
        return next((feeder for feeder in self.feeders if sections[zone] in self._behind(feeder, sections)), "")

    def not_normal(self, feeder: str, touched: Iterable[str]) -> tuple[str, ...]:
        """Switches of a region that a plan does not bring to their normal positions."""
        normal, steps = self._eye.network.normal, set(touched)
        return tuple(
            switch
            for switch in sorted(self.region(feeder))
            if switch not in steps and self._eye.position(switch) is not normal[switch]
        )
