"""The demo's field on ports of its own, with fast protection, and a gateway on it: in this process or as a process.

rig = FieldRig(tmp_path)             # nothing runs yet
rig.start()                          # `simulate feeder`; ends with rig.stop()
rig.inject("fault", line="L08")      # every order of the control port
gateway = await rig.gateway()        # a Gateway in this process, links up; `await gateway.stop()` ends it
gateway = await rig.gateway(twin=rig.twin(flisr={...}))      # with the twin functions and the grid model
rig.write_config(...)                # or run `twin-gateway run` on the file yourself
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from peers.acceptance.processes import ROOT, Talker
from peers.ports import free_port
from peers.waiting import until, wait_until

from twin_gateway.config import GatewayConfig
from twin_gateway.drivers.link import Backoff
from twin_gateway.gateway import Gateway
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.mapping.check import check
from twin_gateway.security.users import User

DEMO = ROOT / "mappings" / "demo"
TEMPLATES = ROOT / "mappings" / "templates"
FAST = ("--still", "--dead-times", "0.3,0.8", "--reclaim", "2", "--trip-time", "0.15", "--travel", "0.2")
"""Loads at nominal power; a permanent fault is locked out about two seconds after it has come."""
AREA = "dso1/north"
HEAD = f"{AREA}/PS01/MV1/F01"
IED = f"{HEAD}/IED1"
BREAKER = f"{HEAD}/QA1/XCBR1/Pos"
KEYS = {
    "TWIN_DEMO_METER_AK": secrets.token_hex(16),
    "TWIN_DEMO_METER_EK": secrets.token_hex(16),
    "TWIN_DEMO_METER_PASSWORD": secrets.token_hex(4),
}
_PORT = re.compile(r"(port: |coap://127\.0\.0\.1:)(\d{4,5})")
_Found = TypeVar("_Found")


def copy_mappings(target: Path, files: Sequence[str] = ("ps01", "rmu", "meters", "sensors")) -> None:
    """The demo's mapping files with every port replaced by a free one, the same for the same."""
    target.mkdir(parents=True, exist_ok=True)
    ports: dict[str, int] = {}

    def replaced(match: re.Match[str]) -> str:
        kind = socket.SOCK_DGRAM if match[1].startswith("coap") else socket.SOCK_STREAM
        while match[2] not in ports:
            port = free_port(kind)
            if port not in ports.values():
                ports[match[2]] = port
        return f"{match[1]}{ports[match[2]]}"

    for name in files:
        text = _PORT.sub(replaced, (DEMO / f"{name}.yaml").read_text("utf-8"))
        (target / f"{name}.yaml").write_text(text.replace("scl: scl/", f"scl: {DEMO}/scl/"), "utf-8")


class Field(Talker):
    """`simulate feeder` as a process."""

    def __init__(self, folder: Path, grid: Sequence[Path], mappings: Path, arguments: Sequence[object]) -> None:
        paths = [part for place in (TEMPLATES, mappings) for part in ("--mappings", place)]
        command = (sys.executable, "-m", "twin_gateway", "simulate", "feeder", *grid, *paths)
        super().__init__("field", (*command, "--folder", folder / "field", *arguments), folder)

    def start(self) -> None:
        super().start()
        wait_until(lambda: self.said("ready") or not self.running, 40, self.complaint)
        assert self.running, self.complaint()

    @property
    def control(self) -> int:
        """Port for injections."""
        return int(self.said("ready")[0]["control"])


class FieldRig:
    """The field and what is needed to run a gateway on it.

    Args:
        folder: for everything.
        arguments: of `simulate feeder`.
        files: mapping files of the demo that take part; fewer devices start faster.
        grid: instead of the demo's own.
        more_grid: further grid files, to put something into the grid.
        more_mappings: further mapping texts by name of the file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        arguments: Sequence[object] = FAST,
        files: Sequence[str] = ("ps01", "rmu"),
        grid: Path = DEMO / "grid.yaml",
        more_grid: Sequence[Path] = (),
        more_mappings: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.mappings = folder / "mappings"
        self.grid = [grid, *more_grid]
        copy_mappings(self.mappings, files)
        for name, text in (more_mappings or {}).items():
            (self.mappings / name).write_text(text, "utf-8")
        os.environ.update(KEYS)
        self.field = Field(folder, self.grid, self.mappings, arguments)

    def start(self) -> None:
        """Start the field and wait until all its devices listen."""
        self.field.start()

    def stop(self) -> None:
        """End the field, as people do."""
        if self.field.running:
            self.field.terminate()

    def inject(self, do: str, **order: Any) -> dict[str, Any]:
        """One injection; the answer. AssertionError with its words when it is refused."""
        with socket.create_connection(("127.0.0.1", self.field.control), timeout=10) as line:
            line.sendall((json.dumps({"do": do, **order}) + "\n").encode())
            answer: dict[str, Any] = json.loads(line.makefile().readline())
        assert answer.pop("ok"), answer
        return answer

    def settings(self, **more: Any) -> dict[str, Any]:
        """Configuration of a gateway on this field, as in gateway.yaml; `more` adds or replaces sections."""
        return {
            "gateway": "gw1",
            "grid": "dso1",
            "authority": "https://example.org",
            "mappings": [str(TEMPLATES), str(self.mappings)],
            "data_directory": str(self.folder / "data"),
            "opcua": {"port": 0, "anonymous": "observe", "trust_any_client": True},
            "http": {"port": 0},
            **more,
        }

    def twin(self, **sections: Any) -> dict[str, Any]:
        """The section `twin` on this field's grid; the field must run, for its control port."""
        grid = [str(path) for path in self.grid]
        return {"place": AREA, "grid": grid, "injection": {"control": self.field.control}, **sections}

    def write_config(self, **more: Any) -> Path:
        """The same as a file for `twin-gateway run`."""
        path = self.folder / "gateway.yaml"
        path.write_text(yaml.safe_dump(self.settings(**more), sort_keys=False), "utf-8")
        return path

    async def gateway(
        self,
        users: Mapping[str, User] | None = None,
        *,
        prepare: Callable[[Gateway], None] = lambda _gateway: None,
        **more: Any,
    ) -> Gateway:
        """A gateway in this process, links up; `more` is as for `settings`, `prepare` is called before it starts."""
        mapping, problems = check([TEMPLATES, self.mappings], environ=os.environ)
        assert mapping is not None, [str(problem) for problem in problems]
        config = GatewayConfig.model_validate(self.settings(**more))
        grid = None
        if config.twin is not None:
            grid, found = read_grid(self.grid)
            assert grid is not None, [str(problem) for problem in found]
        made = Gateway(config, mapping, users or {}, grid=grid, backoff=Backoff(0.1, 0.5, 1.0))
        prepare(made)
        await made.start()
        await until(lambda: not made.health()[1]["links_down"], 30)
        return made
