"""`commission`: people look at points of the running gateway, test commands, sign, and verify what was signed.

First `check --live` asks this gateway, before any of that.
"""

from __future__ import annotations

import csv
import os
import pty
import re
import select
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.acceptance.feeder import BAY104, BAY61850, METER, SENSOR
from peers.commissioning_bed import PASSWORD, Bed
from peers.waiting import wait_until

from twin_gateway.commissioning.protocol import Protocol
from twin_gateway.control import ControlError, ask

SWITCH104, SWITCH61850 = f"{BAY104}/QA1/CSWI1", f"{BAY61850}/QA1/CSWI1"
DIGEST = re.compile(r"SHA-256 of the lines above: [0-9a-f]{64}\n\Z")


def read_csv(path: Path) -> dict[str, dict[str, str]]:
    """The points of a protocol by address."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    head = next(number for number, row in enumerate(rows) if row[0] == "address")
    return {row[0]: dict(zip(rows[head], row, strict=True)) for row in rows[head + 1 : -1]}


def test_a_running_gateway_is_asked_and_its_devices_see_no_further_connection(running: Bed) -> None:
    before = {each["link"]: each["counters"]["connects"] for each in ask(running.folder / "data", "links")}
    code, told = running.live()
    assert (code, told["surprises"]) == (0, [])
    assert told["read_by"] == "the running gateway gw1"
    assert told["points"] == told["good"] == 45
    asked = {device["device"]: device["asked"] for device in told["devices"]}
    assert asked["rtu"] == "interrogation of station 7 confirmed"
    after = {each["link"]: each["counters"]["connects"] for each in ask(running.folder / "data", "links")}
    assert after == before


def test_files_that_differ_from_what_the_gateway_runs_with_are_told(
    running: Bed, edited: Callable[[str, str], Path]
) -> None:
    edited("{path: /senml, name: temp, unit: Cel, stale_after: 5 s}", "{path: /senml, name: temp, unit: K}")
    code, told = running.live("--device", "sensor")
    assert code == 2
    (odd,) = told["surprises"]
    assert (odd["kind"], odd["address"]) == ("other binding", f"{SENSOR}/STMP1/Tmp")
    assert BAY61850 not in odd["text"]


def test_where_nothing_shows_test_mode_a_command_is_selected_only_and_signed_after_an_engineers_approval(
    running: Bed,
) -> None:
    before = running.carried_out()
    said = running.commission(SWITCH104, "ines", "t 1", "c breaker F05 seen", "y", options=("--protocol", "a.md"))
    assert "selected only: no test mode: select confirmed" in said.stdout, said.output
    assert "an engineer has not approved its command binding" in said.stdout
    assert said.exit_code == 2
    approved = running.commission(SWITCH104, "erik", options=("--approve",))
    assert f"approved {SWITCH104}/Pos" in approved.stdout
    assert running.state_of(f"{SWITCH104}/Pos") == ("verified", "not signed off")
    files = ("--protocol", "sbo.md", "--protocol", "sbo.csv")
    signed = running.commission(SWITCH104, "ines", options=("--sign", "--remark", "first of two", *files))
    assert signed.exit_code == 0, signed.output
    assert running.state_of(f"{SWITCH104}/Pos") == ("commissioned", "")
    point = read_csv(running.folder / "sbo.csv")[f"{SWITCH104}/Pos"]
    assert (point["state"], point["result"], point["by"], point["approved by"]) == (
        "commissioned", "confirmed", "ines", "erik"
    )  # fmt: skip
    assert point["command"].startswith("selected only: no test mode")
    assert point["binding"] == "104:rtu/7/1000, 104:rtu/7/5000"
    text = (running.folder / "sbo.md").read_text()
    assert DIGEST.search(text)
    assert "| remark | first of two |" in text
    assert running.carried_out() == before, "no command was carried out"


def test_a_command_is_tested_in_test_mode_only_and_moves_nothing(running: Bed) -> None:
    before = running.carried_out()
    try:
        running.set_mode(1)
        said = running.commission(SWITCH61850, "ines", "t 1", "q")
        assert "not tested: the device is not in test mode" in said.stdout, said.output
        assert "put the device in test mode" in said.stdout
        running.set_mode(3)
        said = running.commission(SWITCH61850, "ines", "t 2", "n", "t 2", "y", "q")
        assert said.stdout.count("tested in test mode: select confirmed and operate confirmed") == 1, said.output
        said = running.commission(SWITCH61850, "eva", "t 2", "y", "q")
        shown = said.stdout.partition("Send the test command")[2]
        assert "tested in test mode: select confirmed and operate confirmed" in shown, said.output
    finally:
        running.set_mode(1)
    audited = [each for each in running.feeder.audit() if each["kind"] == "command.operate"]
    assert [(each["user"], each["details"]["test"]) for each in audited] == [("ines", True), ("eva", True)]
    assert audited[0]["details"]["reason"] == "commissioning test"
    assert running.carried_out() == before


def test_without_any_test_mode_a_command_is_marked_so(running: Bed) -> None:
    place = f"{BAY104}/QA2"
    said = running.commission(place, "ines", "t 1", "s later", "n")
    assert "not tested: no test mode: iec104 shows no test mode" in said.stdout, said.output
    assert running.state_of(f"{place}/CSWI1/Pos") == ("verified", "skipped: later")
    assert not [each for each in running.feeder.audit() if each["kind"] == "command.select"
                and each["address"] == f"{place}/CSWI1/Pos"]  # fmt: skip


def test_the_gates_of_commands_hold_for_tests_too(running: Bed) -> None:
    said = running.commission(SWITCH104, "ivan", "q")
    assert "commands cannot be tested (role Operator; " in said.stdout
    data = running.folder / "data"
    for user in ("ivan", "eva"):
        begun = ask(data, "commission.begin", place=SWITCH104, user=user, password=PASSWORD)
        told = ask(data, "commission.test", token=begun["token"], address=f"{SWITCH104}/Pos", value=1)
        assert told["tested"] == "refused"
        assert f"gate role: User '{user}' may not operate" in told["text"]


def test_who_has_no_role_for_it_is_not_let_in(running: Bed) -> None:
    for user, why in (("otto", "may neither commission"), ("erik", "may not commission there (role Installer)")):
        said = running.commission(SENSOR, user, "c")
        assert said.exit_code == 1
        assert why in said.stderr
    wrong = running.run("commission", SENSOR, "--user", "ines", "--password-stdin", said="wrong password\n")
    assert wrong.exit_code == 1
    assert "user 'ines' is not let in" in wrong.stderr
    assert not [
        each for each in running.feeder.audit() if each["user"] == "erik" and each["kind"] == "commission.signed"
    ]


def test_what_is_good_is_confirmed_together_but_not_what_somebody_failed_nor_what_is_bad(running: Bed) -> None:
    bad = f"{METER}/MMXU1/A/phsA"
    said = running.commission(bad, "ines", "f", "f the CT ratio is wrong", "n")
    assert "say what is wrong: f NOTE" in said.stdout
    said = running.commission(METER, "ines", "q", options=("--accept-good",))
    assert "3 points confirmed together (bulk), 1 left" in said.stdout, said.output
    assert f"{bad}: failed by ines: look at it by itself" in said.stdout
    signed = running.commission(METER, "ines", options=("--sign", "--protocol", "m.csv"))
    assert signed.exit_code == 2
    points = read_csv(running.folder / "m.csv")
    assert points[bad]["state"] == "failed"
    assert points[bad]["remark"] == "the CT ratio is wrong"
    assert points[f"{METER}/MMXU1/PhV/phsA"]["result"] == "confirmed (bulk)"
    assert points[f"{METER}/MMXU1/PhV/phsA"]["value"] == "230.1"
    assert points[f"{METER}/MMXU1/PhV/phsA"]["state"] == "commissioned"


def test_a_bad_value_cannot_be_confirmed(running: Bed) -> None:
    address = f"{BAY104}/_/PTRC1/Tr"
    running.feeder.devices["rtu"].order(ioa=1042, value=0, quality=0x80, common_address=7)
    try:
        said = running.commission(address, "ines", "c", "q")
    finally:
        running.feeder.devices["rtu"].order(ioa=1042, value=0, quality=0, common_address=7)
    assert "only a good value can be confirmed; fail or skip it" in said.stdout, said.output
    assert running.state_of(address)[0] == "bound"


def test_what_has_another_binding_than_when_it_was_shown_is_looked_at_again(
    running: Bed, edited: Callable[[str, str], Path]
) -> None:
    address = f"{METER}/MMTR1/DmdWh"
    assert running.ask("show", address=address)["reading"]["good"]
    edited(
        "at: {LV1/_/M1: {use: single-phase-meter}}",
        """\
at:
      LV1/_/M1:
        use: single-phase-meter
        points: {MMTR1/DmdWh: {scale: 2}}""",
    )
    assert running.run("apply").exit_code == 0
    with pytest.raises(ControlError, match="has changed since it was shown: look at it again"):
        running.ask("record", address=address, result="confirmed")


def test_an_edited_protocol_is_recognised(running: Bed) -> None:
    running.commission(SENSOR, "ines", "c", "y", options=("--protocol", "s.md", "--protocol", "s.csv"))
    for name in ("s.md", "s.csv"):
        path = running.folder / name
        told = running.run("commission", "--verify", name)
        assert told.exit_code == 0, told.output
        assert f"{name} is as ines signed it for {SENSOR} at 20" in told.stdout
        path.write_text(path.read_text().replace("\n", "\r\n"), newline="")
        assert running.run("commission", "--verify", name).exit_code == 0, "line ends of another system"
        path.write_text(path.read_text().replace("confirmed", "failed"))
        told = running.run("commission", "--verify", name)
        assert told.exit_code == 1
        assert "has been changed since it was signed" in told.stderr


def test_a_protocol_with_a_digest_of_its_own_was_not_signed_here(running: Bed) -> None:
    forged, _ = Protocol().as_markdown([("place", SENSOR)])
    (running.folder / "forged.md").write_text(forged)
    told = running.run("commission", "--verify", "forged.md")
    assert told.exit_code == 2
    assert "this gateway has signed no such protocol" in told.stdout


class Terminal:
    """A terminal with the command in it, as a person has it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.shown = ""
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background have it ignored
            os.execv(sys.executable, [sys.executable, "-m", "twin_gateway", *arguments])

    def wait_for(self, text: str, seconds: float = 40.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            ready, _, _ = select.select([self._end], [], [], 0.2)
            if ready:
                self.shown += self._read()

    def _read(self) -> str:
        try:
            return os.read(self._end, 65_536).decode(errors="replace")
        except OSError:  # the other end is closed
            return ""

    def type(self, text: str) -> None:
        self.shown = ""
        os.write(self._end, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C once the command sleeps: one between its prompt and its reading goes unnoticed until a key comes."""
        stat = Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", 10)
        os.kill(self.pid, signal.SIGINT)

    def leave(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._end)
        return os.waitstatus_to_exitcode(status)


def test_in_a_terminal_the_password_is_not_shown_and_an_interrupted_walk_is_taken_up_again(running: Bed) -> None:
    place = f"{BAY61850}/QA1/CILO1"
    terminal = Terminal(running.folder, "commission", place, "--user", "ines")
    terminal.wait_for("Password of ines")
    terminal.type(f"{PASSWORD}\n")
    terminal.wait_for("[1/2]")
    terminal.wait_for("c/f/s/r/t/q>")
    assert PASSWORD not in terminal.shown
    terminal.type("c\n")
    terminal.wait_for("[2/2]")
    terminal.wait_for("c/f/s/r/t/q>")
    terminal.interrupt()
    terminal.wait_for("the same command goes on from here")
    assert terminal.leave() == 2
    again = running.commission(place, "ines", "c", "y")
    assert "1 of 2 points are done already" in again.stdout, again.output
    assert "[1/2]" not in again.stdout
    assert again.exit_code == 0
    assert "signed off: 2 points; now 2 commissioned" in again.stdout


def test_records_outlive_the_gateway_and_are_void_when_the_binding_changes(
    running: Bed, edited: Callable[[str, str], Path]
) -> None:
    address = f"{SWITCH104}/Pos"
    value = f"{SENSOR}/STMP1/Tmp"
    assert running.state_of(address)[0] == "commissioned"
    running.feeder.gateway.terminate()
    told = running.run("commission", SWITCH104, "--report")
    assert told.exit_code == 0, told.output
    assert address in told.stdout
    assert running.run("commission", "--verify", "sbo.md").exit_code == 0
    edited(
        "          MMXU1/TotW: {deadband: null}\n",
        """\
          MMXU1/TotW: {deadband: null}
          QA1/CSWI1/Pos: {control: {ioa: 5001, type: C_DC_NA_1, model: sbo-normal}}
""",
    )
    edited("name: temp, unit: Cel", "name: temp, scale: 2, unit: Cel")
    running.feeder.gateway.start()
    running.feeder.settle()
    state, why = running.state_of(address)
    assert state == "void"
    assert why == "its command binding has changed (was 104:rtu/7/5000, is 104:rtu/7/5001)"
    assert running.state_of(value) == ("void", "its binding has changed (with other settings)")
    told = running.run("commission", SWITCH104, "--report")
    assert told.exit_code == 2
    assert f"void since: {address}: its command binding has changed" in told.stderr
    assert running.state_of(f"{METER}/MMXU1/PhV/phsA") == ("commissioned", "")


def test_the_store_refuses_to_forget_and_every_step_is_audited(running: Bed) -> None:
    with sqlite3.connect(running.folder / "data" / "commissioning.sqlite") as database:
        for statement in ("DELETE FROM record", "UPDATE record SET document = '{}'", "DELETE FROM protocol"):
            with pytest.raises(sqlite3.IntegrityError, match="appended to only"):
                database.execute(statement)
    database.close()
    kinds: dict[str, Any] = {each["kind"]: each for each in running.feeder.audit()}
    for kind in ("confirmed", "failed", "skipped", "bulk", "test", "approved", "signed"):
        assert f"commission.{kind}" in kinds, kind
    assert kinds["commission.signed"]["user"] == "ines"
    assert kinds["commission.approved"]["details"]["addresses"] == [f"{SWITCH104}/Pos"]
