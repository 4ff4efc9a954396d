"""CoAP devices from a YAML file: text and SenML resources that move, can be observed, and are steered by JSON lines.

    python -m twin_gateway.simulate.coap sensors.yaml

    devices:
      sensor-t1:
        port: 5683                  # 0: any free port; host is 127.0.0.1 unless said
        resources:
          /temp: {text: 21.5, walk: 0.2, low: 15, high: 40, max_age: 60, period: 2 s, rt: temperature}
          /senml:
            format: senml+cbor      # or senml+json, the default
            base_name: "urn:dev:mac:0024befffe804ff1/"
            max_age: 30
            period: 1 s             # how often the values move; without it they stay
            time: true              # records say their time
            records:
              temp: {unit: Cel, value: 21.0, walk: 0.1, low: 15, high: 40}
              flt: {value: false}
          /state: {json: {flt: false, battery: {level: 0.9}}}

When all devices listen, one line goes to stdout: {"ready": true, "ports": {"sensor-t1": 5683}}. Each line of stdin is
an order: {"device": …, "path": "/senml", "name": "temp", "value": 23.5} (device may be left out when there is only one;
"name" is a SenML record or a JSON pointer); {"path": …, "code": "4.04"} makes a resource refuse, "2.05" answer again;
{"path": …, "raw": "5b", "format": 110} makes it send these octets. {"device": …, "silent": true} takes a device off the
network, {"device": …, "clock": 30} sets its clock wrong by so many seconds. An order stops the resource's own movement
of that value. The end of stdin ends nothing; SIGTERM ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiocoap
import cbor2
import yaml
from aiocoap import resource
from aiocoap.numbers.codes import Code

from twin_gateway.durations import duration

_LABELS = {"bn": -2, "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "t": 6}
_CONFIRMABLE_EVERY = 16  # RFC 7641 4.5: a notification must be confirmable now and then, to find dead observers


class SimulationError(ValueError):
    """A file or an order that cannot be carried out; the message says why."""


class Moving:
    """A value that walks between limits until it is steered."""

    def __init__(self, spec: Mapping[str, Any], key: str = "value") -> None:
        self.value: Any = spec.get(key)
        self.unit = spec.get("unit")
        self._walk = float(spec.get("walk", 0.0))
        self._low = float(spec.get("low", float("-inf")))
        self._high = float(spec.get("high", float("inf")))

    def steer(self, value: object) -> None:
        """Set the value; it moves by itself no more."""
        self.value = value
        self._walk = 0.0

    def move(self) -> bool:
        """One step; whether the value is another one now."""
        if not self._walk or isinstance(self.value, bool | str) or self.value is None:
            return False
        stepped = self.value + random.gauss(0.0, self._walk)
        self.value = round(min(max(stepped, self._low), self._high), 4)
        return True


class SimulatedResource(resource.ObservableResource):  # type: ignore[misc]  # aiocoap has no types
    """One resource of a device: text, JSON or a SenML pack."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self._max_age = spec.get("max_age")
        self._format = str(spec.get("format", "senml+json"))
        self._base_name = str(spec.get("base_name", ""))
        self._timed = bool(spec.get("time", False))
        self._tree = spec.get("json")
        self._text = Moving(spec, "text") if "text" in spec else None
        self._records = {str(name): Moving(one) for name, one in spec.get("records", {}).items()}
        self._code = Code.CONTENT
        self._raw: tuple[bytes, int] | None = None
        self._sent = 0
        self.clock = 0.0
        self.period = duration(str(spec["period"])) if "period" in spec else None
        self.rt = str(spec.get("rt", ""))
        self.content_format = 0 if self._text else 50 if self._tree is not None else self._senml_format()

    def steer(self, order: Mapping[str, Any]) -> None:
        """Carry out one order.

        Raises:
            KeyError: the order names something that is not here.
        """
        if "code" in order:
            kind, _, detail = str(order["code"]).partition(".")
            self._code = Code(int(kind) << 5 | int(detail))
        if "raw" in order:
            self._raw = bytes.fromhex(order["raw"]), int(order.get("format", 0))
        if "value" in order:
            self._raw = None
            if self._text is not None:
                self._text.steer(order["value"])
            elif self._tree is not None:
                self._steer_tree(str(order.get("name", "")), order["value"])
            else:
                self._records[str(order["name"])].steer(order["value"])
        self.updated_state()

    def move(self) -> None:
        """One step of every value; observers are told when one has changed."""
        moved = [one.move() for one in (*self._records.values(), *([self._text] if self._text else []))]
        if any(moved) or (self._timed and moved):
            self.updated_state()

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        """The present state."""
        self._sent += 1
        reliability = None if self._sent % _CONFIRMABLE_EVERY == 0 else False
        message = aiocoap.Message(code=self._code, transport_tuning=_Tuning(reliability))
        if not self._code.is_successful():
            return message
        message.payload, message.opt.content_format = self._raw or (self._body(), self.content_format)
        if self._max_age is not None:
            message.opt.max_age = int(self._max_age)
        return message

    def _body(self) -> bytes:
        if self._text is not None:
            value = self._text.value
            return (str(value).lower() if isinstance(value, bool) else str(value)).encode()
        if self._tree is not None:
            return json.dumps(self._tree).encode()
        pack = []
        for name, one in self._records.items():
            label = "vb" if isinstance(one.value, bool) else "vs" if isinstance(one.value, str) else "v"
            record: dict[str, Any] = {"n": name, label: one.value}
            if one.unit is not None:
                record["u"] = one.unit
            if self._timed:
                record["t"] = round(time.time() + self.clock, 3)
            pack.append(record)
        if self._base_name and pack:
            pack[0] = {"bn": self._base_name, **pack[0]}
        if self.content_format == 112:
            return cbor2.dumps([{_LABELS[key]: value for key, value in record.items()} for record in pack])
        return json.dumps(pack).encode()

    def _senml_format(self) -> int:
        known = {"senml+json": 110, "senml+cbor": 112}
        if self._format not in known:
            raise SimulationError(f"format {self._format!r} is none of {', '.join(known)}")
        return known[self._format]

    def _steer_tree(self, pointer: str, value: object) -> None:
        *way, last = pointer.strip("/").split("/")
        node = self._tree
        for step in way:
            node = node[step]  # type: ignore[index]  # the file says what the tree is
        if not isinstance(node, dict):
            raise KeyError(pointer)
        node[last] = value


class _Tuning(aiocoap.TransportTuning):  # type: ignore[misc]  # aiocoap has no types
    def __init__(self, reliability: bool | None) -> None:
        super().__init__()
        self.reliability = reliability


class _Core(resource.Resource):  # type: ignore[misc]  # aiocoap has no types
    """`/.well-known/core` in link format."""

    def __init__(self, resources: Mapping[str, SimulatedResource]) -> None:
        super().__init__()
        self._resources = resources

    async def render_get(self, _request: aiocoap.Message) -> aiocoap.Message:
        links = []
        for path, one in self._resources.items():
            kind = f';rt="{one.rt}"' if one.rt else ""
            links.append(f"<{path}>;ct={one.content_format};obs{kind}")
        return aiocoap.Message(payload=",".join(links).encode(), content_format=40)


class Device:
    """One simulated device: a port and its resources."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.host = str(spec.get("host", "127.0.0.1"))
        self.port = int(spec.get("port", 0))
        self._silent = False
        self.resources = {str(path): SimulatedResource(one or {}) for path, one in spec.get("resources", {}).items()}
        self._context: aiocoap.Context | None = None
        self._wanted = asyncio.Event()

    def silence(self, silent: bool) -> None:
        """Take the device off the network, or bring it back."""
        self._silent = silent
        self._wanted.set()

    async def keep(self) -> None:
        """Carry out what `silence` asks for, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._silent and self._context is not None:
                await self.stop()
            elif not self._silent and self._context is None:
                await self.start()

    async def start(self) -> None:
        """Listen; `port` is the real one afterwards."""
        site = resource.Site()
        site.add_resource([".well-known", "core"], _Core(self.resources))
        for path, one in self.resources.items():
            site.add_resource(path.strip("/").split("/"), one)
        self._context = await aiocoap.Context.create_server_context(
            site, bind=(self.host, self.port), transports=["simplesocketserver"]
        )
        pool = self._context.request_interfaces[0].token_interface.message_interface._pool
        self.port = int(pool._transport.get_extra_info("sockname")[1])

    async def move(self) -> None:
        """Move the values for ever, each resource at its own period."""
        moving = [one for one in self.resources.values() if one.period is not None]
        async with asyncio.TaskGroup() as group:
            for one in moving:
                group.create_task(self._move_one(one))

    @staticmethod
    async def _move_one(one: SimulatedResource) -> None:
        while True:
            await asyncio.sleep(one.period or 1.0)
            one.move()

    async def stop(self) -> None:
        """Close the port."""
        context, self._context = self._context, None
        if context is not None:
            await context.shutdown()


def load(text: str) -> dict[str, Device]:
    """Devices of a YAML text by name.

    Raises:
        SimulationError: the text is not of the form that the module describes.
    """
    tree = yaml.safe_load(text)
    if not isinstance(tree, dict) or not isinstance(tree.get("devices"), dict):
        raise SimulationError("the file must have a member 'devices' with the devices by name")
    return {str(name): Device(spec or {}) for name, spec in tree["devices"].items()}


def obey(devices: Mapping[str, Device], line: str) -> None:
    """Carry out one order of stdin.

    Raises:
        SimulationError, KeyError, ValueError: the line is no order, or names something that is not there.
    """
    order = json.loads(line)
    if not isinstance(order, dict):
        raise SimulationError("an order is a JSON object")
    device = devices[str(order["device"])] if "device" in order else next(iter(devices.values()))
    if "silent" in order:
        device.silence(bool(order["silent"]))
    elif "clock" in order:
        for one in device.resources.values():
            one.clock = float(order["clock"])
    else:
        device.resources[str(order["path"])].steer(order)


async def run(text: str) -> None:
    """Simulate the devices of a YAML text until the task is cancelled or SIGTERM comes."""
    devices = load(text)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def order(line: str) -> None:
        try:
            obey(devices, line)
        except (ValueError, KeyError, TypeError) as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}", "line": line.strip()[:200]}), flush=True)

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(order, line)

    try:
        for device in devices.values():
            await device.start()
        print(json.dumps({"ready": True, "ports": {name: one.port for name, one in devices.items()}}), flush=True)
        # A thread, because stdin may be a file or a terminal; it ends with the process.
        threading.Thread(target=read, daemon=True).start()
        movers = [asyncio.ensure_future(job()) for device in devices.values() for job in (device.move, device.keep)]
        await stopped.wait()
        for mover in movers:
            mover.cancel()
        await asyncio.gather(*movers, return_exceptions=True)
    finally:
        for device in devices.values():
            await device.stop()


def main(arguments: list[str] | None = None) -> int:
    """Command line: one YAML file."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m twin_gateway.simulate.coap FILE", file=sys.stderr)
        return 2
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(Path(given[0]).read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
