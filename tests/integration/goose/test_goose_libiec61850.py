"""GOOSE on the wire: libiec61850's publisher, the capture process with the raw socket, tshark as second reader."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from peers import goose_wire
from peers.waiting import patient, until

from address_space import clock
from address_space.events import EventJournal
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.capture import pcapng
from twin_gateway.drivers.iec61850.goose import process
from twin_gateway.drivers.iec61850.goose.process import open_socket
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor
from twin_gateway.drivers.registry import create_driver
from twin_gateway.mapping.check import check

HERE = Path(__file__).parent
BLOCK, DESTINATION = f"F07Q1LD0/LLN0$GO${goose_wire.BLOCK}", goose_wire.address()


def _refusal() -> str:
    if importlib.util.find_spec("pyiec61850") is None:
        return "pyiec61850-ng is not installed: no independent peer"
    try:
        open_socket("lo", [bytes.fromhex(DESTINATION.replace(":", ""))]).close()
    except OSError as error:
        return f"raw sockets are not permitted here: {error}"
    return ""


REFUSAL = _refusal()
pytestmark = pytest.mark.skipif(bool(REFUSAL), reason=REFUSAL or "raw sockets are permitted")
MAPPING = """mapping: 1
grid: dso1
place: north/PS01
devices:
  bus:
    protocol: goose
    interface: {interface}
    idle: {idle}
    {extra}
    subscriptions:
      trip:
        control_block: {block}
        destination: {destination}
        app_id: 0x3001
        data_set: F07Q1LD0/LLN0$dsTrip
        go_id: trip
        conf_rev: 3
        vlan: 5
        members: [LD0/PTRC1.Tr.general, LD0/PTRC1.Tr.q, LD0/CSWI1.Pos.stVal, LD0/MMXU1.Hz.mag.f]
    at:
      MV1/F07:
        points:
          PTRC1/Tr: {subscription: trip, ref: LD0/PTRC1.Tr}
          QA1/XCBR1/Pos: {subscription: trip, ref: LD0/CSWI1.Pos}
          MMXU1/Hz: {subscription: trip, ref: LD0/MMXU1.Hz, unit: Hz}
          "IED1/LGOS1/{St,SimSt,NdsCom,LastStNum,ConfRevNum,RxConfRevNum,GoCBRef}":
            {subscription: trip, item: "{St,SimSt,NdsCom,LastStNum,ConfRevNum,RxConfRevNum,GoCBRef}"}
"""
BAY = "dso1/north/PS01/MV1/F07"
LGOS = f"{BAY}/IED1/LGOS1"
GOOD, QUESTIONABLE = {"bits": [13, 0]}, {"bits": [13, 0x1800]}
OPEN, CLOSED = {"bits": [2, 1]}, {"bits": [2, 2]}


def mapping_text(interface: str, extra: str = "", idle: str = "10 s") -> str:
    """The mapping of the stream on an interface."""
    words = {"interface": interface, "extra": extra, "idle": idle, "block": BLOCK, "destination": DESTINATION}
    text = MAPPING
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text


@dataclass
class Publisher:
    """libiec61850's publisher in a process of its own."""

    process: asyncio.subprocess.Process

    @staticmethod
    async def start(
        vlan: int = -1, destination: str = DESTINATION, app_id: int = 0x3001, interface: str = "lo"
    ) -> Publisher:
        process = await asyncio.create_subprocess_exec(
            sys.executable, HERE / "libiec61850_goose.py", interface, BLOCK, destination, hex(app_id), str(vlan),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        made = Publisher(process)
        assert await made.line() == {"ready": True}
        return made

    async def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with patient(20):
            found: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return found

    async def say(self, state: list[Any] | None = None, repeat: int = 0, **settings: Any) -> None:
        assert self.process.stdin is not None
        order = {"repeat": repeat, "set": settings} | ({"state": state} if state is not None else {})
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        for _ in range(repeat + (state is not None)):
            assert (await self.line())["sent"] == 0

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


@dataclass
class Bed:
    """The gateway's side: a table, a driver made from a mapping, its supervisor."""

    folder: Path
    extra: str = ""
    idle: str = "10 s"
    interface: str = "lo"
    table: PointTable = field(default_factory=PointTable)
    events: EventJournal = field(default_factory=EventJournal)

    def prepare(self) -> None:
        path = self.folder / "bus.yaml"
        path.write_text(mapping_text(self.interface, self.extra, self.idle))
        mapping, problems = check([path], environ={})
        assert mapping is not None, [str(problem) for problem in problems]
        (device,) = mapping.devices
        rows = self.table.add([each.point(device.name) for each in device.points])
        self.rows = {each.address: int(row) for each, row in zip(device.points, rows, strict=True)}
        bound = [each.bound(self.rows[each.address]) for each in device.points]
        driver = create_driver(device.spec, device.name, device.config, bound)
        self.link = LinkSupervisor(
            device.name, driver, table=self.table, events=self.events, address="dso1/_sys/gw/_/_/bus",
            data_directory=self.folder / "data", backoff=Backoff(0.05, 0.2),
        )  # fmt: skip
        self.driver: Any = driver

    async def __aenter__(self) -> Bed:
        self.prepare()
        self.task = asyncio.create_task(self.link.run())
        await until(lambda: self.driver._running, what="the driver listens")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def sample(self, address: str) -> Any:
        return self.table.sample(self.rows[address])

    def value(self, address: str) -> Any:
        return self.sample(address).value

    def children(self) -> list[int]:
        found = []
        for each in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                mine = int(each.read_text().rpartition(")")[2].split()[1]) == os.getpid()
                if mine and b"goose.process" in (each.parent / "cmdline").read_bytes():
                    found.append(int(each.parent.name))
        return found


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    made = await Publisher.start()
    yield made
    await made.end()


async def test_values_come_with_quality_time_and_supervision(tmp_path: Path, publisher: Publisher) -> None:
    async with Bed(tmp_path) as bed:
        before = clock.now()
        await publisher.say([True, GOOD, CLOSED, 49.5], repeat=3)
        await until(lambda: bed.link.counters["goose_repetitions"] == 3)
        tripped = bed.sample(f"{BAY}/_/PTRC1/Tr")
        assert (tripped.value, tripped.status) == (True, 0)
        assert before - 10_000_000 < tripped.source_time <= clock.now()
        assert bed.value(f"{BAY}/QA1/XCBR1/Pos") == 2
        assert bed.value(f"{BAY}/_/MMXU1/Hz") == 49.5
        said = {item: bed.value(f"{LGOS}/{item}") for item in ("St", "SimSt", "NdsCom", "ConfRevNum", "RxConfRevNum")}
        assert said == {"St": True, "SimSt": False, "NdsCom": False, "ConfRevNum": 3, "RxConfRevNum": 3}
        assert bed.value(f"{LGOS}/GoCBRef") == BLOCK
        assert bed.link.state is LinkState.UP
        # On the loopback interface every frame is there twice, going out and coming in: it is taken once.
        assert bed.link.counters["goose_states"] == 1
        assert bed.link.counters["duplicate_frames"] == 0
        await publisher.say([False, QUESTIONABLE, OPEN, 49.5])
        await until(lambda: bed.value(f"{BAY}/QA1/XCBR1/Pos") == 1)
        assert bed.sample(f"{BAY}/_/PTRC1/Tr").quality & 3 == Quality.QUESTIONABLE


async def test_what_the_peer_does_wrong_is_seen_in_lgos(tmp_path: Path, publisher: Publisher) -> None:
    async with Bed(tmp_path) as bed:
        await publisher.say([True, GOOD, CLOSED, 50.0])
        await until(lambda: bed.value(f"{LGOS}/St"))
        await publisher.say([False, GOOD, OPEN, 50.0], revision=4)
        await until(lambda: bed.value(f"{LGOS}/RxConfRevNum") == 4)
        assert (bed.value(f"{LGOS}/St"), bed.value(f"{LGOS}/NdsCom")) == (False, True)
        assert bed.sample(f"{BAY}/_/PTRC1/Tr").status == StatusCode.BadConfigurationError
        await publisher.say([False, GOOD, OPEN, 50.0], revision=3, needs=True)
        await publisher.say([False, GOOD, OPEN, 50.0], needs=False, simulation=True)
        await until(lambda: bed.link.counters["simulated_frames"] == 1)
        assert bed.link.counters["misfit_frames"] == 2
        assert bed.value(f"{BAY}/_/PTRC1/Tr") is True
        await publisher.say([False, GOOD, OPEN, 50.0], simulation=False)
        await until(lambda: bed.value(f"{LGOS}/St"))
        assert bed.sample(f"{BAY}/_/PTRC1/Tr").value is False
        await publisher.say([True, GOOD, OPEN, 50.0], state_number=40)
        await until(lambda: bed.link.counters["states_missed"])
        assert bed.link.counters["goose_errors"] == 0


async def test_a_publisher_that_dies_is_noticed_and_heard_again(tmp_path: Path, publisher: Publisher) -> None:
    async with Bed(tmp_path, idle="500 ms") as bed:
        await publisher.say([True, GOOD, CLOSED, 50.0], live=200)
        await until(lambda: bed.value(f"{LGOS}/St"))
        await publisher.end()
        await until(lambda: bed.value(f"{LGOS}/St") is False)
        status = bed.sample(f"{BAY}/_/PTRC1/Tr").status
        assert status == StatusCode.UncertainNoCommunicationLastUsableValue
        await until(lambda: bed.link.counters["losses"] == 1, what="the link counts as lost")
        await until(lambda: bed.link.state is LinkState.CONNECTING and bed.driver._running)
        again = await Publisher.start()
        await again.say([False, GOOD, OPEN, 50.0])
        await until(lambda: bed.link.state is LinkState.UP)
        assert bed.sample(f"{BAY}/_/PTRC1/Tr").status == 0
        assert bed.value(f"{LGOS}/St") is True
        await again.end()


async def test_a_vlan_tag_that_the_kernel_takes_off_is_seen(tmp_path: Path) -> None:
    mine, other = await Publisher.start(vlan=5), await Publisher.start(vlan=6)
    async with Bed(tmp_path) as bed:
        await other.say([False, GOOD, OPEN, 50.0])
        await until(lambda: bed.link.counters["foreign_frames"] == 1)
        assert "VLAN 6" in bed.link.last_errors[""][1]
        await mine.say([True, GOOD, CLOSED, 50.0])
        await until(lambda: bed.value(f"{BAY}/_/PTRC1/Tr") is True)
        assert bed.link.ring.records()[-1].octets[12:16] == b"\x81\x00\x80\x05"
    for each in (mine, other):
        await each.end()


async def test_other_addresses_do_not_leave_the_kernel_and_a_wrong_app_id_is_told(tmp_path: Path) -> None:
    elsewhere, wrong = await Publisher.start(destination=goose_wire.address(1)), await Publisher.start(app_id=0x3002)
    mine = await Publisher.start()
    async with Bed(tmp_path) as bed:
        await elsewhere.say([True, GOOD, CLOSED, 50.0], repeat=20)
        await wrong.say([True, GOOD, CLOSED, 50.0], repeat=20)
        await until(lambda: bed.link.counters["foreign_frames"])
        assert "APPID 0x3002" in bed.link.last_errors[""][1]
        await mine.say([True, GOOD, CLOSED, 50.0])
        await until(lambda: bed.value(f"{LGOS}/St"))
        # of what is not ours one a second is shown
        assert len(bed.link.ring.records()) <= 4
    for each in (elsewhere, wrong, mine):
        await each.end()


async def test_a_capture_process_that_is_killed_is_started_again(tmp_path: Path, publisher: Publisher) -> None:
    async with Bed(tmp_path) as bed:
        await publisher.say([True, GOOD, CLOSED, 50.0])
        await until(lambda: bed.value(f"{LGOS}/St"))
        (child,) = bed.children()
        os.kill(child, signal.SIGKILL)
        await until(lambda: bed.link.counters["losses"] == 1)
        await until(lambda: bed.driver._running and bed.children() not in ([], [child]))
        await publisher.say(repeat=1)
        await until(lambda: bed.link.counters["connects"] == 2)
        assert bed.value(f"{LGOS}/St") is True
    assert bed.children() == []


@pytest.mark.parametrize("moment", [0.0, 0.002, 0.02, 0.1, 0.3])
async def test_cancelled_at_any_moment_it_leaves_no_process_and_no_task(tmp_path: Path, moment: float) -> None:
    before = asyncio.all_tasks()
    bed = Bed(tmp_path)
    bed.prepare()
    task = asyncio.create_task(bed.driver.run(bed.link))
    await asyncio.sleep(moment)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bed.children() == []
    assert asyncio.all_tasks() == before


async def test_the_capture_process_has_neither_root_nor_a_capability_left(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        (child,) = bed.children()
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines() if ":" in line
        )
        assert {status[name].strip() for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
        assert status["Uid"].split() == ["65534"] * 4 or os.getuid() != 0
        assert status["NoNewPrivs"].strip() == "1"


async def test_the_capture_process_gets_no_secret_and_imports_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METER_KEY", "00112233")
    (tmp_path / "struct.py").write_text("raise SystemExit('not the real one')")
    monkeypatch.chdir(tmp_path)
    async with Bed(tmp_path) as bed:
        (child,) = bed.children()
        assert b"METER_KEY" not in Path(f"/proc/{child}/environ").read_bytes()


async def test_an_interface_that_does_not_exist_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bus.yaml"
    path.write_text(mapping_text("no9"))
    mapping, problems = check([path], environ={})
    assert mapping is not None, problems
    (device,) = mapping.devices
    driver = create_driver(device.spec, device.name, device.config, [])
    link = LinkSupervisor(
        "bus",
        driver,
        table=PointTable(),
        events=EventJournal(),
        address="dso1/_sys/gw/_/_/bus",
        data_directory=tmp_path,
    )
    with pytest.raises(ConnectionError, match=r"no GOOSE from no9: .*No such device"):
        await driver.run(link)


@pytest.fixture
def wire() -> Iterator[tuple[str, str]]:
    """The two ends of a virtual Ethernet cable."""
    ends = (f"twg{os.getpid() % 100_000}a", f"twg{os.getpid() % 100_000}b")
    made = shutil.which("ip") and subprocess.run(
        ["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip(f"virtual interfaces cannot be made here: {made.stderr.decode() if made else 'no ip command'}")
    try:
        for each in ends:
            subprocess.run(["ip", "link", "set", each, "up"], check=True)
        yield ends
    finally:
        subprocess.run(["ip", "link", "del", ends[0]], check=True)


async def test_an_interface_that_goes_down_is_said_and_heard_again_when_it_is_up(
    tmp_path: Path, wire: tuple[str, str]
) -> None:
    mine, theirs = wire
    publisher = await Publisher.start(interface=theirs)
    async with Bed(tmp_path, interface=mine) as bed:
        await publisher.say([True, GOOD, CLOSED, 50.0])
        await until(lambda: bed.link.state is LinkState.UP)
        subprocess.run(["ip", "link", "set", mine, "down"], check=True)
        await until(lambda: bed.link.counters["losses"] == 1)
        assert "Network is down" in bed.link.reason
        subprocess.run(["ip", "link", "set", mine, "up"], check=True)
        await publisher.say([False, GOOD, OPEN, 50.0])
        async with patient(15):
            while bed.link.state is not LinkState.UP:
                await publisher.say(repeat=1)
                await asyncio.sleep(0.05)
        assert bed.value(f"{BAY}/_/PTRC1/Tr") is False
    await publisher.end()


def _with(rights: str) -> tuple[str, ...]:
    """As the unit does it: no user of the system, at most these capabilities, and no way to more."""
    return (
        "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs",
        "--inh-caps", rights, "--ambient-caps", rights, "--bounding-set", rights,
    )  # fmt: skip


def _may_be_reduced() -> bool:
    """Whether a user without rights could run the process here at all."""
    if shutil.which("setpriv") is None or os.getuid() != 0:
        return False
    arguments = (*_with("-all"), sys.executable, "-c", f"import {process.__name__}")
    return subprocess.run(arguments, capture_output=True, check=False).returncode == 0


needs_setpriv = pytest.mark.skipif(
    not _may_be_reduced(), reason="needs root, setpriv, and an interpreter and a checkout that everybody may read"
)


@dataclass
class Service:
    """What systemd does with `Accept=yes`: one process for each connection, with the socket as its descriptor."""

    path: Path
    rights: str
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def __aenter__(self) -> Service:
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.path))
        self.listening.listen()
        self.listening.setblocking(False)
        self.task = asyncio.create_task(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        self.listening.close()
        for each in self.started:
            if each.returncode is None:
                each.kill()
            await each.wait()

    async def _accept(self) -> None:
        while True:
            channel, _ = await asyncio.get_running_loop().sock_accept(self.listening)
            channel.setblocking(True)
            with channel:
                arguments = (*_with(self.rights), sys.executable, "-m", process.__name__, str(channel.fileno()), "lo")
                self.started.append(await asyncio.create_subprocess_exec(*arguments, pass_fds=(channel.fileno(),)))


@needs_setpriv
async def test_the_capture_service_needs_the_one_capability_and_no_other(tmp_path: Path, publisher: Publisher) -> None:
    async with Service(tmp_path / "goose.sock", "-all,+net_raw") as service:
        async with Bed(tmp_path, extra=f"capture: {service.path}") as bed:
            await publisher.say([True, GOOD, CLOSED, 50.0])
            await until(lambda: bed.value(f"{LGOS}/St"))
        async with patient(10):
            assert await service.started[0].wait() == 0


@needs_setpriv
async def test_without_that_capability_the_refusal_is_said(tmp_path: Path) -> None:
    async with Service(tmp_path / "goose.sock", "-all") as service:
        bed = Bed(tmp_path, extra=f"capture: {service.path}")
        bed.prepare()
        with pytest.raises(ConnectionError, match=r"no GOOSE from lo: .*not permitted"):
            await bed.driver.run(bed.link)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
async def test_tshark_reads_the_capture_of_the_link_as_the_driver_did(tmp_path: Path, publisher: Publisher) -> None:
    async with Bed(tmp_path) as bed:
        await publisher.say([True, GOOD, CLOSED, 50.0], repeat=2)
        await publisher.say([False, GOOD, OPEN, 50.0], repeat=1)
        await until(lambda: bed.link.counters["goose_repetitions"] == 3)
        last = bed.value(f"{LGOS}/LastStNum")
        path = tmp_path / "bus.pcapng"
        path.write_bytes(pcapng("bus", bed.link.ring.records()))
    fields = ("goose.stNum", "goose.sqNum", "goose.gocbRef", "goose.appid", "goose.confRev", "goose.boolean")
    reader = await asyncio.create_subprocess_exec(
        "tshark", "-r", str(path), "-T", "fields", *(word for name in fields for word in ("-e", name)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _ = await reader.communicate()
    lines = [line.split("\t") for line in output.decode().splitlines()]
    assert [line[:2] for line in lines] == [
        [str(last - 1), "0"], [str(last - 1), "1"], [str(last - 1), "2"], [str(last), "0"], [str(last), "1"],
    ]  # fmt: skip
    assert {line[2] for line in lines} == {BLOCK}
    assert {line[3].lower() for line in lines} == {"0x3001"}
    assert [line[5].lower() in ("true", "1") for line in lines] == [True, True, True, False, False]
