"""The request `plan` of the control socket: which clients and alarms of the running gateway a plan would touch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from address_space.conditions import Condition
from address_space.opcua.watched import watches
from address_space.point import Rows
from twin_gateway.affected import INTERRUPTED, KINDS, Affected, Touched
from twin_gateway.control import ControlError, Handler, ask

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

_GOES: Final = ("removed", "moved")
MOST_CONDITIONS: Final = 200
_AT_ONCE: Final = 500
_REQUEST_OCTETS: Final = 60_000
"""What one request may hold; a plan that touches more asks in several."""


def ask_affected(folder: Path, touched: Touched) -> Affected:
    """Ask the gateway that works on a data directory.

    Raises:
        ControlError: no gateway answers there.
    """
    found, sessions = Affected(), dict[str, dict[str, Any]]()
    for part in _parts(touched):
        told = ask(folder, "plan", **part)
        for session in told["sessions"]:
            known = sessions.setdefault(session["session"], session | {"items": {}})
            known["items"] = dict(Counter(known["items"]) + Counter(session["items"]))
        found.conditions_in_all += told["conditions_in_all"]
        found.conditions += told["conditions"][: MOST_CONDITIONS - len(found.conditions)]
    found.sessions = list(sessions.values())
    return found


def _parts(touched: Touched) -> Iterator[dict[str, Any]]:
    """Requests that are small enough. Neighbours are asked for together: a place goes with the last point in it."""
    marked = sorted({(address, kind) for kind, each in touched.points.items() for address in each})
    marked += [(address, "rules") for address in sorted(touched.rules)]
    part: dict[str, Any] = {"ended": list(touched.ended), "remade": list(touched.remade)}
    size = sum(len(name) + 4 for name in (*touched.ended, *touched.remade))
    for address, kind in marked:
        # JSON writes what is no ASCII with six octets a character, or twelve.
        size += 4 + sum(1 if letter.isascii() else 12 for letter in address)
        if size > _REQUEST_OCTETS:
            yield part
            part, size = {}, 4 + 12 * len(address)
        part.setdefault(kind, []).append(address)
    yield part


class PlanRequest:
    """Answers `plan`: lists of addresses by kind and of links, as `Touched`; the fields of `Affected` for them.

    Only the user that runs the gateway can ask on the control socket, so names and users of all sessions are told.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._of = gateway

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked."""
        return {"plan": self._answer}

    async def _answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        named = {key: _names(asked, key) for key in (*KINDS, "rules", "ended", "remade")}
        rows: dict[str, Rows] = {}
        for kind in KINDS:
            rows[kind] = await self._rows(named[kind])
        # With a device also go those of its points that no line of the files names.
        ended = np.setdiff1d(self._of_links(named["ended"]), np.concatenate(list(rows.values())))
        rows["removed"] = np.concatenate([rows["removed"], ended])
        kinds = {address: kind for kind in KINDS for address in named[kind]}
        for kind in _GOES:
            kinds |= dict.fromkeys(await self._emptied(rows, kind), kind)
        rows[INTERRUPTED] = self._of_links(named["remade"])
        affected = Affected()
        server = self._of.server.internal if self._of.server is not None else None
        if server is not None:
            found = await watches(server, rows, kinds)
            affected.sessions = [asdict(each) | {"items": dict(each.items)} for each in found]
        await self._conditions(named, affected)
        return asdict(affected)

    def _of_links(self, names: Sequence[str]) -> Rows:
        each = [self._of.table.rows_of_link(name) for name in names]
        return np.concatenate([np.empty(0, np.int32), *each]).astype(np.int32)

    async def _rows(self, addresses: Sequence[str]) -> Rows:
        tree, found = self._of.table.tree, [np.empty(0, np.int32)]
        for start in range(0, len(addresses), _AT_ONCE):
            nodes = tree.find_many(addresses[start : start + _AT_ONCE])
            rows = np.asarray(tree.row[nodes[nodes >= 0]], np.int32)
            found.append(rows[rows >= 0])
            await asyncio.sleep(0)
        return np.concatenate(found)

    async def _emptied(self, rows: Mapping[str, Rows], kind: str) -> list[str]:
        """Functions and places that go with the last point of a kind below them."""
        table, tree = self._of.table, self._of.table.tree
        gone = {int(node) for each in _GOES for node in table.node[rows[each]]}
        ahead, found = {int(tree.parent[node]) for node in table.node[rows[kind]]} - {-1}, list[str]()
        while ahead:
            emptied = set()
            for count, node in enumerate(ahead, 1):
                if node not in gone and all(child in gone for child in tree.children(node)):
                    emptied.add(node)
                if count % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            gone |= emptied
            found += [tree.address(node) for node in emptied]
            ahead = {int(tree.parent[node]) for node in emptied} - {-1}
        return found

    async def _conditions(self, named: Mapping[str, Sequence[str]], affected: Affected) -> None:
        """Alarms at what goes or is judged by another rule, and at links that end."""
        ended = set(named["ended"])
        places = [link.address for link in self._of.plant.links if link.name in ended]
        seen = dict.fromkeys([*places, *named["removed"], *named["moved"], *named["rules"]])
        addresses = iter(seen)
        while some := list(islice(addresses, _AT_ONCE)):
            for address in some:
                held = [each for each in self._of.conditions.at(address) if each.active or not each.acked]
                affected.conditions_in_all += len(held)
                affected.conditions += map(_told, held[: MOST_CONDITIONS - len(affected.conditions)])
            await asyncio.sleep(0)


def _told(condition: Condition) -> dict[str, Any]:
    fields = ("address", "code", "text", "severity", "active", "acked")
    return {name: getattr(condition, name) for name in fields}


def _names(asked: Mapping[str, Any], key: str) -> list[str]:
    named = asked.get(key) or []
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise ControlError(f"`{key}` is a list of names")
    return named
