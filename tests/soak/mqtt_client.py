"""An app on mosquitto_sub that keeps every message of the mirror as a record of ledger.GOT.

    python mqtt_client.py PORT FILE ADDRESSES.json

Values go to FILE, late samples (events of code `late`) to FILE.late. mosquitto_sub connects again by itself.
"""

from __future__ import annotations

import calendar
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ledger import GOT

_LINE = re.compile(
    rb"(\d+\.\d+) twin/([ve])/(\S+) "
    rb'(?:\{"code":"late","severity":\d+,"rx":"[^"]*",)?\{?"v":([^,]*),"s":(\d+),"t":"([^"]*)"'
)
_FLUSH_S = 0.2


class Seconds(dict[bytes, int]):
    """Milliseconds since 1970 of `2026-01-01T00:00:00`."""

    def __missing__(self, text: bytes) -> int:
        if len(self) > 10_000:
            self.clear()
        self[text] = calendar.timegm(time.strptime(text.decode(), "%Y-%m-%dT%H:%M:%S")) * 1000
        return self[text]


def main() -> None:
    port, path, nodes = sys.argv[1], Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
    points = {node.removeprefix("ns=2;s=").encode(): number for number, node in enumerate(nodes)}
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-q", "1", "-F", "%U %t %p", "-t", "twin/v/#"]
    tap = subprocess.Popen([*command, "-t", "twin/e/#"], stdout=subprocess.PIPE)
    assert tap.stdout is not None
    signal.signal(signal.SIGTERM, lambda *_: tap.kill())  # then its output ends, and what is in hand is written
    print(json.dumps({"ready": True}), flush=True)
    seconds = Seconds()
    kept: dict[bytes, list[tuple[float, ...]]] = {b"v": [], b"e": []}
    flushed = time.monotonic()
    with path.open("ab") as values, path.with_suffix(".late").open("ab") as late:
        files = {b"v": values, b"e": late}
        for line in tap.stdout:
            found = _LINE.match(line)
            if found is None:
                continue  # another event
            received, kind, address, value, status, at = found.groups()
            point = points.get(address)
            if point is not None:
                number = float("nan") if value == b"null" else float(value)
                ms = seconds[at[:19]] + (float(at[19:-1]) * 1000 if len(at) > 20 else 0.0)
                kept[kind].append((point, int(status), number, ms, float(received) * 1000))
            if time.monotonic() - flushed > _FLUSH_S:
                for name, file in files.items():
                    file.write(np.array(kept[name], GOT).tobytes())
                    file.flush()
                    kept[name].clear()
                flushed = time.monotonic()
        for name, file in files.items():
            file.write(np.array(kept[name], GOT).tobytes())


if __name__ == "__main__":
    main()
