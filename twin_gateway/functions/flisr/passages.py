"""When fault passage indicators were set: the moment of the change is kept, for an answer to a poll bears its own time.

A general interrogation repeats a value without the time of its change, and a bad clock gives it a wrong one. What was
seen to change while the link was up has changed then, whatever the device says of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from twin_gateway.twin.flisr.watch import Reading


@dataclass(slots=True)
class _Known:
    """What is known of one indicator.

    Attributes:
        passed: the last usable value.
        lost: since when its device is out of reach or back after that, s; None when it always was in reach.
        time: device time at which it was set; None without a good one.
        received: when it was learnt that it is set.
    """

    passed: bool
    lost: float | None = None
    time: float | None = None
    received: float = 0.0


class Passages:
    """Remembers the last change of every indicator.

    Args:
        late: s, a change that comes so long after its device time, from a device in reach, has a wrong device time.
    """

    def __init__(self, late: float) -> None:
        self._late = late
        self._known: dict[str, _Known] = {}

    def change(self, address: str, reading: Reading) -> None:
        """Take a value as it came."""
        known = self._known.get(address)
        first = known is None
        if known is None:
            known = self._known[address] = _Known(passed=False)
        if not reading.usable or not isinstance(reading.value, bool | int | float):
            known.lost = reading.received
            return
        passed, before = bool(reading.value), known.passed
        known.passed = passed
        if not passed:
            known.lost = None
            return
        stamped = reading.time if reading.clock_good else None
        if first or not before:
            reachable = not first and (known.lost is None or reading.received - known.lost > self._late)
            wrong = reachable and stamped is not None and reading.received - stamped > self._late
            known.time, known.received = None if wrong else stamped, reading.received
        elif stamped is not None and known.time is not None and stamped > known.time:
            known.time, known.received = stamped, reading.received  # set once more
        known.lost = None

    def set_at(self, address: str) -> tuple[float | None, float] | None:
        """(device time or None without a good one, received) of its setting; None when it is not set."""
        known = self._known.get(address)
        return (known.time, known.received) if known is not None and known.passed else None
