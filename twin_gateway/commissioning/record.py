"""What is known of the commissioning of an address: what people found, and the state of the life cycle that follows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from twin_gateway.commissioning.binding import Binding


class Result(StrEnum):
    """What somebody found at a point."""

    CONFIRMED = "confirmed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Trial(StrEnum):
    """What became of the test of a command."""

    OPERATED = "tested in test mode"
    SELECTED = "selected only: no test mode"
    NO_TEST_MODE = "not tested: no test mode"
    NOT_IN_TEST = "not tested: the device is not in test mode"
    REFUSED = "refused"


DONE: Final = frozenset({Trial.OPERATED, Trial.SELECTED, Trial.NO_TEST_MODE})
"""Nothing more can be tested of the command."""


class State(StrEnum):
    """Where an address stands in its life cycle (spec 2.8)."""

    REGISTERED = "registered"  # it has an address and no device gives or takes it
    BOUND = "bound"  # nobody has looked yet
    VERIFIED = "verified"  # a good value was seen; not commissioned yet
    COMMISSIONED = "commissioned"
    FAILED = "failed"
    VOID = "void"  # the binding is another than that which was looked at
    MOVED = "moved"
    RETIRED = "retired"
    REMOVED = "removed"  # in no mapping file any more, without a tombstone


@dataclass(frozen=True, slots=True)
class Record:
    """What somebody found at a point, once.

    Attributes:
        number: of the record in the store; 0 before it is there.
        address: of the point.
        result: see `Result`.
        bulk: accepted with others, nobody looked at it by itself.
        user: who.
        roles: the roles they had.
        time: when, ISO 8601 in UTC.
        note: what they wrote.
        reading: what was shown, as of `Reading.as_json`.
        binding: that it was looked at with.
        revision: hash of the mapping that ran.
        signed: number of the protocol that signs it; 0 while none does.
    """

    number: int
    address: str
    result: Result
    bulk: bool
    user: str
    roles: tuple[str, ...]
    time: str
    note: str
    reading: dict[str, Any]
    binding: Binding
    revision: str
    signed: int = 0


@dataclass(frozen=True, slots=True)
class CommandTest:
    """The last test of a command.

    Attributes:
        address: of the data object.
        digest: of the command binding that was tested.
        tested: what became of it.
        value: what was commanded, as text; empty where nothing was.
        text: what the device or the gate said.
        command_ids: ids in the audit journal.
    """

    address: str
    digest: str
    tested: Trial
    value: str
    text: str
    user: str
    time: str
    command_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Approval:
    """An engineer's word that a command binding is right."""

    address: str
    digest: str
    user: str
    time: str


@dataclass(frozen=True, slots=True)
class Known:
    """All that is kept of one address: the last of each; None where there is none."""

    record: Record | None = None
    test: CommandTest | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of an address and why it is not further; `why` is empty when there is nothing to say.

    `ready`: it is confirmed and lacks nothing but the sign-off.
    """

    state: State
    why: str = ""
    ready: bool = False


def standing_of(known: Known, binding: Binding) -> Standing:
    """Where a point that is mapped stands.

    A record counts for the binding that it was made with, and so do tests and approvals of commands.
    """
    record = known.record
    if not binding.digest and not binding.command_digest:
        return Standing(State.REGISTERED, "no device gives it")
    if record is None:
        return Standing(State.BOUND)
    void = _void(record.binding, binding)
    if void:
        return Standing(State.VOID, void)
    if record.result is Result.FAILED:
        return Standing(State.FAILED, record.note)
    seen = State.VERIFIED if record.reading["good"] else State.BOUND
    if record.signed:
        return Standing(State.COMMISSIONED)
    if record.result is Result.SKIPPED:
        return Standing(seen, f"skipped: {record.note}" if record.note else "skipped")
    if not binding.digest:
        seen = State.VERIFIED  # it is commanded only: there is no value to see
    missing = missing_of(known, binding)
    return Standing(seen, missing or "not signed off", ready=not missing and seen is State.VERIFIED)


def missing_of(known: Known, binding: Binding) -> str:
    """What a confirmed point lacks before it can be signed off; empty when nothing."""
    if not binding.command_digest:
        return ""
    test, approval = known.test, known.approval
    if test is None or test.digest != binding.command_digest:
        return "its command has not been tested"
    if test.tested not in DONE:
        return f"its command: {test.tested}"
    if approval is None or approval.digest != binding.command_digest:
        return "an engineer has not approved its command binding"
    return ""


def _void(then: Binding, now: Binding) -> str:
    if then.command_digest != now.command_digest:
        if not now.command_digest:
            return "it is not commanded any more"
        before = then.command_text or "none"
        same = before == now.command_text
        change = "with other settings" if same else f"was {before}, is {now.command_text}"
        return f"its command binding has changed ({change})"
    if then.digest != now.digest:
        change = (
            "with other settings" if then.text == now.text else f"was {then.text or 'none'}, is {now.text or 'none'}"
        )
        return f"its binding has changed ({change})"
    return ""
