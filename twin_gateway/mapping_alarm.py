"""The alarm on the mapping files of the configuration (G01): they have errors, or could not be applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twin_gateway.alarms.machine import Finding
from twin_gateway.checked_apart import first_problems, how_many
from twin_gateway.functions.alarms import Alarms
from twin_gateway.mapping.problem import Problem
from twin_gateway.system_points import part_place

CODE: Final = "G01"
SEVERITY: Final = 600
_LONGEST: Final = 1000


class MappingAlarm:
    """One condition at the part `mapping` of the gateway.

    Args:
        alarms: where it goes.
        place: of the gateway.
    """

    def __init__(self, alarms: Alarms, place: str) -> None:
        self._alarms = alarms
        self.address = part_place(place, "mapping")
        self._text = ""

    @property
    def active(self) -> bool:
        """Whether something is wrong with the files."""
        return self._alarms.holds(CODE, self.address)

    def invalid(self, problems: Sequence[Problem], errors: int, running: str) -> None:
        """The files have errors; nothing was changed."""
        first = "; ".join(first_problems(problems, errors))
        self._raise(f"The mapping files have {how_many(errors)}, the gateway goes on with {_what(running)}: {first}")

    def refused(self, reason: str, running: str) -> None:
        """The files are valid, but cannot be applied; nothing was changed."""
        self._raise(f"The mapping files cannot be applied, the gateway goes on with {_what(running)}: {reason}")

    def clear(self) -> None:
        """The files are well."""
        self._text = ""
        self._alarms.clear(CODE, self.address, "The mapping files are valid")

    def _raise(self, text: str) -> None:
        text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
        if text == self._text:
            return
        told, self._text = self.active, text
        self._alarms.raise_(CODE, self.address, text, SEVERITY)
        if told:  # other problems than before are news, though the alarm is the same
            self._alarms.book.raise_(self.address, CODE, Finding(text, SEVERITY), anew=True)


def _what(running: str) -> str:
    return f"revision {running}" if running else "the mapping that it has"
