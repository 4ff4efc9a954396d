"""Events as event items see them: of the grid's journal, of conditions, of the server itself; fields on demand."""

from __future__ import annotations

import logging
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from address_space import clock
from address_space.conditions import Condition
from address_space.events import Event
from address_space.opcua import condition_fields
from address_space.opcua.auditing import AuditEvent
from address_space.opcua.condition_fields import Context, own_value, type_number
from address_space.opcua.event_filter import ATTRIBUTE_NODE_ID, Clause, EventFilter
from address_space.opcua.event_types import BASE_EVENT, EventTypes
from address_space.opcua.event_values import (
    BYTE_STRING,
    DATE_TIME,
    LOCALIZED_TEXT,
    NODE_ID,
    NULL,
    NULL_VARIANT,
    STRING,
    UINT16,
    Field,
    encode,
    encode_known,
    from_variant,
)
from address_space.opcua.model.ids import INDEX, own
from address_space.opcua.untyped import ua
from address_space.opcua.wire import NULL_NODE_ID, numeric_node_id, pack_i32

_log = logging.getLogger(__name__)
SERVER = 2253
SERVER_NODE = numeric_node_id(SERVER)
OVERFLOW_TYPE, REFRESH_START, REFRESH_END, REFRESH_REQUIRED = 3035, 2787, 2788, 2789
_SYSTEM_EVENT, _DEVICE_FAILURE = 2130, 2131
OWN_FIELDS = ("Code", "Address", "State", "Value", "Quality", "CorrelationId", "Actor", "TimeQuality")
"""Fields of our own, with BrowseNames of our types' namespace, that every event of the grid has."""
OWN_PREFIX = f"{INDEX}:"
_DEVICE_CODES = frozenset({"D01", "D04", "D05", "D10"})
_COMMAND_CODES = frozenset({"S05", "S06", "S09"})
_INFORMATION = 300
"""Up to this severity an event of a device says that it is well again."""
_RE_LISTED = re.compile(r"[A-Z]\d\d\Z")
_OWN_TYPES = {
    "F": "FlisrEventType",
    "L": "LossEventType",
    "D": "SupervisionEventType",
    "T": "TopologyEventType",
    "C": "SwitchgearEventType",
}
"""Our event types by the first letter of the alarm list's code."""
_CLASSES = {"P": "Process", "S": "Process", "L": "Process", "T": "Process", "F": "Process", "C": "Maintenance"}
"""Condition classes of events without a condition, by the first letter of the alarm list's code."""


def event_id(event: Event) -> bytes:
    """EventId of an event of the journal, 16 octets: that of the condition's change, or of time and number."""
    if event.condition is not None:
        return event.condition.event_id
    return struct.pack(">qQ", event.received, event.id)


def event_type(event: Event) -> bytes:
    """NodeId on the wire of the type of an event of the journal."""
    if event.condition is not None:
        return numeric_node_id(type_number(event.condition))
    code = event.code
    if code in _DEVICE_CODES and event.severity > _INFORMATION:
        return numeric_node_id(_DEVICE_FAILURE)
    if not event.address or code.startswith("G"):
        return numeric_node_id(_SYSTEM_EVENT)
    if code in _COMMAND_CODES:
        return own("CommandEventType")
    known = _RE_LISTED.match(code) is not None
    return own(_OWN_TYPES.get(code[:1], "GridEventType") if known else "GridEventType")


class EventRecord:
    """One event with what has been worked out of it so far, shared by all items it is told to.

    Attributes:
        type_id: EventType on the wire.
        address: of the source in the grid; empty for the gateway as a whole.
        audit: only for those who may read the audit.
        passed: what where clauses said of it, by `EventFilter.where_key`.
    """

    __slots__ = ("_rows", "_types", "address", "audit", "passed", "type_id")

    def __init__(self, types: EventTypes, type_id: bytes, address: str, *, audit: bool = False) -> None:
        self.type_id, self.address, self.audit = type_id, address, audit
        self._types = types
        self._rows: dict[bytes, bytes] = {}
        self.passed: dict[bytes, bool] = {}

    def field(self, key: str) -> Field:
        """A field by the key of its browse path; null when the event does not have it."""
        raise NotImplementedError

    def node_of(self, key: str) -> bytes | None:
        """NodeId of the event (empty key) or of a field, when it is in the address space."""
        return None

    def is_a(self, type_id: bytes) -> bool:
        """Whether the event is of a type or of one derived from it."""
        return self._types.is_a(self.type_id, type_id)

    def value(self, clause: Clause) -> Field:
        """The value that a clause names."""
        if clause.type_id not in {BASE_EVENT, self.type_id} and not self.is_a(clause.type_id):
            return NULL
        if clause.attribute == ATTRIBUTE_NODE_ID:
            node = self.node_of(clause.key)
            return NULL if node is None else (NODE_ID, node)
        kind, value = self.field(clause.key)
        if clause.part is not None:
            first, last = clause.part
            if not isinstance(value, (str, bytes)) or kind not in {STRING, BYTE_STRING} or first >= len(value):
                return NULL
            value = value[first : last + 1]
        return kind, value

    def row(self, filter_: EventFilter) -> bytes:
        """The fields that a filter selects, an array of Variants on the wire."""
        clauses = filter_.clauses
        row = self._rows.get(filter_.row_key)
        if row is None:
            parts = [NULL_VARIANT if clause is None else encode(self.value(clause)) for clause in clauses]
            row = self._rows[filter_.row_key] = pack_i32(len(clauses)) + b"".join(parts)
        return row


class SimpleRecord(EventRecord):
    """An event whose fields are in a table."""

    __slots__ = ("_fields",)

    def __init__(
        self, types: EventTypes, type_id: bytes, address: str, fields: Mapping[str, Field], *, audit: bool = False
    ) -> None:
        super().__init__(types, type_id, address, audit=audit)
        self._fields = fields

    def field(self, key: str) -> Field:
        """A field by the key of its browse path."""
        return self._fields.get(key, NULL)


class JournalRecord(EventRecord):
    """An event of the grid's journal, or the present state of a condition."""

    __slots__ = ("_context", "_events", "condition", "event")

    def __init__(self, events: EventRecords, type_id: bytes, address: str) -> None:
        super().__init__(events.types, type_id, address)
        self._events = events
        self.event: Event | None = None
        self.condition: Condition | None = None
        self._context = events.context

    def field(self, key: str) -> Field:
        """A field by the key of its browse path."""
        if key.startswith(OWN_PREFIX):
            return self._own(key[len(OWN_PREFIX) :])
        event, condition = self.event, self.condition
        if event is not None:
            # What happened now stands in the event; the condition has what it was when it changed.
            getter = _EVENT_FIELDS.get(key)
            if getter is not None:
                return getter(event, self._context)
        if condition is None:
            return NULL
        return condition_fields.value_of(condition, key, self._context)

    def row(self, filter_: EventFilter) -> bytes:
        """The fields that a filter selects; how to come by them is worked out once for all events of the type."""
        clauses = filter_.clauses
        row = self._rows.get(filter_.row_key)
        if row is None:
            event, condition, context = self.event, self.condition, self._context
            parts = [pack_i32(len(clauses))]
            for clause, of_event, of_condition in self._events.plan(self, filter_):
                if of_event is not None and event is not None:
                    parts.append(encode_known(of_event(event, context)))
                elif of_condition is not None and condition is not None:
                    parts.append(encode_known(of_condition(condition, context)))
                else:
                    parts.append(NULL_VARIANT if clause is None else encode(self.value(clause)))
            row = self._rows[filter_.row_key] = b"".join(parts)
        return row

    def node_of(self, key: str) -> bytes | None:
        """NodeId of the condition or of one of its variables; ConditionId for an empty key of a ConditionType."""
        if self.condition is None:
            return None
        if not key:
            return self._context.node_id(self.condition.id)
        known = condition_fields.variables_of(type_number(self.condition))
        if key not in known and key not in condition_fields.OBJECTS:
            return None
        return self._context.node_id(f"{self.condition.id}#{key.replace('/', '#')}")

    def _own(self, name: str) -> Field:
        event, condition = self.event, self.condition
        if event is not None:
            getter = _OWN_OF_EVENT.get(name)
            return NULL if getter is None else getter(event)
        of_condition = _OWN_OF_CONDITION.get(name)
        return NULL if of_condition is None or condition is None else of_condition(condition)


def _string(value: str | None) -> Field:
    return (STRING, value) if value else NULL


def _class_of(event: Event) -> tuple[int, str]:
    if event.condition is not None:
        return condition_fields.condition_class(event.condition)
    name = _CLASSES.get(event.code[:1], "System")
    return condition_fields.CLASS_IDS[name], f"{name}ConditionClassType"


_EVENT_FIELDS: dict[str, Callable[[Event, Context], Field]] = {
    "EventId": lambda event, _: (BYTE_STRING, event_id(event)),
    "EventType": lambda event, _: (NODE_ID, event_type(event)),
    "SourceNode": lambda event, context: (NODE_ID, context.node_id(event.address) if event.address else SERVER_NODE),
    "SourceName": lambda event, _: (STRING, event.address or "Server"),
    "Time": lambda event, _: (DATE_TIME, event.source_time or event.received),
    "ReceiveTime": lambda event, _: (DATE_TIME, event.received),
    "Message": lambda event, _: (LOCALIZED_TEXT, event.text),
    "Severity": lambda event, _: (UINT16, event.severity),
    "ConditionClassId": lambda event, _: (NODE_ID, numeric_node_id(_class_of(event)[0])),
    "ConditionClassName": lambda event, _: (LOCALIZED_TEXT, _class_of(event)[1]),
}
_OWN_OF_EVENT: dict[str, Callable[[Event], Field]] = {
    "Code": lambda event: _string(event.code),
    "Address": lambda event: (STRING, event.address),
    "State": lambda event: _string(event.state),
    "Value": lambda event: own_value(event.value),
    "Quality": lambda event: _string(event.quality),
    "CorrelationId": lambda event: _string(event.correlation),
    "Actor": lambda event: _string(event.actor),
    "TimeQuality": lambda event: _string(event.time_quality),
}
_OWN_OF_CONDITION: dict[str, Callable[[Condition], Field]] = {
    "Code": lambda condition: _string(condition.code),
    "Address": lambda condition: (STRING, condition.address),
    "State": lambda condition: _string("active" if condition.active else "inactive"),
    "Value": lambda condition: own_value(condition.value),
    "CorrelationId": lambda condition: _string(condition.correlation),
    "Actor": lambda condition: _string(condition.user),
}


COMMON_FIELDS = frozenset(_EVENT_FIELDS).union(
    *(condition_fields.variables_of(number) for number in condition_fields.TYPE_IDS.values())
)
"""Keys of fields that events of the grid or of its conditions have."""
Step = tuple[Clause | None, Callable[[Event, Context], Field] | None, Callable[[Condition, Context], Field] | None]
"""A clause and how it is found in the event or in its condition; neither where it takes the long way."""
_MOST_PLANS = 1_000


class EventRecords:
    """Makes records of events.

    Args:
        types: the event types.
        context: what fields of conditions need.
    """

    def __init__(self, types: EventTypes, context: Context) -> None:
        self.types, self.context = types, context
        self._plans: dict[tuple[bytes, bool, bytes], list[Step]] = {}

    def plan(self, record: JournalRecord, filter_: EventFilter) -> list[Step]:
        """Where each of the filter's clauses is found in events of the record's type."""
        key = (record.type_id, record.event is not None, filter_.row_key)
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            known = self._plans[key] = [self._step(record, clause) for clause in filter_.clauses]
        return known

    def _step(self, record: JournalRecord, clause: Clause | None) -> Step:
        if clause is None or clause.attribute == ATTRIBUTE_NODE_ID or clause.part is not None:
            return clause, None, None
        if clause.key.startswith(OWN_PREFIX) or not (clause.type_id == BASE_EVENT or record.is_a(clause.type_id)):
            return clause, None, None
        if record.event is not None and clause.key in _EVENT_FIELDS:
            return clause, _EVENT_FIELDS[clause.key], None
        if record.condition is None:
            return clause, None, None
        variable = condition_fields.variables_of(type_number(record.condition)).get(clause.key)
        return clause, None, None if variable is None else variable.value

    def of_event(self, event: Event) -> EventRecord:
        """The record of an event of the journal."""
        record = JournalRecord(self, event_type(event), event.address)
        record.event, record.condition = event, event.condition
        return record

    def of_condition(self, condition: Condition) -> EventRecord:
        """The record of a condition as it is (ConditionRefresh): EventId and times are those of its last change."""
        record = JournalRecord(self, numeric_node_id(type_number(condition)), condition.address)
        record.condition = condition
        return record

    def of_server(
        self, number: int, name: str, text: str, severity: int = 100, further: Mapping[str, Field] | None = None
    ) -> EventRecord:
        """An event of the server itself, its type by its number of namespace 0; `further` are fields of the type."""
        fields = _server_fields(number, name, text, severity) | dict(further or {})
        return SimpleRecord(self.types, numeric_node_id(number), "", fields)

    def of_audit(self, audit: AuditEvent) -> EventRecord:
        """The record of an audit event."""
        node = self.context.node_id(audit.source) if audit.source else SERVER_NODE
        fields = _server_fields(audit.event_type, audit.source_name, audit.text, audit.severity or 100)
        fields |= {
            "SourceNode": (NODE_ID, node),
            "ActionTimeStamp": fields["Time"],
            "Status": (1, audit.status & 0xC000_0000 == 0),
            "ServerId": (STRING, "twin-gateway"),
            "ClientAuditEntryId": (STRING, audit.audit_entry),
            "ClientUserId": (STRING, audit.user),
            "StatusCodeId": (19, audit.status),
        }
        for name, (kind, value) in audit.fields.items():
            fields[name] = _audit_field(kind, value)
        return SimpleRecord(self.types, numeric_node_id(audit.event_type), "", fields, audit=True)


def _audit_field(kind: int, value: Any) -> Field:
    if value is None:
        return NULL
    if kind == NODE_ID and isinstance(value, bytes):
        return NODE_ID, value or NULL_NODE_ID
    try:
        return from_variant(ua.Variant(value, ua.VariantType(kind)))
    except Exception:  # asyncua's encoder does not take all that its decoder does; the event is told without it
        _log.exception("a field of an audit event cannot be encoded")
        return NULL


def _server_fields(number: int, name: str, text: str, severity: int) -> dict[str, Field]:
    now = clock.now()
    return {
        "EventId": (BYTE_STRING, uuid.uuid4().bytes),
        "EventType": (NODE_ID, numeric_node_id(number)),
        "SourceNode": (NODE_ID, SERVER_NODE),
        "SourceName": (STRING, name),
        "Time": (DATE_TIME, now),
        "ReceiveTime": (DATE_TIME, now),
        "Message": (LOCALIZED_TEXT, text),
        "Severity": (UINT16, severity),
    }
