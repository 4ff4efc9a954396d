"""What a gateway says of itself: what it counts, what it has lost, and whether it is fit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from address_space.events import Event
from twin_gateway.drivers.link import LinkState

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

OVERFLOW_EVENT_S = 10.0


def lost_changes(gateway: Gateway) -> int:
    """Samples and events that a consumer was too slow for: journals, OPC UA queues, the mirror's queues."""
    journals = (gateway.table.journal, gateway.table.late)
    lost = sum(cursor.lost for journal in journals for cursor in journal.cursors)
    lost += sum(cursor.lost for cursor in gateway.events.cursors)
    if gateway.server is not None:
        lost += gateway.server.subscription_totals.dropped
    if gateway.mirror is not None:
        lost += gateway.mirror.counters.events_dropped + gateway.mirror.counters.late_dropped
    return lost


def counted(gateway: Gateway) -> dict[str, float]:
    """Values of the gateway's own points, by data object of `twGWAY1`."""
    counters, mirror = gateway.table.counters, gateway.mirror
    up = sum(link.state is LinkState.UP for link in gateway.plant.links)
    server = gateway.server
    return {
        "SmpCnt": counters.samples,
        "ChgCnt": counters.changes,
        "LateCnt": counters.late,
        "TmRplCnt": counters.time_replaced,
        "DrpCnt": lost_changes(gateway),
        "EvtCnt": gateway.events.total,
        "CmdCnt": gateway.desk.counters["commands"],
        "CmdRefCnt": gateway.desk.counters["refused"],
        "LnkCnt": len(gateway.plant.links),
        "LnkUpCnt": up,
        "SesCnt": server.sessions if server is not None else 0,
        "MqDrpCnt": mirror.counters.events_dropped + mirror.counters.late_dropped if mirror is not None else 0,
        "MqQue": mirror.counters.waiting + mirror.counters.events_waiting if mirror is not None else 0,
    }


def health(gateway: Gateway, ended: list[str], uptime_s: float) -> tuple[bool, Mapping[str, Any]]:
    """(fit, details): fit while every part of the process runs; links that are down do not make it unfit."""
    down = {link.name: link.reason for link in gateway.plant.links if link.state is not LinkState.UP}
    details: dict[str, Any] = {
        "gateway": gateway.config.gateway,
        "points": len(gateway.table) - gateway.table.retired,
        "links": len(gateway.plant.links),
        "links_down": down,
        "uptime_s": round(uptime_s, 1),
    }
    if gateway.mirror is not None:
        details["mqtt"] = "connected" if gateway.mirror.counters.connected else gateway.mirror.counters.last_error
    if ended:
        details["ended"] = ended
    if gateway.twin.failed:
        details["twin_failed"] = dict(gateway.twin.failed)
    return not ended and not gateway.twin.failed, details


class OverflowReport:
    """An event when consumers were too slow for their queues; at most one in ten seconds, with the count."""

    def __init__(self, gateway: Gateway) -> None:
        self._of = gateway
        self._told = 0
        self._at = float("-inf")

    def look(self) -> None:
        """Tell of what was lost since it was told last."""
        gateway = self._of
        dropped = lost_changes(gateway)
        more = dropped - self._told
        if more > 0 and time.monotonic() - self._at >= OVERFLOW_EVENT_S:
            self._told, self._at = dropped, time.monotonic()
            text = f"Queue overflow: {more} changes lost to slow consumers"
            gateway.events.append(Event("G02", text, 600, gateway.place))
