"""Units: canonical unit of a quantity, OPC UA EUInformation, and the unit codes of 61850 and DLMS.

Canonical means unprefixed SI (and Wh, degC, %), the unit of every published value unless a mapping says otherwise.
A value in a unit becomes canonical by `value * factor + offset`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

UNECE_NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"


class UnitError(ValueError):
    """The text is no unit the service knows."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit.

    Attributes:
        symbol: what engineers write and clients see, for example `kW`.
        quantity: name of the physical quantity; two units convert only within one quantity.
        factor: canonical = value * factor + offset.
        offset: see factor; only temperatures have one.
        unece: UNECE Recommendation 20 code; empty when there is none.
    """

    symbol: str
    quantity: str
    factor: float = 1.0
    offset: float = 0.0
    unece: str = ""
    description: str = ""

    @property
    def unit_id(self) -> int:
        """EUInformation.unitId: the UNECE code as big-endian ASCII; -1 without a code."""
        return int.from_bytes(self.unece.encode("ascii"), "big") if self.unece else -1


# quantity: canonical unit first, then the others that mapping files may use.
_UNITS: tuple[Unit, ...] = (
    Unit("V", "voltage", unece="VLT", description="volt"),
    Unit("mV", "voltage", 1e-3, unece="2Z", description="millivolt"),
    Unit("kV", "voltage", 1e3, unece="KVT", description="kilovolt"),
    Unit("A", "current", unece="AMP", description="ampere"),
    Unit("mA", "current", 1e-3, unece="4K", description="milliampere"),
    Unit("kA", "current", 1e3, unece="B22", description="kiloampere"),
    Unit("W", "active power", unece="WTT", description="watt"),
    Unit("kW", "active power", 1e3, unece="KWT", description="kilowatt"),
    Unit("MW", "active power", 1e6, unece="MAW", description="megawatt"),
    Unit("var", "reactive power", unece="D44", description="var"),
    Unit("kvar", "reactive power", 1e3, unece="KVR", description="kilovar"),
    Unit("Mvar", "reactive power", 1e6, unece="MAR", description="megavar"),
    Unit("VA", "apparent power", unece="D46", description="volt - ampere"),
    Unit("kVA", "apparent power", 1e3, unece="KVA", description="kilovolt - ampere"),
    Unit("MVA", "apparent power", 1e6, unece="MVA", description="megavolt - ampere"),
    Unit("Wh", "active energy", unece="WHR", description="watt hour"),
    Unit("kWh", "active energy", 1e3, unece="KWH", description="kilowatt hour"),
    Unit("MWh", "active energy", 1e6, unece="MWH", description="megawatt hour"),
    # UNECE has no var.h and no VA.h: the canonical units are the kilo ones.
    Unit("kvarh", "reactive energy", unece="K3", description="kilovolt ampere reactive hour"),
    Unit("varh", "reactive energy", 1e-3, description="volt ampere reactive hour"),
    Unit("Mvarh", "reactive energy", 1e3, unece="MAH", description="megavolt ampere reactive hour"),
    Unit("kVAh", "apparent energy", unece="C79", description="kilovolt ampere hour"),
    Unit("VAh", "apparent energy", 1e-3, description="volt ampere hour"),
    Unit("Hz", "frequency", unece="HTZ", description="hertz"),
    Unit("mHz", "frequency", 1e-3, description="millihertz"),
    Unit("1", "ratio", unece="C62", description="one"),
    Unit("%", "percent", unece="P1", description="percent"),
    Unit("Cel", "temperature", unece="CEL", description="degree Celsius"),
    Unit("degC", "temperature", unece="CEL", description="degree Celsius"),
    Unit("K", "temperature", 1.0, -273.15, unece="KEL", description="kelvin"),
    Unit("Pa", "pressure", unece="PAL", description="pascal"),
    Unit("hPa", "pressure", 1e2, unece="A97", description="hectopascal"),
    Unit("kPa", "pressure", 1e3, unece="KPA", description="kilopascal"),
    Unit("MPa", "pressure", 1e6, unece="MPA", description="megapascal"),
    Unit("bar", "pressure", 1e5, unece="BAR", description="bar"),
    Unit("kg/m3", "density", unece="KMQ", description="kilogram per cubic metre"),
    Unit("g/m3", "density", 1e-3, unece="A93", description="gram per cubic metre"),
    Unit("g/l", "density", unece="GL", description="gram per litre"),
    Unit("ohm", "resistance", unece="OHM", description="ohm"),
    Unit("mohm", "resistance", 1e-3, unece="E45", description="milliohm"),
    Unit("kohm", "resistance", 1e3, unece="B49", description="kiloohm"),
    Unit("s", "time", unece="SEC", description="second"),
    Unit("ms", "time", 1e-3, unece="C26", description="millisecond"),
    Unit("min", "time", 60.0, unece="MIN", description="minute"),
    Unit("h", "time", 3600.0, unece="HUR", description="hour"),
    Unit("d", "time", 86400.0, unece="DAY", description="day"),
    Unit("deg", "angle", unece="DD", description="degree"),
    Unit("rad", "angle", 57.29577951308232, unece="C81", description="radian"),
    Unit("C", "charge", unece="COU", description="coulomb"),
    Unit("pC", "charge", 1e-12, unece="C71", description="picocoulomb"),
    Unit("A2s", "I2t", unece="H32", description="ampere squared second"),
    Unit("m", "length", unece="MTR", description="metre"),
    Unit("mm", "length", 1e-3, unece="MMT", description="millimetre"),
    Unit("km", "length", 1e3, unece="KMT", description="kilometre"),
    Unit("m/s", "speed", unece="MTS", description="metre per second"),
    Unit("dB", "level", unece="2N", description="decibel"),
    Unit("ppm", "concentration", unece="59", description="parts per million"),
    Unit("W/s", "power rate", description="watt per second"),
    Unit("Hz/s", "frequency rate", description="hertz per second"),
)
_BY_SYMBOL = {unit.symbol: unit for unit in _UNITS}
_SPELLINGS = {
    "°C": "degC",
    "°": "deg",
    "Ω": "ohm",
    "VAr": "var",
    "kVAr": "kvar",
    "MVAr": "Mvar",
    "VArh": "varh",
    "kVArh": "kvarh",
    "W.h": "Wh",
    "V.A": "VA",
    "kg/m³": "kg/m3",
}
# symbols of EUInformation.displayName where they differ from what engineers write (UNECE spelling).
_DISPLAY = {
    "Wh": "W.h",
    "kWh": "kW.h",
    "MWh": "MW.h",
    "VA": "V.A",
    "kVA": "kV.A",
    "MVA": "MV.A",
    "kvarh": "kvar.h",
    "Mvarh": "Mvar.h",
    "Cel": "degC",
    "A2s": "A2.s",
}
_CANONICAL: dict[str, Unit] = {}
for _unit in _UNITS:
    _CANONICAL.setdefault(_unit.quantity, _unit)


@lru_cache(maxsize=1024)
def unit(symbol: str) -> Unit:
    """The unit of a symbol; common spellings (`°C`, `kVAr`) are taken.

    Raises:
        UnitError: when it is not known; `suggest` the nearest with `symbols()`.
    """
    found = _BY_SYMBOL.get(_SPELLINGS.get(symbol, symbol))
    if found is None:
        raise UnitError(f"{symbol!r} is no unit known here")
    return found


def symbols() -> tuple[str, ...]:
    """All symbols that `unit` takes, for hints."""
    return (*_BY_SYMBOL, *_SPELLINGS)


def canonical(quantity: str) -> Unit:
    """The canonical unit of a quantity (KeyError when there is no such quantity)."""
    return _CANONICAL[quantity]


def display_name(of: Unit) -> str:
    """The symbol shown in EUInformation.displayName."""
    return _DISPLAY.get(of.symbol, of.symbol)


@lru_cache(maxsize=1024)
def conversion(source: Unit, target: Unit) -> tuple[float, float]:
    """(gain, bias) with `target value = source value * gain + bias`.

    Raises:
        UnitError: when the two measure different quantities.
    """
    if source.quantity != target.quantity:
        raise UnitError(f"{source.symbol} is {source.quantity}, {target.symbol} is {target.quantity}")
    return source.factor / target.factor, (source.offset - target.offset) / target.factor


_DECIMALS, _STEPS = 10**9, 10**6
"""A gain is taken as the decimal that it is written as, with up to nine places; else as a ratio in which the smaller
number is not above the second of these."""


@lru_cache(maxsize=4096)
def as_fraction(gain: float) -> tuple[float, float]:
    """(numerator, denominator) with `value * gain` as `value * numerator / denominator`.

    No binary number is a tenth: 272 * 0.1 is 27.200000000000003, but 272 / 10 is 27.2. A gain that is no such
    fraction comes as (gain, 1).
    """
    if not gain or not math.isfinite(gain) or not math.isfinite(1 / gain):
        return gain, 1.0
    written = Fraction(repr(gain))
    if written.denominator <= _DECIMALS:
        return float(written.numerator), float(written.denominator)
    turned = abs(gain) < 1
    found = Fraction(1 / gain if turned else gain).limit_denominator(_STEPS)
    numerator, denominator = float(found.numerator), float(found.denominator)
    if turned:
        numerator, denominator = math.copysign(denominator, gain), abs(numerator)
    if abs(numerator / denominator - gain) > math.ulp(gain):
        return gain, 1.0
    return numerator, denominator


# IEC 61850-7-3 SIUnitKind -> symbol. Value = f x 10^multiplier x unit.
FROM_61850: dict[int, str] = {
    1: "1",
    2: "m",
    4: "s",
    5: "A",
    6: "K",
    9: "deg",
    10: "rad",
    23: "degC",
    26: "C",
    29: "V",
    30: "ohm",
    33: "Hz",
    38: "W",
    39: "Pa",
    43: "m/s",
    48: "kg/m3",
    52: "ppm",
    61: "VA",
    62: "W",
    63: "var",
    65: "1",
    70: "A2s",
    71: "VAh",
    72: "Wh",
    73: "varh",
    75: "Hz/s",
    79: "dB",
    81: "W/s",
    84: "h",
    85: "min",
}

# COSEM unit enumeration -> symbol. Value x 10^scaler.
FROM_DLMS: dict[int, str] = {
    4: "d",
    5: "h",
    6: "min",
    7: "s",
    8: "deg",
    9: "degC",
    11: "m",
    12: "m/s",
    23: "Pa",
    24: "bar",
    27: "W",
    28: "VA",
    29: "var",
    30: "Wh",
    31: "VAh",
    32: "varh",
    33: "A",
    34: "C",
    35: "V",
    38: "ohm",
    44: "Hz",
    52: "K",
    56: "%",
    63: "g/m3",
    72: "dB",
    255: "1",
}
