"""The host of the twin functions: one method provider for all, and their tasks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import StatusCode
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.contract import TwinFunction
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.slices import in_slices

log = logging.getLogger(__name__)
TICK_S = 1.0
PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True, slots=True)
class Hosted:
    """A twin function and the result points that are its own."""

    function: TwinFunction
    results: ResultPoints


class FunctionHost:
    """The `MethodProvider` port over all twin functions, and what keeps them running.

    Args:
        place: of the gateway, for events.
        pause: s until a function that has failed is started again; doubled each time, up to `LONGEST_PAUSE_S`. One
            that has run for longer than that has recovered: it begins with the first pause again.
        monotonic: clock of that, s.

    Attributes:
        failed: functions that do not run at present, by name -> why.

    Raises:
        ValueError: two functions offer the same method on one object.
    """

    def __init__(
        self,
        hosted: Sequence[Hosted],
        alarms: Alarms,
        place: str = "",
        *,
        pause: float = PAUSE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hosted = tuple(hosted)
        self.functions = functions = tuple(one.function for one in hosted)
        self.failed: dict[str, str] = {}
        self._alarms = alarms
        self._place = place
        self._pause, self._now = pause, monotonic
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

    async def keep(self, hosted: Hosted) -> None:
        """Run a function, again when it fails: its results are bad until then, and everybody is told. Never returns."""
        function, pause = hosted.function, self._pause
        while True:
            began = self._now()
            try:
                await function.run()
                why = "it ended by itself"
            except Exception as error:
                log.exception("twin function %s failed", function.name)
                why = f"{type(error).__name__}: {error}"
            if self._now() - began > LONGEST_PAUSE_S:
                pause = self._pause
            self.failed[function.name] = why
            hosted.results.invalidate()
            text = f"Twin function {function.name} failed ({why}); its results are bad, it starts again in {pause:g} s"
            self._alarms.event("G02", self._place, text, 800)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            del self.failed[function.name]

    async def tick(self) -> None:
        """Let delayed conditions become alarms; never returns."""
        while True:
            await asyncio.sleep(TICK_S)
            await in_slices(self._alarms.ripening())
