"""What the DLMS tests share: meters in other processes, a link that remembers, points and drivers."""

import asyncio
import contextlib
import json
import select
import signal
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
import yaml
from peers.waiting import patient
from peers.wire_notes import WireNotes

from address_space.catalogue import ValueType
from address_space.point import Batch
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.driver import DlmsDriver

EK, AK = bytes(range(16)).hex(), bytes(range(0xD0, 0xE0)).hex()
KEYS = {"authentication": AK, "encryption": EK}
HERE = Path(__file__).parent

VALUE_TYPES = {
    "DPC": ValueType.INT32,
    "DPS": ValueType.INT32,
    "SPS": ValueType.BOOLEAN,
    "INS": ValueType.INT32,
    "VSS": ValueType.STRING,
}


class Peer:
    """A process with meters; `port` is where they listen."""

    def __init__(self, command: list[str]):
        self.command = command
        self.port = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.port = self.read_port(self.line(20.0))

    @staticmethod
    def read_port(line: str) -> int:
        return int(line.split()[1]) if line.startswith("ready") else next(iter(json.loads(line)["ports"].values()))

    def line(self, timeout: float) -> str:
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        line = self.process.stdout.readline() if ready else ""
        assert line, f"the meters said nothing: {self.process.poll()}"
        return line

    def order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


class PydlmsPeer(Peer):
    def __init__(self, meters=1, rows=0, without="-"):
        self.arguments = [str(meters), str(rows), without]
        super().__init__([sys.executable, str(HERE / "pydlms_meters.py"), "0", *self.arguments])

    def restart(self):
        """The same meters on the same port."""
        self.command[2] = str(self.port)
        self.start()


class OurPeer(Peer):
    def __init__(self, directory: Path, file: dict):
        self.file = {"port": 0} | file
        self.path = directory / "meters.yaml"
        self.path.write_text(yaml.safe_dump(self.file))
        super().__init__([sys.executable, "-m", "twin_gateway.simulate.dlms", str(self.path)])

    def restart(self):
        self.path.write_text(yaml.safe_dump(self.file | {"port": self.port}))
        self.start()


class Lent:
    """One meter of a process that the tests share: every test gets a meter that nobody has used."""

    def __init__(self, peer: Peer, device: int):
        self.port, self.device = peer.port, device


SHARED_METERS = 60


@pytest.fixture(scope="session")
def _shared_peers():
    peers = {}
    yield peers
    for peer, _ in peers.values():
        peer.kill()


@pytest.fixture
def pydlms_meters(_shared_peers):
    """A meter of pydlms-client's simulator; own=True starts a process that the test may kill."""
    own_peers = []

    def start(rows=0, without="-", own=False):
        if own:
            own_peers.append(PydlmsPeer(2, rows, without))
            return own_peers[-1]
        if (rows, without) not in _shared_peers:
            _shared_peers[rows, without] = PydlmsPeer(4 if rows > 100 else SHARED_METERS, rows, without), count(1)
        peer, numbers = _shared_peers[rows, without]
        return Lent(peer, next(numbers))

    yield start
    for peer in own_peers:
        if peer.process.poll() is None:
            peer.kill()


@pytest.fixture
def our_meters(tmp_path):
    """Starts our own simulator from the content of a meter file."""
    peers = []

    def start(file):
        directory = tmp_path / f"sim{len(peers)}"
        directory.mkdir()
        peers.append(OurPeer(directory, file))
        return peers[-1]

    yield start
    for peer in peers:
        if peer.process.poll() is None:
            peer.kill()


class LogMeter:
    """The meter of pydlms_logs.py."""

    device = 1

    def __init__(self):
        script = Path(__file__).with_name("pydlms_logs.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline().split()[1])

    def order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def _log_meter():
    meter = LogMeter()
    yield meter
    meter.kill()


@pytest.fixture
def log_meter(_log_meter):
    """The meter, with its right clock and its own serial number."""
    yield _log_meter
    _log_meter.order(clock=0.0, serial="00000001", energy=99_000_000, drop=10_000)


class MemoryLink(WireNotes):
    """A link that keeps what the driver says."""

    def __init__(self, directory: Path, name: str = "m1"):
        self.name = name
        self.data_directory = directory
        self.batches: list[Batch] = []
        self.events: list[tuple[str, str]] = []
        self.event_times: list[int] = []
        self.counters: Counter[str] = Counter()
        self.is_up = asyncio.Event()
        self.news = asyncio.Event()
        self.values: dict[int, float] = {}
        self.quality: dict[int, int] = {}
        self.source_time: dict[int, int] = {}
        self.texts: dict[int, str] = {}

    def up(self):
        self.is_up.set()

    def publish(self, batch):
        self.batches.append(batch)
        if not batch.late:
            for row, value, word, moment in zip(
                batch.rows, batch.values, batch.quality, batch.source_time, strict=True
            ):
                self.values[int(row)], self.quality[int(row)] = float(value), int(word)
                self.source_time[int(row)] = int(moment)
            self.texts.update({sample.row: sample.text for sample in batch.texts})
        self.news.set()

    def event(self, code, text, *, severity=400, address="", source_time=0, time_quality=None):
        self.events.append((code, text))
        self.event_times.append(source_time)

    def count(self, counter, by=1):
        self.counters[counter] += by

    async def until(self, what, timeout=8.0):
        """Waits until `what()` holds."""
        async with patient(timeout):
            while not what():
                try:
                    async with asyncio.timeout(0.05):
                        await self.news.wait()
                except TimeoutError:
                    pass
                self.news.clear()


@pytest.fixture
def link(tmp_path):
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return MemoryLink(directory)


def point(row, obis, cdc="MV", quantity=None, unit=None, control=None, **fields):
    """A bound point as the mapping makes it."""
    return BoundPoint(
        row=row,
        address=f"g/a/s/LV1/_/M1/MMXU1/P{row}",
        cdc=cdc,
        value_type=VALUE_TYPES.get(cdc, ValueType.DOUBLE),
        fields={"obis": obis, **fields},
        control=control,
        quantity=quantity,
        unit=unit,
    )


def config(peer, security="none", **fields):
    """A device section for a peer or a port; short times."""
    where = {"port": getattr(peer, "port", peer), "logical_device": getattr(peer, "device", 1)}
    base = where | {"host": "127.0.0.1", "security": security, "timeout": 3.0, "poll": 0.2}
    if security == "lls":
        base |= {"password": "12345678", "client": 32}
    if security == "hls-gmac":
        base |= {"keys": KEYS}
    return DlmsConfig.model_validate(base | fields)


class Running:
    """A driver under way; `async with Running(driver, link)`."""

    def __init__(self, driver: DlmsDriver, link: MemoryLink):
        self.driver, self.link = driver, link

    async def __aenter__(self):
        self.task = asyncio.create_task(self.driver.run(self.link))
        waiter = asyncio.create_task(self.link.is_up.wait())
        done, _ = await asyncio.wait((self.task, waiter), timeout=10, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if self.task in done:
            await self.task
        assert self.link.is_up.is_set()
        return self.task

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await self.task


@pytest.fixture
def dlms():
    """The helpers above, as one namespace for the tests of this folder."""

    class Namespace:
        pass

    space = Namespace()
    space.point, space.config, space.Running, space.Driver = point, config, Running, DlmsDriver
    space.MemoryLink, space.KEYS, space.EK, space.AK = MemoryLink, KEYS, EK, AK
    return space


_FIRST_COUNTERS = count(1, 10_000)
"""Where each client's invocation counter begins: above those of all clients before it, however soon it follows them."""


def _client(script):
    """Uses a meter with a foreign client, in a process of its own; returns what the client saw."""

    def use(port, device, client=16, security="none", **more):
        asked = {"port": port, "device": device, "client": client, "security": security} | more
        asked["counter"] = next(_FIRST_COUNTERS)
        command = [sys.executable, "-W", "ignore", str(HERE / script), json.dumps(asked)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=40)
        assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return use


@pytest.fixture(scope="session")
def gurux():
    return _client("gurux_reader.py")


@pytest.fixture(scope="session")
def pydlms():
    return _client("pydlms_reader.py")
