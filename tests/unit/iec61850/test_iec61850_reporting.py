"""Report blocks in a scripted device: order of the writes, replays, losses, instances."""

import asyncio

from open61850.data import (
    BoolData,
    IntData,
    OctetStringData,
)
from peers.waiting import until
from unit.iec61850.reporting_bench import BLOCK, COUNT, GI, START

from twin_gateway.drivers.iec61850.entries import EntryStore
from twin_gateway.drivers.iec61850.plan import Signal


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
