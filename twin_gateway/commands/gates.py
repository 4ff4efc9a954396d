"""The gates of a command, in order; each refuses with its name. Pure: they look at the table and the caller only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from address_space.addcause import AddCause
from address_space.ports import AccessPolicy, Caller, Command, Outcome, Right, Verb
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.commands.tags import TagStore
from twin_gateway.commands.target import ControlTarget
from twin_gateway.commands.value import AUTOMATIC, OPEN

_TEST: Final = 3
"""Of Beh."""


@dataclass(slots=True)
class GateReport:
    """What the gates said, for the audit.

    Attributes:
        refusal: the outcome of the gate that refused; None when all let the command pass.
        notes: what was passed over and why (`Loc: absent by mapping`).
    """

    refusal: Outcome | None = None
    notes: list[str] = field(default_factory=list)


def moves(target: ControlTarget, switch: str = "") -> bool:
    """Whether commands of a data object move a switch: double points do, others where the grid model says so."""
    return target.point.cdc == "DPC" or bool(switch)


def opens(target: ControlTarget, command: Command) -> bool:
    """Whether the command (its value in the form of `command_value`) opens a switch, if it moves one."""
    return command.value == OPEN if target.point.cdc == "DPC" else command.value is False


def is_emergency(target: ControlTarget, command: Command) -> bool:
    """Whether an operator (not an automatic function, not for a test) opens a breaking-rated breaker."""
    double = target.point.cdc == "DPC"
    acts = not command.test and command.origin_category != AUTOMATIC
    return double and acts and opens(target, command) and target.breaks_load


def check(
    table: PointTable,
    policy: AccessPolicy | None,
    target: ControlTarget,
    command: Command,
    caller: Caller,
    *,
    tags: TagStore | None = None,
    switch: str = "",
) -> GateReport:
    """Gates role, mode, position quality, local control and tags, in the order of the specification.

    `switch` is the equipment of the grid model that the command moves, where it has one. An operator opening a
    breaking-rated breaker skips the quality gate, never the others here.
    """
    report = GateReport()
    emergency = is_emergency(target, command)
    if emergency:
        report.notes.append("quality: skipped, an operator opens a breaker")
    report.refusal = (
        _role(table, policy, target, command, caller)
        or _mode(table, target, command)
        or (None if emergency else _quality(table, target, command, report))
        or _local(table, target, command, report)
        or _tag(tags, target, command, switch)
    )
    return report


def release(
    table: PointTable, target: ControlTarget, command: Command, report: GateReport, switch: str = ""
) -> Outcome | None:
    """The device's own interlocking (CILO), as it says at this moment."""
    if command.verb is Verb.CANCEL or not moves(target, switch):
        return None
    return _interlock(table, target, command, report)


def _role(
    table: PointTable, policy: AccessPolicy | None, target: ControlTarget, command: Command, caller: Caller
) -> Outcome | None:
    """Operators command; engineers give test commands, where the device itself shows that it is in test mode."""
    if policy is None:
        text = "Commands are refused: the gateway has no access policy"
    elif policy.permits(caller, Right.OPERATE, command.address):
        return None
    else:
        who = f"User {caller.user!r}" if caller.user else "An anonymous user"
        text = f"{who} may not operate {command.address}"
        if command.test and policy.permits(caller, Right.CONFIGURE, command.address):
            if target.mode and all(in_test_mode(table, row) for row in target.mode):
                return None
            text += ", and test it only while its Beh shows test mode"
    return Outcome.refused("role", text, StatusCode.BadUserAccessDenied, AddCause.NO_ACCESS_AUTHORITY)


def _mode(table: PointTable, target: ControlTarget, command: Command) -> Outcome | None:
    for row in target.mode:
        mode = table.value(row)
        if not is_known(table, row):
            text = f"{table.address(row)} is not known"
            return Outcome.refused("mode", text, StatusCode.BadOutOfService, AddCause.BLOCKED_BY_MODE)
        # 1 on; 3 test and 4 test/blocked take test commands only; 2 blocked and 5 off take none.
        if mode == 1 and not command.test:
            continue
        if mode == _TEST and command.test:
            continue
        text = f"{table.address(row)} is {mode}: the device does not take {'test ' if command.test else ''}commands"
        return Outcome.refused("mode", text, StatusCode.BadOutOfService, AddCause.BLOCKED_BY_MODE)
    return None


def in_test_mode(table: PointTable, row: int) -> bool:
    """Whether a Beh says test now."""
    return is_known(table, row) and table.value(row) == _TEST


def has_position(table: PointTable, target: ControlTarget) -> bool:
    """Whether some device delivers the position; a data object may be mapped for its command only."""
    return target.position >= 0 and table.binding(target.position)[0] != ""


def is_known(table: PointTable, row: int) -> bool:
    """Whether a value can be relied on now. A device in test mode marks all its values so: they are known as well."""
    return int(table.status[row]) in (StatusCode.Good, StatusCode.UncertainSimulatedValue)


def _accepted(table: PointTable, row: int, command: Command) -> bool:
    """Whether a value is good enough to act on: Good, and for a test command also one of a device in test mode."""
    return is_known(table, row) if command.test else int(table.status[row]) == StatusCode.Good


def _quality(table: PointTable, target: ControlTarget, command: Command, report: GateReport) -> Outcome | None:
    if target.position < 0 or target.point.cdc not in ("DPC", "SPC"):
        return None
    if not has_position(table, target):
        return _unmapped(target, "Pos", "quality", report)
    if _accepted(table, target.position, command):
        return None
    status = int(table.status[target.position])
    text = f"The position {target.address} is not Good (0x{status:08X})"
    return Outcome.refused("quality", text, StatusCode.BadInvalidState, AddCause.BLOCKED_BY_PROCESS)


def _local(table: PointTable, target: ControlTarget, command: Command, report: GateReport) -> Outcome | None:
    if not target.local:
        return _unmapped(target, "Loc", "local", report)
    for row in target.local:
        if table.value(row) is not False or not _accepted(table, row, command):
            said = "says local control is taken" if table.value(row) else "is not known"
            text = f"{table.address(row)} {said}"
            return _others_control(text)
    for row in target.station:
        # The gateway commands as remote control.
        if table.value(row) is not False or not _accepted(table, row, command):
            said = "says control is with the station" if table.value(row) else "is not known"
            return _others_control(f"{table.address(row)} {said}")
    return None


def _others_control(text: str) -> Outcome:
    return Outcome.refused("local", text, StatusCode.BadUserAccessDenied, AddCause.BLOCKED_BY_SWITCHING_HIERARCHY)


def _tag(tags: TagStore | None, target: ControlTarget, command: Command, switch: str) -> Outcome | None:
    if tags is None or not moves(target, switch) or command.verb is Verb.CANCEL:
        return None
    if not tags.is_open:
        text = "The safety tags are not known: no switch is commanded"
        return Outcome.refused("tag", text, StatusCode.BadResourceUnavailable, AddCause.BLOCKED_BY_COMMAND)
    opening = opens(target, command)
    place = "/".join(target.address.place)
    # Its name in the grid model may be another than that of the place of its command.
    standing = dict.fromkeys((*tags.at(place), *(tags.at(switch) if switch else ())))
    for tag in standing:
        if tag.forbids(opening=opening):
            text = f"{'Opening' if opening else 'Closing'} {target.address} is forbidden: {tag}"
            return Outcome.refused("tag", text, StatusCode.BadOutOfService, AddCause.BLOCKED_BY_COMMAND)
    return None


def _interlock(table: PointTable, target: ControlTarget, command: Command, report: GateReport) -> Outcome | None:
    releases = target.release_open if opens(target, command) else target.release_close
    if not releases:
        return _unmapped(target, "CILO", "interlock", report)
    for row in releases:
        if table.value(row) is not True or not _accepted(table, row, command):
            said = "does not release" if table.value(row) is False else "is not known"
            text = f"{table.address(row)} {said}"
            return Outcome.refused("interlock", text, StatusCode.BadInvalidState, AddCause.BLOCKED_BY_INTERLOCKING)
    return None


def _unmapped(target: ControlTarget, name: str, gate: str, report: GateReport) -> Outcome | None:
    if target.point.cdc not in ("DPC", "SPC"):
        return None
    if name in target.absent:
        report.notes.append(f"{name}: absent by mapping")
        return None
    text = (
        f"{name} of {target.address} is not mapped; map it, or write `absent: [{name}]` in its control "
        "when the device has none"
    )
    return Outcome.refused(gate, text, StatusCode.BadConfigurationError, AddCause.BLOCKED_BY_PROCESS)
