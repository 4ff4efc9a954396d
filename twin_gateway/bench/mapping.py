"""Benchmark of the mapping check: 100 000 flat points against the YAML loader alone, and a million in many files."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import yaml

from twin_gateway.bench import mapping_files
from twin_gateway.mapping.check import check

POINTS, QUICK_POINTS = 100_000, 2_500
_BAYS = 2_500
_PLACE = ("A/phsA", "A/phsB", "A/phsC", "PhV/phsA", "PhV/phsB", "PhV/phsC", "TotW", "TotVAr", "TotPF", "Hz")
_UNITS = ("A", "A", "A", "kV", "kV", "kV", "kW", "kvar", "1", "Hz")


def flat_file(points: int) -> str:
    """A mapping file of one 104 station with so many points, each on a line of its own: no template, range or brace."""
    lines = ["mapping: 1", "grid: dso1", "place: north/PS01", "devices:", "  rtu-ps01:", "    protocol: iec104"]
    lines += ["    host: 10.4.7.10", "    common_address: 7", "    at:"]
    for i in range(points):
        bay, kind = divmod(i, points // _BAYS or 1)
        if kind == 0:
            lines += [f"      MV1/F{bay:04}:", "        points:"]
        set_, name = divmod(kind, len(_PLACE))
        unit = _UNITS[name]
        lines.append(
            f"          MMXU{set_ + 1}/{_PLACE[name]}: "
            f"{{ioa: {i + 1}, type: M_ME_TF_1, unit: {unit}, deadband: {5 + name} {unit}}}"
        )
    return "\n".join(lines) + "\n"


def run(quick: bool = False) -> dict[str, float | int]:
    """Seconds of a whole check and of `yaml.load` with CSafeLoader on the same file; their ratio.

    Returns:
        `seconds`, `points`, `csafeloader_seconds`, `ratio` and `points_per_s`; and what `mapping_files` measures.
    """
    points = QUICK_POINTS if quick else POINTS
    text = flat_file(points)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flat.yaml"
        path.write_text(text, "utf-8")
        started = time.perf_counter()
        mapping, problems = check([path], environ={})
        seconds = time.perf_counter() - started
    if mapping is None or problems or mapping.point_count != points:
        raise RuntimeError(f"the benchmark's own file is not clean: {problems[:3]}")
    del mapping
    started = time.perf_counter()
    yaml.load(text, Loader=yaml.CSafeLoader)
    loading = time.perf_counter() - started
    return {
        "seconds": round(seconds, 3),
        "points": points,
        "csafeloader_seconds": round(loading, 3),
        "ratio": round(seconds / loading, 3),
        "points_per_s": round(points / seconds),
        **mapping_files.run(quick),
    }
