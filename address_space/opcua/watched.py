"""Who watches what: the monitored items of each session that stand on given rows and nodes, counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from address_space.opcua.event_items import EventItems
from address_space.opcua.wire import Reader
from address_space.point import Rows

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.subscription import PointSubscription

_MOST_KINDS = 8
_AT_ONCE = 100_000
_STRING = 0x03


@dataclass(slots=True)
class Watch:
    """What one session watches.

    Attributes:
        session: NodeId of the session as text.
        name: SessionName.
        user: empty for anonymous.
        host: address of the client.
        items: number of monitored items by kind; kinds without any are left out.
    """

    session: str
    name: str
    user: str
    host: str
    items: Counter[str] = field(default_factory=Counter)


async def watches(server: InternalServer, rows: Mapping[str, Rows], nodes: Mapping[str, str]) -> list[Watch]:
    """The sessions with items on any of these, in the order in which they came.

    Sessions that have ended count while their subscriptions wait for another one. Others have their turn in between.

    Args:
        server: whose sessions.
        rows: points by kind, at most eight kinds; a row may be of several, an item on it then counts for each.
        nodes: kind by address, for items on attributes, on properties (`address#name`) and on events of a node.
    """
    if len(rows) > _MOST_KINDS:
        raise ValueError(f"{len(rows)} kinds, at most {_MOST_KINDS}")
    mark = np.zeros(len(server.table), np.uint8)
    for bit, each in enumerate(rows.values()):
        mark[each] |= np.uint8(1 << bit)
    found: dict[str, Watch] = {}
    for subscription in list(server.subscription_service.subscriptions.values()):
        counts = Counter[str]()
        for first in range(0, subscription.points.slots, _AT_ONCE):
            counts += _of_points(subscription.points.rows(first, _AT_ONCE), mark, list(rows))
            await asyncio.sleep(0)
        counts.update(kind for address in _others(subscription, server.space.namespace) if (kind := nodes.get(address)))
        if counts:
            _watch(found, subscription).items += counts
        await asyncio.sleep(0)
    return list(found.values())


def _of_points(rows: Rows, mark: npt.NDArray[np.uint8], kinds: list[str]) -> Counter[str]:
    # What came after the marks were made is none of them.
    bits = mark[rows[rows < len(mark)]]
    bits = bits[bits != 0]
    numbers = {kind: int(np.count_nonzero(bits & (1 << bit))) for bit, kind in enumerate(kinds)}
    return Counter({kind: number for kind, number in numbers.items() if number})


def _others(subscription: PointSubscription, namespace: int) -> list[str]:
    """Address of each item that is on no point's value; empty for nodes that are none of the grid's."""
    found = []
    for node_id in subscription.nodes.node_ids():
        if node_id[0] != _STRING or int.from_bytes(node_id[1:3], "little") != namespace:
            continue
        found.append((Reader(node_id, 3).text() or "").partition("#")[0])
    if isinstance(subscription.events, EventItems):
        found += [item.place for item in subscription.events if item.place]
    return found


def _watch(found: dict[str, Watch], subscription: PointSubscription) -> Watch:
    session = subscription.session
    key = session.session_id.to_string()
    if key not in found:
        user = session.caller.user if session.caller is not None else ""
        found[key] = Watch(key, session.name, user, session.host)
    return found[key]
