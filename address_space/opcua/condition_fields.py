"""The variables of a condition (Part 9, 5.5 to 5.8) in one table: fields of its events and nodes of its instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from address_space import clock
from address_space.conditions import Condition
from address_space.opcua.event_values import (
    BOOLEAN,
    BYTE_STRING,
    DATE_TIME,
    DOUBLE,
    INT64,
    LOCALIZED_TEXT,
    NODE_ID,
    NULL,
    STATUS_CODE,
    STRING,
    UINT16,
    UINT64,
    Field,
)
from address_space.opcua.wire import NULL_NODE_ID, numeric_node_id
from address_space.quality import StatusCode

ALARM = 2915
_EXCLUSIVE, _NON_EXCLUSIVE = 9341, 9906
TYPE_IDS = {
    "ConditionType": 2782,
    "AcknowledgeableConditionType": 2881,
    "AlarmConditionType": ALARM,
    "LimitAlarmType": 2955,
    "ExclusiveLimitAlarmType": _EXCLUSIVE,
    "ExclusiveLevelAlarmType": 9482,
    "ExclusiveDeviationAlarmType": 9764,
    "ExclusiveRateOfChangeAlarmType": 9623,
    "NonExclusiveLimitAlarmType": _NON_EXCLUSIVE,
    "NonExclusiveLevelAlarmType": 10060,
    "NonExclusiveDeviationAlarmType": 10368,
    "NonExclusiveRateOfChangeAlarmType": 10214,
    "DiscreteAlarmType": 10523,
    "OffNormalAlarmType": 10637,
    "SystemOffNormalAlarmType": 11753,
    "TripAlarmType": 10751,
    "DiscrepancyAlarmType": 17080,
    "CertificateExpirationAlarmType": 13225,
    "InstrumentDiagnosticAlarmType": 18347,
    "SystemDiagnosticAlarmType": 18496,
}
"""NodeIds (namespace 0) of the alarm types by name."""
_EXCLUSIVE_TYPES = {_EXCLUSIVE, 9482, 9764, 9623}
_NON_EXCLUSIVE_TYPES = {_NON_EXCLUSIVE, 10060, 10368, 10214}
_OFF_NORMAL_TYPES = {10637, 11753, 10751, 13225, 18347, 18496}
CLASS_IDS = {"Process": 11164, "Maintenance": 11165, "System": 11166, "Safety": 17218}
"""NodeIds of the condition classes."""
MAX_TIME_SHELVED = 86_400_000.0
"""The longest a person may shelve for, in ms."""
_LONGEST = 4_294_967_295.0
"""UnshelveTime of a condition that is shelved until it goes inactive, in ms."""
_SHELVING_STATES = {
    "Unshelved": (2930, "Unshelved"),
    "TimedShelved": (2932, "Timed Shelved"),
    "OneShotShelved": (2933, "One Shot Shelved"),
}
_LIMIT_STATES = {"HighHigh": 9329, "High": 9331, "Low": 9333, "LowLow": 9335}
_REACHED = {"HighHigh": {"HighHigh", "High"}, "High": {"High"}, "Low": {"Low"}, "LowLow": {"LowLow", "Low"}}
"""Limits that are passed when the outermost passed one is the key."""

PROPERTY, TWO_STATE, CONDITION_VARIABLE, STATE_VARIABLE = 68, 8995, 9002, 2760
_BOOLEAN, _TEXT, _TIME, _DURATION, _NODE, _STRING_TYPE, _OCTETS, _SEVERITY, _STATUS = 1, 21, 294, 290, 17, 12, 15, 5, 19
_DOUBLE, _DATE_TIME = 11, 13


class Context(NamedTuple):
    """What a condition's fields need beside the condition.

    Attributes:
        node_id: NodeId on the wire of an identifier of the grid.
        is_point: whether an address is a variable.
    """

    node_id: Callable[[str], bytes]
    is_point: Callable[[str], bool]


Get = Callable[[Condition, Context], Field]
CONDITION_DISABLED: Field = (STATUS_CODE, int(StatusCode.BadConditionDisabled))
"""Stands for what a disabled condition does not provide; events have it as the value."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of a condition.

    Attributes:
        data_type: NodeId number of its DataType.
        type_definition: `PROPERTY`, `TWO_STATE`, `CONDITION_VARIABLE` or `STATE_VARIABLE`.
        get: its value.
        empty: StatusCode of the variable when it has no value.
        optional: it is not there when it has no value.
        lasting: a disabled condition provides it too (5.5.2).
    """

    data_type: int
    type_definition: int
    get: Get
    empty: int = 0
    optional: bool = False
    lasting: bool = False

    def value(self, condition: Condition, context: Context) -> Field:
        """Its value; `CONDITION_DISABLED` when the condition does not provide it for now."""
        return self.get(condition, context) if condition.enabled or self.lasting else CONDITION_DISABLED


def type_number(condition: Condition) -> int:
    """NodeId number (namespace 0) of its type; that of any alarm when the name is none of the standard's."""
    return TYPE_IDS.get(condition.type_name, ALARM)


def condition_class(condition: Condition) -> tuple[int, str]:
    """NodeId number and name of its ConditionClass."""
    number = CLASS_IDS.get(condition.condition_class)
    if number is None:
        return 11163, "BaseConditionClassType"
    return number, f"{condition.condition_class}ConditionClassType"


def _time(ticks: int) -> Field:
    return (DATE_TIME, ticks) if ticks else NULL


def _text(value: str) -> Field:
    return LOCALIZED_TEXT, value


def _fixed(value: Field) -> Get:
    return lambda condition, context: value


def _of(kind: int, name: str) -> Get:
    return lambda condition, context: (kind, getattr(condition, name))


def _two_state(
    name: str, state: Callable[[Condition], bool], moment: str, words: tuple[str, str]
) -> dict[str, Variable]:
    true, false = words
    nothing = int(StatusCode.BadWaitingForInitialData)
    found = {
        name: Variable(_TEXT, TWO_STATE, lambda condition, _: _text(true if state(condition) else false)),
        f"{name}/Id": Variable(_BOOLEAN, PROPERTY, lambda condition, _: (BOOLEAN, state(condition))),
        f"{name}/TrueState": Variable(_TEXT, PROPERTY, _fixed(_text(true))),
        f"{name}/FalseState": Variable(_TEXT, PROPERTY, _fixed(_text(false))),
    }
    if moment:
        found[f"{name}/TransitionTime"] = Variable(
            _TIME, PROPERTY, lambda condition, _: _time(getattr(condition, moment)), nothing
        )
    return found


def _dated(name: str, data_type: int, get: Get, moment: str) -> dict[str, Variable]:
    return {
        name: Variable(data_type, CONDITION_VARIABLE, get),
        f"{name}/SourceTimestamp": Variable(
            _TIME,
            PROPERTY,
            lambda condition, _: _time(getattr(condition, moment)),
            int(StatusCode.BadWaitingForInitialData),
        ),
    }


def _effective(condition: Condition, _: Context) -> Field:
    if not condition.active:
        return _text("Inactive")
    words = ["Active", condition.limit]
    if condition.shelving != "Unshelved":
        words.append(_SHELVING_STATES[condition.shelving][1])
    if condition.suppressed:
        words.append("Suppressed")
    return _text(" / ".join(word for word in words if word))


def _unshelve_time(condition: Condition, _: Context) -> Field:
    if condition.shelved_until:
        return DOUBLE, max(condition.shelved_until - clock.now(), 0) / 10_000
    return DOUBLE, _LONGEST if condition.shelving == "OneShotShelved" else 0.0


def _input_node(condition: Condition, context: Context) -> Field:
    here = condition.address
    return NODE_ID, context.node_id(here) if context.is_point(here) else NULL_NODE_ID


def _limit_state(condition: Condition, _: Context) -> Field:
    return _text(condition.limit) if condition.active and condition.limit in _LIMIT_STATES else NULL


def _limit_state_id(condition: Condition, _: Context) -> Field:
    number = _LIMIT_STATES.get(condition.limit) if condition.active else None
    return NULL if number is None else (NODE_ID, numeric_node_id(number))


def _limit(place: int) -> Get:
    def get(condition: Condition, _: Context) -> Field:
        limit = condition.limits[place] if condition.limits else None
        return NULL if limit is None else (DOUBLE, limit)

    return get


def _target(condition: Condition, context: Context) -> Field:
    return NODE_ID, context.node_id(condition.target) if condition.target else NULL_NODE_ID


def _reached(name: str) -> Callable[[Condition], bool]:
    return lambda condition: condition.active and name in _REACHED.get(condition.limit, ())


_CONDITION = {
    "EventId": Variable(_OCTETS, PROPERTY, _of(BYTE_STRING, "event_id")),
    "EventType": Variable(_NODE, PROPERTY, lambda each, _: (NODE_ID, numeric_node_id(type_number(each)))),
    "SourceNode": Variable(_NODE, PROPERTY, lambda each, context: (NODE_ID, context.node_id(each.address))),
    "SourceName": Variable(_STRING_TYPE, PROPERTY, _of(STRING, "address")),
    "Time": Variable(_TIME, PROPERTY, lambda each, _: _time(each.source_time)),
    "ReceiveTime": Variable(_TIME, PROPERTY, lambda each, _: _time(each.received)),
    "Message": Variable(_TEXT, PROPERTY, _of(LOCALIZED_TEXT, "text")),
    "Severity": Variable(_SEVERITY, PROPERTY, _of(UINT16, "severity")),
    "ConditionClassId": Variable(_NODE, PROPERTY, lambda each, _: (NODE_ID, numeric_node_id(condition_class(each)[0]))),
    "ConditionClassName": Variable(_TEXT, PROPERTY, lambda each, _: _text(condition_class(each)[1])),
    "ConditionName": Variable(_STRING_TYPE, PROPERTY, _of(STRING, "code")),
    "BranchId": Variable(_NODE, PROPERTY, _fixed((NODE_ID, NULL_NODE_ID))),
    "Retain": Variable(_BOOLEAN, PROPERTY, _of(BOOLEAN, "retain")),
    **_two_state("EnabledState", lambda each: each.enabled, "enabled_time", ("Enabled", "Disabled")),
    **_dated("Quality", _STATUS, _of(STATUS_CODE, "status"), "status_time"),
    **_dated("LastSeverity", _SEVERITY, _of(UINT16, "last_severity"), "severity_time"),
    **_dated("Comment", _TEXT, _of(LOCALIZED_TEXT, "comment"), "comment_time"),
    "ClientUserId": Variable(_STRING_TYPE, PROPERTY, _of(STRING, "user")),
}
_CONDITION |= {
    path: replace(variable, lasting=True)
    for path, variable in _CONDITION.items()
    if path.partition("/")[0] not in {"Message", "Severity", "Quality", "LastSeverity"}
}
_ACKNOWLEDGEABLE = {
    **_two_state("AckedState", lambda each: each.acked, "acked_time", ("Acknowledged", "Unacknowledged")),
    **_two_state("ConfirmedState", lambda each: each.confirmed, "confirmed_time", ("Confirmed", "Unconfirmed")),
}
_ALARM = {
    **_two_state("ActiveState", lambda each: each.active, "active_time", ("Active", "Inactive")),
    "ActiveState/EffectiveDisplayName": Variable(_TEXT, PROPERTY, _effective),
    "InputNode": Variable(_NODE, PROPERTY, _input_node),
    **_two_state("SuppressedState", lambda each: each.suppressed, "suppressed_time", ("Suppressed", "Unsuppressed")),
    "ShelvingState/CurrentState": Variable(
        _TEXT, STATE_VARIABLE, lambda each, _: _text(_SHELVING_STATES[each.shelving][1])
    ),
    "ShelvingState/CurrentState/Id": Variable(
        _NODE, PROPERTY, lambda each, _: (NODE_ID, numeric_node_id(_SHELVING_STATES[each.shelving][0]))
    ),
    "ShelvingState/UnshelveTime": Variable(_DURATION, PROPERTY, _unshelve_time),
    "SuppressedOrShelved": Variable(
        _BOOLEAN, PROPERTY, lambda each, _: (BOOLEAN, each.suppressed or each.shelving != "Unshelved")
    ),
    "MaxTimeShelved": Variable(_DURATION, PROPERTY, _fixed((DOUBLE, MAX_TIME_SHELVED))),
}
_NOT_ACTIVE = 0x80BF_0000
"""BadStateNotActive: the limits' state machine of an alarm that is not active has no state."""
_LIMITS = {
    f"{name}Limit": Variable(_DOUBLE, PROPERTY, _limit(place), optional=True)
    for place, name in enumerate(("LowLow", "Low", "High", "HighHigh"))
}
_EXCLUSIVE_LIMIT = {
    **_LIMITS,
    "LimitState/CurrentState": Variable(_TEXT, STATE_VARIABLE, _limit_state, _NOT_ACTIVE),
    "LimitState/CurrentState/Id": Variable(_NODE, PROPERTY, _limit_state_id, _NOT_ACTIVE),
}
_NON_EXCLUSIVE_LIMIT = _LIMITS | {
    key: variable
    for name in _LIMIT_STATES
    for key, variable in _two_state(f"{name}State", _reached(name), "", (f"{name} active", f"{name} inactive")).items()
}
_OFF_NORMAL = {"NormalState": Variable(_NODE, PROPERTY, _fixed((NODE_ID, NULL_NODE_ID)))}
_NOT_KEPT = 0x803D_0000
"""BadNotSupported: a variable that the type wants but whose value nobody here knows."""


def _unknown(data_type: int) -> Variable:
    return Variable(data_type, PROPERTY, _fixed(NULL), _NOT_KEPT)


_DISCREPANCY = {
    "TargetValueNode": Variable(_NODE, PROPERTY, _target),
    "ExpectedTime": Variable(
        _DURATION,
        PROPERTY,
        lambda each, _: NULL if each.expected is None else (DOUBLE, each.expected * 1000),
        _NOT_KEPT,
    ),
    "Tolerance": Variable(
        _DOUBLE, PROPERTY, lambda each, _: NULL if each.tolerance is None else (DOUBLE, each.tolerance), optional=True
    ),
}
_CERTIFICATE = {
    "ExpirationDate": Variable(_DATE_TIME, PROPERTY, lambda each, _: _time(each.expires), _NOT_KEPT),
    "CertificateType": _unknown(_NODE),
    "Certificate": _unknown(_OCTETS),
}
OBJECTS = {"ShelvingState": 2929, "LimitState": 9318}
"""State machines of a condition by name, and their types."""


@cache
def variables_of(number: int) -> dict[str, Variable]:
    """Variables of a condition of a type by path (`AckedState/Id`), in the order in which they are browsed."""
    found: dict[str, Variable] = dict(_CONDITION)
    if number != TYPE_IDS["ConditionType"]:
        found |= _ACKNOWLEDGEABLE
        if number != TYPE_IDS["AcknowledgeableConditionType"]:
            found |= _ALARM
    if number in _EXCLUSIVE_TYPES:
        found |= _EXCLUSIVE_LIMIT
    elif number in _NON_EXCLUSIVE_TYPES:
        found |= _NON_EXCLUSIVE_LIMIT
    elif number in _OFF_NORMAL_TYPES:
        found |= _OFF_NORMAL
    elif number == TYPE_IDS["DiscrepancyAlarmType"]:
        found |= _DISCREPANCY
    if number == TYPE_IDS["CertificateExpirationAlarmType"]:
        found |= _CERTIFICATE
    return found


def value_of(condition: Condition, path: str, context: Context) -> Field:
    """Value of a variable by path; null when conditions of its type do not have it."""
    variable = variables_of(type_number(condition)).get(path)
    return NULL if variable is None else variable.value(condition, context)


def own_value(value: Any) -> Field:
    """A point's value as a field."""
    if isinstance(value, bool):
        return BOOLEAN, value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return (INT64, value) if value < 1 << 63 else (UINT64, value)
    if isinstance(value, float):
        return DOUBLE, value
    return NULL if value is None else (STRING, str(value))
