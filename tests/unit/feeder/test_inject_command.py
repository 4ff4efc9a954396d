"""`twin-gateway inject`: what it sends, what it says, and how it fails."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from peers.ports import free_port
from typer.testing import CliRunner

from twin_gateway.cli import app


class FieldDouble:
    """A control port that answers every order with one and the same answer."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"ok": True}
        self._server = socket.create_server(("127.0.0.1", free_port()))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with line, line.makefile("rw") as stream:
                self.orders.append(json.loads(stream.readline()))
                stream.write(json.dumps(self.answer) + "\n")
                stream.flush()

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def field() -> Iterator[FieldDouble]:
    made = FieldDouble()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("words", "order"),
    [
        ("fault L08", {"do": "fault", "line": "L08", "kind": "three-phase", "temporary": False}),
        (
            "fault L08 --kind phase-earth --temporary",
            {"do": "fault", "line": "L08", "kind": "phase-earth", "temporary": True},
        ),
        ("clear", {"do": "clear", "line": ""}),
        ("move RMU06/MV1/C05/QB1 open", {"do": "move", "switch": "RMU06/MV1/C05/QB1", "position": "open"}),
        ("stick F01/QA1 --how refuse", {"do": "stick", "switch": "F01/QA1", "how": "refuse"}),
        ("lose rtu-rmu05", {"do": "lose", "device": "rtu-rmu05"}),
        ("restore rtu-rmu05", {"do": "restore", "device": "rtu-rmu05"}),
        ("clock rtu-rmu05 -30", {"do": "clock", "device": "rtu-rmu05", "offset": -30.0, "synchronised": True}),
        ("lie RMU06/MV1/C05 off", {"do": "lie", "indicator": "RMU06/MV1/C05", "shows": "off"}),
        ("bypass SP140004 0.3", {"do": "bypass", "meter": "SP140004", "share": 0.3}),
        ("value a/b -1.5", {"do": "value", "address": "a/b", "value": -1.5, "quality": ""}),
        (
            "value a/b true --quality old",
            {"do": "value", "address": "a/b", "value": True, "quality": "old"},
        ),
        ("value a/b normal", {"do": "value", "address": "a/b", "quality": ""}),
        ("island GE1 --off", {"do": "island", "generator": "GE1", "on": False}),
        ("reset", {"do": "reset"}),
    ],
)
def test_each_command_is_one_order(field: FieldDouble, words: str, order: dict[str, Any]) -> None:
    result = CliRunner().invoke(app, ["inject", "--port", str(field.port), *words.split()])
    assert result.exit_code == 0, result.output
    assert field.orders == [order]


def test_a_refusal_is_said_and_fails(field: FieldDouble) -> None:
    field.answer = {"ok": False, "error": "there is no equipment L99"}
    result = CliRunner().invoke(app, ["inject", "--port", str(field.port), "fault", "L99"])
    assert result.exit_code == 1
    assert "there is no equipment L99" in result.output


def test_without_a_field_it_says_so() -> None:
    result = CliRunner().invoke(app, ["inject", "--port", str(free_port()), "status"])
    assert result.exit_code == 1
    assert "is the demo running?" in result.output
