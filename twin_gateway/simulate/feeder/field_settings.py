"""Settings of the physical field, what it refuses, and the faults that are put into it."""

from __future__ import annotations

from dataclasses import dataclass, field

from twin_gateway.simulate.feeder.circuit import FaultKind
from twin_gateway.simulate.feeder.indicators import IndicatorSettings
from twin_gateway.simulate.feeder.protection import ProtectionSettings


class FieldError(ValueError):
    """The field has no such thing; the message says which."""


@dataclass(frozen=True, slots=True)
class FieldSettings:
    """Settings of the field; times in seconds.

    Attributes:
        protection: of every feeder; the pick-up of the grid model wins.
        indicators: of every fault passage indicator.
        der_return: pause after which a generator that has lost the grid feeds again.
        extinction: time without voltage after which a temporary fault is gone.
        still: loads stay at their nominal power.
        seed: of all randomness.
    """

    protection: ProtectionSettings = field(default_factory=ProtectionSettings)
    indicators: IndicatorSettings = field(default_factory=IndicatorSettings)
    der_return: float = 60.0
    extinction: float = 0.2
    still: bool = False
    seed: int = 1


@dataclass(slots=True)
class Fault:
    """A fault in the grid.

    Attributes:
        equipment: that has it.
        kind: phases that it joins.
        temporary: it goes away when it has had no voltage for some time.
    """

    equipment: str
    kind: FaultKind = FaultKind.THREE_PHASE
    temporary: bool = False
    token: int = field(default=0)
