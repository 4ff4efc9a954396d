"""Conditions that devices tell of themselves: D01 to D10 as a table (spec 7.1, 7.2 and 9.2)."""

from __future__ import annotations

from dataclasses import dataclass

from twin_gateway.twin.rules import Check, DeviceState, Rule, RuleTable

_TRUE, _FALSE, _IN, _RISES = Check.TRUE, Check.FALSE, Check.IN, Check.RISES
_DEGRADED, _FAULT, _TEST, _LOCAL = DeviceState.DEGRADED, DeviceState.FAULT, DeviceState.TEST, DeviceState.LOCAL
_SUBSCRIBED = "LGOS|LSVS"
_ANY = "[A-Z0-9]{4}"
MODE_DELAY_S = 60.0
SYNC_DELAY_S = 30.0
SECURITY_HOLD_S = 600.0

DEVICE_RULES = RuleTable(
    (
        Rule("LCCH", "ChLiv", _FALSE, "D01", 700, "Channel is down", state=DeviceState.UNREACHABLE),
        Rule("LCCH", "RedChLiv", _FALSE, "D01", 400, "Redundancy is lost: one of two channels", state=_DEGRADED),
        Rule("LTMS", "TmSynLkd", _IN, "D02", 500, "Clock is not locked", (2, 3, 4, 5), delay=SYNC_DELAY_S,
             state=_DEGRADED),
        Rule("LTMS", "TmSyn", _IN, "D02", 500, "Clock is not synchronised", (0,), delay=SYNC_DELAY_S, state=_DEGRADED),
        Rule("LTMS", "TmChSt", _FALSE, "D02", 400, "A time source is lost", delay=SYNC_DELAY_S, state=_DEGRADED),
        Rule("LPHD", "PhyHealth", _IN, "D04", 700, "Device is in alarm", (3,), state=_FAULT),
        Rule("LPHD", "PhyHealth", _IN, "D04", 400, "Device has a warning", (2,), state=_DEGRADED),
        Rule(_ANY, "Health", _IN, "D04", 700, "Function is in alarm", (3,), state=_FAULT),
        Rule(_ANY, "Health", _IN, "D04", 400, "Function has a warning", (2,), state=_DEGRADED),
        Rule("CALH", "GrAlm", _TRUE, "D04", 700, "Group alarm", state=_DEGRADED),
        Rule("CALH", "GrWrn", _TRUE, "D04", 400, "Group warning", state=_DEGRADED),
        Rule("ITCI|ISAF", "Alm", _TRUE, "D04", 700, "Interface in alarm", state=_DEGRADED),
        Rule("LLN0", "Diag", _TRUE, "D04", 400, "Self-test is running", delay=MODE_DELAY_S, state=_DEGRADED),
        Rule(_SUBSCRIBED, "St", _FALSE, "D05", 800, "Subscription is lost", delay=2.0, state=_DEGRADED),
        Rule(_SUBSCRIBED, "RxConfRevNum", Check.DIFFERS, "D05", 700, "Revision received is not the expected one",
             other="ConfRevNum", delay=2.0, state=_DEGRADED),
        Rule(_SUBSCRIBED, "NdsCom", _TRUE, "D05", 400, "Subscription needs commissioning", state=_DEGRADED),
        Rule("LLN0", "Beh", _IN, "D06", 400, "Device is in test", (3, 4), delay=MODE_DELAY_S, state=_TEST),
        Rule("LLN0", "Beh", _IN, "D06", 400, "Device is blocked", (2,), delay=MODE_DELAY_S, state=_DEGRADED),
        Rule("LLN0", "Beh", _IN, "D06", 400, "Device is off", (5,), delay=MODE_DELAY_S, state=_FAULT),
        Rule("LPHD", "Sim", _TRUE, "D06", 400, "Device takes simulated messages", delay=MODE_DELAY_S, state=_TEST),
        Rule(_SUBSCRIBED, "SimSt", _TRUE, "D06", 400, "Subscription takes simulated messages", state=_TEST),
        Rule("LLN0", "Loc", _TRUE, "", 0, "Local control", state=_LOCAL),
        Rule("LPHD", "NumPwrUp", _RISES, "D07", 500, "Device has started anew"),
        Rule("LPHD", "WrmStr", _RISES, "D07", 500, "Device has made a warm start"),
        Rule("LPHD", "WacTrg", _RISES, "D07", 500, "Watchdog of the device has acted"),
        Rule("LPHD|LCCH", "InOv", _TRUE, "D08", 650, "Input buffer has overflowed", state=_DEGRADED),
        Rule("LPHD|LCCH", "OutOv", _TRUE, "D08", 650, "Output buffer has overflowed", state=_DEGRADED),
        Rule("IARC|I[HT]MI|ITCI", "MemOv", _TRUE, "D08", 650, "Memory has overflowed", state=_DEGRADED),
        Rule("CALH", "AlmLstOv", _TRUE, "D08", 650, "Alarm list has overflowed", state=_DEGRADED),
        Rule("GSAL", "AuthFail", _RISES, "D09", 700, "Failed log-ins", hold=SECURITY_HOLD_S),
        Rule("GSAL", "AcsCtlFail", _RISES, "D09", 700, "Refused accesses", hold=SECURITY_HOLD_S),
        Rule("GSAL", "SvcViol", _RISES, "D09", 700, "Service violations", hold=SECURITY_HOLD_S),
        Rule("GSAL", "Ina", _RISES, "D09", 500, "Sessions ended for inactivity", hold=SECURITY_HOLD_S),
        Rule("LPHD", "PwrSupAlm", _TRUE, "D10", 600, "Power supply has failed", state=_DEGRADED),
        Rule("ZBAT", "BatLo", _TRUE, "D10", 600, "Battery is low", state=_DEGRADED),
        Rule("ZBAT", "BatHi", _TRUE, "D10", 600, "Battery voltage is high", state=_DEGRADED),
        Rule("SBAT", "BatEF", _TRUE, "D10", 600, "Battery has an earth fault", state=_DEGRADED),
    )
)  # fmt: skip
"""What a device says of itself. What is found by watching it (links, clocks, revisions) is raised by the function."""


@dataclass(frozen=True, slots=True)
class CounterRule:
    """A counter of a link that should not rise: while it does, and for a while after, the alarm stands.

    Attributes:
        counter: name as drivers count it.
    """

    counter: str
    code: str
    severity: int
    text: str


LINK_COUNTERS = (
    CounterRule("asdu_errors", "D08", 400, "Frames that cannot be read"),
    CounterRule("report_errors", "D08", 400, "Reports that cannot be read"),
    CounterRule("reports_missed", "D08", 650, "Reports were lost on the way"),
    CounterRule("notifications_dropped", "D08", 650, "Notifications were lost"),
    CounterRule("goose_errors", "D08", 400, "GOOSE messages that cannot be read"),
    CounterRule("states_missed", "D08", 650, "States were lost on the way"),
    CounterRule("frames_dropped", "D08", 650, "Frames were lost for want of room"),
    CounterRule("foreign_frames", "D09", 700, "Messages from elsewhere than the publisher"),
    CounterRule("blocks_refused", "D08", 400, "Report control blocks could not be reserved"),
    CounterRule("interrogations_refused", "D08", 400, "General interrogation was refused"),
    CounterRule("model_differences", "D03", 600, "The device's model is not that of its file"),
    CounterRule("unknown_common_address", "D03", 600, "Data of a station that is not mapped"),
    CounterRule("security_errors", "D09", 700, "Security errors"),
)
"""What drivers count of their links (of 104, 61850, GOOSE, DLMS and CoAP)."""
