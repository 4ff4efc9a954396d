"""The GOOSE streams of the latency benchmark as the gateway's mapping sees them: one subscription for each value."""

from __future__ import annotations

from twin_gateway.drivers.iec61850.goose.process import open_socket

_INTERFACE = "lo"


def section(points: int) -> str:
    """Device section: `points` streams of one value each, on the loopback interface."""
    streams = ", ".join(
        f"s{number}: {{{{control_block: STREAM{number}LD0/LLN0$GO$gcb, app_id: {0x3000 + number}, conf_rev: 1, "
        f"destination: 01-0C-CD-01-{number >> 8:02X}-{number & 0xFF:02X}, data_set: STREAM{number}LD0/LLN0$ds, "
        "members: [LD0/MMXU1.TotW.mag.f]}}"
        for number in range(1, points + 1)
    )
    return f"protocol: goose, interface: {_INTERFACE}, subscriptions: {{{{{streams}}}}}"


LINE = "subscription: s{one}, ref: LD0/MMXU1.TotW, unit: W"
"""One point: the only member of a stream."""


def refusal() -> str:
    """Why GOOSE cannot be measured here; empty when it can."""
    try:
        open_socket(_INTERFACE, []).close()
    except OSError as error:
        return f"raw sockets are not permitted here: {error}"
    return ""
