"""One fault from injection to restored supply as an OPC UA client sees it, on the field of the demo.

PYTHONPATH=tests python -m peers.feeder.story L08 docs      # writes docs/fault-story.md and docs/fault-story.svg
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from peers.acceptance.feeder import Gateway
from peers.acceptance.processes import OpcUaClient
from peers.feeder.picture import picture
from peers.feeder.rig import AREA, DEMO, HEAD, IED, FieldRig
from peers.ports import free_port
from peers.waiting import wait_until

from twin_gateway.grid.model import Grid
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.security.passwords import hash_password
from twin_gateway.security.users import User, save_users
from twin_gateway.twin.flisr.states import State

USER, PASSWORD = "olga", "olga's password"
FLISR = f"{AREA}/_/_/_/_/twFLSR1"
EVENT = f"{HEAD}/_/twFLSR1"
RECLOSER, TRIP = f"{IED}/RREC1/AutoRecSt", f"{IED}/PTRC1/Tr"
_POSITIONS = {0: "moving", 1: "open", 2: "closed", 3: "bad"}
_RECLOSING = {
    1: "ready", 2: "in progress", 3: "successful", 5: "trip from protection", 6: "fault disappeared",
    7: "wait to complete", 8: "breaker closed", 9: "cycle unsuccessful", 10: "unsuccessful: locked out", 11: "aborted",
    12: "not ready",
}  # fmt: skip
_INTRODUCTION = """\
# One fault, from injection to restored supply

What an OPC UA client saw: node-opcua, subscribed to breakers, switches, indicators, loads and the results of FLISR, on
the simulated 33-bus feeder over IEC 61850 and 60870-5-104 with the times of the demo. It put the fault into line
{line} and confirmed the plan by method calls. Written by `PYTHONPATH=tests python -m peers.feeder.story {line} docs`.

![The feeder after the restoration](fault-story.svg)

| s after the fault | where | what |
|---:|---|---|
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that the client saw or did, s after the fault."""

    at: float
    where: str
    what: str


class Story:
    """The field, a gateway process and a client; nothing runs until `start`.

    Args:
        arguments: of `simulate feeder`; none for the demo's own times.
        flisr: settings of FLISR; none for the defaults.
        before: s that it only watches at first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        arguments: Sequence[object] = (),
        flisr: dict[str, Any] | None = None,
        before: float = 12.0,
    ) -> None:
        self._before = before
        self.rig = FieldRig(folder, arguments=arguments)
        self._folder, self._flisr = folder, flisr or {}
        grid, _ = read_grid(self.rig.grid)
        assert grid is not None
        self.grid: Grid = grid
        self.switches = {rating.position: item.address for item, rating in grid.switches()}
        self.gateway = Gateway(folder, free_port(), free_port())
        self.client = OpcUaClient("client", folder)
        self.began = self._wall = 0.0
        self.own: list[Seen] = []

    def start(self) -> None:
        self.rig.start()
        save_users(self._folder / "users.yaml", {USER: User(password=hash_password(PASSWORD), roles=("Operator",))})
        port = int(self.gateway.url.rpartition(":")[2])
        self.rig.write_config(
            opcua={"port": port, "anonymous": "observe", "trust_any_client": True},
            http={"port": self.gateway.http_port},
            users=str(self._folder / "users.yaml"),
            twin=self.rig.twin(flisr=self._flisr),
        )
        self.gateway.start(60)
        wait_until(lambda: not self.gateway.health()["links_down"], 60, self.gateway.health)
        self.client.connect(self.gateway.url, secure=True, user=USER, password=PASSWORD)
        self.client.watch(self.points())
        wait_until(lambda: (self.value(f"{HEAD}/_/MMXU1/TotW") or 0) > 1e6, 30)
        time.sleep(self._before)  # the loads before the fault are a mean

    def stop(self) -> None:
        self.client.stop()
        self.gateway.stop()
        self.rig.stop()

    def points(self) -> list[str]:
        """What is watched."""
        loads = [f"{AREA}/RMU{number:02}/MV1/T01/_/MMXU1/TotW" for number in (7, 9, 18)]
        results = [
            f"{EVENT}/{name}" for name in ("PlanSt", "StTm", "FltSect", "PlanId", "PlanHash", "CusOut", "CusRst")
        ]
        return [*self.switches, *self.grid.indicators, RECLOSER, TRIP, f"{HEAD}/_/MMXU1/TotW", *loads, *results]

    # ---- the client -----------------------------------------------------------------------------------------------

    def value(self, address: str) -> Any:
        return self.client.now.get(address, {}).get("value")

    def state(self) -> str:
        return State(self.value(f"{EVENT}/PlanSt") or 0).name

    def reach(self, *states: str, seconds: float = 90.0) -> None:
        wait_until(lambda: self.state() in states, seconds, lambda: (self.state(), self.text()[-2000:]))

    def settle(self) -> None:
        """Wait until the loads of both sides of the fault are told again."""
        sides = [f"{AREA}/RMU{number:02}/MV1/T01/_/MMXU1/TotW" for number in (7, 18)]
        wait_until(lambda: all((self.value(point) or 0) > 0 for point in sides), 20, self.text)
        wait_until(lambda: self.value(f"{EVENT}/CusOut") == 0, 20, self.text)

    def call(self, owner: str, method: str, *inputs: tuple[str, Any]) -> dict[str, Any]:
        return self.client.command(owner, method, *inputs)

    def _did(self, what: str) -> None:
        self.own.append(Seen(time.monotonic() - self.began, "the client", what))

    def inject(self, line: str) -> None:
        self.began, self._wall = time.monotonic(), time.time()
        answer = self.call(AREA, "InjectFault", ("String", line), ("String", ""), ("Boolean", False))
        assert answer["status"] == "Good", answer
        self.own.append(Seen(0.0, "the client", f"calls InjectFault({line}): {answer['status']}"))

    def confirm(self) -> None:
        """Confirm what is offered; loads that change meanwhile make it stale."""
        for _ in range(5):
            plan, inputs = (self.value(f"{EVENT}/{name}") for name in ("PlanId", "PlanHash"))
            answer = self.call(FLISR, "Confirm", ("String", plan), ("String", inputs))
            if answer["status"] == "Good":
                self._did(f"calls Confirm({plan}, …): {answer['status']}")
                return
            time.sleep(0.5)
            self.reach("WAIT_CONFIRM")
        raise AssertionError(answer)

    # ---- the transcript -------------------------------------------------------------------------------------------

    def seen(self) -> list[Seen]:
        """What happened since the injection, in order; measured values only where supply goes or comes back."""
        found, last = [*self.own, *self._states()], {}
        for change in list(self.client.changes):
            address, value, at = change["address"], change["value"], change["at"] - self.began
            if at >= 0 and address in last and value != last[address]:
                what = self._words(address, value, last[address])
                if what:
                    found.append(Seen(at, _short(address), what))
            last[address] = value
        return sorted(found, key=lambda each: each.at)

    def _states(self) -> list[Seen]:
        """States of the sequence with their own times: some last for milliseconds only."""
        stamps = json.loads(self.value(f"{EVENT}/StTm") or "[]")
        return [
            Seen(datetime.fromisoformat(time).timestamp() - self._wall, "FLISR", f"**{name}** {_plain(why)}")
            for name, time, why in stamps
        ]

    def _words(self, address: str, value: Any, before: Any) -> str:
        if value is None:
            return ""
        if address in self.switches:
            return _POSITIONS[int(value)]
        if address == RECLOSER:
            return f"recloser: {_RECLOSING.get(int(value), value)}"
        if address == TRIP:
            return "protection trips" if value else ""
        if address in self.grid.indicators:
            return "fault passage" if value else "fault passage reset"
        name = address.rpartition("/")[2]
        if name == "TotW":
            gone, back = not value and before, value and not before
            return "without supply" if gone else f"{value / 1e3:.0f} kW again" if back else ""
        if name == "FltSect":
            zones = list(json.loads(value or "{}").items())
            return f"fault section {zones[0][0]} ({100 * zones[0][1]:.1f} %)" if zones else ""
        if name in ("CusOut", "CusRst"):
            return f"{value} customers {'without supply' if name == 'CusOut' else 'restored'}"
        return ""

    def text(self) -> str:
        """The rows of the table."""
        return "\n".join(f"| {each.at:.1f} | {each.where} | {each.what} |" for each in self.seen())

    def write(self, line: str, folder: Path) -> None:
        """The transcript and the picture."""
        (folder / "fault-story.md").write_text(f"{_INTRODUCTION.format(line=line)}{self.text()}\n", "utf-8")
        closed = {switch for position, switch in self.switches.items() if self.value(position) == 2}
        (folder / "fault-story.svg").write_text(picture(self.grid, closed, line), "utf-8")


def _short(address: str) -> str:
    place = [part for part in address.removeprefix(f"{AREA}/").split("/") if part not in ("_", "MV1")]
    return "FLISR" if "twFLSR1" in place else " ".join(place[: 3 if place[2:3] in (["QA1"], ["QB1"], ["IED1"]) else 2])


def _plain(why: str) -> str:
    return why.replace(f"{AREA}/", "").replace("/MV1/_/", "/").replace("/MV1/", "/").replace("|", "/")


def tell(line: str, folder: Path) -> None:
    """Run it and write it down."""
    with tempfile.TemporaryDirectory() as place:
        settings = yaml.safe_load((DEMO / "gateway.yaml").read_text("utf-8"))
        story = Story(Path(place), flisr=settings["twin"]["flisr"])
        try:
            story.start()
            story.inject(line)
            story.reach("WAIT_CONFIRM")
            time.sleep(3.0)  # somebody reads the plan
            story.confirm()
            story.reach("RESTORED", "PARTIAL")
            story.settle()
            time.sleep(5.0)  # loads are told every few seconds
            story.write(line, folder)
        finally:
            story.stop()


if __name__ == "__main__":
    tell(sys.argv[1], Path(sys.argv[2]))
