"""The command `commission`: however it ends, the person is logged out; protocols are written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.commissioning.protocol import Protocol
from twin_gateway.control import ControlError
from twin_gateway.engineering import commission_client, commission_walk

ADDRESS = "dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos"
READING = {
    "address": ADDRESS, "name": "", "device": "ied", "type": "DPC", "value": 2, "unit": "", "status": "Good",
    "quality": "good", "time": "", "time_quality": "", "received": "", "error": "",
}  # fmt: skip
COMMAND = {
    "binding": "b",
    "model": "direct-normal",
    "way": "tested in test mode",
    "why": "",
    "tested": "",
    "approved_by": "",
}


class Running:
    """What stands for a running gateway: answers, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may = {"record": True, "approve": False, "command": True}
        self.fails = ""

    def ask(self, _folder: Path, what: str, **more: Any) -> Any:
        verb = what.removeprefix("commission.")
        self.asked.append(verb)
        if verb == self.fails:
            raise ControlError(f"{verb} is refused")
        point = {"address": ADDRESS, "state": "verified", "why": "", "ready": False, "recorded": "confirmed"}
        texts = {"a": "markdown\n", "b": "csv\n"}
        answers: dict[str, Any] = {
            "begin": {
                "token": "t", "place": ADDRESS, "gateway": "gw1", "points": 1, "devices": ["ied"], "user": "ines",
                "may": self.may,
            },
            "refresh": {"good": True, "text": "asked"},
            "list": {"points": [point], "total": 1},
            "show": {
                "reading": READING, "age_s": None, "link": "ied is up", "binding": "b", "state": "bound", "why": "",
                "command": COMMAND,
            },
            "sign": {"signed": 1, "states": {"commissioned": 1}, "markdown_digest": "a", "csv_digest": "b"},
        }  # fmt: skip
        if verb == "text":
            return {"text": texts[more["digest"]], "length": len(texts[more["digest"]])}
        return answers.get(verb)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    made = Running()
    monkeypatch.setattr(commission_client, "ask", made.ask)
    return made


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "gateway.yaml").write_text(
        "authority: urn:example\ngateway: gw1\ngrid: dso1\nmappings: [station.yaml]\n"
    )
    monkeypatch.chdir(tmp_path)

    def one(*options: str, said: str = "") -> Result:
        arguments = ["commission", ADDRESS, "--user", "ines", "--password-stdin", *options]
        found: Result = CliRunner().invoke(app, arguments, input=f"password\n{said}")
        return found

    return one


@pytest.mark.parametrize("fails", ["refresh", "show", "sign", "text"])
def test_whoever_is_refused_something_is_logged_out(running: Running, run: Callable[..., Result], fails: str) -> None:
    running.fails = fails
    options = ("--sign",) if fails in {"sign", "text"} else ()
    found = run(*options, said="q\n")
    assert (found.exit_code, f"{fails} is refused" in found.stderr) == (1, True), found.output
    assert running.asked[-1] == "end"


def test_who_may_not_commission_is_logged_out(running: Running, run: Callable[..., Result]) -> None:
    running.may["record"] = False
    assert run().exit_code == 1
    assert running.asked == ["begin", "end"]


def test_leaving_at_the_question_before_a_test_command_leaves_like_q(
    running: Running, run: Callable[..., Result]
) -> None:
    found = run(said="t 1\n")  # the input ends at the question, as it does by Ctrl-D
    assert "Send the test command" in found.stdout
    assert "what was said is kept" in found.stdout
    assert found.exit_code == 2
    assert "test" not in running.asked
    assert running.asked[-1] == "end"


def test_an_interrupt_while_devices_are_asked_leaves_like_q(
    running: Running, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_client: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("twin_gateway.engineering.commission_run.refresh", interrupted)
    found = run()
    assert (found.exit_code, running.asked[-1]) == (2, "end")
    assert "the same command goes on from here" in found.stdout


def test_a_protocol_takes_the_place_of_another_as_a_whole(
    running: Running, run: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "p.md"
    path.write_text("of last year")
    path.chmod(0o640)
    before = path.stat().st_ino
    assert run("--sign", "--protocol", "p.md", "--protocol", "p.csv").exit_code == 2
    assert (path.read_text(), (tmp_path / "p.csv").read_text()) == ("markdown\n", "csv\n")
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_protocol_for_a_folder_that_is_not_there_is_refused_before_anything_is_signed(
    running: Running, run: Callable[..., Result]
) -> None:
    found = run("--sign", "--protocol", "nowhere/p.md")
    assert (found.exit_code, running.asked) == (1, [])
    assert "there is no folder nowhere" in found.stderr


def test_a_file_is_verified_also_where_no_gateway_is_configured(tmp_path: Path) -> None:
    text, _ = Protocol().as_markdown([("place", ADDRESS)])
    (tmp_path / "p.md").write_text(text)
    arguments = ["commission", "--verify", str(tmp_path / "p.md"), "--config", str(tmp_path / "none.yaml")]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2, found.output
    assert "whether it was signed here is not known" in found.stdout
    (tmp_path / "p.md").write_text(text.replace("place", "other"))
    assert CliRunner().invoke(app, arguments).exit_code == 1


def test_leaving_is_told_by_the_walk_itself(running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(typer, "prompt", lambda *_a, **_k: "q")
    with commission_client.Client(tmp_path, ADDRESS, "ines", "password") as client, pytest.raises(typer.Abort):
        commission_walk.walk(client)
