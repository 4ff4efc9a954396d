"""A DLMS meter that is never called and pushes without end, ciphered: DataNotifications to a port of the gateway.

Every push is one DataNotification inside general-glo-ciphering, over the wrapper and one TCP connection: a structure of
all values, columns 1-0:1.7.0, 1-0:2.7.0, … of class data. A lost connection is made anew, the counter goes on.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable

from twin_gateway.drivers.dlms.axdr import Tag, encode, write_length
from twin_gateway.drivers.dlms.ciphering import Ciphering, Counter, Key
from twin_gateway.drivers.dlms.services import DATA_NOTIFICATION
from twin_gateway.drivers.dlms.wrapper import frame

TITLE = b"TWM\0\0\0\0\1"
ENCRYPTION, AUTHENTICATION = bytes(range(16)), bytes(range(0xD0, 0xE0))
LOGICAL_DEVICE, CLIENT = 1, 1
_AGAIN_S = 0.1


class PushingMeter:
    """One meter.

    Args:
        values: how many each push holds.
        value: what each of them is at the moment of sending, 32 bits without sign.
    """

    def __init__(self, values: int, value: Callable[[], int]) -> None:
        self._values = values
        self._value = value
        self._cipher = Ciphering(TITLE, Key(ENCRYPTION), Key(AUTHENTICATION), Counter())
        self._number = 0

    def message(self) -> bytes:
        """The next push, wrapped."""
        self._number = self._number + 1 & 0xFFFFFF
        body = bytes((Tag.STRUCTURE,)) + write_length(self._values) + encode(Tag.UINT32, self._value()) * self._values
        plain = struct.pack(">BIB", DATA_NOTIFICATION, self._number, 0) + body
        return frame(LOGICAL_DEVICE, CLIENT, self._cipher.protect_general(plain))

    def push(self, port: int, rate: float) -> None:
        """Pushes to a port of this machine, `rate` messages a second, for ever; waits until somebody listens.

        Each at a random moment of its share of the time: a steady beat could go in step with the publishing of a
        subscription, and the age of what it brings would be always the same.
        """
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._push(sock, rate)
            except OSError:
                time.sleep(_AGAIN_S)

    def _push(self, sock: socket.socket, rate: float) -> None:
        began, sent = time.monotonic(), 0
        while True:
            moment = began + (sent + random.random()) / rate
            time.sleep(max(0.0, moment - time.monotonic()))
            sock.sendall(self.message())
            sent += 1


def unused_port() -> int:
    """A TCP port of this machine that nobody listens at now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
