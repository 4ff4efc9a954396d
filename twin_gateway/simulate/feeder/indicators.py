"""Fault passage indicators: set by the current of a fault, reset when the voltage has been back for some time. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twin_gateway.grid.model import FaultIndicator


@dataclass(frozen=True, slots=True)
class IndicatorSettings:
    """Settings of all indicators; times in seconds, currents in A.

    Attributes:
        pickup: fault current of the phases that sets an indicator.
        earth_pickup: earth fault current that sets it.
        response: time the current must flow.
        reset_time: time the voltage must be back before it resets.
    """

    pickup: float = 350.0
    earth_pickup: float = 8.0
    response: float = 0.06
    reset_time: float = 30.0


class Indicator:
    """One indicator.

    Attributes:
        passed: it shows a fault passage.
        count: passages so far (FltCnt).
        since: when it was set, Unix seconds.
        amperes: current that set it.
    """

    def __init__(self, model: FaultIndicator, settings: IndicatorSettings) -> None:
        self.model, self._settings = model, settings
        self.passed = False
        self.count = 0
        self.since = 0.0
        self.amperes = 0.0
        self._flowing = self._live = False
        self._token = self._reset_token = 0

    def see(
        self, now: float, amperes: float, earth: bool, live: bool, after: Callable[[float, Callable[[], None]], None]
    ) -> None:
        """Take the present state of its place.

        Args:
            now: Unix seconds.
            amperes: fault current through it, 0 without.
            earth: whether this is an earth fault.
            live: whether its place has voltage without fault.
            after: does something later.
        """
        settings = self._settings
        flowing = amperes > (settings.earth_pickup if earth else settings.pickup)
        if flowing != self._flowing:
            self._flowing = flowing
            self._token += 1
            if flowing:
                token = self._token
                after(settings.response, lambda: self._set(token, now, amperes))
        healthy = live and not flowing
        if healthy != self._live:
            self._live = healthy
            self._reset_token += 1
            if healthy and self.passed:
                self._reset_later(after)
        elif healthy and self.passed and not self._reset_token:
            self._reset_later(after)

    def _reset_later(self, after: Callable[[float, Callable[[], None]], None]) -> None:
        token = self._reset_token
        after(self._settings.reset_time, lambda: self._reset(token))

    def _set(self, token: int, since: float, amperes: float) -> None:
        if token == self._token and self._flowing:
            self.passed, self.since, self.amperes = True, since, amperes
            self.count += 1

    def _reset(self, token: int) -> None:
        if token == self._reset_token and self._live:
            self.passed = False

    def clear(self) -> None:
        """Reset it by hand."""
        self.passed = False
