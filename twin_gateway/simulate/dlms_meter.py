"""A simulated meter: registers that move, a clock, a load profile and a disconnector that really switches off."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.clock import encode_date_time

FLOW_UNITS = frozenset({27, 28, 29, 33})
"""COSEM units of what flows (W, VA, var, A): nothing flows through an open disconnector."""

DISCONNECTOR_LN = obis.parse("0-0:96.3.10")
SERIAL_LN = obis.parse("0-0:96.1.0")
DEVICE_NAME_LN = obis.parse("0-0:42.0.0")
COUNTER_LN = obis.parse("0-0:43.1.0")
MESSAGE_LN = obis.parse("0-0:96.13.0")
"""The consumer message: an octet string that clients may set."""

_UNIT_CODES = {
    "d": 4, "h": 5, "min": 6, "s": 7, "degC": 9, "W": 27, "VA": 28, "var": 29, "Wh": 30, "VAh": 31, "varh": 32,
    "A": 33, "V": 35, "Hz": 44, "%": 56, "1": 255,
}  # fmt: skip


def unit_code(symbol: str) -> int:
    """COSEM code of a unit symbol.

    Raises:
        ValueError: a unit the simulator does not know.
    """
    try:
        return _UNIT_CODES[symbol]
    except KeyError:
        raise ValueError(f"unit {symbol!r} is not one of {', '.join(_UNIT_CODES)}") from None


@dataclass(slots=True)
class Register:
    """One register.

    Attributes:
        value: start or last given value, in its unit.
        unit: COSEM code.
        scaler: power of ten of the raw number.
        rate: growth per second.
        swing, period: amplitude and duration (s) of a sine around the value.
        integrates: logical name of the power that this energy counts, per hour.
        since: when `value` held, Unix seconds.
    """

    value: float
    unit: int = 255
    scaler: int = 0
    rate: float = 0.0
    swing: float = 0.0
    period: float = 60.0
    integrates: bytes = b""
    since: float = 0.0


class Meter:
    """State of one meter; times are Unix seconds.

    Args:
        serial: serial number, also the logical device name.
        registers: by logical name.
        connected: position of the disconnector at the start; None: the meter has none.
        clock_offset: seconds the clock is ahead.
        deviation: minutes from UTC to local time of the clock (120: UTC+2); None sends no deviation.
        profile_columns: logical names of the registers in the load profile 1-0:99.1.0.
        profile_period: seconds between two rows.
        profile_rows: rows kept, all there from the start.
        profile_history: values of the columns in the rows before the start, oldest first, in the registers' units;
            without it the registers had their present values then.
        on_switch: called with the new position when the disconnector moves.
    """

    def __init__(
        self,
        serial: str,
        registers: dict[bytes, Register],
        *,
        connected: bool | None = True,
        clock_offset: float = 0.0,
        deviation: int | None = 0,
        profile_columns: list[bytes] | None = None,
        profile_period: float = 900.0,
        profile_rows: int = 0,
        profile_history: list[list[float]] | None = None,
        on_switch: Callable[[bool], None] | None = None,
    ) -> None:
        self.serial = serial
        self.registers = registers
        self.connected = connected
        self.clock_offset = clock_offset
        self.deviation = deviation
        self.profile_columns = profile_columns or []
        self.profile_period = profile_period
        self.last_counter = 0
        self.silent = False
        self.message = b""
        self._on_switch = on_switch
        now = time.time()
        for register in registers.values():
            register.since = register.since or now
        self.rows: deque[tuple[float, bytes]] = deque(maxlen=max(1, profile_rows))
        if profile_rows:
            newest = now - now % profile_period
            past = dict(enumerate(reversed(profile_history or [])))
            for back in range(profile_rows - 1, -1, -1):
                self._capture(newest - back * profile_period, past.get(back))

    # --- physics -------------------------------------------------------------------------------------------------

    def value(self, name: bytes, at: float) -> float:
        """Value of a register at a time, in its unit."""
        register = self.registers[name]
        off = self.connected is False
        if off and register.unit in FLOW_UNITS:
            return 0.0
        grown = 0.0 if off else register.rate * (at - register.since)
        if register.integrates and not off:
            grown += self._mean_flow(register.integrates) * (at - register.since) / 3600.0
        swing = register.swing * math.sin(2 * math.pi * at / register.period) if register.swing else 0.0
        return register.value + grown + swing

    def _mean_flow(self, name: bytes) -> float:
        source = self.registers.get(name)
        return source.value if source is not None else 0.0

    def _settle(self, at: float) -> None:
        """Counts what has flowed so far, before the flow changes."""
        for name, register in self.registers.items():
            if register.rate or register.integrates:
                register.value, register.since = self.value(name, at), at

    def put(self, name: bytes, value: float) -> None:
        """Sets a register from outside, for instance from a model of the grid.

        Raises:
            KeyError: the meter has no such register.
        """
        register = self.registers[name]
        now = time.time()
        self._settle(now)
        register.value, register.since = value, now

    def switch(self, connected: bool) -> None:
        """Opens or closes the disconnector."""
        if self.connected is None or self.connected == connected:
            return
        now = time.time()
        self._settle(now)
        self.connected = connected
        for register in self.registers.values():
            register.since = now
        if self._on_switch is not None:
            self._on_switch(connected)

    def tick(self, now: float) -> None:
        """Captures the profile rows that are due."""
        if not self.profile_columns or not self.rows:
            return
        due = self.rows[-1][0] + self.profile_period
        while due <= now:
            self._capture(due)
            due += self.profile_period

    def _capture(self, at: float, known: list[float] | None = None) -> None:
        """A row of the profile, with values that are known or those of the registers."""
        values = known or [self.value(name, at) for name in self.profile_columns]
        columns = [self._encoded(name, value) for name, value in zip(self.profile_columns, values, strict=True)]
        self.rows.append((at, encode(Tag.STRUCTURE, [encode(Tag.OCTET_STRING, self.date_time(at)), *columns])))

    # --- what is sent --------------------------------------------------------------------------------------------

    def raw(self, name: bytes, at: float) -> bytes:
        """Encoded raw number of a register."""
        return self._encoded(name, self.value(name, at))

    def _encoded(self, name: bytes, value: float) -> bytes:
        number = round(value / 10.0 ** self.registers[name].scaler)
        return encode(Tag.INT32 if -(1 << 31) <= number < 1 << 31 else Tag.INT64, number)

    def scaler_unit(self, name: bytes) -> bytes:
        """Encoded scaler and unit of a register."""
        register = self.registers[name]
        return encode(Tag.STRUCTURE, [encode(Tag.INT8, register.scaler), encode(Tag.ENUM, register.unit)])

    def date_time(self, at: float) -> bytes:
        """The 12 octets of a time as this meter's clock shows it."""
        zone = timezone(timedelta(minutes=self.deviation or 0))
        octets = encode_date_time(datetime.fromtimestamp(at + self.clock_offset, UTC).astimezone(zone), weekday=True)
        if self.deviation is None:
            return octets[:9] + b"\x80\x00" + octets[11:]
        return octets

    def profile(self, start: float, end: float) -> bytes:
        """Encoded rows with start <= clock <= end, as the meter's clock counts."""
        offset = self.clock_offset
        return encode(Tag.ARRAY, [row for at, row in self.rows if start <= at + offset <= end])

    def objects(self) -> list[tuple[int, bytes]]:
        """Class and logical name of every object."""
        found = [(obis.DATA, DEVICE_NAME_LN), (obis.DATA, SERIAL_LN), (obis.DATA, COUNTER_LN), (obis.DATA, MESSAGE_LN)]
        found += [(obis.CLOCK, obis.CLOCK_LN), (obis.ASSOCIATION, obis.ASSOCIATION_LN)]
        found += [(obis.REGISTER, name) for name in self.registers]
        if self.connected is not None:
            found.append((obis.DISCONNECT, DISCONNECTOR_LN))
        if self.profile_columns:
            found.append((obis.PROFILE, PROFILE_LN))
        return found


PROFILE_LN = obis.parse("1-0:99.1.0")
