"""Conditions on disk: one row a condition, its record as JSON, written in batches."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any

from address_space.conditions import Condition
from twin_gateway.alarms.machine import Demands

SCHEMA = """
CREATE TABLE IF NOT EXISTS condition (
    id TEXT PRIMARY KEY,
    acknowledge INTEGER NOT NULL,
    confirm INTEGER NOT NULL,
    muted INTEGER NOT NULL,
    record TEXT NOT NULL
);
"""

_DEFAULTS = {each.name: each.default for each in fields(Condition)}


@dataclass(frozen=True, slots=True)
class Kept:
    """A condition, what it wants of people, and whether its source has suppressed it."""

    condition: Condition
    demands: Demands
    muted: bool = False


def record_of(condition: Condition) -> str:
    """JSON of a condition: the members that are not as they are by default; EventIds in hexadecimal."""
    content: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(condition, name)
        if default is MISSING or value != default or type(value) is not type(default):
            content[name] = value
    content["event_id"] = condition.event_id.hex()
    if condition.earlier:
        content["earlier"] = [each.hex() for each in condition.earlier]
    return json.dumps(content, separators=(",", ":"))


def condition_of(record: str) -> Condition:
    """The condition of a record; members that this version does not know are left out.

    Raises:
        ValueError, TypeError, KeyError: it is no record of a condition.
    """
    members = json.loads(record)
    if not isinstance(members, dict):
        raise TypeError("a record of a condition is an object")
    return Condition.of_members(members)


def read(database: sqlite3.Connection) -> tuple[list[Kept], list[str]]:
    """All conditions that are kept, and the ids of rows that are no conditions.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    kept, broken = [], []
    for identifier, acknowledge, confirm, muted, record in database.execute(
        "SELECT id, acknowledge, confirm, muted, record FROM condition"
    ):
        try:
            kept.append(Kept(condition_of(record), Demands(bool(acknowledge), bool(confirm)), bool(muted)))
        except (ValueError, TypeError, KeyError):
            broken.append(str(identifier))
    return kept, broken


def write(database: sqlite3.Connection, kept: Iterable[Kept], dropped: Iterable[str] = ()) -> None:
    """Write conditions as they are now, and forget others."""
    rows = (
        (each.condition.id, each.demands.acknowledge, each.demands.confirm, each.muted, record_of(each.condition))
        for each in kept
    )
    database.executemany("INSERT OR REPLACE INTO condition VALUES (?, ?, ?, ?, ?)", rows)
    database.executemany("DELETE FROM condition WHERE id = ?", ((each,) for each in dropped))
