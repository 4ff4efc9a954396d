"""Every benchmark runs by its command and prints one JSON object with the figures it promises; none is judged.

They run small and at low priority: what is measured beside them is measured in peace.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from twin_gateway.bench import latency_goose

FIGURES = {
    "opcua": (
        "updates_per_s",
        "stock_updates_per_s",
        "ratio",
        "updates_bare_per_s",
        "updates_secured_per_s",
        "secured_share",
        "read_1_per_s",
        "stock_read_1_per_s",
        "read_1000_per_s",
        "browse_per_s",
        "method_per_s",
        "read_1_many_per_s",
        "create_50k_items_s",
        "p99_ms_at_500k",
        "bytes_per_variable",
        "build_1m_s",
        "rss_1m_mb",
    ),
    "mapping": ("seconds", "csafeloader_seconds", "files_check_seconds", "files_plan_seconds", "restart_seconds"),
    "iec104": ("points_per_s_1", "points_per_s_15"),
    "iec61850": ("leaves_per_s", "single_change_reports_per_s"),
    "dlms": ("cycle_s",),
    "coap": ("notifications_per_cpu_s",),
    "mqtt": ("points_per_s",),
    "history": ("rows_per_processor_s", "octets_a_row_closed", "read_day_closed_ms", "p99_ms", "p99_ms_with_history"),
    "latency": ("iec104_p95_ms", "iec61850_p95_ms", "coap_p95_ms", "dlms_p95_ms")
    + (() if latency_goose.refusal() else ("goose_p95_ms",)),
    "twin": (
        "topology_tie_p95_ms",
        "powerflow_flow_10k",
        "flisr_bus10k_p95_ms",
        "losses_total_s",
        "lv_topology_500x30d_s",
    ),
}


def figures_of(name: str) -> dict[str, Any]:
    # Without reference data only the cases of our own are measured, which is enough to see that they run.
    environment = {name: value for name, value in os.environ.items() if name != "TWIN_REFERENCE_DATA"}
    done = subprocess.run(
        ["nice", "-n", "10", sys.executable, "-m", "twin_gateway", "bench", name, "--quick", "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        # Threads of the linear algebra would only wait for each other at low priority.
        env={**environment, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.parametrize("name", FIGURES)
def test_a_bench_prints_its_figures_as_one_object_and_says_that_it_was_quick(name: str) -> None:
    figures = figures_of(name)
    assert figures["quick"] is True
    for figure in FIGURES[name]:
        assert figures[figure] > 0, figure


def test_the_help_says_that_quick_figures_compare_with_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twin_gateway", "bench", "--help"], check=True, capture_output=True, text=True
    )
    assert "its figures compare with nothing" in " ".join(re.sub(r"[│|]", " ", done.stdout).split())


def test_an_unknown_bench_is_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twin_gateway", "bench", "nothing"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no bench 'nothing'; there are opcua, ")
