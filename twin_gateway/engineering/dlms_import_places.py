"""Where the objects of electricity meters belong: OBIS code to point key, by the names of IEC 61850-7-4.

`Dmd` is energy drawn out of the network node, `Sup` energy fed into it. What a logical node cannot say is in its
prefix: `Imp` and `Exp` for a direction, `Tar2` for a tariff, `Av`, `Last` and `Max` for the current, the last and the
highest average of a period.
"""

from __future__ import annotations

from typing import Final

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.discovery import MeterObject

_ENERGY: Final = {1: "DmdWh", 2: "SupWh", 3: "DmdVArh", 4: "SupVArh", 9: "TotVAh", 15: "TotWh"}
"""Time integral (D = 8) by quantity (C). 9 is the apparent energy drawn."""
_INSTANT: Final = {
    1: "ImpMMXU/TotW", 2: "ExpMMXU/TotW", 3: "ImpMMXU/TotVAr", 4: "ExpMMXU/TotVAr", 9: "MMXU/TotVA",
    10: "ExpMMXU/TotVA", 13: "MMXU/TotPF", 14: "MMXU/Hz", 16: "MMXU/TotW", 91: "MMXU/A/neut",
    11: "MMXN/Amp", 12: "MMXN/Vol",
}  # fmt: skip
"""Instantaneous value (D = 7) by quantity, without the instance of the logical node."""
_OF_PHASE: Final = {
    1: "ImpMMXU/W", 2: "ExpMMXU/W", 3: "ImpMMXU/VAr", 4: "ExpMMXU/VAr", 9: "MMXU/VA", 10: "ExpMMXU/VA", 11: "MMXU/A",
    12: "MMXU/PhV", 13: "MMXU/PF", 16: "MMXU/W",
}  # fmt: skip
"""The same for C = 20, 40 and 60 plus this number: phases A, B and C."""
_PERIOD: Final = {4: "Av", 5: "Last", 6: "Max"}
"""Average of the current and of the last period, and the highest one, by D."""
_PHASES: Final = "ABC"
_TARIFFS: Final = 63
_WHOLE: Final = 255


def place_of(item: MeterObject) -> str:
    """Point key of an object, such as `MMXU1/PhV/phsA`; empty when it has no known place."""
    a, b, c, d, e, f = item.name
    if item.class_id == obis.DISCONNECT and (a, c, d, e) == (0, 96, 3, 10):
        return f"CSWI{max(b, 1)}/Pos"
    if item.class_id == obis.DATA and tuple(item.name) == (0, 0, 96, 1, 0, _WHOLE):
        return "LPHD1/PhyNam/serNum"
    if a != 1 or f != _WHOLE or item.class_id not in obis.WITH_UNIT:
        return ""
    number = max(b, 1)
    if d == 8 and c in _ENERGY and e <= _TARIFFS:
        return f"{_tariff(e)}MMTR{number}/{_ENERGY[c]}"
    instant = _instant(c)
    if not instant:
        return ""
    function, _, rest = instant.partition("/")
    if d == 7 and e == 0:
        return f"{function}{number}/{rest}"
    if d in _PERIOD and e <= _TARIFFS:
        prefix, ln_class = function[:-4], function[-4:]
        return f"{_PERIOD[d]}{prefix}{_tariff(e)}{ln_class}{number}/{rest}"
    return ""


def _tariff(e: int) -> str:
    return f"Tar{e}" if e else ""


def _instant(c: int) -> str:
    if c in _INSTANT:
        return _INSTANT[c]
    phase, quantity = divmod(c, 20)
    if 1 <= phase <= len(_PHASES) and quantity in _OF_PHASE:
        return f"{_OF_PHASE[quantity]}/phs{_PHASES[phase - 1]}"
    return ""


def generic_place(item: MeterObject, data_object: str) -> str:
    """A key that stays the same whatever else the meter has: `O96_7_21GGIO0/IntIn1` for 0-0:96.7.21.

    The instance says A, and B and F where they are not 0 and 255; empty for codes that do not go into one.
    """
    a, b, c, d, e, f = item.name
    if a > 9:
        return ""
    more = "" if (b, f) == (0, _WHOLE) else f"{b:03}{f:03}"
    return f"O{c}_{d}_{e}GGIO{a}{more}/{data_object}"
