"""A scripted device with report blocks, and the reporting of the driver before it."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from open61850.data import (
    BitStringData,
    BoolData,
    IntData,
    OctetStringData,
    StructureData,
    TimestampData,
    UIntData,
    VisibleStringData,
    encode_data,
)
from peers.wire_notes import WireNotes

from address_space import clock
from twin_gateway.drivers.iec61850 import services
from twin_gateway.drivers.iec61850.config import Iec61850Config
from twin_gateway.drivers.iec61850.entries import Entry, EntryStore
from twin_gateway.drivers.iec61850.errors import DataAccessError
from twin_gateway.drivers.iec61850.plan import Signal
from twin_gateway.drivers.iec61850.report import ReportDecoder
from twin_gateway.drivers.iec61850.reporting import Reporting
from twin_gateway.drivers.iec61850.scl import read_scl

BAY = Path(__file__).parents[3] / "mappings" / "demo" / "scl" / "F07Q1.cid"
SET = "F07Q1LD0/LLN0$Status"
BLOCK = "F07Q1LD0/LLN0$BR$brStatus0"
COUNT = "F07Q1LD0/XCBR1$ST$OpCnt"
GI, CHANGE = 0x04, 0x40
START = clock.from_unix(1_767_225_600)


class Recorder(WireNotes):
    """A link that keeps what it is told."""

    name = "ied"

    def __init__(self, folder):
        self.data_directory = folder
        self.counters = Counter()
        self.events = []
        self.samples = []
        self.batches = 0

    def publish(self, batch):
        self.batches += 1
        self.samples += [("late " if batch.late else "") + str(int(value)) for value in batch.values]

    def event(self, code, text, **_):
        self.events.append(f"{code} {text}")

    def count(self, counter, by=1):
        self.counters[counter] += by


class Device:
    """The report blocks of an IED; keeps what is written."""

    def __init__(self):
        self.written = []
        self.refused = set()
        self.refusal = DataAccessError(3)
        self.blocks = {}

    def block(self, name):
        return self.blocks.setdefault(name, {
            "DatSet": VisibleStringData(SET if "Status" in name else ""), "ConfRev": UIntData(1),
            "RptID": VisibleStringData(name), "TrgOps": BitStringData(b"\x6c", 2), "IntgPd": UIntData(0),
            "OptFlds": BitStringData(b"\x7b\x80", 6), "RptEna": BoolData(False), "ResvTms": IntData(0),
            "Resv": BoolData(False), "EntryID": OctetStringData(bytes(8)),
        })  # fmt: skip

    async def read(self, _link, *names):
        (name,) = names
        text = f"{name.domain}/{name.item}"
        of = self.block("$".join(text.split("$")[:3]))
        if text.count("$") == 3:
            return [of[text.rpartition("$")[2]]]
        kind = MODEL.type_of(text)
        return [StructureData([of.get(part, BoolData(False)) for part, _ in kind.components])]

    async def write(self, _link, name, value, *_args, **_options):
        block, _, attribute = f"{name.domain}/{name.item}".rpartition("$")
        if attribute in self.refused:
            raise self.refusal
        self.written.append((block[-2:], attribute))
        self.block(block)[attribute] = value

    def attributes(self, instance="01"):
        return [attribute for of, attribute in self.written if of == instance]


MODEL = read_scl(BAY)


def stamp(ticks):
    days, rest = divmod((ticks - clock.from_unix(441_763_200)) // 10_000, 86_400_000)
    return rest.to_bytes(4, "big") + days.to_bytes(2, "big")


class Bench:
    """Reporting with one point in the data set of a buffered block."""

    def __init__(self, folder, monkeypatch, *, last=None, blocks=1):
        monkeypatch.setattr(services, "read", self.read)
        monkeypatch.setattr(services, "write", self.write)
        self.device = Device()
        self.link = Recorder(folder)
        self.entries = EntryStore(folder / "e.json")
        if last is not None:
            self.entries.put(f"{BLOCK}1", Entry(last, SET, 1, 1))
        self.delivered = {}
        self.decoder = ReportDecoder()
        self.blocks = blocks
        self.sequence = 0
        self.make()

    async def read(self, *arguments):
        return await self.device.read(*arguments)

    async def write(self, *arguments, **options):
        return await self.device.write(*arguments, **options)

    def make(self):
        model = read_scl(BAY)
        model = SimpleNamespace(
            blocks=[of for of in model.blocks if of.buffered][: self.blocks], data_sets=model.data_sets,
            type_of=model.type_of,
        )  # fmt: skip
        self.ended = []
        self.reporting = Reporting(
            SimpleNamespace(local_address="127.0.0.1", pdu_size=65_000, abort=self.ended.append), model, link=self.link,
            config=Iec61850Config(host="x", data_sets=False), decoder=self.decoder, entries=self.entries,
            delivered=self.delivered, tell=self.tell,
            read_plan=self.read_plan,
        )  # fmt: skip
        self.sequence = 0
        for block in self.device.blocks.values():
            block["RptEna"] = BoolData(False)  # as a device does when an association ends

    def tell(self, code, text, _address):
        told = f"{code} {text}" in self.link.events
        if not told:
            self.link.event(code, text)
        return not told

    async def read_plan(self, _decoder):
        self.link.samples.append("read")

    async def arrange(self):
        signals = [Signal(0, f"{COUNT}$stVal", f"{COUNT}$q", f"{COUNT}$t")]
        assert await self.reporting.arrange(signals, {0: COUNT}) == {0}

    def report(
        self, value, entry, reason=CHANGE, *, instance=1, sequence=None, overflow=False, time=None, segment=None,
        more=False, revision=1, report_id=None,
    ):  # fmt: skip
        members = MODEL.data_sets[SET]
        place = members.index(COUNT)
        bits = (1 << (31 - place)).to_bytes(4, "big")
        at = START + 10_000_000 * entry if time is None else time
        parts = [
            VisibleStringData(report_id or f"{BLOCK}{instance}"),
            BitStringData(b"\x7b\xc0" if segment else b"\x7b\x80", 6),
            UIntData(self.sequence if sequence is None else sequence),
        ]  # fmt: skip
        self.sequence = (self.sequence if sequence is None else sequence) + 1
        tail = [VisibleStringData(SET), BoolData(overflow), OctetStringData(entry.to_bytes(8, "big"))]
        tail.append(UIntData(revision))
        if segment:
            tail += [UIntData(segment[0]), BoolData(segment[1])]
        tail += [
            BitStringData(bits, 32 - len(members)),
            StructureData([IntData(value), BitStringData(b"\0\0", 3),
                           TimestampData(clock.to_datetime(START + 10_000_000 * value), 0)]),
            BitStringData(bytes((reason,)), 2),
        ]  # fmt: skip
        octets = b"".join(encode_data(of) for of in parts) + b"\x8c\x06" + stamp(at)
        octets += b"".join(encode_data(of) for of in tail)
        self.reporting.intake.on_report(octets, 0, len(octets))
        if not more:
            self.reporting.intake.on_read()
