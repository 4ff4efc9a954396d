"""When a device that sleeps may be asked (LwM2M queue mode); no I/O."""

from __future__ import annotations

import time


class Waking:
    """When a device listens: after each registration and update for a while, or until it does not answer.

    What it answers does not count: asking it again and again would keep it awake.

    Attributes:
        since: `time.monotonic()` of the last registration or update.
    """

    def __init__(self, window: float, since: float) -> None:
        """A device that listens for `window` seconds after it registered, the last time at `since`."""
        self.since = since
        self._window = window
        self._until = since + window

    @property
    def ends(self) -> float:
        """When it stops listening, `time.monotonic()`; it may have already."""
        return self._until

    @property
    def listens(self) -> bool:
        """Whether a request may be sent now."""
        return time.monotonic() < self._until

    def woke(self) -> None:
        """It has registered, or has prolonged its registration."""
        self.since = time.monotonic()
        self._until = self.since + self._window

    def silent(self) -> None:
        """It does not answer: it sleeps already."""
        self._until = time.monotonic()
