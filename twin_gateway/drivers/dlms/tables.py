"""What is known of meters as data: peculiarities by model, event codes and status bits by maker; files beside this."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml

from address_space.quality import Quality, TimeFlag

_FOLDER = resources.files("twin_gateway.drivers.dlms")
_FLAGS = {flag.name: int(flag) for flag in Quality} | {f"TIME_{flag.name}": int(flag) for flag in TimeFlag}


@dataclass(frozen=True, slots=True)
class EventCode:
    """What a code in an event log means.

    Attributes:
        event: code of the alarm list, or a short word.
        severity: 1 to 1000.
        text: a few words.
    """

    event: str
    severity: int
    text: str


UNKNOWN_CODE = EventCode("meter", 300, "")
"""For codes that the table does not have."""


@lru_cache(1)
def models() -> Mapping[str, Mapping[str, Any]]:
    """Defaults of the device section by model name."""
    rows: dict[str, dict[str, Any]] = yaml.safe_load((_FOLDER / "models.yaml").read_text("utf-8"))
    return {name: {key: value for key, value in row.items() if key != "about"} for name, row in rows.items()}


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((_FOLDER / name).read_text("utf-8").splitlines()))


@lru_cache(1)
def event_codes() -> Mapping[str, Mapping[int, EventCode]]:
    """Event codes by table name and code."""
    found: dict[str, dict[int, EventCode]] = {}
    for row in _rows("event_codes.csv"):
        code = EventCode(row["event"], int(row["severity"]), row["text"])
        found.setdefault(row["table"], {})[int(row["code"])] = code
    return found


@lru_cache(1)
def status_bits() -> Mapping[str, Mapping[int, int]]:
    """Quality word of each bit of a profile's status octet, by table name and bit."""
    found: dict[str, dict[int, int]] = {}
    for row in _rows("status_bits.csv"):
        word = 0
        for flag in row["flags"].split():
            word |= _FLAGS[flag]
        found.setdefault(row["table"], {})[int(row["bit"])] = word
    return found


@lru_cache(4096)
def status_word(table: str, status: int) -> int:
    """Quality word of a whole status; bits that the table does not have say nothing."""
    word = 0
    for bit, flags in status_bits().get(table, {}).items():
        if status >> bit & 1:
            word |= flags
    return word
