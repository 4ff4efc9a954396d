"""Methods of conditions (Part 9, 5.5 to 5.8): what people do to an alarm, by the ids of instance and type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from address_space.opcua.access import Access
from address_space.opcua.auditing import AuditEvent, tell
from address_space.opcua.standard_methods import InstanceCall, Results, StandardMethod, StandardMethods
from address_space.opcua.untyped import ua
from address_space.ports import Argument, ConditionVerb, MethodSpec, Right

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

_BYTE_STRING, _LOCALIZED_TEXT, _DOUBLE, _UINT32 = 15, 21, 11, 7
_EVENT_ID = Argument("EventId", _BYTE_STRING, "The EventId of the change that the caller has seen")
_COMMENT = Argument("Comment", _LOCALIZED_TEXT, "A comment; null leaves the one that is there")
_SHELVING_TIME = Argument("ShelvingTime", _DOUBLE, "For how long, in milliseconds")
_CONDITION_TYPE = 2782
_ANY_SHELVER = (Right.SUPERVISE, Right.CONFIGURE)
_AUDIT_ENABLE, _AUDIT_COMMENT, _AUDIT_ACKNOWLEDGE, _AUDIT_CONFIRM = 2803, 2829, 8944, 8961
_AUDIT_SHELVING, _AUDIT_SUPPRESSION = 11093, 17225
_CODES = ua.StatusCodes
_LONGEST_COMMENT = 1_000


@dataclass(frozen=True, slots=True)
class ConditionMethod:
    """One method of conditions.

    Attributes:
        path: where it is below the condition: `Acknowledge`, `ShelvingState/TimedShelve`.
        numbers: ids of the types' method nodes (namespace 0) by which it can be called too.
        rights: any of them lets a caller do it.
        audit: NodeId number of the AuditEventType.
        base: whether all conditions have it (else only alarms).
    """

    path: str
    verb: ConditionVerb
    numbers: frozenset[int]
    inputs: tuple[Argument, ...]
    rights: tuple[Right, ...]
    audit: int
    description: str
    base: bool = False

    @property
    def name(self) -> str:
        """BrowseName."""
        return self.path.rpartition("/")[2]

    @property
    def spec(self) -> MethodSpec:
        """Arguments and description."""
        return MethodSpec("", self.name, self.inputs, (), self.rights[0], self.description)

    def allowed(self, access: Access, address: str) -> bool:
        """Whether the caller may do it to conditions of an address."""
        return any(access.allows(right, address) for right in self.rights)


def _shelving(name: str, verb: ConditionVerb, numbers: set[int], *inputs: Argument, text: str) -> ConditionMethod:
    path = f"ShelvingState/{name}"
    return ConditionMethod(path, verb, frozenset(numbers), inputs, _ANY_SHELVER, _AUDIT_SHELVING, text)


_V = ConditionVerb
_OPERATOR, _ENGINEER = (Right.OPERATE,), (Right.CONFIGURE,)
_SEEN = (_EVENT_ID, _COMMENT)
METHODS: dict[str, ConditionMethod] = {
    each.path: each
    for each in (
        ConditionMethod(
            "Enable", _V.ENABLE, frozenset({9027}), (), _ENGINEER, _AUDIT_ENABLE, "Tell it again", base=True
        ),
        ConditionMethod(
            "Disable", _V.DISABLE, frozenset({9028}), (), _ENGINEER, _AUDIT_ENABLE, "Tell it no more", base=True
        ),
        ConditionMethod(
            "AddComment", _V.COMMENT, frozenset({9029}), _SEEN, _OPERATOR, _AUDIT_COMMENT, "Comment it", base=True
        ),
        ConditionMethod(
            "Acknowledge", _V.ACKNOWLEDGE, frozenset({9111}), _SEEN, _OPERATOR, _AUDIT_ACKNOWLEDGE, "It was seen"
        ),
        ConditionMethod(
            "Confirm", _V.CONFIRM, frozenset({9113}), _SEEN, _OPERATOR, _AUDIT_CONFIRM, "What it needed was done"
        ),
        ConditionMethod(
            "Suppress", _V.SUPPRESS, frozenset({16403}), (), _ANY_SHELVER, _AUDIT_SUPPRESSION, "Not an alarm for now"
        ),
        ConditionMethod(
            "Unsuppress", _V.UNSUPPRESS, frozenset({17868}), (), _ANY_SHELVER, _AUDIT_SUPPRESSION, "An alarm again"
        ),
        ConditionMethod(
            "Suppress2",
            _V.SUPPRESS,
            frozenset({24316}),
            (_COMMENT,),
            _ANY_SHELVER,
            _AUDIT_SUPPRESSION,
            "With a comment",
        ),
        ConditionMethod(
            "Unsuppress2",
            _V.UNSUPPRESS,
            frozenset({24318}),
            (_COMMENT,),
            _ANY_SHELVER,
            _AUDIT_SUPPRESSION,
            "With a comment",
        ),
        _shelving("TimedShelve", _V.SHELVE, {9213, 2949}, _SHELVING_TIME, text="Shelve for a time"),
        _shelving("OneShotShelve", _V.SHELVE_ONCE, {9212, 2948}, text="Shelve until it is inactive"),
        _shelving("Unshelve", _V.UNSHELVE, {9211, 2947}, text="Take it off the shelf"),
        _shelving("TimedShelve2", _V.SHELVE, {24738, 24756}, _SHELVING_TIME, _COMMENT, text="With a comment"),
        _shelving("OneShotShelve2", _V.SHELVE_ONCE, {24742, 24760}, _COMMENT, text="With a comment"),
        _shelving("Unshelve2", _V.UNSHELVE, {24740, 24758}, _COMMENT, text="With a comment"),
    )
}
"""The methods by path."""


def register(methods: StandardMethods) -> None:
    """Offer the methods of conditions and ConditionRefresh."""
    for each in METHODS.values():
        methods.register(
            StandardMethod(each.spec, applies=_applies(each), instance_call=_instance_call(each), anybody=True)
        )
    subscription = Argument("SubscriptionId", _UINT32, "A subscription of the calling session")
    item = Argument("MonitoredItemId", _UINT32, "An event item of the subscription")
    target = frozenset({_CONDITION_TYPE})
    for name, number, inputs in (
        ("ConditionRefresh", 3875, (subscription,)),
        ("ConditionRefresh2", 12912, (subscription, item)),
    ):
        spec = MethodSpec("", name, inputs, (), Right.READ, "Tell all conditions of interest once more")
        methods.register(StandardMethod(spec, target, frozenset({number}), condition_refresh, anybody=True))


def _condition_id(server: InternalServer, node_id: Any) -> tuple[str, str] | None:
    """(ConditionId, part below it) of a NodeId; None when it is none of a condition."""
    identifier = node_id.Identifier
    if node_id.NamespaceIndex != server.space.namespace or not isinstance(identifier, str) or "$" not in identifier:
        return None
    condition, _, part = identifier.partition("#")
    return condition, part.replace("#", "/")


def _applies(method: ConditionMethod) -> Any:
    parent = method.path.rpartition("/")[0]

    def applies(server: InternalServer, object_id: Any, method_id: Any) -> bool:
        store, target = server.ports.conditions, _condition_id(server, object_id)
        if store is None or target is None or target[1] not in {"", parent} or store.get(target[0]) is None:
            return False
        if not method_id.NamespaceIndex:
            return method_id.Identifier in method.numbers
        # The instance's own method, of the object that has it (or, as for the type's, of the condition).
        return _condition_id(server, method_id) == (target[0], method.path)

    return applies


def _instance_call(method: ConditionMethod) -> InstanceCall:
    names = [argument.name for argument in method.inputs]

    async def call(server: InternalServer, session: Session, target: Any, arguments: Sequence[Any]) -> Results:
        store, caller = server.ports.conditions, session.caller
        identifier = str(target.Identifier).partition("#")[0]
        condition = None if store is None else store.get(identifier)
        given = dict(zip(names, arguments, strict=True))
        comment, locale = _comment(given.get("Comment"))
        if store is None or condition is None or not session.rights.allows(Right.BROWSE, condition.address):
            status = int(_CODES.BadNodeIdUnknown)
        elif caller is None:
            status = int(_CODES.BadUserAccessDenied)
        elif comment is not None and len(comment) > _LONGEST_COMMENT:
            status = int(_CODES.BadInvalidArgument)
        else:
            status = await store.act(
                identifier,
                method.verb,
                caller,
                event_id=bytes(given["EventId"].Value or b"") if "EventId" in given else None,
                comment=comment,
                locale=locale,
                duration=float(given["ShelvingTime"].Value) / 1000 if "ShelvingTime" in given else 0.0,
            )
        tell(server, _audit_event(method, identifier, session, arguments, status))
        return int(status), ()

    return call


def _comment(given: Any) -> tuple[str | None, str]:
    """A comment and its locale; a LocalizedText without text and locale leaves the comment as it is (5.5.6)."""
    value = None if given is None else given.Value
    if value is None or (not value.Text and not value.Locale):
        return None, ""
    return value.Text or "", value.Locale or ""


def _audit_event(
    method: ConditionMethod, identifier: str, session: Session, arguments: Sequence[Any], status: int
) -> AuditEvent:
    caller = session.caller
    fields: dict[str, tuple[int, Any]] = {
        "MethodId": (17, ua.NodeId(min(method.numbers))),
        "InputArguments": (24, list(arguments)),
    }
    for argument, given in zip(method.inputs, arguments, strict=True):
        name = "ConditionEventId" if argument is _EVENT_ID else argument.name
        fields[name] = (argument.type_id, given.Value)
    return AuditEvent(
        method.audit,
        f"Method/{method.name}",
        f"{method.name} of {identifier} by {caller.user if caller is not None else 'nobody'}",
        status=int(status),
        user=caller.user if caller is not None else "",
        client=caller.client if caller is not None else "",
        source=identifier,
        severity=300 if status & 0x8000_0000 else 100,
        fields=fields,
    )


# ---- ConditionRefresh ----------------------------------------------------------------------------------------------


async def condition_refresh(server: InternalServer, session: Session, arguments: Sequence[Any]) -> Results:
    """ConditionRefresh and, with a second argument, ConditionRefresh2 (Part 9, 5.5.7 and 5.5.8)."""
    subscription_id, *items = (int(each.Value) for each in arguments)
    service, store = server.subscription_service, server.ports.conditions
    subscription = service.owned(session).get(subscription_id)
    if subscription is None:
        foreign = service.subscription(subscription_id) is not None
        return int(_CODES.BadUserAccessDenied if foreign else _CODES.BadSubscriptionIdInvalid), ()
    if store is None:
        return int(_CODES.BadNotSupported), ()
    events = server.event_feed.items_of(subscription)
    if items and (events is None or items[0] not in events):
        return int(_CODES.BadMonitoredItemIdInvalid), ()
    if events is None or not len(events):
        return int(_CODES.BadNothingToDo), ()
    # What has happened so far goes before, so that what is told in the refresh is never older than an event behind it.
    await server.event_feed.drain()
    if events.refreshing:
        return int(_CODES.BadRefreshInProgress), ()
    events.refresh([each for each in store.snapshot() if each.retain], items[0] if items else None)
    return 0, ()
