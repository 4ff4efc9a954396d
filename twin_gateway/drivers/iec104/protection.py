"""Events of protection equipment (M_EP, types 17 to 19 and 38 to 40): what each says, as a record for the journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from address_space import clock
from address_space.quality import Quality, TimeFlag
from twin_gateway.drivers.iec104.columns import Columns
from twin_gateway.drivers.iec104.times import NO_TIME
from twin_gateway.drivers.iec104.types import EVENT_CAUSES, TYPES, Family

START_BITS = ("general", "phase L1", "phase L2", "phase L3", "earth current", "reverse direction")
"""SPE: what has started, bit 0 first."""
OUTPUT_BITS = ("general", "phase L1", "phase L2", "phase L3")
"""OCI: which circuit was commanded, bit 0 first."""
_STATES = ("indeterminate", "off", "on", "indeterminate")
_PROTECTION = frozenset((Family.PROTECTION, Family.PROTECTION_START, Family.PROTECTION_OUTPUT))
IS_PROTECTION = np.zeros(256, bool)
"""By type number: the type is an event of protection equipment."""
for _number, _known in TYPES.items():
    IS_PROTECTION[_number] = _known.family in _PROTECTION
_IS_EVENT = np.zeros(256, bool)
for _cause in EVENT_CAUSES:
    _IS_EVENT[_cause] = _IS_EVENT[_cause | 0x80] = True


class ProtectionEvent(NamedTuple):
    """One event.

    Attributes:
        key: common address << 24 | object address.
        code: P02 for a start, P01 for a command to a circuit, `protection` for the rest.
        severity: 1 to 1000.
        source_time: FILETIME ticks by the device, 0 when it gave no time.
        time_quality: `invalid` when the device marks it invalid, `doubtful` for an invalid elapsed time, else empty.
    """

    key: int
    code: str
    text: str
    severity: int
    source_time: int
    time_quality: str


def events_of(columns: Columns) -> Iterator[ProtectionEvent]:
    """The events among decoded objects, in order of arrival; only what was sent as one, not on request."""
    for at in np.flatnonzero(IS_PROTECTION[columns.type] & _IS_EVENT[columns.cause]).tolist():
        family = TYPES[int(columns.type[at])].family
        bits, word, moment = int(columns.value[at]), int(columns.quality[at]), int(columns.time[at])
        elapsed = int(columns.extra[at])
        if family is Family.PROTECTION:
            what, code, severity, said = "Protection event", "protection", 400, _STATES[bits]
        elif family is Family.PROTECTION_START:
            said = f"{_names(START_BITS, bits)} (SPE {bits:#04x})"
            what, code, severity = "Protection start", "P02", 400
        else:
            said = f"{_names(OUTPUT_BITS, bits)} (OCI {bits:#04x})"
            what, code, severity = "Protection output", "P01", 900
        if not bits:
            code, severity = "protection", 300
        doubtful, invalid = bool(word & TimeFlag.DOUBTFUL), bool(word & TimeFlag.INVALID)
        test = bool(word & Quality.TEST)
        text = f"{what}: {said}, " + ("elapsed time invalid" if doubtful else f"{elapsed} ms")
        if word & Quality.INVALID:
            text, severity = f"{text} (marked invalid)", min(severity, 400)
        if test:
            text, code, severity = f"{text} (test)", "protection", 200
        yield ProtectionEvent(
            int(columns.common_address[at]) << 24 | int(columns.address[at]),
            code,
            text,
            severity,
            0 if moment == NO_TIME else clock.from_unix_ns(moment * 1_000_000),
            "invalid" if invalid else "doubtful" if doubtful else "",
        )


def _names(names: tuple[str, ...], bits: int) -> str:
    told = [name for place, name in enumerate(names) if bits >> place & 1]
    return ", ".join(told) or "over"
