"""A good client in a process of its own: reads a value every few milliseconds, tells how long that took.

Arguments: port, address of a position whose value is 2. For each line of its standard input it prints the figures since
the last one.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
import time

from peers.opcua.raw_peer import NULL, RawPeer, string


def look(port: int, address: str) -> None:
    wanted = struct.pack("<dIi", 0.0, 2, 1) + struct.pack("<BH", 3, 2) + string(address.encode())
    wanted += struct.pack("<I", 13) + NULL + b"\0\0" + NULL
    peer = RawPeer(port, timeout=20.0, source="127.0.0.2").connect()
    times: list[float] = []
    wrong = 0
    lock = threading.Lock()

    def tell() -> None:
        nonlocal wrong
        for _ in sys.stdin:
            with lock:
                taken, bad = sorted(times), wrong
                times.clear()
                wrong = 0
            figures = {"reads": len(taken), "wrong": bad}
            for name, place in (("p50_ms", len(taken) // 2), ("p99_ms", len(taken) * 99 // 100), ("max_ms", -1)):
                figures[name] = round(taken[place] * 1000, 1) if taken else 0
            print(json.dumps(figures), flush=True)

    print(json.dumps({"looking": True}), flush=True)
    threading.Thread(target=tell, daemon=True).start()
    while True:
        began = time.perf_counter()
        answer = peer.call(631, wanted)
        spent = time.perf_counter() - began
        good = answer[16:20] == b"\0\0\0\0" and answer[28:32] == b"\1\0\0\0" and answer[33:38] == b"\x06\2\0\0\0"
        with lock:
            times.append(spent)
            wrong += not good
        time.sleep(0.004)


if __name__ == "__main__":
    look(int(sys.argv[1]), sys.argv[2])
