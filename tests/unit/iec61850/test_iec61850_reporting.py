"""Report blocks in a scripted device: order of the writes, replays, losses, instances."""

import asyncio
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
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
from peers.waiting import until
from peers.wire_notes import WireNotes

from address_space import clock
from twin_gateway.drivers.iec61850 import blocks, reporting, services
from twin_gateway.drivers.iec61850.config import Iec61850Config
from twin_gateway.drivers.iec61850.entries import Entry, EntryStore
from twin_gateway.drivers.iec61850.errors import DataAccessError, MmsReject, ServiceError
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


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return lambda **options: Bench(tmp_path, monkeypatch, **options)


async def test_first_contact_empties_the_buffer_and_sets_everything_before_it_enables(bench):
    of = bench()
    await of.arrange()
    assert of.device.attributes() == ["ResvTms", "IntgPd", "PurgeBuf", "RptEna"]
    assert EntryStore(of.entries._path).get(f"{BLOCK}1").entry_id == b""


async def test_known_block_is_resumed_before_it_is_enabled_and_nothing_that_empties_it_is_written(bench):
    of = bench(last=bytes(7) + b"\x05")
    await of.arrange()
    assert of.device.attributes() == ["ResvTms", "EntryID", "RptEna"]
    assert of.device.block(f"{BLOCK}1")["EntryID"].value == bytes(7) + b"\x05"


async def test_reservation_is_never_one_for_ever(bench):
    of = bench()
    of.device.block(f"{BLOCK}1")["ResvTms"] = IntData(-1)
    signals = [Signal(0, f"{COUNT}$stVal", f"{COUNT}$q", f"{COUNT}$t")]
    assert await of.reporting.arrange(signals, {0: COUNT}) == set()
    assert of.device.written == []


async def test_interrogation_comes_after_the_replay_and_ends_it(bench):
    of = bench(last=bytes(7) + b"\x01")
    of.device.block(f"{BLOCK}1")["EntryID"] = OctetStringData((3).to_bytes(8, "big"))
    await of.arrange()
    asked = asyncio.create_task(of.reporting.interrogate())
    of.report(2, 2)
    await asyncio.sleep(0.05)
    assert "GI" not in of.device.attributes()
    of.report(3, 3)  # the entry that was queued last
    await asyncio.wait_for(asked, 0.5)
    assert of.device.attributes()[-1] == "GI"
    of.report(4, 4)
    of.report(4, 5, GI)
    of.report(5, 6)
    assert of.link.samples == ["late 2", "late 3", "late 4", "4", "5"]
    assert of.entries.get(f"{BLOCK}1").entry_id == (6).to_bytes(8, "big")


async def test_entry_that_comes_again_is_not_delivered_twice(bench):
    of = bench()
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    for value in (1, 2, 3):
        of.report(value, value + 1)
    of.make()  # the next association; the device has not taken the EntryID and replays everything
    of.device.refused.add("EntryID")
    await of.arrange()
    for value in (1, 2, 3, 4):
        of.report(value, value + 1)
    assert of.link.samples == ["0", "1", "2", "3", "late 4"]
    assert of.link.counters["reports_again"] == 3


async def test_another_instance_of_the_block_delivers_only_what_the_first_has_not(bench):
    of = bench(blocks=2)
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    of.report(1, 2)
    of.make()
    of.device.block(f"{BLOCK}1")["RptEna"] = BoolData(True)  # the device still believes in the old association
    await of.arrange()
    assert of.device.attributes("02") == ["ResvTms", "RptEna"]
    for value in (1, 2):
        at = START + 10_000_000 * (value + 1) + 20_000
        of.report(value, value + 70, instance=2, time=at, overflow=value == 1)
    assert of.link.samples == ["0", "1", "late 2"]
    assert of.link.events == []  # its buffer begins with what has been delivered


async def test_another_instance_whose_buffer_begins_later_may_have_lost_entries(bench):
    of = bench(blocks=2)
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    of.report(1, 2)
    of.make()
    of.device.block(f"{BLOCK}1")["RptEna"] = BoolData(True)
    await of.arrange()
    of.report(5, 75, instance=2, overflow=True)
    assert of.link.counters["buffer_losses"] == 1


async def test_gap_in_the_numbers_is_lost_data_and_the_state_is_asked_for(bench):
    of = bench()
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    of.report(1, 2)
    before = of.device.attributes().count("GI")
    of.report(5, 6, sequence=5)
    assert of.link.counters["report_losses"] == 3
    assert of.link.events == [f"D08 {BLOCK}1: 3 report(s) missing before number 5"]
    assert of.link.last_errors[""] == of.link.events[0][4:]
    await until(lambda: of.device.attributes().count("GI") == before + 1)


async def test_device_that_loses_all_the_time_is_told_once_and_counted_each_time(bench):
    of = bench()
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    for number in range(100):
        of.report(number, number + 2, sequence=2 + 2 * number)
    of.reporting.stop()
    assert of.link.counters["report_losses"] == 100
    assert len(of.link.events) == 1


async def test_overflow_while_the_block_was_ours_is_lost_data(bench):
    of = bench(last=bytes(7) + b"\x01")
    await of.arrange()
    of.report(9, 9, overflow=True)
    assert of.link.counters["buffer_losses"] == 1
    assert of.link.events == [f"D08 {BLOCK}1: the buffer of the device has overflowed, entries were lost"]


async def test_overflow_before_the_block_was_ours_is_no_loss_of_ours(bench):
    of = bench()
    await of.arrange()
    of.report(9, 9, overflow=True)
    assert (of.link.counters["overflows_before"], of.link.events) == (1, [])
    of.report(10, 10, overflow=True)
    assert of.link.counters["buffer_losses"] == 1


async def test_entry_that_the_device_does_not_know_is_lost_data_told_once(bench):
    of = bench(last=bytes(7) + b"\x01")
    of.device.refused.add("EntryID")
    await of.arrange()
    of.report(9, 9, overflow=True)
    assert of.link.counters["buffer_losses"] == 1
    assert [text[:3] for text in of.link.events] == ["D08"]


async def test_entry_counts_as_taken_with_its_last_segment(bench):
    of = bench()
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    of.report(1, 2, sequence=1, segment=(0, True))
    assert of.entries.get(f"{BLOCK}1").entry_id == (1).to_bytes(8, "big")
    of.report(2, 2, sequence=1, segment=(1, False))
    assert of.entries.get(f"{BLOCK}1").entry_id == (2).to_bytes(8, "big")
    assert (of.link.samples, of.link.events) == (["0", "1", "2"], [])


async def test_block_is_given_back(bench):
    of = bench()
    await of.arrange()
    of.device.written.clear()
    await of.reporting.release()
    assert of.device.attributes() == ["RptEna", "ResvTms"]
    assert of.device.block(f"{BLOCK}1")["ResvTms"].value == 0


async def test_period_that_cannot_be_set_without_emptying_the_buffer_is_kept_by_interrogations(bench):
    of = bench(last=bytes(7) + b"\x01")
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    before = of.device.attributes().count("GI")
    await of.reporting.scan()
    assert of.device.attributes().count("GI") == before + 1


async def test_what_is_read_at_once_goes_into_the_table_at_once_and_counts_as_taken_only_then(bench):
    of = bench()
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    of.link.batches = 0
    for value in (1, 2, 3):
        of.report(value, value + 1, more=True)
    assert (of.link.samples, of.entries.get(f"{BLOCK}1").entry_id) == (["0"], (1).to_bytes(8, "big"))
    of.report(4, 5)
    assert (of.link.samples, of.link.batches) == (["0", "1", "2", "3", "4"], 1)
    assert of.entries.get(f"{BLOCK}1").entry_id == (5).to_bytes(8, "big")


async def test_replay_and_what_follows_it_stay_apart_when_they_are_read_at_once(bench):
    of = bench(last=bytes(7) + b"\x01")
    of.device.block(f"{BLOCK}1")["EntryID"] = OctetStringData((2).to_bytes(8, "big"))
    await of.arrange()
    asked = asyncio.create_task(of.reporting.interrogate())
    of.report(2, 2)
    await asyncio.wait_for(asked, 0.5)
    of.link.batches = 0
    of.report(3, 3, more=True)
    of.report(3, 4, GI, more=True)
    of.report(4, 5)
    assert (of.link.samples, of.link.batches) == (["late 2", "late 3", "3", "4"], 2)


async def test_block_that_another_association_holds_is_taken_when_it_is_free(bench):
    of = bench(last=bytes(7) + b"\x01")
    of.device.block(f"{BLOCK}1")["RptEna"] = BoolData(
        True
    )  # of our own association that was lost, and no other instance
    signals = [Signal(0, f"{COUNT}$stVal", f"{COUNT}$q", f"{COUNT}$t")]
    assert await of.reporting.arrange(signals, {0: COUNT}) == set()
    assert await of.reporting.take_free() == set()
    assert (of.device.written, of.reporting.wanting) == ([], True)
    of.device.block(f"{BLOCK}1")["RptEna"] = BoolData(False)
    assert await of.reporting.take_free() == {0}
    assert of.device.attributes() == ["ResvTms", "EntryID", "RptEna"]
    assert (of.reporting.rows, of.reporting.wanting) == ({0}, False)
    await of.reporting.interrogate(frozenset())
    await of.reporting.interrogate(frozenset())
    assert of.device.attributes().count("GI") == 1


@pytest.mark.parametrize("refusal", [DataAccessError(3), ServiceError(2, 0), MmsReject(0xA1, 3)])
async def test_device_that_refuses_to_enable_leaves_the_points_to_polling(bench, refusal):
    of = bench()
    of.device.refused, of.device.refusal = {"RptEna"}, refusal
    signals = [Signal(0, f"{COUNT}$stVal", f"{COUNT}$q", f"{COUNT}$t")]
    assert await of.reporting.arrange(signals, {0: COUNT}) == set()
    assert of.link.counters["blocks_refused"] == 1
    assert of.reporting.wanting


@pytest.mark.parametrize("refusal", [DataAccessError(7), ServiceError(2, 0), MmsReject(0xA1, 3)])
async def test_entry_id_of_a_size_that_the_device_does_not_take_loses_entries_and_not_the_block(bench, refusal):
    of = bench(last=bytes(3) + b"\x05")
    of.device.refused, of.device.refusal = {"EntryID"}, refusal
    await of.arrange()
    assert of.device.attributes() == ["ResvTms", "RptEna"]
    assert of.link.counters["buffer_losses"] == 1


async def test_report_of_another_revision_is_not_taken_and_everything_is_read_anew(bench):
    of = bench()
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    of.report(1, 2, revision=2)
    text = f"{BLOCK}1: configuration revision 2 instead of 1"
    assert (of.link.samples, of.ended) == (["0"], [f"{text}; the model is read anew"])
    assert of.link.events == [f"D03 {text}"]
    assert of.entries.get(f"{BLOCK}1").entry_id == (1).to_bytes(8, "big")
    of.make()  # the block still says 1
    await of.arrange()
    of.report(2, 3, revision=2)
    assert (of.link.samples, of.ended) == (["0", "late 2"], [])


async def test_report_id_is_what_the_block_says_at_each_association(bench):
    of = bench()
    await of.arrange()
    await of.reporting.interrogate()
    of.report(0, 1, GI)
    of.make()
    of.device.block(f"{BLOCK}1")["RptID"] = VisibleStringData("other")
    await of.arrange()
    of.report(1, 2, report_id="other")
    of.report(2, 3)
    assert of.link.samples == ["0", "late 1"]
    assert of.link.counters["reports_unknown"] == 1


async def test_interrogation_that_is_taken_and_not_answered_does_not_keep_the_values_late_for_ever(bench, monkeypatch):
    monkeypatch.setattr(reporting, "_QUIET", 0.01)
    monkeypatch.setattr(reporting, "_ANSWER_LIMIT", 0.05)
    of = bench()
    await of.arrange()
    await of.reporting.interrogate()
    of.report(1, 2)
    await until(lambda: "read" in of.link.samples)
    of.report(2, 3)
    assert of.link.samples == ["late 1", "read", "2"]
    assert of.link.counters["interrogations_unanswered"] == 1


async def test_unbuffered_block_is_asked_for_nothing_that_only_buffered_ones_have(bench):
    of = bench()
    block = next(of for of in read_scl(BAY).blocks if not of.buffered)
    of.device.block(block.name)["OptFlds"] = BitStringData(b"\0\0", 6)
    state = await blocks.read_state(None, MODEL, block)
    await blocks.enable(None, state, None, blocks.Enabled(), integrity=60, reserve=60, keep=False)
    assert of.device.block(block.name)["OptFlds"].value == b"\x78\x80"


async def test_entry_that_was_buffered_for_an_earlier_data_set_is_lost_and_not_read_as_one_of_the_present(bench):
    of = bench(last=bytes(7) + b"\x01")
    of.device.block(f"{BLOCK}1")["ConfRev"] = UIntData(2)
    await of.arrange()
    assert of.device.attributes() == ["ResvTms", "RptEna"]  # the entry of the last time means nothing now
    of.report(1, 2, revision=1)
    of.report(2, 3, revision=2)
    assert (of.link.samples, of.ended) == (["late 2"], [])
    assert of.link.counters["buffer_losses"] == 1


async def test_reports_that_cannot_be_read_for_ever_other_reasons_are_one_event_and_counted_each(bench):
    of = bench()
    await of.arrange()
    for length in range(50):
        of.reporting.intake.on_report(b"\x85" * (length + 1), 0, length + 1)
    assert of.link.counters["report_errors"] == 50
    assert of.link.events == ["D03 the device sends reports that cannot be read"]
    assert of.link.last_errors[""].startswith("a report that cannot be read: ")


async def test_block_whose_data_set_is_gone_is_left_alone(bench):
    of = bench(last=bytes(7) + b"\x01")
    of.device.block(f"{BLOCK}1")["DatSet"] = VisibleStringData("F07Q1LD0/LLN0$Deleted")
    signals = [Signal(0, f"{COUNT}$stVal", f"{COUNT}$q", f"{COUNT}$t")]
    assert await of.reporting.arrange(signals, {0: COUNT}) == set()
    assert (of.device.written, of.reporting.wanting) == ([], False)
