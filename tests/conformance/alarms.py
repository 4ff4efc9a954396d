"""Events and conditions in the checks: what they ask in few words, by node-opcua."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from conformance import ask
from conformance.subject import Ours
from peers.opcua.agent import Peer

from address_space.events import Event
from twin_gateway.alarms.machine import Demands, Finding
from twin_gateway.alarms.store import Kind

SERVER, CONDITION_TYPE = "i=2253", "i=2782"
BASE_EVENT = "i=2041"
EVENT_NOTIFIER = 12
PLACE = "dso1/conf/PS01/MV1"


def field(path: str, type_id: str = BASE_EVENT, attribute: int = 13, **more: Any) -> dict[str, Any]:
    """A SimpleAttributeOperand of a path such as `AckedState/Id` or `4:Code`; empty for none."""
    names = []
    for part in path.split("/") if path else []:
        space, colon, name = part.partition(":")
        names.append({"$name": [int(space), name] if colon else [0, part]})
    return {
        "$type": "SimpleAttributeOperand",
        "typeDefinitionId": type_id,
        "browsePath": names,
        "attributeId": attribute,
        **more,
    }


def literal(kind: str, value: Any) -> dict[str, Any]:
    """A LiteralOperand."""
    if kind == "NodeId":
        value = {"$node": value}
    return {"$type": "LiteralOperand", "value": {"$variant": [kind, value]}}


def element(index: int) -> dict[str, Any]:
    """An ElementOperand."""
    return {"$type": "ElementOperand", "index": index}


def operator(number: int, *operands: dict[str, Any]) -> dict[str, Any]:
    """A ContentFilterElement."""
    return {"filterOperator": number, "filterOperands": list(operands)}


def event_filter(selects: list[Any], *where: dict[str, Any]) -> dict[str, Any]:
    """An EventFilter; select clauses may be paths."""
    clauses = [field(each) if isinstance(each, str) else each for each in selects]
    return {"$type": "EventFilter", "selectClauses": clauses, "whereClause": {"elements": list(where)}}


class Stream:
    """One subscription with event items, and what it tells."""

    def __init__(self, peer: Peer, subscription: int) -> None:
        self.peer, self.id = peer, subscription

    async def add(self, node: str, selects: list[Any], *where: Any, **more: Any) -> dict[str, Any]:
        """The result of CreateMonitoredItems of an event item."""
        wanted = ask.item(node, attribute=EVENT_NOTIFIER, filter=event_filter(selects, *where), **{"queue": 0, **more})
        [made] = await ask.monitor(self.peer, self.id, wanted)
        return made

    async def told(self, count: int = 1) -> list[list[Any]]:
        """Values of the fields of at least so many events, as they come; keep-alives are passed over."""
        return [row for _, row in await self.told_to(count)]

    async def told_to(self, count: int = 1) -> list[tuple[int, list[Any]]]:
        """The same with the client handle of each."""
        rows: list[tuple[int, list[Any]]] = []
        while len(rows) < count:
            rows += rows_of(await ask.publish(self.peer))
        return rows

    async def close(self) -> None:
        """Delete the subscription."""
        await self.peer.request("DeleteSubscriptionsRequest", subscriptionIds=[self.id])


@asynccontextmanager
async def streaming(peer: Peer, **more: Any) -> AsyncIterator[Stream]:
    """A subscription of the session, deleted in the end."""
    made = Stream(peer, await ask.subscribe(peer, 20, **more))
    try:
        yield made
    finally:
        await made.close()


def rows_of(answer: dict[str, Any]) -> list[tuple[int, list[Any]]]:
    """(client handle, values of the fields) of the events of a publish answer."""
    assert "fault" not in answer, answer
    return [
        (event["clientHandle"], [each["value"] for each in event["eventFields"] or []])
        for part in answer["notificationMessage"]["notificationData"] or []
        if part["$type"] == "EventNotificationList"
        for event in part["events"]
    ]


def happen(subject: Ours, text: str, address: str = PLACE, **more: Any) -> Event:
    """An event of the grid."""
    fields = {"code": "X01", "severity": 400, **more}
    return subject.rig.events.append(Event(text=text, address=address, **fields))


def alarm(
    subject: Ours,
    address: str,
    *,
    code: str = "X02",
    type_name: str = "OffNormalAlarmType",
    condition_class: str = "Process",
    confirm: bool = False,
    judged_by: dict[str, Any] | None = None,
    **of: Any,
) -> str:
    """A condition that becomes active; returns its ConditionId. `judged_by` are further members of its `Kind`."""
    finding = Finding(of.pop("text", "The gas is thin"), of.pop("severity", 650), **of)
    kind = Kind(type_name, condition_class, Demands(acknowledge=True, confirm=confirm), **(judged_by or {}))
    subject.rig.conditions.raise_(address, code, finding, kind=kind)
    return f"{address}${code}"


def clear(subject: Ours, condition: str) -> None:
    """The condition is over."""
    address, _, code = condition.partition("$")
    subject.rig.conditions.clear(address, code)


def of(condition: str, path: str = "") -> str:
    """NodeId of a condition or a part of it."""
    return f"ns=2;s={condition}{'#' + path.replace('/', '#') if path else ''}"


async def call(peer: Peer, target: str, method: str, *inputs: tuple[str, Any]) -> Any:
    """The CallMethodResult of a method."""
    arguments = [{"$variant": [kind, value]} for kind, value in inputs]
    answer = await peer.request(
        "CallRequest", methodsToCall=[{"objectId": target, "methodId": method, "inputArguments": arguments}]
    )
    return answer["results"][0]


def event_id(subject: Ours, condition: str) -> tuple[str, Any]:
    """The newest EventId of a condition, as an argument."""
    found = subject.rig.conditions.get(condition)
    assert found is not None
    return "ByteString", {"$bytes": found.event_id.hex()}


def comment(text: str | None, locale: str = "en") -> tuple[str, Any]:
    """A comment as an argument; None for a null one."""
    return "LocalizedText", {"$text": [text, locale if text is not None else None]}
