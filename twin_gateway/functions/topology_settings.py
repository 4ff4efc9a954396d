"""Settings of the live topology."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from twin_gateway.durations import Seconds


class TopologySettings(BaseModel):
    """What the live topology publishes and tells. Durations are seconds, or texts as `10 s`.

    Attributes:
        nodes: publish results for every connectivity node; False: only the totals of the area.
        dead_customers: T02 when more customers than these of one feeder are without supply for certain.
        alarm_delay: for which loops, unknown positions and dead areas must last before they are an alarm (T02), and a
            switch must be out of its normal position (S03): a reclosing is over sooner.
        voltage_delay: for which a dead part must be measured live before it is an alarm (P09).
        live_above: a measured voltage above this part of the nominal one says that its place is live.
        without_point: position of a switch whose position point is not in the point table.
        position_alarms: tell of positions that stay intermediate (S02); off where the supervision of devices does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: bool = True
    dead_customers: int = Field(default=50, ge=0)
    alarm_delay: Seconds = 10.0
    voltage_delay: Seconds = 5.0
    live_above: float = Field(default=0.2, gt=0, lt=1)
    without_point: Literal["unknown", "normal"] = "unknown"
    position_alarms: bool = True
