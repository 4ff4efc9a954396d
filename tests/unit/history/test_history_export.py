"""`twin-gateway history`: overview and CSV of a gateway that is stopped, and of one that runs."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from address_space import clock
from twin_gateway.cli import app
from twin_gateway.history.housekeeping import keep_house
from twin_gateway.history.settings import HistorySettings
from twin_gateway.history.store import HistoryStore

DAY = clock.from_unix(1_772_323_200)
DAY_TICKS = 86_400 * clock.TICKS_PER_SECOND
POWER, POSITION = "dso1/n/PS1/MV1/F1/QA1/MMXU1/TotW", "dso1/n/PS1/MV1/F1/QA1/XCBR1/Pos"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration, and a history of two days of which the first is closed."""
    now = [DAY]
    store = HistoryStore(tmp_path / "data" / "history", HistorySettings(reserve_mb=0), now=lambda: now[0])
    store.open()
    for day in range(2):
        now[0] = DAY + day * DAY_TICKS
        places = store.learn([POWER, POSITION], [11, 6])
        times = np.array([now[0], now[0] + 5_000_000])
        status = np.array([0, 0x4090_0000], np.uint32)
        store.add(places[[0, 0]], times, times + 1_000, np.array([1.5, np.nan]) + day, status)
        store.add(places[[1, 1]], times, times + 1_000, np.array([1.0, 2.0]), status)
        store.add_events([(now[0], POWER, "{}")])
        store.commit()
    keep_house(store)
    store.close()
    (tmp_path / "mappings").mkdir()
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "gateway: gw1\ngrid: dso1\nauthority: https://example.org\nmappings: [mappings]\n", encoding="utf-8"
    )
    return path


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["history", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_overview_counts_what_is_kept_of_each_day(config: Path) -> None:
    document = json.loads(run("info", "--config", config, "--json"))
    assert document["addresses"] == 2
    counts = {day: (figures["samples"], figures["events"]) for day, figures in document["days"].items()}
    assert counts == {"2026-03-01": (4, 1), "2026-03-02": (4, 1)}
    assert document["days"]["2026-03-01"]["octets"] > 0
    assert "2 addresses" in run("info", "--config", config)


def test_an_address_is_written_as_csv_within_the_times_that_are_asked_for(config: Path, tmp_path: Path) -> None:
    run("export", POWER, "--config", config, "--to", "2026-03-02T00:00:01", "--out", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["source_time", "received", "value", "status"]
    assert rows[1] == ["2026-03-01T00:00:00.000Z", "2026-03-01T00:00:00.000100Z", "1.5", "0x00000000"]
    assert rows[2][2:] == ["", "0x40900000"]
    # when the store was closed begins a gap
    assert [row[2:] for row in rows[3:]] == [["2.5", "0x00000000"], ["", "0x809D0000"], ["", "0x40900000"]]
    assert ",1,0x00000000" in run("export", POSITION, "--config", config)


def test_an_address_without_history_is_refused(config: Path) -> None:
    done = CliRunner().invoke(app, ["history", "export", "dso1/none", "--config", str(config)])
    assert done.exit_code == 1
    assert "nothing of dso1/none is kept" in done.output


def test_while_the_gateway_runs_days_that_are_over_are_read(config: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from twin_gateway.history.store import HistoryStore\n"
        "store = HistoryStore(Path(sys.argv[1])); store.open(); print('open', flush=True); sys.stdin.read()"
    )
    folder = config.parent / "data" / "history"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None and running.stdin is not None
        assert running.stdout.readline() == "open\n"
        done = CliRunner().invoke(app, ["history", "export", POSITION, "--config", str(config)])
        running.stdin.close()
    assert done.exit_code == 0
    assert "the gateway is running" in done.output
    assert [line.split(",")[2] for line in done.output.splitlines() if line.startswith("2026")] == ["1", "2"]
