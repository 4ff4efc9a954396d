"""The field of the soak: devices on wires, a broker, the gateway and its clients, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from integration.mqtt.brokers import Broker, mosquitto
from peers.acceptance.processes import Talker
from peers.opcua.install import node_opcua
from peers.ports import free_port
from peers.waiting import until
from soak.wires import DatagramWire, StreamWire, Wire

HERE = Path(__file__).parent
TESTS = HERE.parent
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")

_CONFIG = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [m.yaml]
opcua: {{port: {opcua}, anonymous: observe, key_bits: 2048}}
http: {{port: {http}}}
mqtt: {{port: {broker}, reconnect_min: 0.2, reconnect_max: 1.0, ack_timeout: 5.0}}
links: {{retry_first: 0.3, retry_most: 1.0}}
history: {{reserve_mb: 0, memory_mb: 128}}
log: {{level: INFO}}
"""
_DEVICES = {
    "iec104": "protocol: iec104, host: 127.0.0.1, port: {port}, t1: 4 s, t2: 1 s, t3: 3 s, t0: 4 s, k: 64, w: 32",
    "iec61850": "protocol: iec61850, host: 127.0.0.1, port: {port}, ied: SOAK, idle: 3 s, integrity: 600 s",
    "coap": "protocol: coap, uri: 'coap://127.0.0.1:{port}', ack_timeout: 0.5 s, timeout: 4 s, keepalive: 3 s",
    "dlms": "protocol: dlms, host: 127.0.0.1, push: {{listen: '127.0.0.1:{port}', only: true, rate: 6000, silence: 7 s,"
    " columns: [{columns}]}}",
}
_LINES = {
    "iec104": "ioa: {one}, type: M_ME_TF_1",
    "iec61850": "ref: LD0/GGIO1.AnIn{one}",
    "coap": "path: /r/{zero}",
    "dlms": "obis: '1-0:{one}.7.0', class: 1",
}
_BAYS = {"iec104": "F01", "iec61850": "F02", "coap": "F03", "dlms": "F04"}


class Process(Talker):
    """A process of the soak; it says {"ready": true} when it is."""

    def __init__(self, name: str, command: list[object], folder: Path, **environment: str) -> None:
        paths = os.pathsep.join(map(str, (HERE, TESTS, TESTS.parent)))
        super().__init__(name, command, folder, piped=True, **{"PYTHONPATH": paths} | environment)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ready(self) -> None:
        await until(lambda: self.said("ready") or not self.running, what=f"{self.name} ready")
        assert self.running, f"{self.name} ended: {self.lines} {self.complaint()}"


@dataclass
class Device:
    """A device, its wire and its share of the points (numbers of the lists of all points)."""

    name: str
    process: Process
    wire: Wire
    ledger: Path
    first: int
    points: int


class Gateway(Process):
    """The gateway by its command."""

    def __init__(self, folder: Path) -> None:
        self.opcua, self.http = free_port(), free_port()
        self.clock_file = folder / "clock"
        environment = {}
        if FAKETIME.exists():
            self.clock_file.write_text("+0")
            environment = {
                "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.clock_file),
                "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
        super().__init__(
            "gateway", [sys.executable, "-m", "twin_gateway", "run", "gateway.yaml"], folder, **environment
        )

    def keep_time(self) -> None:
        """From its next start on its clock is the machine's: libfaketime is no part of what its memory is judged by."""
        self._environment.pop("LD_PRELOAD", None)

    async def ready(self) -> None:
        await until(lambda: self.healthy() or not self.running, 30, what="the gateway's health")
        assert self.running, self.complaint()

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/healthz", timeout=2) as answer:
                return bool(answer.status < 500)
        except OSError:
            return False

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def pids(self) -> list[int]:
        """Itself and its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def full_disk(self, full: bool) -> None:
        """Whether files of the service and of its children may still grow, as on a full disk."""
        limit = 1 if full else resource.RLIM_INFINITY
        for pid in self.pids():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def resident(self) -> dict[str, float]:
        """Octets in memory that are its own, by process: the service, and the history beside it."""
        found = {}
        for pid in self.pids():
            pages = Path(f"/proc/{pid}/statm").read_text().split()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            name = "history" if b"history" in command else "service" if pid == self.pid else "other"
            found[name] = (int(pages[1]) - int(pages[2])) * resource.getpagesize()
        return found


class Field:
    """Everything that runs.

    Args:
        folder: for all files.
        rates: changes a second and points by protocol.
    """

    def __init__(self, folder: Path, rates: dict[str, tuple[float, int]]) -> None:
        self.folder = folder
        self.devices: dict[str, Device] = {}
        self.nodes: list[str] = []
        self._rates = rates
        for name, (_, points) in rates.items():
            self.nodes += [f"ns=2;s=dso1/north/PS01/MV1/{_BAYS[name]}/_/GGIO1/AnIn{n + 1}" for n in range(points)]
        self.list = folder / "nodes.json"
        self.list.write_text(json.dumps(self.nodes))
        self.broker = Broker(folder, mosquitto())
        self.gateway = Gateway(folder)
        self.mqtt = Process(
            "mqtt_client", [sys.executable, HERE / "mqtt_client.py", self.broker.port, "mqtt.got", self.list], folder
        )
        self.lives = 0
        self.client: Process | None = None

    async def start(self) -> None:
        first = 0
        for name, (rate, points) in self._rates.items():
            port, ledger = free_port(), self.folder / f"{name}.ledger"
            wire = DatagramWire(port) if name == "coap" else StreamWire(port)
            await wire.start()
            # a meter calls the gateway, all others are called
            own = wire.port if name == "dlms" else port
            command: list[object] = [sys.executable, HERE / f"{name}_device.py", own, ledger, points, rate]
            self.devices[name] = Device(name, Process(name, command, self.folder), wire, ledger, first, points)
            self.devices[name].process.start()
            first += points
        for device in self.devices.values():
            await device.process.ready()
        self.broker.start()
        self._write()
        self.mqtt.start()
        await self.mqtt.ready()
        self.gateway.start()
        await self.attend()
        for device in self.devices.values():
            device.process.order(rest=False)

    def _write(self) -> None:
        ports = {"opcua": self.gateway.opcua, "http": self.gateway.http, "broker": self.broker.port}
        (self.folder / "gateway.yaml").write_text(_CONFIG.format(**ports))
        sections = ["mapping: 1", "grid: dso1", "place: north/PS01", "devices:"]
        for name, device in self.devices.items():
            port = device.wire.device if name == "dlms" else device.wire.port
            columns = ", ".join(f"'1/1-0:{n + 1}.7.0/2'" for n in range(device.points))
            sections.append(f"  {name}: {{{_DEVICES[name].format(port=port, columns=columns)},")
            points = ", ".join(
                f"GGIO1/AnIn{n + 1}: {{{_LINES[name].format(one=n + 1, zero=n)}}}" for n in range(device.points)
            )
            sections.append(f"    at: {{MV1/{_BAYS[name]}: {{points: {{{points}}}}}}}}}")
        (self.folder / "m.yaml").write_text("\n".join(sections) + "\n")

    async def attend(self) -> None:
        """Wait for the gateway and let the SCADA client subscribe; one client a life of the gateway."""
        await self.gateway.ready()
        self.lives += 1
        url = f"opc.tcp://127.0.0.1:{self.gateway.opcua}"
        name = f"opcua-{self.lives}"
        self.client = Process(
            name, [node_opcua(), HERE / "opcua_client.js", url, f"{name}.got", self.list], self.folder
        )
        self.client.start()
        await self.client.ready()

    async def bereave(self) -> None:
        """The gateway has been killed: its client takes what is still under way, then goes."""
        assert self.client is not None
        client = self.client
        await until(lambda: not client.running, what="the client notices that the gateway is gone")
        client.stop()

    async def leave(self) -> None:
        """The client goes as it should; what it got is in its file."""
        assert self.client is not None
        client, self.client = self.client, None
        assert client.process.stdin is not None
        client.process.stdin.close()
        await until(lambda: not client.running, what="the client leaves")
        client.stop()

    async def stop(self) -> None:
        for each in (self.client, self.mqtt):
            if each is not None:
                each.stop()
        if self.gateway.running:
            await asyncio.to_thread(self.gateway.terminate, 20)
        self.broker.kill()
        for device in self.devices.values():
            device.process.stop()
            await device.wire.stop()
