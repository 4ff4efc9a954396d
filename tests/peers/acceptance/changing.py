"""The demo with an engineer at its mapping files, node-opcua and mosquitto_sub.

One RTU counts every 50 ms all the while: its item, like all others that no edit touches, must not lose a notification.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import socket
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.acceptance.feeder import Subscriber
from peers.acceptance.processes import ROOT, OpcUaClient, Simulator, Talker
from peers.ports import free_port
from peers.waiting import wait_until
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.demo.files import lay_out

PULSE = "dso1/north/PS01/LV1/_/M1/MMTR1/DmdWh"
"""A counter that counts by one every 50 ms; no edit touches it."""
RMU_PORT = 12434
_PULSE_PORT = 12490
_DEVICE_PORTS = (10101, 10102, *range(12401, 12435), _PULSE_PORT, 14214, 14222)

_PULSE = f"""\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-pulse:
    {{protocol: iec104, host: 127.0.0.1, port: {_PULSE_PORT}, common_address: 90,
     at: {{LV1/_/M1: {{points: {{MMTR1/DmdWh: {{ioa: 1, type: M_IT_TB_1, unit: W.h}}}}}}}}}}
"""
_PULSE_STATION = """\
stations:
- common_address: 90
  points:
  - {ioa: 1, type: M_IT_TB_1, value: 0, count: 1, every: 0.05}
"""
_RMU_STATION = """\
stations:
- common_address: 34
  points:
  - {ioa: 100, type: M_DP_TB_1, value: 2}
  - {ioa: 112, type: M_ME_TF_1, value: 41, walk: 0.5, low: 30, high: 60, every: 1}
  - {ioa: 113, type: M_ME_TF_1, value: 42, walk: 0.5, low: 30, high: 60, every: 1}
  - {ioa: 114, type: M_ME_TF_1, value: 40, walk: 0.5, low: 30, high: 60, every: 1}
  - {ioa: 900, type: M_ME_NB_1, value: 272}
  - {ioa: 901, type: M_SP_TB_1, value: 0}
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """One command of the command line: its words, its exit code, and what it printed."""

    words: tuple[str, ...]
    code: int
    output: str


class Listener(Subscriber):
    """mosquitto_sub, with the time at which each message came (monotonic)."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(port, folder)
        self.at: list[float] = []

    def heard(self, line: str) -> None:
        super().heard(line)
        self.at.append(time.monotonic())


class ChangingDemo:
    """`twin-gateway demo` with two more RTUs, and the clients that watch it.

    Attributes:
        folder: of the demo, where the commands run.
        client: node-opcua; subscribed to every point but results of the twin, and to the events of the server.
        subscriber: mosquitto_sub on everything.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._logs = folder / "demo", folder
        self.files = lay_out(ROOT / "mappings" / "demo", self.folder)
        self.kept = self._contents()
        (self.files / "pulse.yaml").write_text(_PULSE)
        (folder / "pulse.yaml").write_text(_PULSE_STATION)
        (folder / "rmu34.yaml").write_text(_RMU_STATION)
        self._simulators = [
            Simulator("pulse", "iec104", folder, folder / "pulse.yaml", "--port", _PULSE_PORT),
            Simulator("rmu34", "iec104", folder, folder / "rmu34.yaml", "--port", RMU_PORT),
        ]
        words = (sys.executable, "-m", "twin_gateway", "demo", "--port", free_port(), "--folder", self.folder)
        self.demo = Talker("demo", words, folder)
        self.client = OpcUaClient("node-opcua", folder)
        self._subscriber: Listener | None = None
        self.began = 0.0

    # ---- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything, until all links are up and both clients have all that there is."""
        wait_until(lambda: not any(map(_taken, _DEVICE_PORTS)), 60, "the ports of the devices are free")
        for each in self._simulators:
            each.start()
        self.demo.start()
        wait_until(lambda: (self.folder / "demo.json").exists() or not self.demo.running, 60, self._complaint)
        assert self.demo.running, self._complaint()
        self.client.connect(self.facts["endpoint"])
        self.client.watch([each for each in self.client.addresses() if "/tw" not in each], closely=True)
        assert self.client("events") == "Good"
        self._subscriber = Listener(self.facts["mqtt"], self._logs)
        self._subscriber.start()
        wait_until(lambda: PULSE in self.subscriber.of("v"), 20)
        wait_until(lambda: not self.health()["links_down"], 45, self.health)
        self.began = time.monotonic()

    def stop(self) -> None:
        """End everything."""
        if self.client.running:
            self.client.leave()
        if self.demo.running:
            self.demo.terminate(30)
        for each in (*self._simulators, self._subscriber):
            if each is not None:
                each.stop()

    def _complaint(self) -> str:
        return "\n".join(self.demo.lines[-20:]) + self.demo.complaint()

    @property
    def facts(self) -> dict[str, Any]:
        """Where everything is, as the demo says."""
        return dict(json.loads((self.folder / "demo.json").read_text("utf-8")))

    @property
    def subscriber(self) -> Listener:
        assert self._subscriber is not None
        return self._subscriber

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.facts['http']}{path}", timeout=20) as answer:
            return str(answer.read().decode())

    def health(self) -> dict[str, Any]:
        return dict(json.loads(self.page("/healthz")))

    def metrics(self) -> dict[str, float]:
        """`name{labels}` -> value."""
        lines = (line for line in self.page("/metrics").splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def broker_log(self) -> list[str]:
        """What the broker says of its clients."""
        return (self.folder / "logs" / "broker.log").read_text("utf-8").splitlines()

    # ---- an engineer's hands ---------------------------------------------------------------------------------------

    def command(self, *words: str) -> Ran:
        """`twin-gateway …` in the folder of the demo."""
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(app, list(words))
        return Ran(words, done.exit_code, self.neutral(done.output))

    def neutral(self, text: str) -> str:
        """A text without the place where the demo happens to run."""
        return text.replace(f"{self.folder}/", "")

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Replace pieces of a mapping file; an empty piece is the end of the file."""
        path = self.files / name
        text = path.read_text("utf-8") if path.exists() else ""
        for before, after in changes:
            assert not before or text.count(before) == 1, (name, before)
            text = text.replace(before, after) if before else text + after
        path.write_text(text, "utf-8")

    def _contents(self) -> dict[str, str]:
        return {path.name: path.read_text("utf-8") for path in sorted(self.files.glob("*.yaml"))}

    def difference(self) -> str:
        """What the edits since the last call have changed, as `diff -u` shows it."""
        before, self.kept = self.kept, self._contents()
        parts: list[str] = []
        for name in sorted({*before, *self.kept}):
            old, new = before.get(name, "").splitlines(), self.kept.get(name, "").splitlines()
            head = "/dev/null" if name not in before else f"a/{name}", f"b/{name}"
            parts += difflib.unified_diff(old, new, *head, lineterm="", n=2)
        return "\n".join(parts)

    def now(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self.began


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
