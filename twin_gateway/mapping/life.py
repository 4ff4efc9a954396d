"""The life cycle of addresses in mapping files: `was:` of what has moved, `retired:` tombstones of what is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any, Final

from address_space.address import AddressError, parse
from twin_gateway.mapping.field_error import FieldError, kind_of
from twin_gateway.mapping.former import day
from twin_gateway.mapping.model import Former, Mapping, Retired
from twin_gateway.mapping.pattern import PatternError, choices
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import Problem, did_you_mean
from twin_gateway.mapping.read import BROKEN, Map, Source

_RETIRED_KEYS: Final = ("date", "reason", "successor")
_FUNCTION_DEPTH: Final = 7
_MAX_REASON: Final = 1024

Report = Callable[[Problem], None]


# ---- tombstones


def read_retired(source: Source, mapping: Mapping) -> None:
    """Take the `retired:` of a file into the mapping; what is wrong is reported."""
    root = source.root
    given = root.get("retired") if root is not None else None
    if root is None or given is None or given is BROKEN:
        return
    if not isinstance(given, Map):
        what = f"retired: a mapping of addresses expected, not {kind_of(given)}"
        source.report(root.value_at("retired"), "TG203", what, "as in dso1/north/PS01/MV1/F04: {date: …, reason: …}")
        return
    for i, (key, value) in enumerate(given.items()):
        _tombstones(source, mapping, (key, given.marks[2 * i]), (value, given.marks[2 * i + 1]))


def _tombstones(source: Source, mapping: Mapping, written: tuple[str, int], said: tuple[Any, int]) -> None:
    """The tombstones of one line: its key and value, each with its offset."""
    (key, at), (value, value_at) = written, said
    try:
        addresses = choices(key) or [key]
        for address in addresses:
            parse(address)
    except PatternError as error:
        source.report(at, error.code, str(error), error.hint)
        return
    except AddressError as error:
        source.report(at, "TG401", f"'{key}' is no address: {error}", "in full, as in dso1/north/PS01/MV1/F04")
        return
    if value is BROKEN:
        return
    if not isinstance(value, Map):
        source.report(value_at, "TG203", f"date and reason expected, not {kind_of(value)}", _EXAMPLE)
        return
    body = _tombstone(source, value)
    if body is None:
        return
    retired_on, reason, successor = body
    line, col = source.where(at)
    for address in addresses:
        first = mapping.retired.get(address)
        if first is not None:
            source.report(at, "TG406", f"'{address}' is already retired", f"first in {first.file}:{first.line}")
            continue
        mapping.retired[address] = Retired(address, retired_on, reason, successor, source.name, line, col)


_EXAMPLE: Final = "as in {date: 2026-11-30, reason: bay dismantled}"


def _tombstone(source: Source, value: Map) -> tuple[date, str, str] | None:
    """Date, reason and successor; None when something is wrong (and reported)."""
    before = source.errors
    for name in value:
        if name not in _RETIRED_KEYS:
            hint = did_you_mean(name, _RETIRED_KEYS)
            source.report(value.key_at(name), "TG201", f"no field '{name}' in a tombstone", hint)
    for name in ("date", "reason"):
        if value.get(name) is None:
            source.report(value.start, "TG202", f"'{name}' is missing in the tombstone", _EXAMPLE)
    when, reason, successor = value.get("date"), value.get("reason"), value.get("successor", "")
    retired_on = None
    try:
        retired_on = day(when) if when is not None and when is not BROKEN else None
    except FieldError as error:
        source.report(value.value_at("date"), error.code, f"date: {error}", error.hint)
    if reason is not None and reason is not BROKEN and (type(reason) is not str or len(reason) > _MAX_REASON):
        source.report(value.value_at("reason"), "TG203", f"reason: one line of text expected, not {kind_of(reason)}")
    try:
        if successor:
            parse(successor if type(successor) is str else "")
    except AddressError as error:
        source.report(value.value_at("successor"), "TG401", f"successor: {error}", "the address in full")
    if source.errors > before or retired_on is None or BROKEN in (reason, successor):
        return None
    return retired_on, str(reason), str(successor)


# ---- what must hold over all files


def add_former_aliases(mapping: Mapping) -> None:
    """Give every point below a moved place or function the alias `was:` of its own former address.

    What is still mapped under the former address, or has moved elsewhere by a `was:` of its own, is left out.
    """
    former: dict[str, list[str]] = {}
    for alias, place in mapping.place_aliases:
        if alias.startswith("was:"):
            former.setdefault(place, []).append(alias[4:])
    if not former:
        return
    taken = {f"was:{point.address}" for _, point in mapping.points()}
    taken.update(alias for _, point in mapping.points() for alias in point.aliases)
    for _, point in mapping.points():
        for holder in above(point.address):
            for was in former.get(holder, ()):
                alias = f"was:{was}{point.address[len(holder) :]}"
                if alias not in taken:
                    point.aliases = (*point.aliases, alias)


def forget_former(mapping: Mapping, gone: Iterable[str]) -> None:
    """Take away the aliases of former addresses that lead nowhere any more, and of the points below them."""
    ended = set(gone)
    if not ended:
        return
    kept = {item.was for item in mapping.former} - ended

    def leads(alias: str) -> bool:
        was = alias.removeprefix("was:")
        return was == alias or was in kept or not ended.intersection((was, *above(was)))

    for _, point in mapping.points():
        if point.aliases:
            point.aliases = tuple(alias for alias in point.aliases if leads(alias))
    mapping.place_aliases = [(alias, place) for alias, place in mapping.place_aliases if leads(alias)]


def check_life(mapping: Mapping, report: Report, today: date | None = None) -> None:
    """Report retired addresses in use, former addresses that are still mapped or claimed twice, and aliases run out."""
    _check_retired(mapping, report)
    _check_successors(mapping, report)
    _check_former(mapping, report, today or datetime.now(UTC).date())


def _check_retired(mapping: Mapping, report: Report) -> None:
    retired = mapping.retired
    if not retired:
        return
    seen: dict[str, Retired | None] = {}
    for _, point in mapping.points():
        container = "/".join(point.address.split("/", _FUNCTION_DEPTH)[:_FUNCTION_DEPTH])
        if container not in seen:
            seen[container] = next((retired[a] for a in (container, *above(container)) if a in retired), None)
        found = seen[container] or _first(retired.get(a) for a in (point.address, *above(point.address)))
        if found is not None:
            what = f"'{found.address}' was retired on {found.date}: its address is not used again"
            hint = f"in {found.file}:{found.line}; choose another address"
            report(Problem(point.file, point.line, point.col, "TG410", what, hint))


def _check_successors(mapping: Mapping, report: Report) -> None:
    """A tombstone cannot lead to one address and a `was:` to another."""
    stones = {f"was:{item.address}": item for item in mapping.retired.values() if item.successor}
    if not stones:
        return
    aliased = [(alias, point.address) for _, point in mapping.points() for alias in point.aliases]
    for alias, address in (*aliased, *mapping.place_aliases):
        item = stones.get(alias)
        if item is not None and item.successor != address:
            what = f"'{item.address}' leads to '{address}' by a 'was', to '{item.successor}' by its tombstone"
            report(Problem(item.file, item.line, item.col, "TG512", what, "leave the successor out"))


def _check_former(mapping: Mapping, report: Report, today: date) -> None:
    if not mapping.former:
        return
    mapped: dict[str, MappedPoint] = {point.address: point for _, point in mapping.points()}
    claimed: dict[str, Former] = {}
    for item in mapping.former:
        here = (item.file, item.line, item.col)
        other = claimed.setdefault(item.was, item)
        # Points of one former address are told by their aliases.
        if other.address != item.address and not parse(item.was).path:
            what = f"'{item.was}' is already the former address of '{other.address}'"
            report(Problem(*here, "TG512", what, f"first in {other.file}:{other.line}"))
        still = mapped.get(item.was)
        if still is not None:
            what = f"the former address '{item.was}' is still mapped"
            report(Problem(*here, "TG411", what, f"in {still.file}:{still.line}; addresses are not used again"))
        if item.until is not None and item.until < today:
            what = f"the former address '{item.was}' has led here until {item.until}, and does no longer"
            report(Problem(*here, "TG413", what, "take the 'was' out", "warning"))


def above(address: str) -> Iterable[str]:
    """Everything above an address, the nearest first; fillers at the end left out."""
    while "/" in address:
        address = address.rpartition("/")[0]
        if not address.endswith("/_"):
            yield address


def _first(found: Iterable[Retired | None]) -> Retired | None:
    return next((item for item in found if item is not None), None)
