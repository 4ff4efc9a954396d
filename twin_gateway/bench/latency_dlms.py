"""The meter of the latency benchmark as the gateway's mapping sees it: never called, it pushes all values at once."""

from __future__ import annotations

from twin_gateway.simulate.dlms_push import AUTHENTICATION, ENCRYPTION, TITLE

SECRETS = {"METER_AK": AUTHENTICATION.hex(), "METER_EK": ENCRYPTION.hex()}
"""Environment of the gateway: secrets do not stand in a mapping."""
_MOST_A_MINUTE = 6000


def section(points: int) -> str:
    """Device section with `{port}` in it, where the gateway listens; `points` values come in each push."""
    columns = [f"'1/1-0:{number}.7.0/2'" for number in range(1, points + 1)]
    keys = "authentication: '${{METER_AK}}', encryption: '${{METER_EK}}'"
    push = f"only: true, rate: {_MOST_A_MINUTE}, meter_title: '{TITLE.hex()}', columns: [{', '.join(columns)}]"
    head = f"protocol: dlms, host: 127.0.0.1, security: hls-gmac, keys: {{{{{keys}}}}}"
    return f"{head}, push: {{{{listen: '127.0.0.1:{{port}}', {push}}}}}"


LINE = "obis: '1-0:{one}.7.0', class: 1, unit: W"
"""One point: a data object, whose value needs no scaler read in an association."""
