"""Select before operate: who has selected which data object for what, and until when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from address_space.addcause import AddCause
from address_space.ports import Caller, Command, Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.commands.target import ControlTarget


@dataclass(frozen=True, slots=True)
class _Selection:
    who: tuple[str, str]
    value: object
    test: bool
    until: float


class Selections:
    """The selections that stand; each is of one session, one value and one data object.

    Args:
        stands: how long a selection stands, s.
        monotonic: clock, s.
    """

    def __init__(self, stands: float, monotonic: Callable[[], float]) -> None:
        self._stands, self._now = stands, monotonic
        self._selections: dict[str, _Selection] = {}

    def __contains__(self, address: str) -> bool:
        selection = self._selections.get(address)
        return selection is not None and self._now() < selection.until

    def note(self, target: ControlTarget, command: Command, caller: Caller) -> None:
        """The device has taken a selection."""
        self._selections[target.address.text] = _Selection(
            (caller.user, caller.session), command.value, command.test, self._now() + self._stands
        )

    def tests(self, address: str, caller: Caller) -> bool:
        """Whether the caller has selected a data object by a test command."""
        selection = self._selections.get(address)
        return selection is not None and selection.test and selection.who == (caller.user, caller.session)

    def spend(self, address: str) -> None:
        """What was selected has been operated or given back, or nobody knows."""
        self._selections.pop(address, None)

    def refusal(self, target: ControlTarget, command: Command, caller: Caller) -> Outcome | None:
        """Why a command does not fit what is selected; None when it does."""
        selection = self._selections.get(command.address)
        if selection is not None and self._now() >= selection.until:
            del self._selections[command.address]
            selection = None
        who = (caller.user, caller.session)
        if selection is not None and selection.who != who:
            return Outcome.refused(
                "selection",
                f"{command.address} is selected by another user",
                StatusCode.BadResourceUnavailable,
                AddCause.OBJECT_ALREADY_SELECTED,
            )
        if command.verb is Verb.SELECT and not target.takes_selection:
            text = f"{command.address} is of control model {target.model}: it is operated without selection"
            return Outcome.refused("selection", text, StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED)
        if command.verb is Verb.SELECT or (selection is None and not target.needs_selection):
            return None
        if selection is None:
            text = f"{command.address} is not selected; call Select first"
            return Outcome.refused("selection", text, StatusCode.BadInvalidState, AddCause.OBJECT_NOT_SELECTED)
        if command.verb is Verb.OPERATE and (selection.value, selection.test) != (command.value, command.test):
            text = "Operate asks for something else than what was selected"
            return Outcome.refused("selection", text, StatusCode.BadInvalidArgument, AddCause.INCONSISTENT_PARAMETERS)
        return None
