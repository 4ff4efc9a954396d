"""The codec of hat-drivers (Apache-2.0) in a process of its own: reads ASDUs as hex lines, says what it understood.

Each line of stdin is answered by one of JSON: `type`, `cause`, `fields` (names and numbers of the first element, nested
ones joined by a dot) and `again`, the octets that it makes of what it read; or `error`.
"""

import enum
import json
import sys

from hat.drivers.iec60870.encodings import iec101, iec104

NARROW = iec101.Encoder(iec101.CauseSize.TWO, iec101.AsduAddressSize.TWO, iec101.IoAddressSize.THREE, 249)
USUAL = iec104.Encoder(249)
SHORT_TAGS = frozenset((2, 4, 6, 8, 10, 12, 14, 16, 17, 18, 19, 104, 105, 106))
"""Types of 101 alone, which the 104 codec leaves to the other."""


def flat(value, prefix=""):
    if isinstance(value, enum.Enum):
        return {prefix: value.value}
    if hasattr(value, "_asdict"):
        found = {}
        for name, part in value._asdict().items():
            found |= flat(part, f"{prefix}.{name}" if prefix else name)
        return found
    return {prefix: value.hex() if isinstance(value, bytes | bytearray) else value}


for line in sys.stdin:
    octets = bytes.fromhex(line)
    encoder = NARROW if octets[0] in SHORT_TAGS else USUAL
    try:
        asdu, rest = encoder.decode_asdu(octets)
        cause = getattr(asdu.cause.type, "name", asdu.cause.type)
        told = {"type": getattr(asdu.type, "name", asdu.type), "cause": cause, "rest": bytes(rest).hex()}
        told["fields"] = {
            name: part if isinstance(part, int | float | str | bool) else str(part)
            for name, part in flat(asdu.ios[0].elements[0]).items()
        }
        told["again"] = bytes(encoder.encode_asdu(asdu)).hex()
    except Exception as error:  # whatever it cannot read is an answer too
        told = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(told) + "\n")
