"""Benchmark: how long a change is under way from the device's socket to an OPC UA subscriber, protocol by protocol.

Three processes: a device whose values say when they were sent (`simulate.stamped`), the whole gateway with its
history, and this one, which subscribes at 20 ms. All clocks are the machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twin_gateway.bench import latency_dlms, latency_goose
from twin_gateway.bench.opcua_subscriber import Subscriber, SubscriberError

RATE, POINTS = 1_000.0, 20
_SECONDS, _QUICK_SECONDS = 8.0, 1.0
_WARM_UP_S, _QUICK_WARM_UP_S = 3.0, 1.0
_PUBLISHING_MS = 20.0
_PATIENCE_S = 60.0
_STAMP_MODULO, _STAMPS_A_MS = 1 << 23, 4
_DOUBLE, _NAMESPACE = 11, 2

_CONFIG = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [m.yaml]
opcua: {port: 0, anonymous: observe, security_none: true}
http: {port: 0}
"""
_HEAD = "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n  dev:\n"
_DEVICES = {
    "iec104": "protocol: iec104, host: 127.0.0.1, port: {port}",
    "iec61850": "protocol: iec61850, host: 127.0.0.1, port: {port}, ied: FLOOD, integrity: 600 s",
    "coap": "protocol: coap, uri: 'coap://127.0.0.1:{port}'",
    "dlms": latency_dlms.section(POINTS),
    "goose": latency_goose.section(POINTS),
}
_LINES = {
    "iec104": "ioa: {one}, type: M_ME_TF_1, unit: W",
    "iec61850": "ref: LD0/MMXU{node}.{name}",
    "coap": "path: /r/{number}, unit: W",
    "dlms": latency_dlms.LINE,
    "goose": latency_goose.LINE,
}
_REFUSALS = {"goose": latency_goose.refusal}
"""Why a protocol cannot be measured on this machine; an empty text when it can."""


class _StampReader(Subscriber):
    """Takes ages from the values, not from source timestamps: a device may have no clock."""

    def _ages(self, body: bytes | memoryview, position: int, count: int) -> None:
        now = time.time_ns() * _STAMPS_A_MS // 1_000_000
        mask, kind = body[position + 4], body[position + 5]
        if not mask & 0x01 or kind != _DOUBLE:
            return
        sizes = ((0x02, 4), (0x04, 8), (0x10, 2), (0x08, 8))
        rest = sum(size for bit, size in sizes if mask & bit)
        layout = np.dtype([("handle", "<u4"), ("mask", "u1"), ("type", "u1"), ("value", "<f8"), ("rest", f"V{rest}")])
        records = np.frombuffer(body, layout, min(count, (len(body) - position) // layout.itemsize), position)
        records = records[(records["mask"] == mask) & (records["type"] == kind)]
        self.received.ages.append((now - records["value"]) % _STAMP_MODULO / _STAMPS_A_MS)


def run(quick: bool = False) -> dict[str, Any]:
    """Measure; about 80 s.

    Returns:
        For each protocol `…_p50_ms`, `…_p95_ms`, `…_p99_ms` of a change, and `…_per_s` changes received; or
        `…_not_measured` with the reason.
    """
    warm_up, seconds = (_QUICK_WARM_UP_S, _QUICK_SECONDS) if quick else (_WARM_UP_S, _SECONDS)
    figures: dict[str, Any] = {"rate": RATE, "publishing_ms": _PUBLISHING_MS}
    for protocol in _DEVICES:
        if reason := _REFUSALS.get(protocol, str)():
            figures[f"{protocol}_not_measured"] = reason
            continue
        ages = _measure(protocol, warm_up, seconds)
        figures[f"{protocol}_per_s"] = round(len(ages) / seconds)
        for share in (50, 95, 99):
            figures[f"{protocol}_p{share}_ms"] = round(float(np.percentile(ages, share)), 1)
    return figures


def _measure(protocol: str, warm_up: float, seconds: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        device = _start(
            [sys.executable, "-m", "twin_gateway.simulate.stamped", protocol, str(RATE), str(POINTS)], folder
        )
        gateway: subprocess.Popen[bytes] | None = None
        try:
            port = json.loads(_line(device))["port"]
            addresses = _write(folder, protocol, port)
            gateway = _start([sys.executable, "-c", _RUN], folder, latency_dlms.SECRETS)
            reader = _StampReader(int(_line(gateway)))
            reader.subscribe(_PUBLISHING_MS)
            refused, _ = reader.monitor(addresses, _NAMESPACE, queue=200, deadbands=[0.0] * len(addresses))
            if refused:
                raise SubscriberError(f"{refused} items were refused")
            _flowing(reader, len(addresses))
            reader.flow(warm_up, ages=False)
            received = reader.flow(seconds, ages=True)
            reader.close()
            if not received.ages:
                raise SubscriberError(f"nothing came from {protocol}")
            return np.concatenate(received.ages)
        finally:
            for process in (gateway, device):
                if process is not None:
                    process.terminate()
                    process.communicate()


def _flowing(reader: Subscriber, points: int) -> None:
    """Wait until every point has changed several times: the link is up and the device sends evenly."""
    end = time.monotonic() + _PATIENCE_S
    while reader.flow(0.5, ages=False).items < 10 * points:
        if time.monotonic() > end:
            raise SubscriberError("the device's changes do not come")


_RUN = """\
from pathlib import Path
from twin_gateway.running import run_gateway
raise SystemExit(run_gateway(Path("gateway.yaml"), started=lambda gateway: print(gateway.server.port, flush=True)))
"""


def _write(folder: Path, protocol: str, port: int) -> list[str]:
    lines, addresses = [], []
    for number in range(POINTS):
        node, name = number // 2 + 1, ("TotW", "Hz")[number % 2]
        fields = _LINES[protocol].format(one=number + 1, number=number, node=node, name=name)
        lines.append(f"MMXU{number + 1}/TotW: {{{fields}}}")
        addresses.append(f"dso1/north/PS01/MV1/F01/_/MMXU{number + 1}/TotW")
    section = _DEVICES[protocol].format(port=port)
    points = ", ".join(lines)
    text = f"{_HEAD[:-1]} {{{section}, at: {{MV1/F01: {{points: {{{points}}}}}}}}}\n"
    (folder / "m.yaml").write_text(text)
    (folder / "gateway.yaml").write_text(_CONFIG)
    return addresses


def _start(command: list[str], folder: Path, secrets: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    environment = os.environ | dict(secrets or {})
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env=environment)


def _line(process: subprocess.Popen[bytes]) -> bytes:
    """The first line that a process says."""
    if process.stdout is None or not (line := process.stdout.readline()):
        raise RuntimeError(f"{process.args!r} ended at once")
    return line
