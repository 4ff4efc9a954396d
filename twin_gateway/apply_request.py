"""The requests `apply` and `rollback` of the control socket: the running gateway changes to files, or back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from twin_gateway.apply_plan import Applied
from twin_gateway.change_desk import ChangeDesk
from twin_gateway.changed import Asker, Changed, ChangeError
from twin_gateway.control import ControlError, Handler, asking_user
from twin_gateway.revisions import EditedError

MOST_NAMED: Final = 1000
"""Names of each kind that an answer holds; all are counted."""
_NAMES: Final = tuple(each.name for each in fields(Applied))


class ApplyRequest:
    """Answers `apply` with `paths` of files and folders, or without for those of the configuration; and `rollback`.

    Args:
        desk: which changes the mapping.
    """

    def __init__(self, desk: ChangeDesk) -> None:
        self._desk = desk

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked."""
        return {"apply": self._apply, "rollback": self._roll_back}

    async def _apply(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        named = asked.get("paths") or []
        if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
            raise ControlError("`paths` is a list of files and folders")
        try:
            changed = await self._desk.apply_files([Path(each) for each in named], Asker(asking_user()))
        except EditedError as error:
            raise ControlError(f"{error}; apply once more when it is saved") from error
        except ChangeError as error:
            raise ControlError(str(error)) from error
        return self._told(changed)

    async def _roll_back(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        wanted = asked.get("revision") or ""
        if not isinstance(wanted, str):
            raise ControlError("`revision` is the beginning of a hash")
        try:
            revision, changed = await self._desk.roll_back(wanted, Asker(asking_user()))
        except ChangeError as error:
            raise ControlError(str(error)) from error
        return {**self._told(changed), "target": asdict(revision)}

    def _told(self, changed: Changed) -> dict[str, Any]:
        return {
            "problems": [str(problem) for problem in changed.problems],
            "errors": changed.errors,
            "applied": _first(changed.applied) if changed.applied is not None else None,
            "counts": {name: len(getattr(changed.applied, name)) for name in _NAMES} if changed.applied else {},
            "revision": self._desk.hash(),
            "notes": list(changed.notes),
        }


def _first(applied: Applied) -> dict[str, Any]:
    return {name: list(getattr(applied, name)[:MOST_NAMED]) for name in _NAMES}
