"""Report blocks in a scripted device: held by others, refused, of another revision, or unreadable."""

import pytest
from open61850.data import (
    BitStringData,
    BoolData,
    UIntData,
    VisibleStringData,
)
from peers.waiting import until
from unit.iec61850.reporting_bench import BAY, BLOCK, COUNT, GI, MODEL

from twin_gateway.drivers.iec61850 import blocks, reporting
from twin_gateway.drivers.iec61850.errors import DataAccessError, MmsReject, ServiceError
from twin_gateway.drivers.iec61850.plan import Signal
from twin_gateway.drivers.iec61850.scl import read_scl


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
