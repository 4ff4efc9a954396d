"""The methods of the address space itself: Resolve and Lookup on the grid, commands on logical nodes."""

from __future__ import annotations

from address_space.ports import Argument, MethodSpec, Right

_BOOLEAN, _INT32, _UINT32, _STRING, _NODE_ID, _ANY = 1, 6, 7, 12, 17, 24

RESOLVE = MethodSpec(
    "",
    "Resolve",
    (Argument("text", _STRING, "An address, or an alias as scheme:value"),),
    (
        Argument("address", _STRING, "Technological address; empty without a match"),
        Argument("kind", _STRING, "What the address denotes"),
        Argument("nodeId", _NODE_ID, "Node of the address"),
        Argument("topic", _STRING, "MQTT topic of the value"),
        Argument("uri", _STRING, "URI under the authority"),
        Argument("bindings", _STRING, "JSON objects with driver, link, point, role", is_list=True),
        Argument("aliases", _STRING, "Other names of the address", is_list=True),
        Argument("tombstone", _STRING, "JSON object when the text named a retired address", is_list=False),
        Argument("nearest", _STRING, "At most five addresses like the text, without a match", is_list=True),
    ),
    Right.BROWSE,
    "The address that a text names, and all other forms of it",
)
LOOKUP = MethodSpec(
    "",
    "Lookup",
    (
        Argument("pattern", _STRING, "Address with + for one segment and # at the end for all below"),
        Argument("filter", _STRING, "class=XCBR cdc=DPC quality=good|uncertain|bad; empty for all"),
        Argument("max", _UINT32, "Most addresses to return; 0 for as many as the server gives"),
    ),
    (
        Argument("addresses", _STRING, "Addresses in the order of the tree", is_list=True),
        Argument("nodeIds", _NODE_ID, "Their nodes", is_list=True),
        Argument("more", _BOOLEAN, "There are more than were returned"),
    ),
    Right.BROWSE,
    "Addresses that match a pattern",
)
_DATA_OBJECT = Argument("dataObject", _STRING, "Name of the data object below this logical node, as Pos")
_VALUE = Argument("value", _ANY, "Boolean or number in the unit of the data object; double points take 1 off, 2 on")
_CHECKS = (
    Argument("test", _BOOLEAN, "Test command"),
    Argument("interlockCheck", _BOOLEAN, "The device checks its interlocks"),
    Argument("synchroCheck", _BOOLEAN, "The device checks synchronism"),
)
_OUTCOME = (
    Argument("commandId", _STRING, "Under which the audit keeps the command"),
    Argument("addCause", _INT32, "AddCause of IEC 61850-7-3; -1 where there is none"),
    Argument("gate", _STRING, "The gate that refused; empty when none did"),
    Argument("text", _STRING, "The outcome in words"),
)
COMMANDS: dict[str, MethodSpec] = {
    "Select": MethodSpec(
        "", "Select", (_DATA_OBJECT, _VALUE, *_CHECKS), _OUTCOME, Right.OPERATE, "Select before operate"
    ),
    "Operate": MethodSpec(
        "",
        "Operate",
        (
            _DATA_OBJECT,
            _VALUE,
            *_CHECKS,
            Argument("reason", _STRING, "Why, for the audit"),
            Argument("requestId", _STRING, "The caller's own id; a repeated one gets the first outcome"),
        ),
        _OUTCOME,
        Right.OPERATE,
        "Operate; Good only when the device confirmed",
    ),
    "Cancel": MethodSpec("", "Cancel", (_DATA_OBJECT,), _OUTCOME, Right.OPERATE, "Give a selection back"),
}
_COMMAND_RIGHTS = (Right.OPERATE, Right.CONFIGURE)


def rights_of(method: MethodSpec) -> tuple[Right, ...]:
    """Any of these lets somebody call a method.

    Whoever may configure but not operate calls the commands too: the desk takes test commands of them, no others.
    """
    return _COMMAND_RIGHTS if method in COMMANDS.values() else (method.right,)


GRID: dict[str, MethodSpec] = {"Resolve": RESOLVE, "Lookup": LOOKUP}
