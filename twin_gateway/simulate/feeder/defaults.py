"""What points show that the physics knows nothing of: a station in which all is well."""

from __future__ import annotations

from address_space.address import parse

_TRUE = frozenset({"EnaOpn", "EnaCls", "ChLiv", "RedChLiv", "TmChSt", "PwrUp"})
_NUMBERS = {
    "Beh": 1,
    "Mod": 1,
    "Health": 1,
    "PhyHealth": 1,
    "EEHealth": 1,
    "MechHealth": 1,
    "TmSyn": 2,
    "TmSynLkd": 1,
    "TmSrcTyp": 2,
    "CBOpCap": 5,
    "SwOpCap": 4,
    "SwTyp": 1,
    "AutoRecSt": 1,
    "NumPwrUp": 3,
    "ConfRevNum": 1,
    "RxConfRevNum": 1,
}
_VOLTS = 27.3


def default_of(address: str, cdc: str) -> float | int | bool:
    """The value of a point as long as nobody says otherwise."""
    parsed = parse(address)
    name, function = parsed.path[0], parsed.function
    if function is not None and (function.ln_class, name) == ("ZBAT", "Vol"):
        return _VOLTS
    if function is not None and (function.ln_class, name) == ("LGOS", "St"):
        return True
    if name in _NUMBERS:
        return _NUMBERS[name]
    if cdc in {"DPC", "DPS"}:
        return 1
    if cdc in {"SPS", "SPC", "ACT", "ACD"}:
        return name in _TRUE
    return 0
