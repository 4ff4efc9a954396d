"""What a change of the mapping touches at a gateway at work, and the clients and alarms that would notice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

KINDS: Final = ("removed", "moved", "retyped", "changed")
"""What becomes of a point for those who watch it: of the first three they are told that the node is gone."""
INTERRUPTED: Final = "interrupted"
"""Points of a link that is made anew: they lose communication for a moment."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What a plan touches, for asking.

    Attributes:
        points: present addresses by kind (`KINDS`).
        rules: addresses whose alarm rule goes or changes.
        ended, remade: names of links that end, and of those that reconnect.
    """

    points: Mapping[str, Sequence[str]]
    rules: Sequence[str] = ()
    ended: Sequence[str] = ()
    remade: Sequence[str] = ()


@dataclass(slots=True)
class Affected:
    """Who would notice.

    Attributes:
        sessions: of OPC UA: `session` (NodeId), `name`, `user`, `host`, and `items`, numbers of monitored items by kind
            (`KINDS` and `INTERRUPTED`; an item may be of both).
        conditions: alarms that hold, or wait for somebody, at what goes or is judged by another rule: `address`,
            `code`, `text`, `severity`, `active`, `acked`; the first of them only where they are many.
        conditions_in_all: how many these are.
    """

    sessions: list[dict[str, Any]] = field(default_factory=list)
    conditions: list[dict[str, Any]] = field(default_factory=list)
    conditions_in_all: int = 0


def affected_document(affected: Affected) -> dict[str, Any]:
    """As JSON can carry it, with the items of all sessions together."""
    items = Counter[str]()
    for session in affected.sessions:
        items.update(session["items"])
    return {
        "items": {kind: items[kind] for kind in (*KINDS, INTERRUPTED)},
        "sessions": affected.sessions,
        "conditions": affected.conditions,
        "conditions_in_all": affected.conditions_in_all,
    }
