"""The common side of the soak's devices: which points change when, the wrong clock, orders on stdin."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ledger import Ledger

TICK_S = 0.01
_LONGEST_GAP_S = 0.5


class Pace:
    """Changes of `points` points in turn, `rate` a second in all.

    Attributes:
        clock_ms: how far the device's clock is ahead.
        rests: nothing changes, as before the first order.
    """

    def __init__(self, points: int, rate: float) -> None:
        self._points, self._rate = points, rate
        self._next, self._owed, self._last = 0, 0.0, time.monotonic()
        self.clock_ms = 0
        self.rests = True

    def _flow(self) -> None:
        now = time.monotonic()
        self._owed += 0.0 if self.rests else self._rate * min(now - self._last, _LONGEST_GAP_S)
        self._last = now

    def due(self) -> npt.NDArray[np.int64]:
        """Points that change now, each at most once. What would have changed while the process was stopped did not."""
        self._flow()
        count = min(int(self._owed), self._points)
        self._owed -= count
        chosen = (self._next + np.arange(count)) % self._points
        self._next = (self._next + count) % self._points
        return chosen

    def whole_turn(self) -> bool:
        """Whether all points together change now."""
        self._flow()
        if self._owed < self._points:
            return False
        self._owed -= self._points
        return True

    def now(self) -> tuple[int, int]:
        """(time by the device's clock, true time), ms since 1970."""
        true = time.time_ns() // 1_000_000
        return true + self.clock_ms, true


def begin() -> tuple[argparse.Namespace, Ledger, Pace]:
    """The command line PORT LEDGER POINTS RATE; `obey` then listens to stdin."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("points", type=int)
    parser.add_argument("rate", type=float)
    given = parser.parse_args()
    return given, Ledger(given.ledger, given.points), Pace(given.points, given.rate)


def obey(pace: Pace) -> None:
    """Follow orders of stdin, {"clock": ms ahead} and {"rest": true}, in a thread of its own."""

    def listen() -> None:
        for line in sys.stdin:
            order = json.loads(line)
            pace.clock_ms = int(order.get("clock", pace.clock_ms))
            pace.rests = bool(order.get("rest", pace.rests))
        os._exit(0)  # whoever started us is gone

    threading.Thread(target=listen, daemon=True).start()


def ready() -> None:
    """Tell that the device listens."""
    print(json.dumps({"ready": True}), flush=True)
