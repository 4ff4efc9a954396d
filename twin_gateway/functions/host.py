"""The host of the twin functions: one method provider for all, and their tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import StatusCode
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.contract import TwinFunction

log = logging.getLogger(__name__)
TICK_S = 1.0


class FunctionHost:
    """The `MethodProvider` port over all twin functions.

    Raises:
        ValueError: two functions offer the same method on one object.
    """

    def __init__(self, functions: Sequence[TwinFunction], alarms: Alarms) -> None:
        self.functions = tuple(functions)
        self._alarms = alarms
        self._owners: dict[tuple[str, str], TwinFunction] = {}
        for function in functions:
            for spec in function.specs():
                key = (spec.owner, spec.name)
                if key in self._owners:
                    raise ValueError(f"{spec.name} on {spec.owner or 'the grid'} is offered twice")
                self._owners[key] = function

    def specs(self) -> Sequence[MethodSpec]:
        """Methods of all functions."""
        return [spec for function in self.functions for spec in function.specs()]

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Hand a call to the function that offers the method."""
        function = self._owners.get((owner, name))
        if function is None:
            return MethodResult(StatusCode.BadMethodInvalid, (), f"{owner} has no method {name}")
        return await function.call(owner, name, arguments, caller)

    async def tick(self) -> None:
        """Let delayed conditions become alarms; never returns."""
        while True:
            await asyncio.sleep(TICK_S)
            self._alarms.tick()
