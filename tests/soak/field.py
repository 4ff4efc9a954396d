"""The field of the soak: devices on wires, a broker, the gateway and its clients, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from integration.mqtt.brokers import Broker, mosquitto
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


class Process:
    """A process that says {"ready": true} on stdout; what it says on stderr goes to a file through us."""

    def __init__(self, name: str, command: list[object], folder: Path, **environment: str) -> None:
        self.name, self.command, self.folder = name, [str(part) for part in command], folder
        self.environment = (
            os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (HERE, TESTS, TESTS.parent)))} | environment
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.said: list[dict[str, object]] = []

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.said = []
        # Files of its own may be forbidden to grow: what it says goes through a pipe.
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder,
            env=self.environment,
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=self._listen, args=(self.process, self.said), daemon=True),
            threading.Thread(target=self._log, args=(self.process,), daemon=True),
        ]
        for each in self._readers:
            each.start()

    def _listen(self, process: subprocess.Popen[bytes], said: list[dict[str, object]]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"{"):
                said.append(json.loads(line))  # noqa: PERF401  # others look meanwhile

    def _log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with (self.folder / f"{self.name}.log").open("ab") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()

    async def ready(self) -> None:
        await until(lambda: any("ready" in line for line in self.said) or not self.running, what=f"{self.name} ready")
        assert self.running, f"{self.name} ended: {self.said} {self.complaint()}"

    def complaint(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-3000:]

    def order(self, **order: object) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGKILL) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            if stream is self.process.stdin:
                stream.close()
        for each in self._readers:
            each.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()  # type: ignore[union-attr]  # a pipe, see above
        self.process = None


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
        for name, (rate, points) in rates.items():
            port = free_port()
            ledger = folder / f"{name}.ledger"
            wire = DatagramWire(port) if name == "coap" else StreamWire(port)
            command: list[object] = [sys.executable, HERE / f"{name}_device.py", port, ledger, points, rate]
            process = Process(name, command, folder)
            self.devices[name] = Device(name, process, wire, ledger, len(self.nodes), points)
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
        for device in self.devices.values():
            await device.wire.start()
            if device.name == "dlms":
                device.process.command[2] = str(device.wire.port)
            device.process.start()
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
            # a meter calls the gateway, all others are called
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
        client.end()

    async def leave(self) -> None:
        """The client goes as it should; what it got is in its file."""
        assert self.client is not None
        client, self.client = self.client, None
        await asyncio.to_thread(_close, client)

    async def stop(self) -> None:
        if self.client is not None:
            await self.leave()
        await asyncio.to_thread(self.mqtt.end)
        await asyncio.to_thread(self.gateway.end, signal.SIGTERM)
        self.broker.kill()
        for device in self.devices.values():
            await asyncio.to_thread(device.process.end)
            await device.wire.stop()


def _close(client: Process) -> None:
    assert client.process is not None and client.process.stdin is not None
    client.process.stdin.close()
    deadline = time.monotonic() + 10
    while client.running and time.monotonic() < deadline:
        time.sleep(0.05)
    client.end()
