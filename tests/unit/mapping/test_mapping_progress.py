"""A long check shows on a terminal how far it is, and nothing elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from twin_gateway.mapping.progress import shown_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_many_files_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with shown_progress("checked") as tell:
        assert not screen.getvalue()
        tell(1, 3)
        tell(3, 3)
    assert "3/3" in screen.getvalue()
    assert "checked" in screen.getvalue()


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with shown_progress("checked") as tell:
        tell(1, 3)
    assert not pipe.getvalue()
