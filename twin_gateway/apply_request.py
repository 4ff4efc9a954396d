"""The request `apply` of the control socket: read and check mapping files, and change the running gateway to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twin_gateway.applying import Applied, ApplyError
from twin_gateway.control import ControlError, Handler
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping as PointMapping


class ApplyRequest:
    """Answers `apply`: with `paths` of files and folders, or without for those of the configuration.

    Args:
        paths: of the configuration.
        apply: as of `Gateway.apply`.
    """

    def __init__(self, paths: Sequence[Path], apply: Callable[[PointMapping], Awaitable[Applied]]) -> None:
        self._paths = paths
        self._apply = apply

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked."""
        return {"apply": self._answer}

    async def _answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        named = asked.get("paths") or []
        if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
            raise ControlError("`paths` is a list of files and folders")
        paths = [Path(each) for each in named] or list(self._paths)
        mapping, problems = await asyncio.to_thread(check, paths)
        told = [str(problem) for problem in problems]
        if mapping is None:
            return {"problems": told, "applied": None}
        try:
            applied = await self._apply(mapping)
        except ApplyError as error:
            raise ControlError(str(error)) from error
        return {"problems": told, "applied": asdict(applied)}
