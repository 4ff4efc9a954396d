"""The simulated publisher on the wire, by the command line: libiec61850's subscriber and the driver hear the same."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from peers import goose_wire
from peers.goose_scl import with_goose
from peers.waiting import patient, until

from address_space import clock
from address_space.events import EventJournal
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor
from twin_gateway.drivers.registry import create_driver
from twin_gateway.mapping.check import check
from twin_gateway.simulate.goose import main, open_sender

HERE = Path(__file__).parent
BLOCK = f"F07Q1LD0/LLN0$GO${goose_wire.BLOCK}"
DESTINATION = goose_wire.address()
BAY = "dso1/north/PS01/MV1/F07"
LGOS = f"{BAY}/IED1/LGOS1"
MAPPING = f"""mapping: 1
grid: dso1
place: north/PS01
devices:
  bus:
    protocol: goose
    interface: lo
    scl: SCL
    tolerance: 300 ms
    subscriptions: {{trip: {{control_block: {BLOCK}}}}}
    at:
      MV1/F07:
        points:
          PTRC1/Tr: {{subscription: trip, ref: LD0/PTRC1.Tr}}
          QA1/XCBR1/Pos: {{subscription: trip, ref: LD0/XCBR1.Pos}}
          "IED1/LGOS1/{{St,SimSt,NdsCom,LastStNum,ConfRevNum,RxConfRevNum}}":
            {{subscription: trip, item: "{{St,SimSt,NdsCom,LastStNum,ConfRevNum,RxConfRevNum}}"}}
"""


def _refusal() -> str:
    try:
        open_sender("lo").close()
    except OSError as error:
        return f"raw sockets are not permitted here: {error}"
    return ""


REFUSAL = _refusal()
pytestmark = pytest.mark.skipif(bool(REFUSAL), reason=REFUSAL or "raw sockets are permitted")


@dataclass
class Peer:
    """A process that takes lines of JSON and says some."""

    process: asyncio.subprocess.Process
    said: list[dict[str, Any]] = field(default_factory=list)

    def order(self, **what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")

    async def hear(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next line of this kind."""
        assert self.process.stdout is not None
        async with patient(20):
            while True:
                line = json.loads(await self.process.stdout.readline())
                self.said.append(line)
                if wanted(line):
                    return dict(line)


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    running: list[asyncio.subprocess.Process] = []

    async def begin(*arguments: str | Path) -> Peer:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
        running.append(process)
        peer = Peer(process)
        await peer.hear(lambda line: line.get("ready", False))
        return peer

    yield begin
    for process in running:
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def described(folder: Path) -> Path:
    """The SCL file of the publisher."""
    return with_goose(folder / "bay.cid", goose_wire.BLOCK, DESTINATION)


def simulator(scl: Path) -> tuple[str | Path, ...]:
    return "-m", "twin_gateway", "simulate", "goose", scl, "--interface", "lo"


@pytest.mark.skipif(importlib.util.find_spec("pyiec61850") is None, reason="pyiec61850-ng is not installed")
async def test_libiec61850_hears_what_the_simulated_publisher_says(tmp_path: Path, start: Callable[..., Any]) -> None:
    subscriber = await start(HERE / "libiec61850_goose_subscriber.py", "lo", BLOCK, "0x3001")
    device = await start(*simulator(described(tmp_path)))
    heard = await subscriber.hear(lambda line: line["valid"])
    assert (heard["state"], heard["revision"], heard["data_set"]) == (1, 3, "F07Q1LD0/LLN0$dsTrip")
    device.order(ref="LD0/XCBR1.Pos", value=2, quality="questionable", time=1_767_225_600.25)
    assert await device.hear(lambda line: "state" in line) == {"control_block": BLOCK, "state": 2}
    heard = await subscriber.hear(lambda line: line["valid"] and line["state"] == 2)
    assert heard["values"] == "{{{0,},0,10,1100000000000,20260101000000.250Z,false},false}"
    device.order(simulation=True, needs_commissioning=True)
    heard = await subscriber.hear(lambda line: line.get("test", False))
    assert heard["needs"] is True
    device.order(silent=True)
    await subscriber.hear(lambda line: not line["valid"])
    device.order(silent=False)
    heard = await subscriber.hear(lambda line: line["valid"])
    assert heard["state"] == 2


async def test_the_driver_hears_every_fault_that_the_simulator_knows(tmp_path: Path, start: Callable[..., Any]) -> None:
    scl = described(tmp_path)
    path = tmp_path / "bus.yaml"
    path.write_text(MAPPING.replace("SCL", str(scl)))
    mapping, problems = check([path], environ={})
    assert mapping is not None, problems
    (section,) = mapping.devices
    table = PointTable()
    rows = {point.address: row for row, point in enumerate(section.points)}
    table.add([point.point("bus") for point in section.points])
    driver = create_driver(section.spec, "bus", section.config, [p.bound(row) for row, p in enumerate(section.points)])
    link = LinkSupervisor(
        "bus", driver, table=table, events=EventJournal(), address="dso1/_sys/gw/_/_/bus",
        data_directory=tmp_path, backoff=Backoff(0.05, 0.2),
    )  # fmt: skip

    def value(name: str) -> Any:
        return table.sample(rows[f"{LGOS}/{name}"]).value

    def position() -> Any:
        return table.sample(rows[f"{BAY}/QA1/XCBR1/Pos"])

    running = asyncio.create_task(link.run())
    try:
        device = await start(*simulator(scl))
        await until(lambda: link.state is LinkState.UP and position().status == 0 and value("St") is True)
        before = clock.now()
        device.order(ref="LD0/XCBR1.Pos", value=2)
        await until(lambda: position().value == 2)
        assert before <= position().source_time <= clock.now()
        device.order(ref="LD0/XCBR1.Pos", value=1, quality="questionable", time=1_767_225_600.25)
        await until(lambda: position().value == 1)
        assert position().quality & 3 == Quality.QUESTIONABLE
        assert position().source_time == clock.UNIX_EPOCH_TICKS + 17_672_256_002_500_000
        device.order(lose=2)
        await until(lambda: link.counters["frames_missed"] == 2)
        device.order(skip=3)
        await until(lambda: link.counters["states_missed"] == 3)
        device.order(copies=2)
        await until(lambda: link.counters["duplicate_frames"] > 0)
        device.order(copies=1, conf_rev=4)
        await until(lambda: (value("RxConfRevNum"), value("NdsCom")) == (4, True))
        assert position().status == StatusCode.BadConfigurationError
        device.order(conf_rev=3, members=1)
        await until(lambda: "number of members is 1" in link.last_errors[""][1])
        device.order(members=0, data_set="F07Q1LD0/LLN0$dsNew")
        await until(lambda: "DatSet" in link.last_errors[""][1])
        device.order(data_set="F07Q1LD0/LLN0$dsTrip")
        await until(lambda: value("St") is True and position().quality & 3 == Quality.QUESTIONABLE)
        device.order(simulation=True)
        await until(lambda: link.counters["simulated_frames"] > 0)
        device.order(simulation=False)
        device.order(restart=True)
        await until(lambda: value("LastStNum") == 1 and value("St") is True)
        assert link.counters["publisher_restarts"] == 1
        device.order(raw=DESTINATION.replace(":", "") + "020000000001" + "88b83001ffff00000000")
        await until(lambda: link.counters["goose_errors"] == 1)
        device.order(live=1)
        await until(lambda: position().status == StatusCode.UncertainNoCommunicationLastUsableValue)
        assert link.counters["subscription_losses"] > 0
        device.order(live=0)
        await until(lambda: value("St") is True)
        assert link.counters["losses"] == 0
        assert link.counters["driver_faults"] == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--interface", "no9"), "no9: "),
        (("--interface", "lo", "--source", "nowhere"), "bay.cid: "),
        (("--interface", "lo", "--ied", "OTHER"), "OTHER"),
    ],
)
def test_what_cannot_be_published_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    assert main([str(described(tmp_path)), *arguments]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert reason in said
