"""Every benchmark runs by its command and prints one JSON object with the figures it promises; none is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

FIGURES = {
    "opcua": (
        "updates_per_s",
        "stock_updates_per_s",
        "ratio",
        "p99_ms_at_500k",
        "bytes_per_variable",
        "build_1m_s",
        "rss_1m_mb",
    ),
    "mapping": ("seconds", "points", "csafeloader_seconds"),
    "iec104": ("points_per_s_1", "points_per_s_15"),
    "iec61850": ("leaves_per_s",),
    "dlms": ("cycle_s",),
    "coap": ("notifications_per_cpu_s",),
    "mqtt": ("points_per_s",),
    "twin": (
        "topology_tie_p95_ms",
        "powerflow_flow_10k",
        "flisr_bus10k_p95_ms",
        "losses_total_s",
        "lv_topology_500x30d_s",
    ),
}


@pytest.mark.timeout(420)
@pytest.mark.parametrize("name", FIGURES)
def test_a_bench_prints_its_figures_as_one_object(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twin_gateway", "bench", name, "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
        # Without reference data only the cases of our own are measured, which is enough to see that they run.
        env={name: value for name, value in os.environ.items() if name != "TWIN_REFERENCE_DATA"},
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    for figure in FIGURES[name]:
        assert figures[figure] > 0, figure


def test_an_unknown_bench_is_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twin_gateway", "bench", "nothing"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no bench 'nothing'; there are opcua, ")
