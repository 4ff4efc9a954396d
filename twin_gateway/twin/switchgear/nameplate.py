"""What is known of one piece of switchgear beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twin_gateway.twin.switchgear.gas import SF6, Gas, GasLimits
from twin_gateway.twin.switchgear.wear import WearData


@dataclass(frozen=True, slots=True)
class GasData:
    """The gas compartment.

    Attributes:
        gas: equation of state.
        limits: None when the nameplate does not say them; then there are no stages and no leak rate.
        gauge: the sensor measures against the air.
        altitude: m above sea level, for gauge sensors.
    """

    gas: Gas = SF6
    limits: GasLimits | None = None
    gauge: bool = False
    altitude: float = 0.0


@dataclass(frozen=True, slots=True)
class Nameplate:
    """One equipment; what is None or empty is not known.

    Attributes:
        wear: contacts.
        wear_start: percent by pole when counting begins.
        rated_current: A.
        operations: mechanical life, number of operations.
        opening_time, closing_time, motor_time: factory values, s.
        coil_current: factory value of the peak, A.
        gas: None without one.
        discharge_limit: in the unit of the sensor.
        temperature_warn, temperature_alarm: degC.
        ambient: address of the point with the temperature around it.
        operations_at_maintenance: reading of the operation counter at the last maintenance.
    """

    wear: WearData | None = None
    wear_start: Mapping[str, float] = field(default_factory=dict)
    rated_current: float | None = None
    operations: float | None = None
    opening_time: float | None = None
    closing_time: float | None = None
    motor_time: float | None = None
    coil_current: float | None = None
    gas: GasData | None = None
    discharge_limit: float | None = None
    temperature_warn: float = 90.0
    temperature_alarm: float = 105.0
    ambient: str = ""
    operations_at_maintenance: int = 0
