"""The meter of the latency benchmark as the gateway's mapping sees it: never called, it pushes all values at once."""

from __future__ import annotations

_TITLE = "54574d0000000001"
SECRETS = {"METER_AK": "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf", "METER_EK": "000102030405060708090a0b0c0d0e0f"}
"""Environment of the gateway: secrets do not stand in a mapping. Title and keys are those of the simulated meter."""
_MOST_A_MINUTE = 6000


def section(points: int) -> str:
    """Device section with `{port}` in it, where the gateway listens; `points` values come in each push."""
    columns = [f"'1/1-0:{number}.7.0/2'" for number in range(1, points + 1)]
    keys = "authentication: '${{METER_AK}}', encryption: '${{METER_EK}}'"
    push = f"only: true, rate: {_MOST_A_MINUTE}, meter_title: '{_TITLE}', columns: [{', '.join(columns)}]"
    head = f"protocol: dlms, host: 127.0.0.1, security: hls-gmac, keys: {{{{{keys}}}}}"
    return f"{head}, push: {{{{listen: '127.0.0.1:{{port}}', {push}}}}}"


LINE = "obis: '1-0:{one}.7.0', class: 1, unit: W"
"""One point: a data object, whose value needs no scaler read in an association."""
