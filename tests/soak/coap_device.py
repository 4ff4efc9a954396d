"""A CoAP device with observed resources `/r/0`, `/r/1`, …, that keeps a ledger; messages by aiocoap."""

from __future__ import annotations

import contextlib
import select
import socket
import time

import aiocoap
import numpy as np
from pace import TICK_S, begin, obey, ready

MAX_AGE_S = 30


def main() -> None:
    given, ledger, pace = begin()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", given.port))
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    observers: dict[int, tuple[bytes, tuple[str, int]]] = {}
    message_id, sequence = 0, time.time_ns() // 1_000_000_000 & 0xFFFFFF  # a device that restarts goes on

    def content(kind: int, token: bytes, mid: int, number: int, observed: bool) -> bytes:
        head = bytes((kind | len(token), 0x45)) + mid.to_bytes(2, "big") + token
        # Observe (6), Content-Format (12) text, Max-Age (14)
        order = b"\x63" + sequence.to_bytes(3, "big") + b"\x60" if observed else b"\xc0"
        return head + order + b"\x21" + bytes((MAX_AGE_S,)) + b"\xff%d" % number

    def send(octets: bytes, to: tuple[str, int]) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):  # datagrams get lost
            sock.sendto(octets, to)

    obey(pace)
    ready()
    while True:
        select.select([sock], [], [], TICK_S)
        while True:
            try:
                datagram, source = sock.recvfrom(2048)
            except BlockingIOError:
                break
            except ConnectionError:
                continue
            request = aiocoap.Message.decode(datagram)
            if request.mtype == aiocoap.RST:
                continue
            if not request.code.is_request():
                if request.mtype == aiocoap.CON and request.code == aiocoap.EMPTY:  # a ping
                    send(bytes((0x70, 0)) + request.mid.to_bytes(2, "big"), source)
                continue
            path = request.opt.uri_path
            if len(path) != 2 or path[0] != "r" or not path[1].isdigit() or int(path[1]) >= given.points:
                send(bytes((0x60 | len(request.token), 0x84)) + request.mid.to_bytes(2, "big") + request.token, source)
                continue
            point = int(path[1])
            if request.opt.observe == 0:
                observers[point] = (request.token, source)
            elif request.opt.observe == 1 and observers.get(point, (b"",))[0] == request.token:
                del observers[point]
            sequence = sequence + 1 & 0xFFFFFF
            number = int(ledger.state(np.array([point]), time.time_ns() // 1_000_000)[0])
            send(content(0x60, request.token, request.mid, number, request.opt.observe == 0), source)
        points = pace.due()
        if len(points):
            numbers = ledger.change(points, 0, pace.now()[1])
            sequence = sequence + 1 & 0xFFFFFF
            for point, number in zip(points.tolist(), numbers.tolist(), strict=True):
                if point in observers:
                    message_id = message_id + 1 & 0xFFFF
                    token, to = observers[point]
                    send(content(0x50, token, message_id, number, True), to)


if __name__ == "__main__":
    main()
