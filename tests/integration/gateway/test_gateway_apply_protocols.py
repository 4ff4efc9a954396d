"""A changed mapping on live associations of IEC 61850, DLMS and CoAP: what is added, dropped and changed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from peers.acceptance.processes import ROOT, Simulator
from peers.gateway_config import gateway_config
from peers.ports import free_port
from peers.waiting import until

from twin_gateway.drivers.link import Backoff
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check

pytestmark = pytest.mark.asyncio(loop_scope="module")
METER = """\
port: {port}
meters:
  m1:
    registers:
      1-0:1.7.0: {value: 1000, unit: W}
      1-0:14.7.0: {value: 50, unit: Hz}
"""
SENSOR = """\
devices:
  s1:
    port: {port}
    resources:
      /p: {text: 1000, max_age: 60}
      /f: {format: senml+json, max_age: 60, time: true, records: {hz: {unit: Hz, value: 50}}}
"""
HEAD = "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n"
DEVICE = {
    "ied": "protocol: iec61850, host: 127.0.0.1, port: {port}, ied: F07Q1, poll: 300 ms, data_sets: false",
    "meter": "protocol: dlms, host: 127.0.0.1, port: {port}, poll: 200 ms",
    "sensor": "protocol: coap, uri: 'coap://127.0.0.1:{port}', timeout: 2 s, keepalive: 5 s",
}
NEIGHBOUR = {
    "ied": "{ref: LD0/MMXU1.TotW}",
    "meter": "{obis: 1-0:1.7.0}",
    "sensor": "{path: /p, unit: W}",
}
NEWCOMER = {
    "ied": "{ref: LD0/MMXU1.Hz}",
    "meter": "{obis: 1-0:14.7.0}",
    "sensor": "{path: /f, name: hz}",
}
HZ_ORDER: dict[str, dict[str, Any]] = {
    "ied": {"ref": "LD0/MMXU1.Hz"},
    "meter": {"meter": "m1", "obis": "1-0:14.7.0"},
    "sensor": {"path": "/f", "name": "hz"},
}
POWER_ORDER: dict[str, dict[str, Any]] = {
    "ied": {"ref": "LD0/MMXU1.TotW"},
    "meter": {"meter": "m1", "obis": "1-0:1.7.0"},
    "sensor": {"path": "/p"},
}
POWER_GAIN = {"ied": 1000.0, "meter": 1.0, "sensor": 1.0}
PACE_S = 0.06
ENOUGH = 12
PROTOCOLS = ("ied", "meter", "sensor")


@dataclass
class Field:
    """The devices, the gateway, and the mapping that is changed."""

    folder: Path
    ports: dict[str, int]
    simulators: dict[str, Simulator]
    gateway: Gateway | None = None
    points: dict[str, dict[str, str]] = field(default_factory=dict)

    def write(self) -> Any:
        text = HEAD
        for name, section in DEVICE.items():
            text += f"  {name}:\n    {{" + section.replace("{port}", str(self.ports[name])) + ", at: {"
            lines = ", ".join(f"{function}: {source}" for function, source in self.points.get(name, {}).items())
            text += f"MV1/{name}: {{points: {{{lines}}}}}}}}}\n" if lines else "}}\n"
        path = self.folder / "station.yaml"
        path.write_text(text)
        mapping, problems = check([path])
        assert mapping is not None, [str(problem) for problem in problems]
        return mapping

    @property
    def works(self) -> Gateway:
        assert self.gateway is not None
        return self.gateway

    async def apply(self, name: str, **points: str) -> None:
        """Let a device have these points, `MMXU1_Hz` for `MMXU1/Hz`."""
        self.points[name] = {function.replace("_", "/"): source for function, source in points.items()}
        await self.works.apply(self.write())

    def row(self, name: str, function: str) -> int:
        return self.works.table.find(f"dso1/north/PS01/MV1/{name}/_/{function}")

    def value(self, name: str, function: str) -> Any:
        row = self.row(name, function)
        return self.works.table.value(row) if row >= 0 and self.works.table.status[row] == 0 else None

    def link(self, name: str) -> Any:
        return next(link for link in self.works.plant.links if link.name == name)

    def wire(self, name: str, octets: bytes, *, sent: bool, since: int = 0) -> int:
        """How many records of the wire since then have these octets."""
        records = self.link(name).ring.records()
        return sum(octets in each.octets for each in records if each.sent is sent and each.time > since)


class Stream:
    """Values that a device sends of the neighbour of what is changed, and what the table was told of them."""

    def __init__(self, field: Field, name: str) -> None:
        self._field, self._name = field, name
        self._row = field.row(name, "MMXU1/TotW")
        self._cursor = field.works.table.journal.cursor("test")
        self._connects = field.link(name).counters["connects"]
        self._sent = 0
        self._began = time.time_ns()
        self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while True:
            await asyncio.sleep(PACE_S)
            self._sent += 1
            order = POWER_ORDER[self._name]
            self._field.simulators[self._name].order(**order, value=2000 + self._sent)

    async def goes_on(self) -> None:
        """The values have come in order, Good, up to the last, and by reports each of them.

        A meter is polled, and a sensor that is busy notifies of its newest value only (RFC 7641, 1.3): its observation
        is the one of before.
        """
        await until(lambda: self._sent >= ENOUGH)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        name = self._name
        last = (2000 + self._sent) * POWER_GAIN[name]
        await until(lambda: self._field.value(name, "MMXU1/TotW") == last)
        seen: list[float] = []
        for chunk in self._cursor.take():
            for place in (chunk.rows == self._row).nonzero()[0].tolist():
                assert chunk.status[place] == 0, hex(int(chunk.status[place]))
                seen.append(float(chunk.raw[place : place + 1].view("float64")[0]))
        self._cursor.close()
        numbers = [value / POWER_GAIN[name] for value in seen if value >= 2000 * POWER_GAIN[name]]
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 1, numbers  # a meter is polled some times meanwhile
        if name == "ied":
            assert numbers == [2001 + number for number in range(self._sent)]
        assert self._field.wire("sensor", b"\xb1p", sent=True, since=self._began) == 0
        assert self._field.link(name).counters["connects"] == self._connects


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Field]:
    folder = tmp_path_factory.mktemp("protocols")
    ports = {"ied": free_port(), "meter": free_port(), "sensor": free_port(socket.SOCK_DGRAM)}
    for name, text in (("meter", METER), ("sensor", SENSOR)):
        (folder / f"{name}.yaml").write_text(text.replace("{port}", str(ports[name])))
    ied = (ROOT / "mappings/demo/scl/F07Q1.cid", "--port", ports["ied"], "--still")
    simulators = {
        "ied": Simulator("ied", "iec61850", folder, *ied),
        "meter": Simulator("meter", "dlms", folder, folder / "meter.yaml"),
        "sensor": Simulator("sensor", "coap", folder, folder / "sensor.yaml"),
    }
    made = Field(folder, ports, simulators)
    config = gateway_config(folder, history={"enabled": False})
    try:
        await asyncio.gather(*(asyncio.to_thread(each.start) for each in simulators.values()))
        made.points = {name: {"MMXU1/TotW": NEIGHBOUR[name]} for name in PROTOCOLS}
        made.gateway = Gateway(config, made.write(), {}, backoff=Backoff(0.1, 0.5, 0.1))
        await made.gateway.start()
        yield made
    finally:
        if made.gateway is not None:
            await made.gateway.stop()
        for each in simulators.values():
            await asyncio.to_thread(each.stop)


@pytest_asyncio.fixture(loop_scope="module")
async def plant(shared: Field) -> Field:
    for name in PROTOCOLS:
        for order, number in ((POWER_ORDER, 1000), (HZ_ORDER, 50)):
            shared.simulators[name].order(**order[name], value=number)
        await shared.apply(name, MMXU1_TotW=NEIGHBOUR[name])
        await until(lambda name=name: shared.value(name, "MMXU1/TotW") == 1000 * POWER_GAIN[name])
    return shared


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_a_point_that_is_added_has_its_value_at_once_and_one_that_is_removed_is_not_asked_for(
    plant: Field, name: str
) -> None:
    stream = Stream(plant, name)
    await asyncio.sleep(3 * PACE_S)
    await plant.apply(name, MMXU1_TotW=NEIGHBOUR[name], MMXU1_Hz=NEWCOMER[name])
    # Its value does not change meanwhile: it comes because it is asked for.
    await until(lambda: plant.value(name, "MMXU1/Hz") == 50.0, 2)
    await asyncio.sleep(3 * PACE_S)
    await plant.apply(name, MMXU1_TotW=NEIGHBOUR[name])
    assert plant.row(name, "MMXU1/Hz") < 0
    await asyncio.sleep(5 * PACE_S)
    await stream.goes_on()


async def test_the_observation_of_a_removed_point_is_cancelled(plant: Field) -> None:
    await plant.apply("sensor", MMXU1_TotW=NEIGHBOUR["sensor"], MMXU1_Hz=NEWCOMER["sensor"])
    await until(lambda: plant.value("sensor", "MMXU1/Hz") == 50.0)
    plant.simulators["sensor"].order(path="/f", name="hz", value=50.25)
    await until(lambda: plant.value("sensor", "MMXU1/Hz") == 50.25)
    await plant.apply("sensor", MMXU1_TotW=NEIGHBOUR["sensor"])
    await asyncio.sleep(0.1)
    plant.simulators["sensor"].order(path="/f", name="hz", value=51.625)
    plant.simulators["sensor"].order(path="/p", value=1001)
    await until(lambda: plant.value("sensor", "MMXU1/TotW") == 1001.0)
    assert plant.wire("sensor", b"50.25", sent=False) > 0
    assert plant.wire("sensor", b"51.625", sent=False) == 0


async def test_a_removed_register_is_not_read_any_more(plant: Field) -> None:
    wanted = bytes((1, 0, 14, 7, 0, 255))
    await plant.apply("meter", MMXU1_TotW=NEIGHBOUR["meter"], MMXU1_Hz=NEWCOMER["meter"])
    await until(lambda: plant.value("meter", "MMXU1/Hz") == 50.0)
    assert plant.wire("meter", wanted, sent=True) > 0
    await plant.apply("meter", MMXU1_TotW=NEIGHBOUR["meter"])
    polls = plant.link("meter").counters["polls"]
    await until(lambda: plant.link("meter").counters["polls"] > polls + 1)
    since = plant.link("meter").ring.records()[-1].time
    await until(lambda: plant.link("meter").counters["polls"] > polls + 4)
    assert plant.wire("meter", bytes((1, 0, 1, 7, 0, 255)), sent=True, since=since) > 0
    assert plant.wire("meter", wanted, sent=True, since=since) == 0


async def test_what_no_report_brings_is_polled_while_it_is_mapped(plant: Field) -> None:
    await plant.apply("ied", MMXU1_TotW=NEIGHBOUR["ied"], XSWI1_OpCnt="{ref: LD0/XSWI1.OpCnt}")
    await until(lambda: plant.value("ied", "XSWI1/OpCnt") is not None, 2)
    asked = plant.wire("ied", b"XSWI1$ST$OpCnt", sent=True)
    await until(lambda: plant.wire("ied", b"XSWI1$ST$OpCnt", sent=True) > asked + 1)
    await plant.apply("ied", MMXU1_TotW=NEIGHBOUR["ied"])
    since = plant.link("ied").ring.records()[-1].time
    await asyncio.sleep(0.8)
    assert plant.wire("ied", b"XSWI1$ST$OpCnt", sent=True, since=since) == 0


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_a_changed_scale_shows_the_present_value_with_the_time_of_the_device(plant: Field, name: str) -> None:
    await plant.apply(name, MMXU1_TotW=NEIGHBOUR[name], MMXU1_Hz=NEWCOMER[name])
    await until(lambda: plant.value(name, "MMXU1/Hz") == 50.0)
    row, table = plant.row(name, "MMXU1/Hz"), plant.works.table
    before = int(table.source_time[row])
    cursor = table.journal.cursor("test")
    await plant.apply(name, MMXU1_TotW=NEIGHBOUR[name], MMXU1_Hz=NEWCOMER[name][:-1] + ", scale: 2}")
    assert plant.row(name, "MMXU1/Hz") == row
    await until(lambda: plant.value(name, "MMXU1/Hz") == 100.0, 2)
    told = [chunk for chunk in cursor.take() if row in chunk.rows]
    cursor.close()
    assert int(told[0].source_time[(told[0].rows == row).nonzero()[0][0]]) == before
    assert {float(chunk.raw.view("float64")[(chunk.rows == row).nonzero()[0][0]]) for chunk in told} == {100.0}


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_a_smaller_deadband_shows_what_the_larger_one_hid(plant: Field, name: str) -> None:
    stream = Stream(plant, name)
    wide, narrow = (NEWCOMER[name][:-1] + f", deadband: {width} Hz}}" for width in (5, 0.1))
    await plant.apply(name, MMXU1_TotW=NEIGHBOUR[name], MMXU1_Hz=wide)
    await until(lambda: plant.value(name, "MMXU1/Hz") == 50.0)
    hidden = plant.works.table.counters.in_deadband
    plant.simulators[name].order(**HZ_ORDER[name], value=51)
    await until(lambda: plant.works.table.counters.in_deadband > hidden)
    assert plant.value(name, "MMXU1/Hz") == 50.0
    await plant.apply(name, MMXU1_TotW=NEIGHBOUR[name], MMXU1_Hz=narrow)
    await until(lambda: plant.value(name, "MMXU1/Hz") == 51.0, 2)
    await stream.goes_on()
