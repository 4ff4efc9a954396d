"""What must hold over all files of a large mapping, checked without unpacking the points that cannot matter to it.

Two points of one address have one container (place and function), so that only devices that share a container are
compared point by point; likewise for tombstones, former addresses and what they lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from twin_gateway.mapping.life import above, add_former_aliases, check_life
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.packed import container_of
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.unique import Report, check_addresses, check_targets, check_unique, container_fault


class Parts:
    """The containers and aliases of a mapping, by device."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.containers = {device.name: containers_of(device) for device in mapping.devices}
        self.aliases = {device.name: aliases_of(device) for device in mapping.devices}

    def add_former_aliases(self) -> None:
        """As of `life`."""
        moves = [(alias[4:], place) for alias, place in self.mapping.place_aliases if alias.startswith("was:")]
        if not moves:
            return
        ends = {text for move in moves for text in move}
        found = [
            device
            for device in self.mapping.devices
            if self.aliases[device.name] or not ends.isdisjoint(self._with_above(device))
        ]
        add_former_aliases(self._of(found))

    def check_unique(self, report: Report, *, distinct: bool) -> None:
        """As of `unique`; `distinct`: no file holds anything twice."""
        if not distinct or not self._apart():
            check_unique(self.mapping, report)

    def check_life(self, report: Report) -> None:
        """As of `life`."""
        mapping = self.mapping
        if not mapping.retired and not mapping.former:
            return
        successors = any(stone.successor for stone in mapping.retired.values())
        inside = {container_of(was) for was in (*mapping.retired, *(item.was for item in mapping.former))}
        found = [
            device
            for device in mapping.devices
            if (successors and self.aliases[device.name]) or not inside.isdisjoint(self._with_above(device))
        ]
        check_life(self._of(found), report)

    def check_targets(self, report: Report) -> None:
        """As of `unique`."""
        ruled = {device.name: device for device in self.mapping.devices if has_targets(device)}
        rules = [point.alarm for device in ruled.values() for point in device.points if point.alarm is not None]
        held = {device.name for device in holding(self.mapping, {rule.target for rule in rules if rule.target})}
        named = ruled.keys() | held
        check_targets(self._of([d for d in self.mapping.devices if d.name in named or d.whole]), report)

    def _of(self, devices: list[MappedDevice]) -> Mapping:
        """A mapping of some of the devices, with everything else."""
        whole = self.mapping
        return Mapping(devices, whole.place_aliases, whole.former, whole.retired)

    def _with_above(self, device: MappedDevice) -> Iterator[str]:
        for container in self.containers[device.name]:
            yield container
            yield from above(container)

    def _apart(self) -> bool:
        """Whether no address, browse path or alias of one file is that of another."""
        devices = self.mapping.devices
        owner: dict[str, str] = {}
        sharing: set[str] = set()
        for device in devices:
            for container in self.containers[device.name]:
                first = owner.setdefault(container, device.name)
                if first != device.name:
                    sharing.update((first, device.name))
        if any(True for _ in faults(owner)):
            return False
        found: list[Problem] = []
        check_addresses(self._of([device for device in devices if device.name in sharing]), found.append)
        if found:
            return False
        seen: dict[str, str] = {}
        for alias, place in self.mapping.place_aliases:
            seen.setdefault(alias, place)
        return all(
            seen.setdefault(alias, address) == address
            for device in devices
            for alias, address in self.aliases[device.name]
        )


def containers_of(device: MappedDevice) -> list[str]:
    """The functions, with their places, that a device gives points of; each once, in order."""
    if device.packed is not None:
        return device.packed.containers
    return list(dict.fromkeys(container_of(point.address) for point in device.points))


def has_targets(device: MappedDevice) -> bool:
    """Whether an alarm rule of a device compares with another point."""
    if device.packed is not None:
        return device.packed.targets
    return any(point.alarm is not None and point.alarm.target for point in device.points)


def holding(mapping: Mapping, addresses: Iterable[str]) -> list[MappedDevice]:
    """The devices that may give points at some addresses."""
    wanted = {container_of(address) for address in addresses}
    return [device for device in mapping.devices if not wanted.isdisjoint(containers_of(device))]


def aliases_of(device: MappedDevice) -> list[tuple[str, str]]:
    """(alias, address) of the points of a device."""
    if device.packed is not None:
        return device.packed.aliases
    return [(alias, point.address) for point in device.points for alias in point.aliases]


def faults(containers: Iterable[str]) -> Iterator[str]:
    """Containers, or what is above them, whose browse path is that of another, or differs in case only."""
    browse: dict[str, str] = {}
    folded: dict[str, str] = {}
    known: set[str] = set()
    for container in containers:
        one = container
        while one and one not in known:
            known.add(one)
            if container_fault(one, browse, folded) is not None:
                yield one
            one = one.rpartition("/")[0]
            while one.endswith("/_"):
                one = one[:-2]
