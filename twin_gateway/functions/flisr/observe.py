"""The grid as FLISR sees it, read from the point table: readings, switch states, voltages, currents, indications."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from twin_gateway.commands.tags import TagKind, TagStore
from twin_gateway.functions.flisr.columns import PositionColumn, Voltage, VoltageColumn, rows_of
from twin_gateway.functions.flisr.passages import Passages
from twin_gateway.functions.flisr.readings import reading_at
from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.functions.flisr.switch_points import SwitchPoints
from twin_gateway.functions.rule_watch import points_by_data_object
from twin_gateway.grid.arrays import components
from twin_gateway.grid.model import Position, Quantity, SwitchRating
from twin_gateway.twin.flisr.availability import switch_state
from twin_gateway.twin.flisr.records import Direction, Indication, SwitchInputs, SwitchState
from twin_gateway.twin.flisr.watch import Reading
from twin_gateway.twin.flisr.zones import Network

_DIRECTIONS = {1: Direction.FORWARD, 2: Direction.BACKWARD}
MOVES_KEPT = 20_000


class GridEye:
    """Reads what FLISR needs from the table; nothing is kept but rows and the last moves of switches."""

    def __init__(self, table: PointTable, network: Network, tags: TagStore, settings: FlisrSettings) -> None:
        self.table = table
        self.network = network
        self.tags = tags
        self._settings = settings
        self._grid = network.grid
        self.ratings: dict[str, SwitchRating] = {item.address: rating for item, rating in self._grid.switches()}
        self._normal = self._grid.normal_positions()
        self._currents: dict[str, list[str]] = {}
        self._voltages: dict[int, list[Voltage]] = {}
        self.passages = Passages(settings.clock_late)
        self._moves: deque[tuple[float, str, Position]] = deque(maxlen=MOVES_KEPT)
        self._last: dict[str, Position] = {}
        self._prepared_for = 0
        self._row_of: dict[str, int] = {}
        self._switches = tuple(self.ratings)
        self.switch_points = SwitchPoints(table, self._switches)
        points = [rating.position for rating in self.ratings.values()]
        self._column = PositionColumn(points, [self._normal[switch] for switch in self._switches])
        numbers = {switch: number for number, switch in enumerate(self._switches)}
        self._of_network = np.array([numbers[switch.address] for switch in network.switches], np.intp)
        self._ends = np.array([switch.zones for switch in network.switches], np.intp).reshape(-1, 2)
        self._fed = np.array([bool(zone.source) for zone in network.zones], bool)
        self._in_bay: dict[str, list[str]] = {}
        for switch in self._switches:
            self._in_bay.setdefault("/".join(switch.split("/")[:5]), []).append(switch)
        self._measured()
        self._switch_of_row: dict[int, str] = {}
        self._prints: dict[str, npt.NDArray[np.int64]] = {}
        self._voltage = VoltageColumn({}, table)
        self.refresh()

    def refresh(self) -> None:
        """Look for the points again when the table has grown."""
        table, begin = self.table, self._prepared_for
        if begin == len(table):
            return
        self._prepared_for = len(table)
        self._row_of = {point: row for point, row in self._row_of.items() if row >= 0}
        self._prints.clear()
        for points in (list(self._grid.indicators), [f"{each}/dirGeneral" for each in self._grid.indicators]):
            self._row_of.update(zip(points, rows_of(table, points).tolist(), strict=True))
        new = np.arange(begin, len(table), dtype=np.int32)
        self.switch_points.take(new)
        self._column.refresh(table)
        told = zip(self._column.rows.tolist(), self._switches, strict=True)
        self._switch_of_row = {row: switch for row, switch in told if row >= 0}
        self._take_detectors(new)
        self._voltage = VoltageColumn(self._voltages, table)

    def _take_detectors(self, new: npt.NDArray[np.int32]) -> None:
        """Voltage detectors of bays, and of switches."""
        for function, _, data, rows in points_by_data_object(self.table, new):
            if (function, data) != ("SVPI1", "Prs"):
                continue
            for point in (self.table.address(row) for row in rows.tolist()):
                place = point[: -len("/SVPI1/Prs")]
                near = self._in_bay.get(place[:-2], ()) if place.endswith("/_") else (place,)
                for switch in near:
                    if switch in self.ratings:
                        self._add_voltage(self._cable_side(switch), Voltage(point, 0.0))

    def _measured(self) -> None:
        for item in self._grid.measurements.values():
            equipment = self._grid.equipment.get(item.equipment)
            if equipment is None:
                continue
            if item.quantity is Quantity.I:
                self._currents.setdefault(item.equipment, []).append(item.point)
            elif item.quantity in (Quantity.V, Quantity.U):
                node = equipment.nodes[min(item.terminal, len(equipment.nodes)) - 1]
                nominal = self._grid.nodes[node].nominal / (3**0.5 if item.quantity is Quantity.V else 1.0)
                self._add_voltage(node, Voltage(item.point, nominal * self._settings.voltage_dead_below))

    def _add_voltage(self, node: str, voltage: Voltage) -> None:
        zone = self.network.zone_of_equipment(node)
        if zone is not None and voltage not in self._voltages.setdefault(zone, []):
            self._voltages[zone].append(voltage)

    def _cable_side(self, switch: str) -> str:
        """Voltage detectors of a bay sit at its cable: the node that is not of the switch's own site."""
        nodes = self._grid.equipment[switch].nodes
        site = "/".join(switch.split("/")[:3])
        away = [node for node in nodes if not node.startswith(f"{site}/")]
        return away[0] if away else nodes[-1]

    # ---- single values --------------------------------------------------------------------------------------------

    def row(self, point: str) -> int:
        """Row of a point; -1 when there is none."""
        row = self._row_of.get(point)
        if row is None:
            row = self._row_of[point] = self.table.find(point) if point else -1
        return row

    def read(self, point: str) -> Reading | None:
        """A point as it stands; None when there is no such point."""
        row = self.row(point)
        return None if row < 0 else self.reading(row)

    def reading(self, row: int) -> Reading:
        """A row as it stands."""
        return reading_at(self.table, row)

    def position(self, switch: str) -> Position:
        """Position of a switch, unknown unless Good; of one that nobody tells about, the normal one."""
        point = self.ratings[switch].position
        reading = self.read(point) if point else None
        if reading is None:
            return Position.UNKNOWN if point else self._normal[switch]
        if reading.good and reading.value in (1, 2):
            return Position(int(reading.value))
        return Position.UNKNOWN

    def positions(self) -> dict[str, Position]:
        """Position of every switch."""
        found = PositionColumn.names(self._column.read(self.table))
        return dict(zip(self._switches, found, strict=True))

    def reachable(self, switch: str) -> bool:
        """Whether communication with the switch is up, as its position's quality says."""
        reading = self.read(self.ratings[switch].position)
        return reading is None or not reading.comm_lost

    # ---- moves ----------------------------------------------------------------------------------------------------

    def note(self, row: int, now: float) -> str:
        """Take note of a changed row; the address of the switch that has moved, empty for none."""
        switch = self._switch_of_row.get(row)
        if switch is None:
            return ""
        position = self.position(switch)
        if position is Position.UNKNOWN:
            return ""
        before = self._last.get(switch)
        self._last[switch] = position
        if before is None or before is position:
            return ""
        self._moves.append((now, switch, before))
        return switch

    def note_all(self) -> None:
        """Take note of what stands at the start: no switch has moved."""
        positions = self._column.read(self.table)
        there = np.flatnonzero((self._column.rows >= 0) & (positions != Position.UNKNOWN))
        found = PositionColumn.names(positions[there])
        self._last.update(zip((self._switches[number] for number in there.tolist()), found, strict=True))

    def opened(self) -> set[str]:
        """Switches known to be open."""
        found = np.flatnonzero(self._column.read(self.table) == Position.OPEN)
        return {self._switches[number] for number in found.tolist()}

    @property
    def position_rows(self) -> npt.NDArray[np.int32]:
        """Rows of all positions."""
        return self._column.rows[self._column.rows >= 0]

    def positions_at(self, moment: float, also_open: Iterable[str] = ()) -> dict[str, Position]:
        """Positions just before a moment (within the history kept); `also_open` are taken as closed then."""
        positions = self.positions()
        for time, switch, before in reversed(self._moves):
            if time < moment:
                break
            positions[switch] = before
        positions.update(dict.fromkeys(also_open, Position.CLOSED))
        return positions

    def last_move(self, switch: str) -> float | None:
        """When a switch has last moved, as far as is remembered."""
        return next((time for time, moved, _ in reversed(self._moves) if moved == switch), None)

    def _operations_left(self, switch: str, now: float) -> int:
        used = sum(1 for time, moved, _ in self._moves if moved == switch and now - time <= 3600.0)
        return self._settings.operations_per_hour - used

    # ---- states ---------------------------------------------------------------------------------------------------

    def state(self, switch: str, positions: Mapping[str, Position], now: float) -> SwitchState:
        """What may be asked of a switch now."""
        rating, points = self.ratings[switch], self.switch_points
        reading = self.read(rating.position)
        test = reading is not None and bool(self.table.quality[self.row(rating.position)] & Quality.TEST)
        inputs = SwitchInputs(
            position=positions[switch],
            position_good=positions[switch] is not Position.UNKNOWN,
            comms_good=self.reachable(switch),
            local=points.blocks(switch, "local"),
            station_local=points.blocks(switch, "station_local"),
            blocked_open=points.blocks(switch, "blocked_open"),
            blocked_close=points.blocks(switch, "blocked_close"),
            command_blocked=points.blocks(switch, "command_blocked"),
            release_open=points.releases(switch, "release_open"),
            release_close=points.releases(switch, "release_close"),
            drive_blocked=points.blocks(switch, "drive_blocked"),
            gas_blocked=points.blocks(switch, "gas_blocked"),
            health=points.number(switch, "health", 3),
            capability=points.number(switch, "capability", 1),
            operations_left=self._operations_left(switch, now),
            behaviour_on=points.behaviour_on(switch),
            test=test,
            tagged=bool(self.tags.at(switch)),
            earth_known=self._earth_known(switch, positions),
        )
        return switch_state(rating, inputs)

    def states(self, now: float) -> dict[str, SwitchState]:
        """Of every switch."""
        positions = self.positions()
        return {switch.address: self.state(switch.address, positions, now) for switch in self.network.switches}

    def _earth_known(self, switch: str, positions: Mapping[str, Position]) -> bool:
        zones = self.zones_of(switch)
        return all(
            positions.get(earth, Position.UNKNOWN) is not Position.UNKNOWN
            for earth, earthed in self.network.earthing.items()
            if not zones.isdisjoint(earthed)
        )

    # ---- zones ----------------------------------------------------------------------------------------------------

    def zones_of(self, subject: str) -> set[int]:
        """Zones of a switch (both), a zone's address, a node or any equipment."""
        number = self.network.switch_index.get(subject)
        if number is not None:
            return set(self.network.switches[number].zones)
        number = self.network.zone_index.get(subject)
        if number is None:
            number = self.network.zone_of_equipment(subject)
        return set() if number is None else {number}

    def reach(self, start: int, without: str = "", *, unknown_closed: bool = False) -> set[int]:
        """Zones joined with one by closed switches, leaving one switch out."""
        island = self._islands(self.network.switch_index.get(without, -1), unknown_closed=unknown_closed)
        return set(np.flatnonzero(island == island[start]).tolist())

    def _sides(self, number: int) -> list[set[int]]:
        """What is joined with either side of a switch, leaving it out."""
        island = self._islands(number)
        return [set(np.flatnonzero(island == island[zone]).tolist()) for zone in self.network.switches[number].zones]

    def _islands(self, without: int = -1, *, unknown_closed: bool = False) -> npt.NDArray[np.intp]:
        passing = self._passing(unknown_closed=unknown_closed)
        if without >= 0:
            passing[without] = False
        return self.islands(passing)

    def islands(self, closed: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """For each zone the lowest number of a zone that switches of the network (flags) join it with."""
        ends = self._ends[closed]
        return components(len(self._fed), ends[:, 0], ends[:, 1])

    def fed(self, closed: npt.NDArray[np.bool_]) -> set[int]:
        """Zones that a source feeds through some switches."""
        island = self.islands(closed)
        live = np.zeros(len(self._fed), bool)
        live[island[self._fed]] = True
        return set(np.flatnonzero(live[island]).tolist())

    def _passing(self, *, unknown_closed: bool = False) -> npt.NDArray[np.bool_]:
        """Of each switch of the network: it is closed, or may be."""
        now = self._column.read(self.table)[self._of_network]
        return np.asarray(now != Position.OPEN if unknown_closed else now == Position.CLOSED)

    def target(self, subject: str) -> set[int]:
        """Zones that closing a switch would energise (its sides without source); of a zone, all that it joins."""
        number = self.network.switch_index.get(subject)
        if number is None:
            return {zone for start in self.zones_of(subject) for zone in self.reach(start)}
        sides = self._sides(number)
        without = [side for side in sides if not any(self.network.zones[zone].source for zone in side)]
        return set().union(*without) if without else set()

    def target_zone(self, switch: str) -> str:
        """Address of the zone right behind a switch that closing it would energise; empty when none can be told."""
        target = self.target(switch)
        number = self.network.switch_index.get(switch)
        beside = [] if number is None else [zone for zone in self.network.switches[number].zones if zone in target]
        return self.network.zones[beside[0]].address if len(beside) == 1 else ""

    def dead(self, zones: Iterable[int]) -> bool | None:
        """Whether some zones have no voltage: one sign of voltage says no, none at all says nobody measures it."""
        return self._voltage.dead(self.table, zones, len(self.network.zones))

    def current_zero(self, switch: str) -> bool | None:
        """Whether no current flows through a switch; None when nobody measures it with Good quality."""
        readings = [self.read(point) for point in self._currents.get(switch, ())]
        known = [
            abs(one.value) for one in readings if one is not None and one.good and isinstance(one.value, int | float)
        ]
        if not known or len(known) < len(readings):
            return None
        return max(known) < self._settings.current_zero_below

    def infeed(self, zones: Iterable[int]) -> bool:
        """Whether generation stands in some zones."""
        return any(self.network.zones[zone].generators for zone in zones)

    def earthed(self, zones: set[int]) -> str:
        """What earths some zones, or may; empty for nothing."""
        for earth, earthed in self.network.earthing.items():
            if not zones.isdisjoint(earthed) and self.position(earth) is not Position.OPEN:
                return earth
        for tag in self.tags:
            if tag.kind is TagKind.EARTH and not zones.isdisjoint(self._tagged_zones(tag.address)):
                return str(tag)
        return ""

    def peoples_tag(self, switch: str) -> str:
        """A safety tag of people at a switch or on a zone beside it; empty for none."""
        for tag in self.tags.at(switch):
            if tag.kind is not TagKind.FLISR:
                return str(tag)
        zones = self.zones_of(switch)
        for tag in self.tags:
            if tag.kind is not TagKind.FLISR and not zones.isdisjoint(self._tagged_zones(tag.address)):
                return str(tag)
        return ""

    def _tagged_zones(self, address: str) -> set[int]:
        """Zones that a tag is on; one on a switch is on the switch alone, unless it is an earth."""
        if address in self.ratings:
            earth = any(tag.kind is TagKind.EARTH for tag in self.tags.at(address))
            return self.zones_of(address) if earth else set()
        if self.zones_of(address):
            return self.zones_of(address)
        below = f"{address}/"
        return {
            zone
            for number, node in enumerate(self.network.nodes)
            if node.startswith(below)
            for zone in (self.network.zone_of[number],)
        }

    def barred_zones(self) -> set[int]:
        """Zones that people's tags forbid to energise."""
        return {zone for tag in self.tags if tag.kind is not TagKind.FLISR for zone in self._tagged_zones(tag.address)}

    def supplied(self) -> set[int]:
        """Zones that a source feeds through switches known to be closed."""
        return self.fed(self._passing())

    # ---- indications and the hash of the inputs -------------------------------------------------------------------

    def indications(self) -> Iterator[Indication]:
        """Every fault passage indicator as it stands, one by one."""
        for address in self._grid.indicators:
            reading = self.read(address)
            if reading is None:
                yield Indication(address, None)
                continue
            passed = reading.value if reading.good and isinstance(reading.value, bool) else None
            told = self.read(f"{address}/dirGeneral")
            direction = (
                _DIRECTIONS.get(int(told.value), Direction.UNKNOWN) if told and told.value else Direction.UNKNOWN
            )
            stamped, received = reading.time if reading.clock_good else None, reading.received
            if passed:
                stamped, received = self.passages.set_at(address) or (stamped, received)
            answered = reading.received if reading.good else None
            yield Indication(address, passed, direction, stamped, received, answered, clock_good=stamped is not None)

    def fingerprint(self, region: frozenset[str], key: str) -> str:
        """Hash of what plans in a region of switches look at; `key` names the region."""
        rows = self._prints.get(key)
        if rows is None:
            points = [
                *(self.row(self.ratings[switch].position) for switch in region),
                *(row for switch in region for role in self.switch_points.rows(switch).values() for row in role),
                *(self.row(address) for address, item in self._grid.indicators.items() if item.equipment in region),
            ]
            rows = self._prints[key] = np.array(sorted({row for row in points if row >= 0}), np.int64)
        tags = sorted(str(tag) for tag in self.tags)
        digest = hashlib.sha256(self.table.raw[rows].tobytes())
        digest.update(self.table.status[rows].tobytes())
        digest.update("\n".join(tags).encode())
        return digest.hexdigest()[:32]

    def not_good(self, switches: Iterable[str]) -> list[str]:
        """Positions that are not plainly Good (substituted ones included)."""
        points = [self.ratings[switch].position for switch in switches]
        rows = [(point, self.row(point)) for point in points if point]
        return [point for point, row in rows if row < 0 or int(self.table.status[row]) != StatusCode.Good]
