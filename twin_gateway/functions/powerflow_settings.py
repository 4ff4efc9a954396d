"""Settings of power flow and state estimation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from twin_gateway.durations import Seconds
from twin_gateway.grid.estimation import EstimationSettings
from twin_gateway.grid.sensors import Doubt


class PowerFlowSettings(BaseModel):
    """How power flow and state estimation run. Durations are seconds, or texts as `10 s`.

    Attributes:
        every: between two computations; a switch that moves brings the next one at once.
        meter_age: values of meters that are older are not used as loads.
        scale: part of their nominal power that unmeasured loads are expected to draw.
        pseudo: take unmeasured loads into the estimation as expected; off, it wants as many measurements as unknowns.
        pseudo_uncertainty: relative standard deviation of expected loads.
        source_uncertainty: of a source's set voltage, where no voltage of its island is measured; 0 insists on one.
        bad_from: normalised residual from which a measured value is bad.
        most_bad: most bad values looked for in one estimation.
        alarm_delay: for which a value must be bad, a power flow impossible or a state not observable before it is told.
        estimates: publish estimates for every line, transformer, load, generator and source.
        deadband: smallest change of an estimate that is published, part of its last value.
        limit: seconds that one computation may take.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Seconds = 5.0
    meter_age: Seconds = 3600.0
    scale: float = Field(default=1.0, ge=0, le=10)
    pseudo: bool = True
    pseudo_uncertainty: float = Field(default=0.3, gt=0, le=10)
    source_uncertainty: float = Field(default=0.02, ge=0, le=1)
    bad_from: float = Field(default=4.0, ge=2, le=100)
    most_bad: int = Field(default=5, ge=0, le=50)
    alarm_delay: Seconds = 15.0
    estimates: bool = True
    deadband: float = Field(default=0.001, ge=0, lt=1)
    limit: Seconds = 60.0

    def estimation(self) -> EstimationSettings:
        """The same as the estimator takes it."""
        return EstimationSettings(
            Doubt(pseudo=self.pseudo_uncertainty),
            self.pseudo,
            self.source_uncertainty or None,
            self.bad_from,
            rounds=self.most_bad,
        )
