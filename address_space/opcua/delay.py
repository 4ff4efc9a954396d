"""How long a request was under way, without trust in the client's clock: a command that comes too late is dropped."""

from __future__ import annotations

from address_space import clock

_WINDOW = 60 * clock.TICKS_PER_SECOND


class RequestDelay:
    """Compares what each request header says with when it came, against the quickest request of the last minutes.

    The difference of the clocks is in all of them and falls out. A client whose clock is set back seems slow for two
    minutes at most; one that gives no times, or always the same, is never slow.
    """

    __slots__ = ("_before", "_since", "_told", "_window")

    def __init__(self) -> None:
        self._before: int | None = None
        self._window: int | None = None
        self._since = 0
        self._told = 0

    def of(self, received: int, told: int) -> int:
        """Ticks that a request came later than the quickest one would have.

        Args:
            received: when it was read, ticks.
            told: Timestamp of its header, ticks; 0 when it has none.
        """
        if told <= clock.UNIX_EPOCH_TICKS or told == self._told:
            return 0
        self._told = told
        lag = received - told
        if self._window is None:
            self._window, self._since = lag, received
        elif abs(received - self._since) > _WINDOW:
            self._before, self._window, self._since = self._window, lag, received
        else:
            self._window = min(self._window, lag)
        least = self._window if self._before is None else min(self._window, self._before)
        return lag - least
