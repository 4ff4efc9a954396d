"""Settings of the condition of switchgear."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from twin_gateway.durations import Seconds
from twin_gateway.twin.switchgear.thermal import CONFIRM_S


class SwitchgearSettings(BaseModel):
    """What switchgear is measured by. Durations are seconds, or texts as `15 min`.

    Attributes:
        nameplates: YAML file (see `switchgear_nameplates`); null: only what the devices tell by themselves.
        settle: time after an operation until the values that belong to it have arrived.
        history_every: at most so often a value goes into the history of gas and partial discharge.
        leak_every: how often leak rates are worked out anew.
        joint_confirm: a temperature that has jumped as metal cannot counts when it has stayed for so long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nameplates: Path | None = None
    settle: Seconds = 2.0
    history_every: Seconds = 900.0
    leak_every: Seconds = 3600.0
    joint_confirm: Seconds = CONFIRM_S
