"""Processes of the strain tests: the server under strain and the good client beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

_TESTS = Path(__file__).parents[2]
_WAIT = 60.0
_POSITION = "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos"


class Process:
    """A process that answers in JSON lines; ended when the test is done."""

    def __init__(self, script: str, *arguments: str) -> None:
        paths = [str(_TESTS), str(_TESTS.parent), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        try:
            self.first = self._answer()
        except BaseException:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        watch = threading.Timer(_WAIT, self._process.kill)
        watch.start()
        try:
            line = self._output.readline()
        finally:
            watch.cancel()
        assert line, "the process has ended or does not answer"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self) -> dict[str, Any]:
        self._input.write("\n")
        self._input.flush()
        return self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()


class StrainedServer(Process):
    """A server with limits of its own; `look` brings the good client."""

    def __init__(self, **options: Any) -> None:
        super().__init__("strained_server.py", json.dumps(options))
        self.port = int(self.first["port"])

    def look(self) -> Process:
        """A good client from another address (127.0.0.2) that reads a value all the time; `ask` gives its figures."""
        return Process("good_client.py", str(self.port), _POSITION)
