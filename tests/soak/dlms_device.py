"""A DLMS meter that pushes DataNotifications, each with its time, and keeps a ledger; no code of the driver in it.

All points change together, one push holds them all. The meter keeps nothing that it could not deliver.
"""

from __future__ import annotations

import socket
import struct
import time

import numpy as np
from pace import TICK_S, begin, obey, ready

LOGICAL_DEVICE, CLIENT = 1, 16
_PER_CONNECTION = 50


def date_time(ms: int) -> bytes:
    """Of the Blue Book, with hundredths, in UTC."""
    at = time.gmtime(ms // 1000)
    day = (at.tm_year, at.tm_mon, at.tm_mday, at.tm_wday + 1)
    return struct.pack(">HBBBBBBBhB", *day, at.tm_hour, at.tm_min, at.tm_sec, ms % 1000 // 10, 0, 0)


def main() -> None:
    given, ledger, pace = begin()
    everything = np.arange(given.points)
    sock: socket.socket | None = None
    sent = 0
    obey(pace)
    ready()
    while True:
        # one push when as many changes are due as there are points
        if not pace.whole_turn():
            time.sleep(TICK_S)
            continue
        tag, true = pace.now()
        tag -= tag % 10
        numbers = ledger.change(everything, tag, true).tolist()
        body = b"\x02" + bytes((len(numbers),)) + b"".join(b"\x06" + struct.pack(">I", number) for number in numbers)
        apdu = b"\x0f" + struct.pack(">I", sent & 0xFFFFFF) + b"\x0c" + date_time(tag) + body
        try:
            if sock is None or sent % _PER_CONNECTION == 0:
                if sock is not None:
                    sock.close()
                sock = socket.create_connection(("127.0.0.1", given.port), 2)
            sock.sendall(struct.pack(">HHHH", 1, LOGICAL_DEVICE, CLIENT, len(apdu)) + apdu)
        except OSError:
            sock = None
        sent += 1


if __name__ == "__main__":
    main()
