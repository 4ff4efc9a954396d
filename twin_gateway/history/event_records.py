"""Event records as JSON in the history, and back; every member of `Event`, its condition too."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from address_space.conditions import Condition
from address_space.events import Event

_EVENT = frozenset(field.name for field in fields(Event))


def encode_event(event: Event) -> str:
    """JSON of an event; octets as hexadecimal text."""
    return json.dumps(asdict(event), separators=(",", ":"), default=bytes.hex)


def decode_event(text: str) -> Event:
    """The event of its JSON; members that a newer version wrote are left out.

    Raises:
        ValueError, TypeError: it is no record of an event.
    """
    members: dict[str, Any] = {name: value for name, value in json.loads(text).items() if name in _EVENT}
    members["details"] = tuple((name, value) for name, value in members.get("details", ()))
    if members.get("condition") is not None:
        members["condition"] = Condition.of_members(members["condition"])
    return Event(**members)
