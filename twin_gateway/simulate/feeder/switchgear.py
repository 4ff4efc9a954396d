"""What monitoring says of a circuit breaker: wear, times, coil, drive, gas, partial discharge. Pure."""

from __future__ import annotations

import math

import numpy as np

_RATED_KA, _RATED_OPERATIONS, _MECHANICAL, _WEAR_EXPONENT, _NOMINAL_KA = 20.0, 50.0, 10_000.0, 1.8, 1.25
_DENSITY = 8.53
"""kg/m3 of a medium-voltage switchgear filled with SF6 at 140 kPa absolute and 20 degC."""
_GAS = 56.9268


class BreakerCondition:
    """One breaker with its drive and its gas.

    Attributes:
        operations: so far.
        wear: accumulated contact wear in percent; `last_wear` that of the last opening.
        switched: A interrupted in the last opening.
        opening_time, closing_time: of the last operation, s.
        motor_time, motor_starts: of the spring charging motor, s and number.
        coil: A, peak of the last operation.
        gas_temperature: degC.
        discharge: accumulated apparent discharge, C.
    """

    def __init__(self, noise: np.random.Generator, number: int = 0) -> None:
        self._noise = noise
        self.operations = 137 + 23 * number
        self.wear, self.last_wear, self.switched = 12.0 + number, 0.0, 0.0
        self.opening_time, self.closing_time = 0.042, 0.058
        self.motor_time, self.motor_starts = 8.1, 64 + number
        self.coil = 3.4
        self.gas_temperature = 20.0
        self.discharge = 2.1e-11

    def operated(self, closed: bool, interrupted: float) -> None:
        """Count an operation; `interrupted` is the largest phase current before an opening, A."""
        noise = self._noise
        self.operations += 1
        self.coil = 3.4 + noise.normal(0.0, 0.05)
        if closed:
            self.closing_time = 0.058 + noise.normal(0.0, 0.0005)
            self.motor_time, self.motor_starts = 8.1 + noise.normal(0.0, 0.08), self.motor_starts + 1
            return
        self.opening_time = 0.042 + noise.normal(0.0, 0.0004)
        self.switched = interrupted
        kiloampere = interrupted / 1000.0
        permitted = _MECHANICAL
        if kiloampere > _NOMINAL_KA:
            permitted = min(_MECHANICAL, _RATED_OPERATIONS * (_RATED_KA / kiloampere) ** _WEAR_EXPONENT)
        self.last_wear = 100.0 / permitted
        self.wear += self.last_wear

    def step(self, seconds: float, air: float) -> None:
        """Go on for some time at a temperature of the air, degC."""
        fade = math.exp(-seconds / 600.0)
        self.gas_temperature = (air + 2.0) + (self.gas_temperature - air - 2.0) * fade
        self.discharge = max(5e-12, self.discharge + self._noise.normal(0.0, 1e-13) * math.sqrt(seconds))

    @property
    def gas_density(self) -> float:
        """kg/m3; it stays while nothing leaks."""
        return _DENSITY

    @property
    def gas_pressure(self) -> float:
        """Pa absolute, by the equation of state that spec and vectors of SF6 monitoring use."""
        kelvin, density = self.gas_temperature + 273.15, _DENSITY
        ratio = 300.0 / kelvin
        virial = -8.4607e-5 + 6.8185e-4 * ratio - 2.4475e-3 * ratio**2 + 6.9192e-7 * density
        return _GAS * density * kelvin * (1.0 + density * virial)
