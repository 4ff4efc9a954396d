"""Unit symbols of the SenML registry (RFC 8428, RFC 8798) in the units of the address space."""

from __future__ import annotations

from functools import lru_cache

from address_space import units

FROM_SENML: dict[str, tuple[str, float]] = {
    # SenML symbol: (our symbol, factor); value in our unit = value * factor.
    "Cel": ("Cel", 1.0),
    "K": ("K", 1.0),
    "V": ("V", 1.0),
    "mV": ("mV", 1.0),
    "A": ("A", 1.0),
    "mA": ("mA", 1.0),
    "W": ("W", 1.0),
    "kW": ("kW", 1.0),
    "VA": ("VA", 1.0),
    "kVA": ("kVA", 1.0),
    "var": ("var", 1.0),
    "kvar": ("kvar", 1.0),
    "J": ("Wh", 1.0 / 3600.0),
    "Wh": ("Wh", 1.0),
    "kWh": ("kWh", 1.0),
    "VAs": ("VAh", 1.0 / 3600.0),
    "kVAh": ("kVAh", 1.0),
    "vars": ("varh", 1.0 / 3600.0),
    "varh": ("varh", 1.0),
    "kvarh": ("kvarh", 1.0),
    "Hz": ("Hz", 1.0),
    "1/s": ("Hz", 1.0),
    "MHz": ("Hz", 1e6),
    "Pa": ("Pa", 1.0),
    "hPa": ("hPa", 1.0),
    "kg/m3": ("kg/m3", 1.0),
    "ug/m3": ("g/m3", 1e-6),
    "Ohm": ("ohm", 1.0),
    "s": ("s", 1.0),
    "ms": ("ms", 1.0),
    "min": ("min", 1.0),
    "h": ("h", 1.0),
    "C": ("C", 1.0),
    "Ah": ("C", 3600.0),
    "rad": ("rad", 1.0),
    "deg": ("deg", 1.0),
    "lat": ("deg", 1.0),
    "lon": ("deg", 1.0),
    "m": ("m", 1.0),
    "mm": ("mm", 1.0),
    "cm": ("mm", 10.0),
    "km": ("km", 1.0),
    "m/s": ("m/s", 1.0),
    "km/h": ("m/s", 1.0 / 3.6),
    "m/h": ("m/s", 1.0 / 3600.0),
    "mm/h": ("m/s", 1e-3 / 3600.0),
    "dB": ("dB", 1.0),
    "%RH": ("%", 1.0),
    "%EL": ("%", 1.0),
    # The registry says it plainly: "%" is, in spite of its look, the ratio itself (0.5 is half), as "/" is.
    "%": ("1", 1.0),
    "/": ("1", 1.0),
    "/100": ("%", 1.0),
    "/1000": ("%", 0.1),
    "ppm": ("ppm", 1.0),
    "count": ("1", 1.0),
    "EL": ("s", 1.0),
}

_SUMS = {"W": "J", "VA": "VAs", "var": "vars", "A": "C", "m/s": "m"}


def of_sum(senml: str | None) -> str | None:
    """SenML symbol of a sum over time (`s`, unit seconds times `senml`); None when there is no symbol for it."""
    return _SUMS.get(senml) if senml is not None else None


@lru_cache(maxsize=256)
def conversion(senml: str, target: str) -> tuple[float, float] | None:
    """(gain, bias) from a SenML unit to one of our symbols; None when the address space does not know the SenML unit.

    Raises:
        UnitError: the two measure different quantities, or `target` is no unit.
    """
    known = FROM_SENML.get(senml)
    if known is None:
        return None
    symbol, factor = known
    gain, bias = units.conversion(units.unit(symbol), units.unit(target))
    return gain * factor, bias
