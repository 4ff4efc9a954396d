"""Simulated GOOSE of an SCL file: every control block of an IED published on an interface, with faults by order.

    python -m twin_gateway.simulate.goose F07Q1.cid --interface eth1 [--ied NAME] [--source 02-00-00-00-00-07]

Needs the right to open raw sockets (root, CAP_NET_RAW). Addresses, APPID, VLAN, ConfRev, data set and the waits of the
repetitions (MinTime 4 ms, doubled up to MaxTime 1 s) come from the file. When it publishes, one line goes to stdout:
{"ready": true, "control_blocks": ["F07Q1LD0/LLN0$GO$gcbTrip"]}, and one for each new state that an order has made:
{"control_block": "F07Q1LD0/LLN0$GO$gcbTrip", "state": 2}. Each line of stdin is an order about data, as those of the
simulated IED (value, si, quality, time, restore, clock; see `simulate iec61850 --help`):

    {"ref": "LD0/XCBR1.Pos", "value": 2, "quality": "questionable"}

or about the messages of a control block, which may be left out where there is only one:

    {"control_block": "gcbTrip", "lose": 3}             the next 3 messages are lost on the way
    {"silent": true}                                    all of them, until {"silent": false}
    {"live": 20}                                        time allowed to live of 20 ms, however late the next one comes;
                                                        0: three times the wait until then
    {"skip": 2}                                         2 states are missing
    {"restart": true}                                   the device begins anew with stNum 1
    {"copies": 2}                                       each message comes twice; 1: once
    {"members": 1}                                      only the first member of the data set; 0: all of them
    {"conf_rev": 4, "data_set": "F07Q1LD0/LLN0$dsNew"}  another configuration; also go_id, reference, app_id, vlan,
                                                        destination, source
    {"simulation": true}, {"needs_commissioning": true}
    {"raw": "010CCD…"}                                  these octets as one frame

The end of stdin ends nothing; SIGTERM ends the process.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from open61850.data import IECData, TimestampData

from twin_gateway.drivers.iec61850.errors import ModelError
from twin_gateway.drivers.iec61850.scl import read_ieds
from twin_gateway.simulate.goose_publisher import NOT_SYNCHRONISED, SYNCHRONISED, Publisher
from twin_gateway.simulate.iec61850 import SimulatedIed, SimulationError

_NO_ADDRESS, _OWN_ADDRESS = "00:00:00:00:00:00", "02:00:00:00:00:01"


class SimulatedGoose:
    """The control blocks of an IED.

    Args:
        path: SCL file.
        ied: its name, where the file has several.
        source: MAC address of the device.

    Raises:
        SimulationError: the file has no such IED, no control block, or one without address or data set.
    """

    def __init__(self, path: Path, ied: str | None, *, source: str) -> None:
        self._ied = SimulatedIed(path, ied)
        self._clock = 0.0
        self.publishers: dict[str, Publisher] = {}
        self._members: dict[str, list[str]] = {}
        data = self._ied.data
        sets = {f"{name.domain}/{name.item}": members for name, members in data.data_sets.items()}
        try:
            blocks = [block for each in read_ieds(path) if each.name == self._ied.name for block in each.goose_controls]
            for block in blocks:
                members = sets.get(block.data_set_reference or "")
                if members is None:
                    raise SimulationError(f"{block.gocb_ref} has no data set {block.dat_set!r}")
                self._members[block.gocb_ref] = [f"{member.domain}/{member.item}" for member in members]
                self._stamp(self._members[block.gocb_ref])
                values = self._values(block.gocb_ref)
                publisher = self.publishers[block.gocb_ref] = Publisher(block.goose_control(source), values, self._now)
                publisher.frame(1)  # what cannot be encoded is said before anything is sent
        except (ModelError, ValueError) as error:
            raise SimulationError(str(error)) from error
        if not self.publishers:
            raise SimulationError(f"{self._ied.name} has no GOOSE control block")

    def start(self, now: float) -> None:
        """The first state of every control block is due."""
        for publisher in self.publishers.values():
            publisher.begin(now)

    def obey(self, order: Mapping[str, Any], now: float) -> tuple[list[str], bytes]:
        """Carry out one order of stdin; the control blocks that have a new state, and a frame to be sent as it is.

        Raises:
            SimulationError, KeyError, TypeError, ValueError: the order makes no sense.
        """
        if "ref" in order or "clock" in order:
            self._ied.obey(dict(order))
            if "clock" in order:
                self._clock = float(order["clock"])
                for publisher in self.publishers.values():
                    publisher.time_quality = SYNCHRONISED if order.get("synchronised", True) else NOT_SYNCHRONISED
            return [name for name, one in self.publishers.items() if one.change(self._values(name), now)], b""
        if "raw" in order:
            return [], bytes.fromhex(str(order["raw"]))
        name = self._named(str(order.get("control_block", "")))
        publisher = self.publishers[name]
        before = publisher.state
        publisher.obey(order, now)
        return [name] if publisher.state != before or order.get("restart") else [], b""

    def _named(self, text: str) -> str:
        found = [name for name in self.publishers if not text or name == text or name.endswith(f"${text}")]
        if len(found) != 1:
            raise SimulationError(f"{text!r} is not one of the control blocks {', '.join(self.publishers)}")
        return found[0]

    def _values(self, control_block: str) -> list[IECData]:
        return [self._ied.data.get(member) for member in self._members[control_block]]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self._clock, UTC)

    def _stamp(self, members: Sequence[str]) -> None:
        """The values of the file are as old as the device runs."""
        domains = {member.partition("/")[0] for member in members}
        for domain in domains:
            for item in self._ied.data.names(domain):
                name = f"{domain}/{item}"
                if item.endswith("$t") and any(name.startswith(f"{member}$") for member in members):
                    self._ied.data.set(name, TimestampData(self._now(), SYNCHRONISED))


def open_sender(interface: str) -> socket.socket:
    """A raw socket that sends on an interface and receives nothing.

    Raises:
        OSError: no such interface, or no right.
    """
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        opened.bind((interface, 0))
    except BaseException:
        opened.close()
        raise
    return opened


class _Wire:
    """The interface; while it is down what is sent is lost, as with a device's own."""

    def __init__(self, sender: socket.socket) -> None:
        self._sender = sender
        self._reason = ""

    def send(self, frame: bytes) -> None:
        """Send, and say once why it cannot be."""
        reason = ""
        try:
            self._sender.send(frame)
        except OSError as error:
            reason = str(error)
        if reason and reason != self._reason:
            _say({"error": reason})
        self._reason = reason


def publish(goose: SimulatedGoose, sender: socket.socket) -> None:
    """Publish until SIGTERM; orders come from stdin."""
    orders: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: orders.put(None))

    def listen() -> None:
        for line in sys.stdin:
            orders.put(line)

    wire = _Wire(sender)
    goose.start(time.monotonic())
    _say({"ready": True, "control_blocks": list(goose.publishers)})
    # A thread, because stdin may be a file or a terminal; it ends with the process.
    threading.Thread(target=listen, name="orders", daemon=True).start()
    while True:
        now = time.monotonic()
        for publisher in goose.publishers.values():
            for frame in publisher.messages(now):
                wire.send(frame)
        wait = min(publisher.due for publisher in goose.publishers.values()) - time.monotonic()
        try:
            line = orders.get(timeout=max(0.0, wait))
        except queue.Empty:
            continue
        if line is None:
            return
        try:
            order = json.loads(line)
            if not isinstance(order, dict):
                raise SimulationError("an order is a JSON object")
            changed, raw = goose.obey(order, time.monotonic())
            if raw:
                wire.send(raw)
        except (ValueError, KeyError, TypeError) as error:
            _say({"error": f"{type(error).__name__}: {error}", "line": line.strip()[:200]})
            continue
        for name in changed:
            _say({"control_block": name, "state": goose.publishers[name].state})


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line, separators=(",", ":")), flush=True)


def address_of(interface: str) -> str:
    """MAC address of an interface; one of our own where it has none (loopback)."""
    try:
        found = Path(f"/sys/class/net/{interface}/address").read_text("ascii").strip()
    except OSError:
        found = _NO_ADDRESS
    return found if len(found) == len(_NO_ADDRESS) and found != _NO_ADDRESS else _OWN_ADDRESS


def main(arguments: list[str] | None = None) -> int:
    """Command line of one simulated publisher."""
    parser = argparse.ArgumentParser(
        prog="twin-gateway simulate goose",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="SCL file (CID, ICD, SCD)")
    parser.add_argument("--interface", required=True, help="network interface of the station bus")
    parser.add_argument("--ied", help="name of the IED where the file has several")
    parser.add_argument("--source", help="MAC address of the publisher; that of the interface unless said")
    given = parser.parse_args(arguments)
    try:
        source = (given.source or address_of(given.interface)).replace("-", ":")
        goose = SimulatedGoose(given.file, given.ied, source=source)
    except (SimulationError, OSError) as error:
        print(f"{given.file}: {error}", file=sys.stderr)
        return 1
    try:
        sender = open_sender(given.interface)
    except OSError as error:
        print(f"{given.interface}: {error}", file=sys.stderr)
        return 1
    with sender:
        publish(goose, sender)
    return 0


if __name__ == "__main__":
    sys.exit(main())
