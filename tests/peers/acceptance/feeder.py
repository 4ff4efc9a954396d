"""One small feeder: a device of each protocol, a broker and the gateway, each in a process of its own."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from peers.acceptance.processes import ROOT, OpcUaClient, Simulator, Talker
from peers.acceptance.tap import Tap
from peers.ports import free_port
from peers.waiting import wait_until

OPERATOR = {"secure": True, "user": "olga", "password": "olga's password"}
OBSERVER = {"secure": True, "user": "otto", "password": "otto's password"}

BAY61850 = "dso1/north/PS01/MV1/F07"
BAY104 = "dso1/north/PS01/MV1/F05"
SLOW104 = "dso1/north/PS01/MV1/F06"
METER = "dso1/north/SP000417/LV1/_/M1"
SENSOR = "dso1/north/PS01/MV1/C02/TA1"
SYSTEM = "dso1/_sys/gw1"
DEVICES = {"ied": "iec61850", "rtu": "iec104", "meter": "dlms", "sensor": "coap"}
LINK = {name: f"{SYSTEM}/_/_/{name}" for name in DEVICES}
STATE_TOPIC = f"twin/s/{SYSTEM}"

MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  ied:
    protocol: iec61850
    host: 127.0.0.1
    port: {ied}
    ied: F07Q1
    at: {MV1/F07: {use: feeder-bay-61850}}
  rtu:
    protocol: iec104
    host: 127.0.0.1
    port: {rtu}
    common_address: 7
    t1: 5 s
    t2: 2 s
    t3: 5 s
    at:
      MV1/F05:
        use: feeder-bay-104
        with: {ioa: 1000}
        points:
          MMXU1/TotW: {deadband: null}
          QA2/CSWI1/Pos:
            {ioa: 1050, type: M_DP_TB_1,
             control: {ioa: 5050, type: C_DC_NA_1, model: direct-normal, absent: [Loc, CILO]}}
      MV1/F06:
        points:
          QA1/CSWI1/Pos:
            {ioa: 1150, type: M_DP_TB_1,
             control: {ioa: 5150, type: C_DC_NA_1, model: direct-normal, absent: [Loc, CILO]}}
  meter:
    protocol: dlms
    host: 127.0.0.1
    port: {meter}
    poll: 1 s
    place: north/SP000417
    at: {LV1/_/M1: {use: single-phase-meter}}
  sensor:
    protocol: coap
    uri: coap://127.0.0.1:{sensor}
    timeout: 2 s
    ack_timeout: 500 ms
    keepalive: 2 s
    at:
      MV1/C02:
        points:
          TA1/STMP1/Tmp: {path: /senml, name: temp, unit: Cel, stale_after: 5 s}
"""

RTU = """\
stations:
- common_address: 7
  points:
  - {ioa: 1000, type: M_DP_TB_1, value: 2}
  - {ioa: 1001, type: M_DP_TB_1, value: 2}
  - {ioa: 1002, type: M_DP_TB_1, value: 2}
  - {ioa: 1003, type: M_ST_TB_1, value: 1}
  - {ioa: 1004, type: M_DP_TB_1, value: 1}
  - {ioa: 1005, type: M_SP_TB_1, value: 0}
  - {ioa: 1006, type: M_SP_TB_1, value: 1}
  - {ioa: 1007, type: M_SP_TB_1, value: 1}
  - {ioa: 1010, type: M_ME_TF_1, value: 1200, walk: 15, low: 0, high: 4000, every: 0.2}
  - {ioa: 1011, type: M_ME_TF_1, value: 300}
  - {ioa: 1012, type: M_ME_TF_1, value: 50}
  - {ioa: 1013, type: M_ME_TF_1, value: 51}
  - {ioa: 1014, type: M_ME_TF_1, value: 52}
  - {ioa: 1015, type: M_ME_TF_1, value: 20.1}
  - {ioa: 1016, type: M_ME_TF_1, value: 20.2}
  - {ioa: 1017, type: M_ME_TF_1, value: 20.3}
  - {ioa: 1040, type: M_SP_TB_1, value: 0}
  - {ioa: 1041, type: M_SP_TB_1, value: 0}
  - {ioa: 1042, type: M_SP_TB_1, value: 0}
  - {ioa: 1050, type: M_DP_TB_1, value: 2}
  - {ioa: 1150, type: M_DP_TB_1, value: 1}
  commands:
  - {ioa: 5000, type: C_DC_NA_1, model: sbo, moves: 1000, travel: 0.3}
  - {ioa: 5150, type: C_DC_NA_1, model: direct, moves: 1150, travel: 2.5}
  - {ioa: 5050, type: C_DC_NA_1, model: direct, refuse: true}
"""

METERS = """\
port: {meter}
meters:
  m1:
    registers:
      1-0:1.8.0: {value: 123456, unit: Wh, rate: 5}
      1-0:16.7.0: {value: 1520, unit: W}
      1-0:32.7.0: {value: 230.1, unit: V, scaler: -1}
      1-0:31.7.0: {value: 6.6, unit: A, scaler: -1}
"""

SENSORS = """\
devices:
  sensor:
    port: {sensor}
    resources:
      /senml:
        format: senml+cbor
        base_name: "urn:dev:mac:0024befffe804ff1/"
        max_age: 5
        period: 0.5 s
        time: true
        records: {temp: {unit: Cel, value: 41.0, walk: 0.2, low: 15, high: 90}}
"""

CONFIG = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [{templates}, station.yaml]
opcua: {port: {opcua}, anonymous: observe, trust_any_client: true}
http: {port: {http}}
mqtt: {port: {broker}, reconnect_min: 0.1, reconnect_max: 0.5, connect_timeout: 2}
commands: {feedback_timeout: 8, min_interval: 0.2}
"""


class Subscriber(Talker):
    """mosquitto_sub as people call it: `topic payload` lines.

    Attributes:
        last: the newest payload by topic, None where the topic was emptied.
        all: every (topic, payload), in order.
    """

    def __init__(self, port: int, folder: Path, name: str = "mosquitto_sub", *arguments: str) -> None:
        command = (_program("mosquitto_sub"), "-h", "127.0.0.1", "-p", port, "-q", 1, "-v", "-t", "twin/#", *arguments)
        super().__init__(name, command, folder)
        self.last: dict[str, Any] = {}
        self.all: list[tuple[str, Any]] = []

    def heard(self, line: str) -> None:
        topic, _, payload = line.partition(" ")
        content = json.loads(payload) if payload not in {"", "(null)"} else None
        self.last[topic] = content
        self.all.append((topic, content))

    def of(self, kind: str) -> dict[str, Any]:
        """Newest payload of each topic of one class, by address."""
        head = f"twin/{kind}/"
        return {topic.removeprefix(head): each for topic, each in list(self.last.items()) if topic.startswith(head)}


class Broker(Talker):
    """mosquitto on a port of its own, with nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        config = folder / "mosquitto.conf"
        user = pwd.getpwuid(os.getuid()).pw_name
        config.write_text(f"user {user}\npersistence false\nlistener {self.port} 127.0.0.1\nallow_anonymous true\n")
        super().__init__("mosquitto", (_program("mosquitto"), "-c", config), folder)

    def start(self) -> None:
        super().start()
        wait_until(self._listens, 10, self.complaint)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Gateway(Talker):
    """`python -m twin_gateway run gateway.yaml`."""

    def __init__(self, folder: Path, opcua: int, http: int, config: str = "gateway.yaml") -> None:
        super().__init__("gateway", (sys.executable, "-m", "twin_gateway", "run", config), folder)
        self.url, self.http_port = f"opc.tcp://127.0.0.1:{opcua}", http
        self._http = f"http://127.0.0.1:{http}"

    def start(self, seconds: float = 20.0) -> None:
        super().start()
        wait_until(self._serves, seconds, self.complaint)

    def start_only(self) -> None:
        """Start without waiting for it to serve."""
        super().start()

    def _serves(self) -> bool:
        assert self.running, self.complaint()
        try:
            return bool(self.health())
        except OSError:
            return False

    def page(self, path: str) -> str:
        with urllib.request.urlopen(self._http + path, timeout=5) as answer:
            return str(answer.read().decode())

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.page("/healthz"))
        return found

    def metrics(self) -> dict[str, float]:
        """`name{labels}` -> value."""
        lines = (line for line in self.page("/metrics").splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


class Feeder:
    """Everything of one feeder; nothing runs until it is started.

    Attributes:
        devices: the simulators by the name of their link.
        taps: what listens in between, for the devices that speak TCP.
    """

    def __init__(self, folder: Path, *, tapped: bool = False) -> None:
        self.folder = folder
        self.broker = Broker(folder)
        ports: dict[str, object] = {"broker": self.broker.port, "opcua": free_port(), "http": free_port()}
        for name, protocol in DEVICES.items():
            ports[name] = free_port(socket.SOCK_DGRAM if protocol == "coap" else socket.SOCK_STREAM)
        ports["templates"] = ROOT / "mappings" / "templates"
        files = {"station": MAPPING, "gateway": CONFIG, "rtu": RTU, "meters": METERS, "sensors": SENSORS}
        # The gateway reaches the devices through a tap where one is asked for.
        self.taps = {name: Tap(int(str(ports[name]))) for name in DEVICES if tapped and name != "sensor"}
        through = ports | {name: tap.port for name, tap in self.taps.items()}
        for name, text in files.items():
            for key, value in (through if name == "station" else ports).items():
                text = text.replace(f"{{{key}}}", str(value))
            (folder / f"{name}.yaml").write_text(text)
        scl = ROOT / "mappings/demo/scl/F07Q1.cid"
        self.devices = {
            "ied": Simulator("ied", "iec61850", folder, scl, "--port", ports["ied"]),
            "rtu": Simulator("rtu", "iec104", folder, folder / "rtu.yaml", "--port", ports["rtu"]),
            "meter": Simulator("meter", "dlms", folder, folder / "meters.yaml"),
            "sensor": Simulator("sensor", "coap", folder, folder / "sensors.yaml"),
        }
        self.gateway = Gateway(folder, int(str(ports["opcua"])), int(str(ports["http"])))
        self._others: list[Talker] = []

    def add_users(self) -> None:
        """Make the user file with the command that people use."""
        for who, role in ((OPERATOR, "Operator"), (OBSERVER, "Observer")):
            command = (sys.executable, "-m", "twin_gateway", "user", "add", str(who["user"]), "--role", role)
            subprocess.run(
                (*command, "--password-stdin"),
                input=f"{who['password']}\n",
                text=True,
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                timeout=30,
                check=True,
            )

    def start_devices(self) -> None:
        for device in self.devices.values():
            Talker.start(device)  # all at a time; each takes about a second to import what it needs
        for device in self.devices.values():
            wait_until(lambda device=device: device.said("ready"), 30, device.complaint)

    def start(self) -> None:
        self.add_users()
        self.broker.start()
        self.start_devices()
        self.gateway.start()
        self.settle()

    def settle(self, seconds: float = 20.0) -> None:
        """Wait until all links are up."""
        wait_until(lambda: not self.gateway.health()["links_down"], seconds, self.gateway.health)

    def client(self, name: str, **how: Any) -> OpcUaClient:
        """A connected OPC UA client; it ends with the feeder."""
        client = OpcUaClient(name, self.folder)
        self._others.append(client)
        client.connect(self.gateway.url, **how)
        return client

    def subscriber(self, name: str = "mosquitto_sub") -> Subscriber:
        """mosquitto_sub on everything; it ends with the feeder."""
        subscriber = Subscriber(self.broker.port, self.folder, name)
        self._others.append(subscriber)
        subscriber.start()
        return subscriber

    def audit(self) -> list[dict[str, Any]]:
        """The records of the audit journal, oldest first."""
        with sqlite3.connect(f"file:{self.folder}/data/audit.sqlite?mode=ro", uri=True) as database:
            database.row_factory = sqlite3.Row
            rows = [dict(row) for row in database.execute("SELECT * FROM audit ORDER BY id")]
        database.close()
        return [row | {"details": json.loads(row["details"])} for row in rows]

    def stop(self) -> None:
        for one in (*self._others, self.gateway, *self.devices.values(), self.broker):
            one.stop()
        for tap in self.taps.values():
            tap.close()


def owner(address: str) -> str:
    """The device that an address of the feeder belongs to; empty for the gateway's own."""
    places = {BAY61850: "ied", BAY104: "rtu", SLOW104: "rtu", METER: "meter", SENSOR: "sensor"}
    return next((name for place, name in places.items() if address.startswith(f"{place}/")), "")


def recently(seconds_ago: float) -> float:
    """A Unix time a little while ago, on a whole millisecond."""
    return round(time.time() - seconds_ago, 3)


def _program(name: str) -> str:
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
