"""Processes that speak JSON lines: started, listened to, ordered about, killed; all of them end with the test."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from peers.opcua.install import node_opcua
from peers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = 2
"""Its NodeClass."""
_Found = TypeVar("_Found")


class Talker:
    """One process; what it says on stdout is kept line by line, what it says on stderr goes to a file.

    Args:
        piped: the file is written by us, for a process whose own files may be forbidden to grow.
        environment: beside our own.
    """

    def __init__(
        self, name: str, command: Iterable[object], folder: Path, *, piped: bool = False, **environment: str
    ) -> None:
        self.name = name
        self._command = [str(part) for part in command]
        self._folder = folder
        self._piped = piped
        self._environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self.lines: list[str] = []
        self.errors = folder / f"{name}.stderr"

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, f"{self.name} does not run"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running
        self.stop()
        self.lines = []
        with self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if self._piped else errors,
                text=True,
                bufsize=1,
                cwd=self._folder,
                env=self._environment,
            )
        work = [self._listen, self._log] if self._piped else [self._listen]
        self._readers = [threading.Thread(target=each, args=(self._process,), daemon=True) for each in work]
        for each in self._readers:
            each.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.heard(line.rstrip("\n"))

    def _log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with self.errors.open("a") as errors:
            for line in process.stderr:
                errors.write(line)
                errors.flush()

    def heard(self, line: str) -> None:
        self.lines.append(line)

    def said(self, *members: str) -> list[dict[str, Any]]:
        """Its JSON lines so far that have all of these members."""
        objects = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [each for each in objects if all(member in each for member in members)]

    def order(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        self.process.send_signal(signal.SIGKILL)
        self._farewell()

    def terminate(self, seconds: float = 10.0) -> int:
        """SIGTERM; the exit code."""
        process = self.process
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds)
        finally:
            self.stop()

    def stop(self) -> None:
        """End it, however it is."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._farewell()

    def _farewell(self) -> None:
        process = self.process
        process.wait(10)
        for each in self._readers:
            each.join(10)
        for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
            with contextlib.suppress(BrokenPipeError):  # what it had not read any more
                stream.close()
        self._process = None

    def complaint(self) -> str:
        """The end of what it said on stderr."""
        return self.errors.read_text(errors="replace")[-3000:] if self.errors.exists() else ""


class Simulator(Talker):
    """A simulated device of the product, in its own process."""

    def __init__(self, name: str, protocol: str, folder: Path, *arguments: object) -> None:
        super().__init__(name, (sys.executable, "-m", "twin_gateway", "simulate", protocol, *arguments), folder)

    def start(self) -> None:
        super().start()
        wait_until(lambda: self.said("ready") or not self.running, 30, self.complaint)
        assert self.running, self.complaint()


class OpcUaClient(Talker):
    """One session of the npm client.

    Attributes:
        changes: every notified change, in order, with the time it came in (`at`, monotonic).
        now: the newest change by address.
        events: what happened to the connection, and to subscriptions that are monitored closely.
        messages: sequence numbers of the notification messages of these, by subscription.
        told: the events of the server, once it follows them, with the time they came in (`at`, monotonic).
    """

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, (node_opcua(), Path(__file__).parent / "session.js"), folder)
        self._ids = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self.changes: list[dict[str, Any]] = []
        self.now: dict[str, dict[str, Any]] = {}
        self.events: list[str] = []
        self.messages: dict[int, list[int]] = {}
        self.told: list[dict[str, Any]] = []

    def heard(self, line: str) -> None:
        if not line.startswith("{"):
            super().heard(line)  # chatter of the library
            return
        said = json.loads(line)
        if "change" in said:
            said["address"] = said.pop("change").removeprefix("ns=2;s=")
            said["at"] = time.monotonic()
            self.changes.append(said)
            self.now[said["address"]] = said
        elif "event" in said:
            self.events.append(said["event"])
        elif "message" in said:
            self.messages.setdefault(said["subscription"], []).append(said["message"])
        elif "told" in said:
            self.told.append(said["told"] | {"at": time.monotonic()})
        else:
            self._answers[said["id"]] = said

    def ask(self, do: str, **order: Any) -> int:
        """Ask without waiting; for `answer`."""
        number = next(self._ids)
        self.order(id=number, do=do, **order)
        return number

    def answer(self, number: int, seconds: float = 30.0) -> Any:
        """The answer to what was asked; ConnectionError with the client's words when there is none."""
        said = wait_until(lambda: self._answers.get(number), seconds, lambda: f"{self.name}: {self.lines[-5:]}")
        if "error" in said:
            raise ConnectionError(said["error"])
        return said["result"]

    def __call__(self, do: str, **order: Any) -> Any:
        return self.answer(self.ask(do, **order))

    def connect(self, url: str, **how: Any) -> Any:
        self.start()
        return self("connect", url=url, pki=str(self._folder / "client-pki"), **how)

    def leave(self) -> None:
        """Close the session, so that the server keeps no subscription for it; then end."""
        if self.running:
            with contextlib.suppress(ConnectionError, TimeoutError, AssertionError, OSError):  # the server may be gone
                self("close")
        self.stop()

    def read(self, address: str, attribute: str = "Value") -> dict[str, Any]:
        return self("read", nodes=[f"ns=2;s={address}"], attribute=attribute)[0]

    def command(self, function: str, method: str, *inputs: tuple[str, Any]) -> dict[str, Any]:
        return self.answer(self.ask_command(function, method, *inputs))

    def ask_command(self, function: str, method: str, *inputs: tuple[str, Any]) -> int:
        node = f"ns=2;s={function}"
        return self.ask("call", objectId=node, methodId=f"{node}#{method}", inputs=inputs)

    def addresses(self) -> list[str]:
        """Every point of the server, by its Lookup method."""
        found = self.command("#Grid", "Lookup", ("String", "#"), ("String", ""), ("UInt32", 0))
        assert found["status"] == "Good", found
        wanted = [address for address in found["outputs"][0] if address.count("/") >= 7]
        kinds = self("read", nodes=[f"ns=2;s={address}" for address in wanted], attribute="NodeClass")
        return [address for address, kind in zip(wanted, kinds, strict=True) if kind["value"] == VARIABLE]

    def watch(self, addresses: Iterable[str], *, closely: bool = False) -> None:
        """Subscribe, and wait for the first value of each."""
        wanted = list(addresses)
        answers = self("monitor", nodes=[f"ns=2;s={address}" for address in wanted], closely=closely)
        assert set(answers) == {"Good"}, answers
        wait_until(lambda: all(address in self.now for address in wanted), 10)

    def statuses(self, among: Iterable[str]) -> dict[str, str]:
        return {address: self.now[address]["status"] for address in among}
