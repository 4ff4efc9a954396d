"""The alarm list as data: what each code means and how its conditions are treated unless somebody says otherwise."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

CONDITION_CLASSES = ("Process", "Maintenance", "System", "Safety")
"""Classes of conditions; those of class Safety are never shelved by the gateway itself."""


@dataclass(frozen=True, slots=True)
class AlarmCode:
    """One code of the alarm list.

    Attributes:
        code: `C04`.
        name: what it is about, for people.
        type_name: OPC UA type of its conditions.
        condition_class: one of `CONDITION_CLASSES`.
        severity: 1 to 1000.
        delay: s that it must hold before it is an alarm.
        acknowledge: whether a person must acknowledge it.
        confirm: whether a person must, after that, confirm that something has been done about it.
        judged_within: s after a restart in which its source is expected to have been judged again.
    """

    code: str
    name: str
    type_name: str
    condition_class: str
    severity: int
    delay: float
    acknowledge: bool
    confirm: bool
    judged_within: float


@cache
def alarm_codes() -> Mapping[str, AlarmCode]:
    """The whole list by code."""
    text = resources.files("twin_gateway.alarms").joinpath("codes.csv").read_text("utf-8")
    return {row["code"]: _read(row) for row in csv.DictReader(text.splitlines())}


def alarm_code(code: str) -> AlarmCode:
    """A code of the list; one that is not in it (of an own alarm rule) is a plain alarm of class Process."""
    known = alarm_codes().get(code)
    return known or AlarmCode(code, code, "AlarmConditionType", "Process", 500, 0.0, True, False, 300.0)


def _read(row: Mapping[str, str]) -> AlarmCode:
    return AlarmCode(
        row["code"],
        row["name"],
        row["type"],
        row["class"],
        int(row["severity"]),
        float(row["delay"]),
        row["acknowledge"] == "yes",
        row["confirm"] == "yes",
        float(row["judged_within"]),
    )
