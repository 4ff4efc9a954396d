"""Benchmark of many mapping files: check and plan of a million points in 500 files, and the restart of a large gateway.

The commands are run as people run them, from the start of their process to its end. Half of the files are flat, the
others use a common template. `peak_mb` is the largest sum of the resident memory of a command and its processes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILES, POINTS = 500, 2_000
"""Files, and points of each."""
QUICK_FILES, QUICK_POINTS = 6, 100
GATEWAY_FILES, QUICK_GATEWAY_FILES = 50, 2
_EDITED: Final = 3
_BAY: Final = 20
_LONGEST_S: Final = 600.0
_SAMPLE_S: Final = 0.05
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_OBJECTS: Final = ("A/phsA", "A/phsB", "A/phsC", "PhV/phsA", "PhV/phsB", "PhV/phsC", "TotW", "TotVAr", "TotPF", "Hz")
_UNITS: Final = ("A", "A", "A", "kV", "kV", "kV", "kW", "kvar", "1", "Hz")
_HEAD: Final = """mapping: 1
grid: dso1
place: north/PS{n:03}
devices:
  rtu-ps{n:03}:
    protocol: iec104
    host: 127.0.0.1
    port: 9
    common_address: {address}
    at:
"""


def write_files(folder: Path, files: int, points: int) -> None:
    """A template and so many station files, in turn flat and of that template; nothing listens where they point to."""
    folder.mkdir()
    lines = ["mapping: 1", "templates:", "  feeder:", "    protocol: iec104", "    params: {n: int}", "    points:"]
    lines += [f'      {_key(i)}: {{ioa: "{{n+{i}}}", {_fields(i)}}}' for i in range(_BAY)]
    (folder / "templates.yaml").write_text("\n".join(lines) + "\n", "utf-8")
    for n in range(files):
        rows = []
        for bay in range(points // _BAY):
            first = bay * _BAY + 1
            if n % 2:
                rows.append(f"      MV1/F{bay:04}: {{use: feeder, with: {{n: {first}}}}}")
                continue
            rows += [f"      MV1/F{bay:04}:", "        points:"]
            rows += [f"          {_key(i)}: {{ioa: {first + i}, {_fields(i)}}}" for i in range(_BAY)]
        text = _HEAD.format(n=n, address=n + 1) + "\n".join(rows) + "\n"
        (folder / f"ps{n:03}.yaml").write_text(text, "utf-8")


def _key(i: int) -> str:
    set_, name = divmod(i, len(_OBJECTS))
    return f"MMXU{set_ + 1}/{_OBJECTS[name]}"


def _fields(i: int) -> str:
    name = i % len(_OBJECTS)
    return f"type: M_ME_TF_1, unit: {_UNITS[name]}, deadband: {5 + name} {_UNITS[name]}"


@dataclass(frozen=True, slots=True)
class Run:
    """One command that was run: seconds, and octets of memory at most."""

    seconds: float
    peak: int


def run(quick: bool = False) -> dict[str, float | int]:
    """Seconds of the commands and of the restart, and MiB of memory.

    Returns:
        `files`, `files_points`, `files_check_seconds` (nothing kept), `files_plan_seconds` (against a copy with three
        files edited, after the check), `files_peak_mb`, `restart_points`, `start_seconds` (nothing kept) and
        `restart_seconds`: until the gateway serves OPC UA.
    """
    files, points = (QUICK_FILES, QUICK_POINTS) if quick else (FILES, POINTS)
    stations = QUICK_GATEWAY_FILES if quick else GATEWAY_FILES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new = folder / "old", folder / "new"
        write_files(old, files, points)
        write_files(new, files, points)
        for n in range(0, 2 * _EDITED, 2):
            path = new / f"ps{n:03}.yaml"
            path.write_text(path.read_text("utf-8").replace("deadband: 5 A", "deadband: 6 A"), "utf-8")
        environ = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        (folder / "cache").mkdir(mode=0o700)
        first = _command(["check", str(old)], environ)
        plan = _command(["plan", str(old), str(new)], environ, expected=2)
        write_files(folder / "gateway", stations, points)
        config = _configuration(folder, port := _free_port())
        cold, warm = _start(config, port), _start(config, port)
    return {
        "files": files,
        "files_points": files * points,
        "files_check_seconds": round(first.seconds, 2),
        "files_plan_seconds": round(plan.seconds, 2),
        "files_peak_mb": round(max(item.peak for item in (first, plan)) / 2**20),
        "restart_points": stations * points,
        "start_seconds": round(cold, 2),
        "restart_seconds": round(warm, 2),
    }


def _command(arguments: Sequence[str], environ: Mapping[str, str], *, expected: int = 0) -> Run:
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "twin_gateway", *arguments], stdout=subprocess.DEVNULL, env=dict(environ)
    )
    peak = 0
    try:
        while (code := process.poll()) is None:
            peak = max(peak, sum(_resident(pid) for pid in _family(process.pid)))
            if time.perf_counter() - started > _LONGEST_S:
                raise RuntimeError(f"{arguments[0]} takes more than {_LONGEST_S:g} s")
            time.sleep(_SAMPLE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code != expected:
        raise RuntimeError(f"{arguments[0]} ended with {code}, not {expected}")
    return Run(time.perf_counter() - started, peak)


def _family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            # The thread has ended meanwhile.
            continue
        for child in children:
            yield from _family(int(child))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        # It has ended meanwhile.
        return 0


def _configuration(folder: Path, port: int) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(
        "gateway: bench\ngrid: dso1\nauthority: https://example.org\n"
        f"data_directory: {folder / 'data'}\nmappings: [{folder / 'gateway'}]\n"
        f"opcua: {{host: 127.0.0.1, port: {port}, anonymous: observe}}\nhttp: {{port: {_free_port()}}}\n",
        "utf-8",
    )
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(config: Path, port: int) -> float:
    """Seconds from the start of a gateway until it takes connections; it is stopped then."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "twin_gateway", "run", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - started > _LONGEST_S:
                raise RuntimeError("the gateway does not start")
            time.sleep(0.01)
        return time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True
