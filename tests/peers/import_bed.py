"""What tests of imports from live devices share: devices in processes of their own, the command, the points it made."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.mapping.check import check
from twin_gateway.mapping.point import MappedPoint


class Device:
    """A process that says something when it is ready and takes orders, a line of JSON each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        """The next line that it says."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 30.0)
        assert ready, "the device said nothing"
        return self._process.stdout.readline()

    def said(self) -> Any:
        """The next line, which is JSON."""
        return json.loads(self.line())

    def order(self, *orders: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(json.dumps(order) + "\n" for order in orders))
        self._process.stdin.flush()


@contextlib.contextmanager
def device(*command: object, cwd: Path | None = None) -> Iterator[Device]:
    """A device that runs meanwhile."""
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd
    )
    try:
        yield Device(process)
    finally:
        process.kill()
        process.communicate(timeout=10)


def run(kind: str, *arguments: object, **environ: str) -> Result:
    """`twin-gateway import` of a kind."""
    return CliRunner().invoke(app, ["import", kind, *map(str, arguments)], env=environ)


def points_of(path: Path) -> list[MappedPoint]:
    """The points of a mapping file that passes the check."""
    mapping, problems = check([path], secrets_required=False)
    assert mapping is not None, [str(problem) for problem in problems]
    return [point for _, point in mapping.points()]
