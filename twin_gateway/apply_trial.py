"""Trying a change of the mapping before anything is touched: in a thread, on copies, so that others go on meanwhile."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from address_space.alias import AddressBook, AliasError, Tombstone
from address_space.edits import Trial
from address_space.point import Point, Rows
from address_space.table import PointTable
from twin_gateway.apply_plan import ApplyError, ApplyPlan
from twin_gateway.plant import gives_value

_BAY_LEVELS = 5


def try_points(plan: ApplyPlan, table: PointTable, trial: Trial) -> None:
    """Look up what the plan is about, and exchange the points in the copy of the tree.

    Raises:
        ApplyError: an address is a point of the gateway itself.
        AddressError: an address is taken.
    """
    _adopt_whole(plan, table, _rows_at(trial, [point.address for point in plan.added]))
    left = _left_over(plan, table, trial)
    plan.gone = [address for address in plan.removed if address not in plan.after] + left
    plan.rows = _rows_at(trial, [*plan.before, *left])
    plan.retired = _rows(plan.rows, [*plan.removed, *left])
    plan.changes = _rows(plan.rows, [point.address for point in plan.changed])
    touched = (*plan.before, *plan.after, *plan.gone)
    plan.bays = {"/".join(address.split("/")[:_BAY_LEVELS]) for address in touched}
    _driver_changes(plan)
    trial.exchange(plan.retired, [point.address for point in plan.added])


def bury(plan: ApplyPlan, book: AddressBook, former: AddressBook, named: Mapping[str, object], now: int) -> None:
    """Put up the tombstones of what goes in a new book; what the mapping itself says of its own says more.

    Args:
        plan: after it was tried.
        book: of the new mapping.
        former: the book of the gateway, whose tombstones stay.
        named: addresses with tombstones in the mapping.
        now: ticks.
    """
    book.inherit(former)
    moved = {each.moved_from: each.address for each in plan.difference.points() if each.moved_from}
    for address in plan.gone:
        if address not in named:
            with contextlib.suppress(AliasError):  # the mapping says itself who is the successor
                book.retire(Tombstone(address, now, "removed from the mapping", moved.get(address, "")))
    for point in plan.added:
        book.revive(point.address)


def _rows_at(trial: Trial, addresses: Sequence[str]) -> dict[str, int]:
    tree = trial.tree
    nodes = tree.find_many(addresses)
    rows = np.where(nodes >= 0, tree.row[nodes], -1).tolist() if len(nodes) else []
    return {address: row for address, row in zip(addresses, rows, strict=True) if row >= 0}


def _rows(known: Mapping[str, int], addresses: Iterable[str]) -> Rows:
    return np.array([known[address] for address in addresses if address in known], np.int32)


def _adopt_whole(plan: ApplyPlan, table: PointTable, known: Mapping[str, int]) -> None:
    """Points of whole models that a line of the file names now are no new ones."""
    kept = set()
    for point in [point for point in plan.added if point.address in known and point.address not in plan.before]:
        row = known[point.address]
        link, source = table.binding(row)
        if link in plan.gone_devices:
            continue
        if not point.link or link != point.link:
            text = f"{point.address} is a point of the gateway itself already; give the new one another address"
            raise ApplyError(text)
        former = Point(point.address, table.profile(row), link, source)
        plan.before[point.address] = former
        if former.profile.same_node(point.profile):
            kept.add(point.address)
            plan.changed.append(point)
        else:
            plan.removed.append(point.address)
    if kept:
        plan.added = [point for point in plan.added if point.address not in kept]


def _left_over(plan: ApplyPlan, table: PointTable, trial: Trial) -> list[str]:
    """Points of whole models of devices that go."""
    if not plan.gone_devices:
        return []
    nodes = table.node
    places = table.places_of_links(plan.gone_devices, np.arange(len(nodes), dtype=np.int32))
    addresses = [trial.tree.address(node) for node in nodes[places >= 0].tolist()]
    return [address for address in addresses if address not in plan.before]


def _driver_changes(plan: ApplyPlan) -> None:
    """What drivers lose and get.

    A point that stays what it is for the driver is asked for anew where a smaller deadband may show another value.
    """
    drops, takes, going = defaultdict(list), defaultdict(list), set(plan.removed)
    for change in plan.difference.points():
        old, new, same = change.old, change.new, False
        had = old.bound(plan.rows[old.address]) if old is not None and gives_value(old) else None
        if had is not None and new is not None and gives_value(new) and change.device == change.device_from:
            before, after = plan.before[had.address], plan.after.get(had.address)
            same = had.address not in going and new.bound(had.row) == had
            same = same and after is not None and not after.profile.deadband < before.profile.deadband
        if had is not None and not same:
            drops[change.device_from].append(had)
        if new is not None and gives_value(new) and not same:
            takes[change.device].append(new)
    plan.drops, plan.takes = dict(drops), dict(takes)
