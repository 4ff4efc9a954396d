"""Testing a command without moving anything: in test mode where the device shows it, else by a selection alone."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final

from address_space import clock
from address_space.ports import Caller, Command, Outcome, Verb
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.commands.desk import CommandDesk
from twin_gateway.commands.gates import in_test_mode, is_known
from twin_gateway.commands.target import ControlTarget
from twin_gateway.commissioning.record import Trial

REASON: Final = "commissioning test"
_TEST_FLAG: Final = frozenset({"iec61850", "iec104"})
"""Protocols whose commands can say that they are a test: Test of 61850, the test bit of the cause of 104."""


@dataclass(frozen=True, slots=True)
class TrialWay:
    """How a command can be tested now.

    Attributes:
        tested: what a test can come to at best: `OPERATED`, `SELECTED`, `NO_TEST_MODE` or `NOT_IN_TEST`.
        why: one sentence.
    """

    tested: Trial
    why: str


@dataclass(frozen=True, slots=True)
class TrialRun:
    """What became of a test.

    Attributes:
        tested: see there.
        text: what the device or the refusing gate said.
        command_ids: in the audit journal.
        reached: it says something of the device; False where a gate stopped it before.
    """

    tested: Trial
    text: str
    command_ids: tuple[str, ...] = ()
    reached: bool = True


def way_of(table: PointTable, target: ControlTarget, protocol: str) -> TrialWay:
    """How the command of a data object can be tested: a test command leaves only when the device shows test mode."""
    if target.mode and can_say_test(protocol):
        other = next((row for row in target.mode if not in_test_mode(table, row)), None)
        if other is None:
            return TrialWay(Trial.OPERATED, f"{table.address(target.mode[0])} shows test mode: a test command is sent")
        said = table.value(other) if is_known(table, other) else "not known"
        text = f"{table.address(other)} is {said}, not 3 (test): put the device in test mode"
        return TrialWay(Trial.NOT_IN_TEST, text)
    if protocol == "iec61850":
        text = "no Beh is mapped beside it: whether the device is in test mode is not known"
        return TrialWay(Trial.NOT_IN_TEST, text)
    if target.needs_selection:
        return TrialWay(Trial.SELECTED, "the device shows no test mode: the command is selected and given back")
    return TrialWay(Trial.NO_TEST_MODE, f"{protocol} shows no test mode, and nothing is selected before it operates")


async def test_command(
    desk: CommandDesk,
    way: TrialWay,
    target: ControlTarget,
    value: bool | int | float,
    caller: Caller,
    *,
    flagged: bool,
) -> TrialRun:
    """Test a command through all gates of the desk, audited there.

    Args:
        desk: of the gateway.
        way: as of `way_of`, just now.
        target: of the data object.
        value: to command, in published units.
        caller: who tests.
        flagged: the protocol can say that a command is a test.
    """
    if way.tested in {Trial.NO_TEST_MODE, Trial.NOT_IN_TEST}:
        return TrialRun(way.tested, way.why)
    verbs = [Verb.SELECT, Verb.CANCEL] if way.tested is Trial.SELECTED else [Verb.OPERATE]
    if way.tested is Trial.OPERATED and target.takes_selection:
        verbs = [Verb.SELECT, Verb.OPERATE]
    ids: list[str] = []
    outcome = Outcome(StatusCode.Good)
    for verb in verbs:
        outcome = await _send(desk, verb, target.address.text, value, caller, test=flagged)
        ids.append(outcome.command_id)
        if not outcome.good and verb is Verb.CANCEL:
            # The device took the selection: that it cannot give it back is its own way, and ends by itself.
            return TrialRun(way.tested, f"select confirmed; not given back: {outcome.text}", tuple(ids))
        if not outcome.good:
            gate = f"gate {outcome.gate}: " if outcome.gate else ""
            text = f"{verb}: {gate}{outcome.text or 'refused'}"
            return TrialRun(Trial.REFUSED, text, tuple(ids), reached=outcome.sent or len(ids) > 1)
    done = " and ".join(f"{verb} confirmed" for verb in verbs)
    return TrialRun(way.tested, f"{done}{f': {outcome.text}' if outcome.text else ''}", tuple(ids))


async def _send(
    desk: CommandDesk, verb: Verb, address: str, value: bool | int | float, caller: Caller, *, test: bool
) -> Outcome:
    command = Command(
        verb,
        address,
        None if verb is Verb.CANCEL else value,
        issued_at=clock.now(),
        test=test,
        reason=REASON,
        request_id=uuid.uuid4().hex,
    )
    act = {Verb.SELECT: desk.select, Verb.OPERATE: desk.operate, Verb.CANCEL: desk.cancel}[verb]
    return await act(command, caller)


def can_say_test(protocol: str) -> bool:
    """Whether commands of a protocol can say that they are a test."""
    return protocol in _TEST_FLAG
