"""Conditions that switchgear and its sensors tell by themselves: C01 to C10 as a table (spec 9.2)."""

from __future__ import annotations

from twin_gateway.twin.rules import Check, Rule, RuleTable

_TRUE, _IN = Check.TRUE, Check.IN
_SWITCH = "SCBR|SSWI"
_GAS = "SIMG|SIML"

SWITCHGEAR_RULES = RuleTable(
    (
        Rule(_SWITCH, "AbrAlm", _TRUE, "C01", 700, "Contacts are worn out, says the device"),
        Rule(_SWITCH, "AbrWrn", _TRUE, "C01", 500, "Contacts are near the end of their life, says the device"),
        Rule(_SWITCH, "OpCntAlm", _TRUE, "C01", 700, "More operations than permitted, says the device"),
        Rule(_SWITCH, "OpCntWrn", _TRUE, "C01", 500, "Number of operations near the limit, says the device"),
        Rule(_SWITCH, "OpTmAlm", _TRUE, "C02", 700, "Operating time beyond its limit, says the device"),
        Rule(_SWITCH, "OpTmOpnAlm", _TRUE, "C02", 700, "Opening time beyond its limit, says the device"),
        Rule(_SWITCH, "OpTmClsAlm", _TRUE, "C02", 700, "Closing time beyond its limit, says the device"),
        Rule(_SWITCH, "OpTmWrn", _TRUE, "C02", 500, "Operating time near its limit, says the device"),
        Rule(_SWITCH, "MechHealth", _IN, "C02", 700, "Mechanism in alarm, says the device", (3,)),
        Rule(_SWITCH, "MechHealth", _IN, "C02", 500, "Mechanism with a warning, says the device", (2,)),
        Rule("SOPM", "EnBlk", _TRUE, "C03", 800, "Blocked: the drive has no energy"),
        Rule("SOPM", "HyBlk", _TRUE, "C03", 800, "Blocked: the hydraulic pressure is too low"),
        Rule("SOPM", "EnAlm", _TRUE, "C03", 600, "Energy of the drive is low"),
        Rule("SOPM", "HyAlm", _TRUE, "C03", 600, "Hydraulic pressure is low"),
        Rule("SOPM", "MotAlm", _TRUE, "C03", 600, "Motor runs too long"),
        Rule("SOPM", "MotStrAlm", _TRUE, "C03", 600, "Motor starts too often"),
        Rule("SOPM", "HeatAlm", _TRUE, "C03", 600, "Heater of the drive has failed"),
        Rule(_GAS, "InsBlk", _TRUE, "C04", 900, "Blocked: insulation below the second stage"),
        Rule(_GAS, "InsTr", _TRUE, "C04", 900, "Tripped: insulation below the second stage"),
        Rule(_GAS, "InsAlm", _TRUE, "C04", 650, "Insulation below the first stage"),
        Rule(_GAS, "DenAlm", _TRUE, "C04", 650, "Gas density below the first stage"),
        Rule(_GAS, "PresAlm", _TRUE, "C04", 650, "Gas pressure below the first stage"),
        Rule(_GAS, "InsLevMin", _TRUE, "C04", 650, "Level of the insulation too low"),
        Rule(_GAS, "InsLevMax", _TRUE, "C04", 650, "Level of the insulation too high"),
        Rule(_GAS, "TmpAlm", _TRUE, "C04", 650, "Temperature of the insulation too high"),
        Rule("SPDC", "PaDschAlm", _TRUE, "C05", 600, "Partial discharge, says the device"),
        Rule("STMP", "Trip", _TRUE, "C06", 850, "Temperature trip"),
        Rule("STMP", "RteTrip", _TRUE, "C06", 850, "Temperature rises so fast that it tripped"),
        Rule("STMP", "Alm", _TRUE, "C06", 650, "Temperature alarm"),
        Rule("STMP", "RteAlm", _TRUE, "C06", 650, "Temperature rises too fast"),
        Rule("SARC", "FADet", _TRUE, "C07", 950, "Arc flash"),
        Rule("SARC", "SwArcDet", _TRUE, "C07", 700, "Arc while switching"),
        Rule("SCBR", "ColAlm", _TRUE, "C08", 800, "Trip circuit or coil has failed"),
        Rule("MENV", "SmokAlm", _TRUE, "C10", 800, "Smoke"),
        Rule("MENV", "FloodAlm", _TRUE, "C10", 700, "Water in the room"),
        Rule("THUM", "HumSv", Check.ABOVE, "C10", 500, "Humidity too high", (85.0, 80.0), delay=60.0),
    )
)
"""What needs no history. What does (wear, times, leaks, health class) is raised by the function that keeps it."""

BLOCKING = frozenset({("SOPM", "EnBlk"), ("SOPM", "HyBlk"), ("SIMG", "InsBlk"), ("SIMG", "InsTr"), ("SIML", "InsBlk")})
"""(class, data object) of contacts that block operation whatever the health index says."""
