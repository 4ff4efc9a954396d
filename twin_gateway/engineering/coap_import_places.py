"""Where resources of CoAP devices belong: IPSO objects, units and words of resource types to names of IEC 61850-7-4."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from twin_gateway.engineering.draft import Value

_MOST_PREFIX: Final = 12


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """Where a resource of an object belongs.

    Attributes:
        key: point key; `{n}` is the number of the object instance, counted from 1.
        fields: beside `object`.
    """

    key: str
    fields: dict[str, Value] = field(default_factory=dict)


_DIRECT: Final[dict[str, Value]] = {"control": "direct"}
OBJECTS: Final[dict[tuple[int, int], tuple[ObjectPlace, ...]]] = {
    (3, 7): (ObjectPlace("ZBAT1/Vol"),),
    (3, 9): (ObjectPlace("ZBAT1/BatLo", {"below": 20}), ObjectPlace("GGIO1/AnIn1")),
    (4, 2): (ObjectPlace("GGIO1/AnIn2"), ObjectPlace("GGIO1/Wrn", {"below": -110})),
    (3200, 5500): (ObjectPlace("DiGGIO{n}/Ind1"),),
    (3201, 5550): (ObjectPlace("DoGGIO{n}/SPCSO1", {"type": "boolean", **_DIRECT}),),
    (3202, 5600): (ObjectPlace("AiGGIO{n}/AnIn1", {"type": "float"}),),
    (3300, 5700): (ObjectPlace("SensGGIO{n}/AnIn1"),),
    (3301, 5700): (ObjectPlace("LuxGGIO{n}/AnIn1"),),
    (3302, 5500): (ObjectPlace("PresenceGGIO{n}/Ind1"),),
    (3303, 5700): (ObjectPlace("STMP{n}/Tmp"),),
    (3304, 5700): (ObjectPlace("MMET{n}/EnvHum"),),
    (3305, 5800): (ObjectPlace("MMXU{n}/TotW"),),
    (3305, 5805): (ObjectPlace("MMTR{n}/TotWh"),),
    (3305, 5810): (ObjectPlace("MMXU{n}/TotVAr"),),
    (3305, 5815): (ObjectPlace("MMTR{n}/TotVArh"),),
    (3305, 5820): (ObjectPlace("MMXU{n}/TotPF"),),
    (3306, 5850): (ObjectPlace("ActGGIO{n}/SPCSO1", _DIRECT),),
    (3311, 5850): (ObjectPlace("LightGGIO{n}/SPCSO1", _DIRECT),),
    (3312, 5850): (ObjectPlace("PowerGGIO{n}/SPCSO1", _DIRECT),),
    (3315, 5700): (ObjectPlace("MMET{n}/EnvPres"),),
    (3316, 5700): (ObjectPlace("MMXN{n}/Vol"),),
    (3317, 5700): (ObjectPlace("MMXN{n}/Amp"),),
    (3318, 5700): (ObjectPlace("MMXN{n}/Hz"),),
    (3320, 5700): (ObjectPlace("PercentGGIO{n}/AnIn1"),),
    (3323, 5700): (ObjectPlace("TPRS{n}/PresSv"),),
    (3328, 5700): (ObjectPlace("MMXN{n}/Watt"),),
    (3329, 5700): (ObjectPlace("MMXN{n}/PwrFact"),),
    (3331, 5805): (ObjectPlace("MMTR{n}/TotWh"),),
    (3342, 5500): (ObjectPlace("SwGGIO{n}/Ind1"),),
}
"""Resources with a place, by object and resource. What is said of battery and radio is as in the shipped template."""

MAIN: Final = {object_id: resource for (object_id, resource) in reversed(OBJECTS) if object_id > 9}
"""The resource that an object instance is there for, where the device was not asked what it has."""

_BY_UNIT: Final = {
    "Cel": "STMP1/Tmp", "K": "STMP1/Tmp", "V": "MMXN1/Vol", "mV": "MMXN1/Vol", "A": "MMXN1/Amp", "mA": "MMXN1/Amp",
    "W": "MMXN1/Watt", "kW": "MMXN1/Watt", "VA": "MMXN1/VolAmp", "kVA": "MMXN1/VolAmp", "var": "MMXN1/VolAmpr",
    "kvar": "MMXN1/VolAmpr", "Hz": "MMXN1/Hz", "%RH": "MMET1/EnvHum", "J": "MMTR1/TotWh", "Wh": "MMTR1/TotWh",
    "kWh": "MMTR1/TotWh", "varh": "MMTR1/TotVArh", "kvarh": "MMTR1/TotVArh", "Pa": "TPRS1/PresSv",
    "hPa": "TPRS1/PresSv",
}  # fmt: skip
"""SenML units that say what is measured."""

_WORDS: Final = (
    (r"temp(erature)?([-_.]c)?", "STMP1/Tmp", "Cel"),
    (r"hum(idity)?", "MMET1/EnvHum", "%"),
    (r"volt(age)?", "MMXN1/Vol", "V"),
    (r"current|ampere", "MMXN1/Amp", "A"),
    (r"power|watt", "MMXN1/Watt", "W"),
    (r"freq(uency)?", "MMXN1/Hz", "Hz"),
    (r"energy", "MMTR1/TotWh", "Wh"),
)
"""Words of `rt` that say what is measured, and the unit that is assumed where nobody says it."""
_PLAIN: Final = frozenset(
    {"temp", "temperature", "tmp", "t", "humidity", "hum", "rh", "voltage", "volt", "vol", "v", "u", "current", "amp"}
    | {"i", "a", "power", "watt", "w", "p", "frequency", "freq", "hz", "f", "energy", "wh", "e", "value", "sensor"}
)


def place_by_unit(unit: str | None) -> str:
    """Key for a quantity that its SenML unit tells; empty for units that many quantities share."""
    return _BY_UNIT.get(unit or "", "")


def place_by_words(words: str) -> tuple[str, str]:
    """Key and assumed unit by a resource type (`temperature-c`, `oic.r.temperature`); empty when it says none."""
    for word in re.split(r"[\s.:/]+", words.lower()):
        for pattern, key, unit in _WORDS:
            if re.fullmatch(pattern, word):
                return key, unit
    return "", ""


def keys_for(key: str, path: str, name: str) -> list[str]:
    """Ways to tell apart what would have the same key, the plainest first: `STMP1/Tmp`, `oilSTMP1/Tmp`."""
    steps = [step for step in re.split(r"[^A-Za-z0-9_]+", f"{path.partition('?')[0]}/{name}") if step]
    leaf = steps[-1] if steps else ""
    out = [key] if leaf.lower() in _PLAIN or not leaf else []
    for prefix in (leaf, "".join(steps[-2:]), "".join(steps)):
        plain = re.sub(r"^[^A-Za-z]+", "", prefix)[:_MOST_PREFIX]
        if plain:
            out.append(f"{plain}{key}")
    return list(dict.fromkeys([*out, key]))
