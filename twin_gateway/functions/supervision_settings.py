"""Settings of the supervision of devices."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from twin_gateway.durations import Seconds


class ApprovedRevision(BaseModel):
    """What is approved for a device.

    Attributes:
        configuration: configuration revision (`LLN0/NamPlt/configRev`).
        firmware: approved versions (`LPHD/PhyNam/swRev`).
        serial: serial number (`LPHD/PhyNam/serNum`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    configuration: str | None = None
    firmware: tuple[str, ...] = ()
    serial: str | None = None


class SupervisionSettings(BaseModel):
    """What devices are measured by. Durations are seconds, or texts as `15 min`.

    Attributes:
        settle: time that links have after the start before they count as down.
        child_grace: time that devices have after the recovery of what they hang from.
        frozen_after: a measurand that has always moved and stands still for so long is frozen; null: not supervised.
        clock_warn, clock_alarm: offsets of the clocks of devices.
        meter_clock_warn, meter_clock_alarm: the same for meters (protocol `dlms`).
        transport_delay: most that a change takes to arrive; a clock is behind only by what exceeds it.
        link_delays: other such times by name of the link (a polled device: its poll time).
        delays: code -> delay instead of the usual one, for conditions that have one (`D06: 60 s`). That of D02 is also
            for how long all samples of a device must be late before its clock is behind: a slow way does the same.
        counter_hold: how long an alarm stands after a counter that should not rise has risen.
        approved: place of a device -> what is approved; without, what was seen first and accepted counts.
        parents: device or link -> what it hangs from beside its link (a concentrator, a station switch), as places or
            names of links.
        retired: places of devices that are out of service for good.
        critical: places of devices that count like protection devices.
        certificates: files (PEM) whose expiry is supervised.
        save_every: how often availability is written to disk.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settle: Seconds = 10.0
    child_grace: Seconds = 60.0
    frozen_after: Seconds | None = 900.0
    clock_warn: Seconds = 0.1
    clock_alarm: Seconds = 1.0
    meter_clock_warn: Seconds = 30.0
    meter_clock_alarm: Seconds = 180.0
    transport_delay: float = Field(default=0.05, ge=0, le=3600)
    link_delays: dict[str, float] = Field(default_factory=dict)
    delays: dict[str, Seconds] = Field(default_factory=dict)
    counter_hold: Seconds = 600.0
    approved: dict[str, ApprovedRevision] = Field(default_factory=dict)
    parents: dict[str, str] = Field(default_factory=dict)
    retired: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()
    certificates: tuple[Path, ...] = ()
    save_every: Seconds = 60.0
