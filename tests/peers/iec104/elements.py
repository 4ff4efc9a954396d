"""What elements and time tags may hold on the wire, and what is meant by it."""

from twin_gateway.drivers.iec104.types import Family

# value, extra and quality, each unlike its resting state
ELEMENTS = {
    Family.SINGLE: (1, 0, 0xB0),
    Family.DOUBLE: (2, 0, 0x40),
    Family.STEP: (-64, 1, 0x81),
    Family.BITSTRING: (0xDEADBEEF, 0, 0x10),
    Family.NORMALISED: (-0.5, 0, 0x01),
    Family.SCALED: (-32768, 0, 0x20),
    Family.FLOAT: (-12.25, 0, 0x80),
    Family.COUNTER: (-2_000_000_000, 17, 0xE0),
    Family.PROTECTION: (2, 40_000, 0x08),
    Family.PROTECTION_START: (0x21, 12, 0x88),
    Family.PROTECTION_OUTPUT: (0x0F, 59_999, 0x10),
    Family.PACKED_SINGLE: (0xA5A5, 0x0FF0, 0x01),
    Family.NORMALISED_BARE: (0.25, 0, 0),
    Family.COMMAND_OCTET: (2, 0x84, 0),
    Family.SETPOINT_INT: (-5, 0x80, 0),
    Family.SETPOINT_FLOAT: (3.5, 0x80, 0),
    Family.SETPOINT_NORMALISED: (-1.0, 0x80, 0),
    Family.WORD32: (0xFFFFFFFF, 0, 0),
    Family.OCTET: (20, 0, 0),
    Family.WORD16: (0x55AA, 0, 0),
    Family.EMPTY: (0, 0, 0),
}


def complete_cp24(hour_ms, received_ms, zone):
    """UTC in ms of a time within the hour received at `received_ms` UTC: the latest that is at most 5 minutes ahead."""
    offset = zone.from_utc(received_ms)[0] - received_ms
    limit = received_ms + offset + 300_000
    return limit - (limit - hour_ms) % 3_600_000 - offset
