"""Readings of what no report brings: refusals become qualities, what spoils a reading is found by halves."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio
from open61850.data import BitStringData, IntData, StructureData, TimestampData, encode_data
from peers.wire_notes import WireNotes

from address_space import clock
from address_space.catalogue import ValueType
from address_space.quality import Quality
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.iec61850 import discovery, services
from twin_gateway.drivers.iec61850.config import Iec61850Config
from twin_gateway.drivers.iec61850.errors import MmsTimeout, ServiceError
from twin_gateway.drivers.iec61850.report import ReportDecoder
from twin_gateway.drivers.iec61850.scl import read_scl
from twin_gateway.drivers.iec61850.session import Session

BAY = Path(__file__).parents[3] / "mappings" / "demo" / "scl" / "F07Q1.cid"
REFERENCES = ("LD0/XCBR1.OpCnt", "LD0/XCBR1.Beh")
OK = int(Quality(0))


class Recorder(WireNotes):
    """A link that keeps the last value and quality of each row."""

    name = "ied"

    def __init__(self):
        self.data_directory = Path()
        self.counters = Counter()
        self.samples = {}

    def publish(self, batch):
        self.samples |= {
            int(row): (float(value), int(word) & 0xFF_FFFF)
            for row, value, word in zip(batch.rows, batch.values, batch.quality, strict=True)
        }

    def event(self, *_, **__):
        pass

    def count(self, counter, by=1):
        self.counters[counter] += by


class Bench:
    """A session that polls two points; `answer` is asked for each reading."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(services, "read_raw", self.read)
        monkeypatch.setattr(services, "read", self.constants)
        self.link, self.asked = Recorder(), []
        self.answer = lambda names: None
        self.session = Session(
            SimpleNamespace(pdu_size=65_000, local_address=None, abort=None), read_scl(BAY), link=self.link,
            config=Iec61850Config(host="x", reports=False), decoder=ReportDecoder(), entries=None, delivered={},
            counter=itertools.count(1), told=set(),
        )  # fmt: skip

    async def arrange(self):
        points = [BoundPoint(n, f"a{n}", "INS", ValueType.INT64, {"ref": of}) for n, of in enumerate(REFERENCES)]
        await self.session.arrange(points)

    async def read(self, _link, names):
        items = [name.item for name in names]
        self.asked.append(items)
        await asyncio.sleep(0)
        if (refusal := self.answer(items)) is not None:
            raise refusal
        stamp = TimestampData(clock.to_datetime(clock.from_unix(1_767_225_600)), 0)
        one = encode_data(StructureData([IntData(7), BitStringData(b"\0\0", 3), stamp]))
        return one * len(names), 0, len(one) * len(names)

    async def constants(self, _link, *names):
        items = [name.item for name in names]
        if (refusal := self.answer(items)) is not None:
            raise refusal
        return [IntData(0) for _ in names]


@pytest_asyncio.fixture
async def bench(monkeypatch):
    return Bench(monkeypatch)


@pytest.mark.parametrize(
    ("error_class", "word"),
    [(7, Quality.INVALID | Quality.CONFIGURATION_ERROR), (3, Quality.INVALID | Quality.FAILURE)],
)
async def test_reading_that_is_refused_as_a_whole_keeps_no_value_good(bench, error_class, word):
    await bench.arrange()
    assert bench.link.samples == {0: (7.0, OK), 1: (7.0, OK)}
    bench.answer = lambda items: ServiceError(error_class, 0) if "XCBR1$ST$OpCnt" in items else None
    await bench.session.poll()
    await bench.session.poll()
    assert bench.link.samples == {0: (7.0, int(word)), 1: (7.0, OK)}
    assert "a0" in bench.link.last_errors


async def test_two_readings_at_once_that_are_refused_are_divided_once(bench):
    await bench.arrange()
    bench.answer = lambda items: ServiceError(3, 0) if len(items) > 1 else None
    bench.asked.clear()
    await asyncio.gather(bench.session.poll(), bench.session.poll())
    bench.asked.clear()
    await bench.session.poll()
    assert sorted(map(len, bench.asked)) == [1, 1]


async def test_reading_that_is_not_answered_is_the_last_error_of_its_points(bench):
    await bench.arrange()
    bench.answer = lambda items: MmsTimeout("no answer within 4 s")
    await bench.session.poll()
    assert bench.link.counters["timeouts"] == 1
    assert bench.link.last_errors["a1"] == "cannot be read: no answer within 4 s"


async def test_block_that_is_read_instead_of_interrogated_is_read_in_as_many_parts_as_it_takes(bench):
    await bench.arrange()
    bench.answer = lambda items: ServiceError(3, 0) if len(items) > 1 else None
    bench.link.samples.clear()
    await bench.session._read_all(bench.session._polls[0])
    assert bench.link.samples == {0: (7.0, OK), 1: (7.0, OK)}


async def test_constant_that_spoils_the_reading_of_all_is_found_and_left_out(bench):
    wanted = [f"F07Q1LD0/MMXU1$CF$D{n}$units$multiplier" for n in range(9)]
    bench.answer = lambda items: ServiceError(7, 3) if any("D4$" in item for item in items) else None
    found = await discovery.read_constants(SimpleNamespace(pdu_size=65_000), wanted)
    assert found == {name: 0 for name in wanted if "D4$" not in name}


async def test_readings_that_are_arranged_anew_keep_the_last_values(bench):
    await bench.arrange()
    bench.session._arrange_polls({0, 1})
    bench.answer = lambda items: ServiceError(7, 3)
    for _ in range(2):
        await bench.session.poll()
    refused = int(Quality.INVALID | Quality.CONFIGURATION_ERROR)
    assert bench.link.samples == {0: (7.0, refused), 1: (7.0, refused)}
