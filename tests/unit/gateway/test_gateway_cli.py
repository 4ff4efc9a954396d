"""The command line: exit codes, --json, errors as sentences, users."""

from __future__ import annotations

import json
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from twin_gateway import __version__
from twin_gateway.cli import app
from twin_gateway.security.passwords import verify_password
from twin_gateway.security.users import load_users

STATION = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu:
    protocol: iec104
    host: 127.0.0.1
    port: 1
    common_address: 7
    at:
      MV1/F05:
        points:
          QA1/XCBR1/Pos: {ioa: 10, type: M_DP_TB_1, aliases: ["rds:=C1.Q5"]}
          MMXU1/TotW: {ioa: 20, type: M_ME_TF_1, unit: kW}
"""
CONFIG = (
    "gateway: gw1\ngrid: dso1\nauthority: https://example.org\nmappings: [station.yaml]\n"
    "opcua: {port: 0, anonymous: observe}\nhttp: {port: 0}\n"
)
POSITION = "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "station.yaml").write_text(STATION)
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    return tmp_path


def call(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=typed)


def test_shows_the_version() -> None:
    assert call("--version").output.strip() == f"twin-gateway {__version__}"


def test_init_writes_a_configuration_once(here: Path) -> None:
    first = call("init", "new")
    assert first.exit_code == 0
    assert (here / "new/gateway.yaml").exists()
    again = call("init", "new")
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_a_user_is_added_with_a_password_from_standard_input(here: Path) -> None:
    done = call(
        "user", "add", "olga", "--role", "Operator", "--area", "dso1/north", "--password-stdin", typed="secret99\n"
    )
    assert done.exit_code == 0, done.output
    path = here / "users.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret99" not in path.read_text()
    olga = load_users(path)["olga"]
    assert (olga.roles, olga.areas) == (("Operator",), ("dso1/north",))
    assert verify_password("secret99", olga.password)


def test_another_user_is_added_beside_the_first_and_a_known_one_is_changed(here: Path) -> None:
    for name, role, password in (
        ("a", "Observer", "secret99"),
        ("b", "Operator", "secret98"),
        ("a", "Operator", "other999"),
    ):
        assert call("user", "add", name, "--role", role, "--password-stdin", typed=f"{password}\n").exit_code == 0
    users = load_users(here / "users.yaml")
    assert {name: user.roles for name, user in users.items()} == {"a": ("Operator",), "b": ("Operator",)}
    assert verify_password("other999", users["a"].password)


@pytest.mark.parametrize(
    ("arguments", "password", "sentence"),
    [
        (("--role", "Operator"), "short", "at least 8 characters"),
        (("--role", "Boss"), "secret99", "Input should be 'Observer'"),
        (("--role", "Operator", "--area", "dso1//x"), "secret99", "area 'dso1//x'"),
    ],
)
def test_a_user_that_cannot_be_is_refused(here: Path, arguments: tuple[str, ...], password: str, sentence: str) -> None:
    refused = call("user", "add", "olga", *arguments, "--password-stdin", typed=f"{password}\n")
    assert refused.exit_code == 1
    assert sentence in refused.stderr
    assert not (here / "users.yaml").exists()


def test_a_user_file_that_others_can_read_is_not_touched(here: Path) -> None:
    path = here / "users.yaml"
    path.write_text("users: {}\n")
    path.chmod(0o644)
    refused = call("user", "add", "olga", "--role", "Observer", "--password-stdin", typed="secret99\n")
    assert refused.exit_code == 1
    assert "chmod 600" in refused.stderr
    assert path.read_text() == "users: {}\n"


def test_check_is_silent_about_good_files_and_exits_with_0() -> None:
    assert call("check", "station.yaml").exit_code == 0


def test_check_exits_with_1_and_says_line_and_column(here: Path) -> None:
    (here / "station.yaml").write_text(STATION.replace("unit: kW", "unit: kWW"))
    failed = call("check", "station.yaml")
    assert failed.exit_code == 1
    lines = (here / "station.yaml").read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if "kWW" in line)
    column = lines[number - 1].index("kWW") + 1
    assert f"station.yaml:{number}:{column}: error TG" in failed.stdout
    found = json.loads(call("check", "station.yaml", "--json").stdout)
    problems = found["problems"] if isinstance(found, dict) else found
    assert [(each["line"], each["col"]) for each in problems] == [(number, column)]


@pytest.mark.parametrize("text", [POSITION, "104:rtu/7/10", "rds:=C1.Q5"])
def test_resolve_says_what_a_name_means(text: str) -> None:
    shown = call("resolve", text)
    assert shown.exit_code == 0, shown.output
    assert f"address   {POSITION}" in shown.stdout
    assert "read      104:rtu/7/10" in shown.stdout
    assert "uri" not in shown.stdout
    found = json.loads(call("resolve", text, "--json").stdout)
    assert (found["address"], found["uri"]) == (POSITION, f"https://example.org/uta/{POSITION}")
    assert found["topic"] == f"twin/v/{POSITION}"


def test_resolve_proposes_what_may_have_been_meant() -> None:
    missed = call("resolve", POSITION.replace("F05", "F06"))
    assert missed.exit_code == 1
    assert f"did you mean {POSITION}" in missed.stdout
    assert json.loads(call("resolve", "dso1/x", "--json").stdout)["address"] == ""


def test_resolve_without_a_configuration_is_a_sentence(here: Path) -> None:
    (here / "gateway.yaml").unlink()
    failed = call("resolve", POSITION)
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: there is no gateway.yaml")


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(("bench", "x"), "no bench 'x'"), (("simulate", "x"), "no simulator")]
)
def test_an_unknown_name_is_answered_with_the_known_ones(arguments: tuple[str, ...], sentence: str) -> None:
    failed = call(*arguments)
    assert failed.exit_code == 1
    assert sentence in failed.stderr
    assert "iec104" in failed.stderr


RUN = (sys.executable, "-m", "twin_gateway", "run")


def run_for_real(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(RUN, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def make_no_database(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/audit.sqlite").write_text("no database at all, but some text that is long enough " * 100)


def make_a_later_database(folder: Path) -> None:
    (folder / "data").mkdir()
    with closing(sqlite3.connect(folder / "data/audit.sqlite")) as database:
        database.execute("PRAGMA user_version=1000000")


def make_broken_mapping(folder: Path) -> None:
    (folder / "station.yaml").write_text(STATION.replace("iec104", "iec105"))


def make_no_users(folder: Path) -> None:
    (folder / "gateway.yaml").write_text(CONFIG.replace("observe", "none"))


def make_data_a_file(folder: Path) -> None:
    (folder / "data").write_text("")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (make_no_database, "a database in data cannot be used: audit.sqlite is damaged (file is not a database)"),
        (make_a_later_database, "a database in data cannot be used: audit.sqlite was written by a later version"),
        (make_broken_mapping, "error: gateway.yaml: the mapping files have errors"),
        (make_no_users, "error: there is no user file users.yaml"),
        (make_data_a_file, "data"),
    ],
)
def test_a_gateway_that_cannot_start_says_why_in_a_sentence(here: Path, spoil: object, sentence: str) -> None:
    assert callable(spoil)
    spoil(here)
    failed = run_for_real(here)
    assert failed.returncode == 1
    assert sentence in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_second_gateway_on_the_same_data_does_not_start_and_a_killed_one_leaves_no_lock(here: Path) -> None:
    with subprocess.Popen(RUN, cwd=here, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        next(line for line in first.stderr if "points of 1 devices" in line)
        second = run_for_real(here)
        assert second.returncode == 1
        assert f"data is in use by another gateway (process {first.pid})" in second.stderr
        assert "Traceback" not in second.stderr
        first.kill()
    with subprocess.Popen(RUN, cwd=here, stderr=subprocess.PIPE, text=True) as third:
        assert third.stderr is not None
        assert any("points of 1 devices" in line for line in third.stderr)
        third.terminate()
        third.communicate()


def test_interrupting_ends_it_cleanly(here: Path) -> None:
    (here / "gateway.yaml").write_text(CONFIG + "log: {format: json}\n")
    with subprocess.Popen(RUN, cwd=here, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(json.loads(line))
            if "points of 1 devices" in lines[-1]["message"]:
                process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    assert any(each["message"] == "stopping" for each in lines)
    with sqlite3.connect(here / "data/audit.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
