"""Conditions of protection and switching that fall out of single data objects: P01 to P08, S02, S04 (spec 9.2)."""

from __future__ import annotations

from twin_gateway.twin.rules import Check, Rule, RuleTable

_TRUE = Check.TRUE
EARTH_DELAY_S = 5.0
POSITION_DELAY_S = 10.0

_TRIPPING = "P(TOC|IOC|DIF|DIS|SDE|TEF|DIR|VOC|HIZ|TUC)"

TRIP_SIGNS = RuleTable(
    Rule(ln, data + part, _TRUE, "P01", 900, text)
    for part in ("", "/phsA", "/phsB", "/phsC", "/neut")
    for ln, data, text in (
        ("PTRC", "Tr", "Protection trip"),
        ("PTRC", "Op", "Protection operated"),
        (_TRIPPING, "Op", "Protection operated"),
    )
)
"""What says that protection has tripped, the plainest first; all signs of one trip of a bay are one P01."""

PROCESS_RULES = RuleTable(
    (
        *TRIP_SIGNS.rules,
        Rule("RREC", "AutoRecSt", Check.IN, "P03", 850, "Reclosing was not successful: locked out", (10,)),
        Rule("RREC", "AutoRecSt", Check.BECOMES, "P03", 500, "Reclosing was successful", (3,)),
        Rule("RBRF", "OpEx", _TRUE, "P04", 950, "Breaker failure: the breakers around it were tripped"),
        Rule("SFPI", "FltInd", _TRUE, "P05", 800, "Fault current has passed"),
        Rule("PSDE", "Str", _TRUE, "P06", 800, "Earth fault stands", delay=EARTH_DELAY_S),
        Rule("PTUV", "Op", _TRUE, "P07", 750, "Voltage lost or too low"),
        Rule("MSQI", "ImbNgV", Check.ABOVE, "P07", 750, "Voltages are not balanced", (5.0, 4.0), delay=10.0),
        Rule("PTOV", "Op", _TRUE, "P08", 700, "Voltage too high"),
        Rule("PT[OU]F", "Op", _TRUE, "P08", 700, "Frequency out of its limits"),
        Rule("PTTR", "AlmThm", _TRUE, "P08", 500, "Thermal overload"),
        Rule(
            "X(CBR|SWI)", "Pos", Check.IN, "S02", 750, "Position is intermediate or bad", (0, 3), delay=POSITION_DELAY_S
        ),
        Rule("X(CBR|SWI)", "Dsc", _TRUE, "S02", 750, "Poles are not in the same position"),
        Rule("XCBR|XSWI|CSWI|LLN0", "Loc", _TRUE, "S04", 400, "Local control taken"),
        Rule("XCBR|XSWI|CSWI|LLN0", "LocKey", _TRUE, "S04", 400, "Local control taken by key"),
    )
)
"""P02 (start without trip) and S01 (movement without command) need more than one point; the function finds them."""
STARTS = RuleTable(
    (
        Rule(
            "P(TOC|IOC|DIS|SDE|TEF|DIR|VOC|TUV|TOV|DIF|TRC)", "Str", Check.BECOMES, "P02", 400, "Started, no trip", (0,)
        ),
    )
)
TRIPS = RuleTable(
    (
        Rule("PTRC", "Tr", Check.BECOMES, "P01", 900, "", (1,)),
        Rule("P[A-Z]{3}", "Op", Check.BECOMES, "P01", 900, "", (1,)),
    )
)
