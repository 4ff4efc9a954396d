"""The devices of a table: links, and the places where devices tell of themselves, with the rows that are theirs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from address_space.ports import Outcome
from address_space.table import PointTable
from twin_gateway.drivers.contract import LinkService
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.rule_watch import Watched, points_by_data_object
from twin_gateway.twin.rules import DeviceState
from twin_gateway.twin.supervision.clocks import ClockOffset
from twin_gateway.twin.supervision.frozen import Movements
from twin_gateway.twin.supervision.ledger import Ledger
from twin_gateway.twin.supervision.revision import Approved, Difference
from twin_gateway.twin.supervision.rollup import Member
from twin_gateway.twin.supervision.state import Finding, Flapping

DEVICE_CLASSES = frozenset(
    {"LPHD", "LLN0", "LTMS", "LTIM", "LCCH", "LGOS", "LSVS", "LTRK", "GSAL"}
    | {"ITCI", "ITMI", "IHMI", "IARC", "CALH", "ISAF", "MMTR", "MMTN"}
)
"""Logical nodes by which an equipment place is known as a device; so are places named as secondary devices are."""
_OF_ITSELF = frozenset({"LPHD", "LLN0", "LTMS", "LTIM", "LCCH", "LGOS", "LSVS", "LTRK", "GSAL"})
_STATES = frozenset({"Beh", "Mod", "Health"})
_NAMES = re.compile(r"(IED|RTU|M)[0-9]+\Z")
_MEASURANDS = frozenset({"MMXU", "MMXN", "MMDC"})
REVISION_POINTS = {
    ("LLN0", "NamPlt/configRev"): "configRev",
    ("LPHD", "PhyNam/swRev"): "swRev",
    ("LPHD", "PhyNam/serNum"): "serNum",
    ("LLN0", "NamPlt/swRev"): "swRev",
}
_EQUIPMENT_LEVEL = 6


class SupervisedLink(Protocol):
    """What the supervision needs of a link; `drivers.link.LinkSupervisor` is one."""

    counters: Counter[str]
    address: str
    reason: str
    flapping: bool
    announces: bool
    last_change: int

    @property
    def driver(self) -> object:
        """The driver behind the link."""
        ...

    @property
    def name(self) -> str:
        """Name of the link."""
        ...

    @property
    def state(self) -> LinkState:
        """State of the link."""
        ...

    async def serve(self, service: LinkService) -> Outcome:
        """Ask the device for a service."""
        ...


@dataclass(slots=True)
class Device:
    """One supervised device.

    Attributes:
        place: its equipment place; for a link without a device of its own, the place of the link.
        link: name of the link that delivers it; empty when none does.
        meter: it is an energy meter: other limits of its clock, fewer results.
        critical: a protection device.
        found: points with findings, by row (see `Watched.holding`).
        imposed: quality flags that its mode adds to its process values.
        member: the device as it was last seen by the roll-up.
        clock_at: where the clock of this link was told last.
        revisions: item -> row of the point that says it.
    """

    place: str
    link: str = ""
    meter: bool = False
    critical: bool = False
    found: dict[int, Watched] = field(default_factory=dict)
    imposed: int = 0
    revisions: dict[str, int] = field(default_factory=dict)
    approved: Approved = field(default_factory=Approved)
    accepted: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    clock: ClockOffset = field(default_factory=ClockOffset)
    clock_at: str = ""
    ledger: Ledger = field(default_factory=Ledger)
    flapping: Flapping = field(default_factory=Flapping)
    frozen: int = 0
    member: Member | None = None
    state: Finding = field(default_factory=lambda: Finding(DeviceState.UNKNOWN, "nothing heard yet"))
    changed: int = 0


class DeviceIndex:
    """Devices of a table and which rows are whose.

    Attributes:
        devices: by place, links first.
        order, numbers: the same in order, and number of each place in it.
        link_of_device: number of the link of each device, -1 for none.
        owner: number of the device of each row, -1 for none.
        owned: the rows that have one.
        about: which rows tell of a device itself, not of the process.
        measurand: index into `movements` of each row, -1 for what is no measurand.
    """

    def __init__(self, table: PointTable, links: Sequence[SupervisedLink], protocols: Mapping[str, str]) -> None:
        self._table, self._links, self._protocols = table, links, protocols
        self.devices: dict[str, Device] = {}
        self._former: dict[str, Device] = {}
        self.order: list[Device] = []
        self.numbers: dict[str, int] = {}
        self._nodes: list[int] = []
        self._place: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self._protecting: set[int] = set()
        self._behind: dict[str, list[Device]] = {}
        self.owner: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.owned: npt.NDArray[np.intp] = np.empty(0, np.intp)
        self.about: npt.NDArray[np.bool_] = np.empty(0, bool)
        self.measurand: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.measurand_rows: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.movements = Movements(0)
        self.link_of_row: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.link_of_device: npt.NDArray[np.int32] = np.empty(0, np.int32)
        for link in links:
            self._add(Device(link.address, link.name, meter=protocols.get(link.name) == "dlms"), -1)
        self.scan()

    def adopt(self, fresh: DeviceIndex) -> list[Device]:
        """Become an index that has been made anew, with the devices that are known; returns those that are gone.

        A device is known by its place, as in what is kept over a restart; one that comes back has its book again.
        """
        for number, device in enumerate(fresh.order):
            known, former = self.devices.get(device.place), self._former.pop(device.place, None)
            if known is not None:
                known.link, known.meter = device.link, device.meter
                known.critical, known.revisions = device.critical, device.revisions
                fresh.order[number] = fresh.devices[device.place] = known
            elif former is not None:
                device.accepted, device.ledger.days = former.accepted, former.ledger.days
        fresh._own()
        both, here, there = np.intersect1d(self.measurand_rows, fresh.measurand_rows, return_indices=True)
        if len(both):
            fresh.movements.take_over(there, self.movements, here)
        gone = [device for device in self.order if device.place not in fresh.devices]
        fresh._former = self._former | {device.place: device for device in gone}
        self.__dict__.update(fresh.__dict__)
        return gone

    def _add(self, device: Device, node: int) -> Device:
        self.devices[device.place] = device
        self.numbers[device.place] = len(self.order)
        self.order.append(device)
        self._nodes.append(node)
        return device

    def scan(self) -> None:
        """Read the points that were added since the last time; devices that are known already stay as they are."""
        table, start = self._table, len(self.link_of_row)
        rows = np.arange(start, len(table), dtype=np.int32)
        if not len(rows):
            return
        self.link_of_row = np.concatenate([self.link_of_row, self._links_of(rows)])
        self.about = np.concatenate([self.about, np.zeros(len(rows), bool)])
        place = self._equipment(rows)
        self._place = np.concatenate([self._place, place])
        measurands = [self.measurand_rows]
        named: dict[int, Device] = {}
        linked = rows[(self.link_of_row[rows] >= 0) & (place >= 0)]
        for node, first in zip(*np.unique(self._place[linked], return_index=True), strict=True):
            if _NAMES.match(table.tree.name(int(node))):
                named[int(node)] = self._device(int(node), int(linked[first]))
        for _function, ln_class, data, group in points_by_data_object(table, rows):
            bound = group[self.link_of_row[group] >= 0]
            if ln_class[0] == "P" and len(ln_class) == 4:
                self._protecting |= set(self.link_of_row[bound].tolist())
            if ln_class in _MEASURANDS:
                measurands.append(bound[table.value_type[bound] == ValueType.DOUBLE])
            if ln_class in _OF_ITSELF or data in _STATES:
                self.about[group] = True
            if ln_class not in DEVICE_CLASSES:
                continue
            for row in bound.tolist():
                node = int(self._place[row])
                if node < 0:
                    continue
                device = named.get(node) or self._device(node, row)
                named[node] = device
                item = REVISION_POINTS.get((ln_class, data))
                if item is not None:
                    device.revisions.setdefault(item, row)
        of_name = {link.name: number for number, link in enumerate(self._links)}
        self.link_of_device = np.array([of_name.get(device.link, -1) for device in self.order], np.int32)
        self._own()
        self._measure(measurands)

    def _links_of(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Number of the link of each of the last rows of the table."""
        return self._table.places_of_links([link.name for link in self._links], rows)

    def _equipment(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Node of the equipment place of each row, -1 where it stands higher up."""
        tree = self._table.tree
        nodes = self._table.node[rows].copy()
        while True:
            deep = tree.level[nodes] > _EQUIPMENT_LEVEL
            if not deep.any():
                break
            nodes[deep] = tree.parent[nodes[deep]]
        return np.where(tree.level[nodes] == _EQUIPMENT_LEVEL, nodes, -1).astype(np.int32)

    def _device(self, node: int, row: int) -> Device:
        address = self._table.tree.address(node)
        known = self.devices.get(address)
        if known is not None:
            return known
        link = self._links[int(self.link_of_row[row])].name
        return self._add(Device(address, link, meter=self._protocols.get(link) == "dlms"), node)

    def _own(self) -> None:
        alone: dict[str, list[int]] = {}
        for number, device in enumerate(self.order[len(self._links) :], len(self._links)):
            alone.setdefault(device.link, []).append(number)
        self._behind = {link: [self.order[number] for number in found] for link, found in alone.items()}
        # What stands elsewhere belongs to the only device of its link, else to the link.
        of_link = np.array(
            [alone[link.name][0] if len(alone.get(link.name, ())) == 1 else k for k, link in enumerate(self._links)]
            + [-1],
            np.int32,
        )
        number_of_node = np.full(len(self._table.tree), -1, np.int32)
        nodes = np.array(self._nodes, np.int64)
        number_of_node[nodes[nodes >= 0]] = np.nonzero(nodes >= 0)[0]
        # Only what the device itself delivers: results of the twin stand at its place too.
        own = np.where((self._place >= 0) & (self.link_of_row >= 0), number_of_node[self._place], -1)
        self.owner = np.where(own >= 0, own, of_link[self.link_of_row]).astype(np.int32)
        self.owned = np.flatnonzero(self.owner >= 0)
        for device, link in zip(self.order, self.link_of_device.tolist(), strict=True):
            device.critical |= link in self._protecting and not device.meter

    def _measure(self, groups: list[npt.NDArray[np.int32]]) -> None:
        rows = np.concatenate(groups) if groups else np.empty(0, np.int32)
        if len(rows) == len(self.measurand_rows):
            self.measurand = np.concatenate(
                [self.measurand, np.full(len(self._table) - len(self.measurand), -1, np.int32)]
            )
            return
        self.measurand_rows = rows
        self.measurand = np.full(len(self._table), -1, np.int32)
        self.measurand[rows] = np.arange(len(rows))
        self.movements = Movements(len(rows))

    def device_of(self, row: int) -> Device | None:
        """Whose row it is."""
        number = int(self.owner[row]) if row < len(self.owner) else -1
        return self.order[number] if number >= 0 else None

    def process_rows(self, device: Device) -> npt.NDArray[np.int32]:
        """Rows of what a device delivers of the process: all but what it says of itself."""
        own = self.owner == self.numbers[device.place]
        return np.flatnonzero(own & ~self.about[: len(own)]).astype(np.int32)

    def telling(self) -> list[Device]:
        """Devices with findings."""
        return [device for device in self.order if device.found]

    def of_link(self, name: str) -> list[Device]:
        """The devices behind a link, without the link itself."""
        return self._behind.get(name, [])
