"""What must be unique over all files: addresses in any case, browse paths, protocol points, commands, aliases."""

from __future__ import annotations

from collections.abc import Callable

from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import Problem

Report = Callable[[Problem], None]


def check_unique(mapping: Mapping, report: Report) -> None:
    """Report everything in a mapping that occurs twice; the second place in the order of the files is at fault."""
    check_addresses(mapping, report)
    _places(mapping, report)
    for device in mapping.devices:
        _sources(device, report)
    _aliases(mapping, report)


def _say(report: Report, point: MappedPoint, code: str, message: str, hint: str) -> None:
    report(Problem(point.file, point.line, point.col, code, message, hint))


def _first(point: MappedPoint) -> str:
    return f"first in {point.file}:{point.line}"


def check_addresses(mapping: Mapping, report: Report) -> None:
    """Report every address that is mapped twice, but by bindings of one list."""
    seen: dict[str, MappedPoint] = {}
    for device in mapping.devices:
        for point in device.points:
            address = point.address
            first = seen.setdefault(address, point)
            # Several bindings of one address come from one list.
            if first is not point and (point.group == 0 or point.group != first.group):
                _say(report, point, "TG406", f"'{address}' is already mapped", _first(first))


def _places(mapping: Mapping, report: Report) -> None:
    """Containers: the same browse path, or names that differ only in case, although the points are different."""
    first_of: dict[str, MappedPoint] = {}
    browse: dict[str, str] = {}
    folded: dict[str, str] = {}
    faulty: set[str] = set()
    for device in mapping.devices:
        for point in device.points:
            # Six place levels, then the function: everything above the data object is a container.
            container = "/".join(point.address.split("/", 7)[:7])
            fresh: list[str] = []
            while container and container not in first_of:
                first_of[container] = point
                fresh.append(container)
                container = container.rpartition("/")[0]
                while container.endswith("/_"):
                    container = container[:-2]
            if container in faulty:
                faulty.update(fresh)
                continue
            while fresh:
                fault = container_fault(fresh.pop(), browse, folded)
                if fault is not None:
                    code, what, this, other = fault
                    _say(report, point, code, what, _first(first_of[other]))
                    faulty.update((this, *fresh))
                    break


def container_fault(container: str, browse: dict[str, str], folded: dict[str, str]) -> tuple[str, str, str, str] | None:
    """Code, message, container and the other one when it clashes with one seen before."""
    path = container.replace("/_/", "/").replace("/_/", "/")
    other = browse.setdefault(path, container)
    if other != container:
        return "TG408", f"'{container}' and '{other}' have the same browse path", container, other
    other = folded.setdefault(path.lower(), container)
    if other != container:
        return "TG407", f"'{container}' differs from '{other}' only in upper and lower case", container, other
    return None


def _sources(device: MappedDevice, report: Report) -> None:
    """Protocol points and command bindings of one device."""
    sources: dict[int | str, MappedPoint] = {}
    commands: dict[int | str, MappedPoint] = {}
    spec, config = device.spec, device.config
    for point in device.points:
        if point.role != "command":
            first = sources.setdefault(point.source, point)
            if first is not point and not (point.share or first.share) and first.address != point.address:
                name = spec.alias(device.name, config, point.source)
                what = f"{spec.scheme}:{name} already feeds '{first.address}'"
                _say(report, point, "TG506", what, f"{_first(first)}; if both are meant write share: true")
        if point.control is not None:
            binding = spec.command_source(config, point.fields, point.control)
            first = commands.setdefault(binding, point)
            if first is not point and first.address != point.address:
                what = f"the command binding of '{point.address}' is that of '{first.address}'"
                _say(report, point, "TG507", what, f"{_first(first)}; a command has one address")


def _aliases(mapping: Mapping, report: Report) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for alias, place in mapping.place_aliases:
        seen.setdefault(alias, (place, ""))
    for device in mapping.devices:
        for point in device.points:
            for alias in point.aliases:
                address, where = seen.setdefault(alias, (point.address, f"{point.file}:{point.line}"))
                if address != point.address:
                    hint = f"first in {where}" if where else ""
                    _say(report, point, "TG512", f"the alias '{alias}' already stands for '{address}'", hint)


def check_targets(mapping: Mapping, report: Report) -> None:
    """Report alarm rules that compare with a point which is not there, the same one, or of another type or unit.

    A device whose model is taken whole gives points that nobody knows yet: then only those of another type are at
    fault.
    """
    ruled = [point for _, point in mapping.points() if point.alarm is not None and point.alarm.target]
    if not ruled:
        return
    known = {point.address: point for _, point in mapping.points()}
    whole = any(device.whole for device in mapping.devices)
    for point in ruled:
        target = point.alarm.target if point.alarm is not None else ""
        other = known.get(target)
        if other is None:
            if not whole:
                hint = "the address in full, as in dso1/north/PS01/MV1/F01/_/MMXU1/Hz"
                _say(report, point, "TG514", f"alarm.target: no point '{target}' in these files", hint)
            continue
        mine, its = point.profile, other.profile
        if other is point:
            _say(report, point, "TG514", "alarm.target: a point always agrees with itself", "")
        elif its.value_type is not mine.value_type:
            _say(report, point, "TG514", f"alarm.target: '{target}' is {its.cdc}, this is {mine.cdc}", "")
        elif mine.unit is not None and its.unit is not None and its.unit.symbol != mine.unit.symbol:
            what = f"alarm.target: '{target}' is in {its.unit.symbol}, this is in {mine.unit.symbol}"
            _say(report, point, "TG514", what, "")
