"""Settings of the identification of low-voltage topology."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from twin_gateway.durations import Seconds


class LvTopologySettings(BaseModel):
    """Identification of low-voltage topology.

    Attributes:
        days: length of the window when the caller names none, up to the present.
        most_days: longest window.
        threshold: confidence from which a finding is not unknown.
        limit: seconds that an identification may take.
        answer_within: seconds after which `Identify` answers though the computation goes on; `Progress` tells then.
        kept_results: results whose findings are kept.
        most_meters: most meters of one identification; a larger area is done part by part.
        authority: URI of the grid authority, for the UUIDs of addresses in CIM exports.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: Annotated[float, Field(gt=0, le=400)] = 30.0
    most_days: Annotated[float, Field(gt=0, le=400)] = 92.0
    threshold: Annotated[float, Field(ge=0.91, lt=1)] = 0.95
    limit: Seconds = 600.0
    answer_within: Seconds = 20.0
    kept_results: Annotated[int, Field(ge=1, le=1000)] = 50
    most_meters: Annotated[int, Field(ge=1, le=10_000)] = 3000
    authority: str = ""
