"""Monitored items of the checks: their filters, modes, and what they have notified, by node-opcua."""

from __future__ import annotations

import asyncio
from typing import Any

from conformance.ask import notifications, publish
from peers.opcua.agent import Peer

DISABLED, SAMPLING, REPORTING = 0, 1, 2


def deadband(value: float, kind: int = 1, trigger: int = 1) -> dict[str, Any]:
    """A DataChangeFilter."""
    return {"$type": "DataChangeFilter", "trigger": trigger, "deadbandType": kind, "deadbandValue": value}


async def end(peer: Peer, *subscriptions: int) -> None:
    await peer.request("DeleteSubscriptionsRequest", subscriptionIds=list(subscriptions))


async def heard(peer: Peer, subscription: int, quiet: float = 0.1) -> list[tuple[int, dict[str, Any]]]:
    """What is notified until the server's keep-alives say that there has been nothing more for so many seconds."""
    found: list[tuple[int, dict[str, Any]]] = []
    loop = asyncio.get_running_loop()
    last = loop.time()
    while True:
        answer = await publish(peer)
        assert "fault" not in answer, answer
        new = notifications(answer)
        found += new
        if new:
            last = loop.time()
        elif loop.time() - last >= quiet:
            break
    await end(peer, subscription)
    return found


def values(found: list[tuple[int, dict[str, Any]]]) -> list[Any]:
    return [value["value"]["value"] if value["value"] else value["statusCode"] for _, value in found]


async def first(peer: Peer, subscription: int) -> list[tuple[int, dict[str, Any]]]:
    """The notifications of the first message."""
    return notifications(await publish(peer))
