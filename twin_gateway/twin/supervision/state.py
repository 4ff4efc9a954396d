"""State of one device: what it is in, by precedence, and flapping as a state of its own (spec 7.3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from twin_gateway.twin.rules import DeviceState

FLAPS_ALLOWED = 5
FLAP_WINDOW_S = 600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that holds of a device: the state it makes and why."""

    state: DeviceState
    reason: str


def resolve(
    findings: Iterable[Finding], *, heard: bool = True, connecting: bool = False, retired: bool = False
) -> Finding:
    """State and reason: retired before all, then unreachable > fault > test > local > degraded > ok.

    Args:
        findings: what holds; of equal states the first gives the reason.
        heard: the device has said anything at all since the start.
        connecting: its link is on the way up for the first time.
        retired: it has been taken out of service for good.
    """
    if retired:
        return Finding(DeviceState.RETIRED, "retired")
    worst: Finding | None = None
    for found in findings:
        if worst is None or found.state > worst.state:
            worst = found
    if worst is not None and worst.state is DeviceState.UNREACHABLE:
        return worst
    if not heard:
        if connecting:
            return Finding(DeviceState.INITIALISING, "waiting for its first values")
        return Finding(DeviceState.UNKNOWN, "nothing heard yet")
    return worst if worst is not None and worst.state > DeviceState.OK else Finding(DeviceState.OK, "")


@dataclass(slots=True)
class Flapping:
    """Hysteresis of a thing that comes and goes: more than five losses within ten minutes, until ten minutes are quiet.

    Attributes:
        active: it flaps; one alarm stands for all the losses.
    """

    allowed: int = FLAPS_ALLOWED
    window_s: float = FLAP_WINDOW_S
    active: bool = False
    _losses: deque[float] = field(default_factory=deque)

    def lost(self, now: float) -> None:
        """Count a loss at a time in s."""
        self._losses.append(now)
        self.check(now)

    def check(self, now: float) -> bool:
        """Whether it flaps at a time in s."""
        while self._losses and now - self._losses[0] >= self.window_s:
            self._losses.popleft()
        if len(self._losses) > self.allowed:
            self.active = True
        elif not self._losses:
            self.active = False
        return self.active
