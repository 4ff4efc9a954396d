"""The driver against libiec61850, which shares no code with it."""

import asyncio
import importlib.util

import pytest
from integration.iec61850.bed import BAY, HERE, Bed, Process, libiec61850, unix
from peers.ports import free_port
from peers.waiting import until

from address_space.addcause import AddCause
from address_space.quality import Quality, StatusCode
from twin_gateway.drivers.iec61850 import driver
from twin_gateway.drivers.iec61850.association import Association, Peer
from twin_gateway.drivers.iec61850.blocks import all_states
from twin_gateway.drivers.iec61850.discovery import read_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyiec61850") is None, reason="pyiec61850-ng is not installed: no independent peer"
)


@pytest.fixture
async def peer():
    process = await libiec61850(free_port()).start()
    yield process
    await process.kill()


def port_of(peer):
    return peer.arguments[-1]


async def test_model_of_the_device_agrees_with_its_scl_file(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path, scl=str(BAY)) as bed:
        await bed.ready()
        # the peer always has a ResvTms and never an Owner; that is not compared, everything else is
        assert bed.link.counters["model_differences"] == 0, bed.texts()


async def test_every_mapped_point_is_good_after_the_interrogation(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path, data_sets=False) as bed:
        await bed.ready()
        await until(lambda: all(bed.sample(r).status == 0 for r in bed.points), what="all points Good")
        assert bed.link.counters["blocks_enabled"] == 2
        assert bed.value("LD0/CSWI2.Pos") in (0, 1, 2)
        assert bed.value("LD0/LLN0.NamPlt.vendor") == "twin-gateway"
        assert bed.value("LD0/PTOC1.StrVal") == 600.0


async def test_data_change_carries_value_quality_and_time_of_the_device(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        await peer.order([
            {"ref": "LD0/MMXU1.TotW.mag.f", "kind": "float", "value": 2400.5},
            {"ref": "LD0/MMXU1.TotW.q", "kind": "quality", "value": 0x83},  # questionable and oldData, first bit lowest
            {"ref": "LD0/MMXU1.TotW.t", "kind": "time", "value": 1_767_225_600_123},
        ])  # fmt: skip
        await until(lambda: bed.value("LD0/MMXU1.TotW") == 2_400_500.0, what="the value in watts")
        sample = bed.sample("LD0/MMXU1.TotW")
        assert sample.quality & 0xFF_FFFF == Quality.QUESTIONABLE | Quality.OLD_DATA
        assert sample.status == StatusCode.UncertainLastUsableValue
        assert round(unix(sample.source_time), 6) == 1_767_225_600.123


async def test_double_point_shows_all_four_positions(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        for value in (2, 0, 3, 1):
            await peer.order({"ref": "LD0/XCBR1.Pos.stVal", "kind": "dbpos", "value": value})
            await until(lambda value=value: bed.value("LD0/XCBR1.Pos") == value, what=f"position {value}")


async def test_integrity_reports_come_by_themselves(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path, integrity=0.5) as bed:
        await bed.ready()
        before = bed.link.counters["reports"]
        await until(lambda: bed.link.counters["reports"] >= before + 4, 4, "integrity reports")


async def test_points_outside_all_report_blocks_are_polled(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path, poll=0.3, data_sets=False) as bed:
        await bed.ready("LD0/PTOC1.StrVal")
        await peer.order({"ref": "LD0/XSWI1.OpCnt.stVal", "kind": "int", "value": 41})
        await until(lambda: bed.value("LD0/XSWI1.OpCnt") == 41, what="the polled count")


async def test_counter_is_published_in_watt_hours(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        await peer.order({"ref": "LD0/MMTR1.SupWh.actVal", "kind": "int64", "value": 12_345_678})
        await until(lambda: bed.value("LD0/MMTR1.SupWh") == 1_234_567_800.0, what="the energy")


async def test_entries_buffered_while_the_link_was_down_are_replayed_as_late(peer, tmp_path):
    reference = "LD0/PTRC1.Str"
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready(reference)
    # the driver has stopped and given the block back; what happens now is only in the device's buffer
    for number, value in enumerate((True, False, True, False)):
        await peer.order([
            {"ref": "LD0/PTRC1.Str.t", "kind": "time", "value": 1_767_225_600_000 + number},
            {"ref": "LD0/PTRC1.Str.general", "kind": "bool", "value": value},
        ])  # fmt: skip
        await asyncio.sleep(0.12)
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready(reference)
        await until(lambda: bed.late.pending or bed.value(reference) is False)
        row = bed.points[reference].row
        replayed = [(raw, unix(when)) for r, raw, when in bed.late_samples() if r == row]
        assert [(raw, round(when, 3)) for raw, when in replayed] == [
            (1, 1_767_225_600.0), (0, 1_767_225_600.001), (1, 1_767_225_600.002), (0, 1_767_225_600.003)
        ]  # fmt: skip
        assert bed.value(reference) is False
        assert bed.link.counters["report_losses"] == bed.link.counters["buffer_losses"] == 0
        assert "D08" not in bed.event_codes()


async def test_block_is_free_again_for_others_when_the_driver_stops(peer, tmp_path):
    for number in range(5):  # there are three instances of each block
        async with Bed(port_of(peer), tmp_path / str(number), data_sets=False) as bed:
            await bed.ready()
            assert bed.link.counters["blocks_enabled"] == 2
            assert bed.link.counters["blocks_refused"] == 0


async def test_gateway_for_which_no_instance_is_left_polls_until_one_is(peer, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_FIRST_RETRY", 0.2)
    point = "LD0/MMXU1.TotW"  # in the data set of one block only, with three instances

    def bed(number):
        return Bed(port_of(peer), tmp_path / str(number), only={point}, data_sets=False)

    async with bed(1) as first, bed(2) as second:
        await asyncio.gather(first.ready(point), second.ready(point))
        async with bed(3) as third:
            await third.ready(point)
            fourth = bed(4)
            async with fourth:
                await fourth.ready(point)
                assert fourth.link.counters["blocks_enabled"] == 0
                third.task.cancel()
                await until(
                    lambda: fourth.link.counters["blocks_enabled"] == 1, what="the instance that has become free"
                )
                await until(lambda: fourth.link.counters["reports"] > 0, what="its report")


async def test_second_gateway_takes_another_instance_of_the_block(peer, tmp_path):
    one, other = (Bed(port_of(peer), tmp_path / name, data_sets=False) for name in "ab")
    async with one as first, other as second:
        await first.ready()
        await second.ready()
        await peer.order({"ref": "LD0/XCBR1.Pos.stVal", "kind": "dbpos", "value": 2})
        for bed in (first, second):
            await until(lambda bed=bed: bed.value("LD0/XCBR1.Pos") == 2)
            assert bed.link.counters["blocks_enabled"] == 2


MODELS = [
    ("LD0/GGIO1.SPCSO1", 1, "direct-normal"),
    ("LD0/CSWI2.Pos", 2, "sbo-normal"),
    ("LD0/CSWI3.Pos", 2, "direct-enhanced"),
    ("LD0/CSWI1.Pos", 2, "sbo-enhanced"),
]


@pytest.mark.parametrize(("reference", "value", "model"), MODELS, ids=[m for _, _, m in MODELS])
async def test_command_is_good_when_the_device_has_done_it(peer, tmp_path, reference, value, model):
    async with Bed(port_of(peer), tmp_path, controls={reference: {"model": model}}) as bed:
        await bed.ready(reference)
        if model.startswith("sbo"):
            unselected = await bed.command("operate", reference, value)
            assert (unselected.add_cause, unselected.sent) == (AddCause.OBJECT_NOT_SELECTED, False)
            assert (await bed.command("select", reference, value)).good
        outcome = await bed.command("operate", reference, value)
        assert (outcome.status, outcome.sent) == (StatusCode.Good, True), outcome
        await until(lambda: bed.value(reference) == value, what="the position")
        assert not [text for text in bed.texts() if "mapping says" in text]


@pytest.mark.parametrize(("reference", "value", "model"), MODELS, ids=[m for _, _, m in MODELS])
async def test_refused_command_returns_the_reason_of_the_device(peer, tmp_path, reference, value, model):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready(reference)
        await peer.order({"refuse": reference.removeprefix("LD0/"), "cause": 10})
        outcome = await bed.command("operate", reference, value)
        assert not outcome.good
        assert outcome.gate == "device"
        if model.endswith("enhanced"):
            assert (outcome.add_cause, outcome.status) == (10, StatusCode.BadInvalidState)
        assert bed.value(reference) != value


@pytest.mark.parametrize("reference", ["LD0/CSWI2.Pos", "LD0/CSWI1.Pos"], ids=["sbo-normal", "sbo-enhanced"])
async def test_select_operate_and_cancel_are_separate_steps(peer, tmp_path, reference):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready(reference)
        assert (await bed.command("select", reference, 2)).good
        assert (await bed.command("cancel", reference, None)).good
        assert (await bed.command("select", reference, 2)).good
        assert (await bed.command("operate", reference, 2)).good
        again = await bed.command("cancel", reference, None)
        assert (again.good, again.add_cause) == (False, 18)


async def test_operate_with_another_value_than_selected_is_refused_here(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        assert (await bed.command("select", "LD0/CSWI1.Pos", 2)).good
        outcome = await bed.command("operate", "LD0/CSWI1.Pos", 1)
        assert (outcome.add_cause, outcome.sent) == (26, False)


async def test_object_selected_by_another_client_is_refused(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path / "a") as first, Bed(port_of(peer), tmp_path / "b") as second:
        await first.ready()
        await second.ready()
        assert (await first.command("select", "LD0/CSWI1.Pos", 2)).good
        outcome = await second.command("select", "LD0/CSWI1.Pos", 2)
        assert not outcome.good


async def test_status_only_object_cannot_be_commanded(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        bed.points["LD0/XCBR1.Pos"] = bed.points["LD0/XCBR1.Pos"]
        outcome = await bed.command("operate", "LD0/XCBR1.Pos", 2)
        assert (outcome.add_cause, outcome.sent) == (1, False)


async def test_control_model_that_contradicts_the_device_is_reported(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path, controls={"LD0/CSWI1.Pos": {"model": "direct-normal"}}) as bed:
        await bed.ready()
        assert "the mapping says direct-normal, the device sbo-enhanced; commands go by the device" in bed.texts()


async def test_test_command_moves_nothing(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        before = bed.value("LD0/CSWI3.Pos")
        outcome = await bed.command("operate", "LD0/CSWI3.Pos", 2, test=True)
        assert outcome.good
        assert bed.value("LD0/CSWI3.Pos") == before


async def test_killed_device_is_noticed_and_recovers_by_itself(tmp_path):
    port = free_port()
    peer = await libiec61850(port).start()
    try:
        async with Bed(port, tmp_path) as bed:
            await bed.ready()
            await peer.kill()
            await until(lambda: bed.sample("LD0/XCBR1.Pos").quality & Quality.COMM_LOST, 2, "loss of the link")
            assert bed.sample("LD0/XCBR1.Pos").status == StatusCode.UncertainNoCommunicationLastUsableValue
            outcome = await bed.command("operate", "LD0/CSWI1.Pos", 2)
            assert (outcome.status, outcome.sent) == (StatusCode.BadNoCommunication, False)
            peer = await libiec61850(port).start()
            await bed.ready()
            await peer.order({"ref": "LD0/XCBR1.Pos.stVal", "kind": "dbpos", "value": 2})
            await until(lambda: bed.value("LD0/XCBR1.Pos") == 2)
    finally:
        await peer.kill()


async def test_silent_device_is_noticed_within_ten_seconds(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        peer.pause()
        await until(lambda: bed.sample("LD0/XCBR1.Pos").quality & Quality.COMM_LOST, 10, "loss of the silent link")


async def test_command_without_an_end_is_sent_with_outcome_unknown(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        peer.pause()
        outcome = await bed.command("operate", "LD0/CSWI3.Pos", 2, timeout=1.0)
        assert (outcome.status, outcome.sent, outcome.gate) == (StatusCode.BadTimeout, True, "device")
        assert "outcome unknown" in outcome.text


async def test_discovery_offers_what_the_scl_file_says(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        found = await bed.driver.discover()
        assert {str(point.fields["ref"]) for point in found} == set(bed.points)


async def test_points_are_added_and_removed_without_reconnecting(peer, tmp_path):
    from twin_gateway.drivers.contract import PointChange

    everything = Bed(port_of(peer), tmp_path)
    point = everything.points["LD0/XCBR1.Pos"]
    await everything.driver.update(PointChange(removed=[point]))
    async with everything as bed:
        await bed.ready("LD0/CSWI1.Pos")
        assert bed.value("LD0/XCBR1.Pos") is None
        await bed.driver.update(PointChange(added=[point]))
        await bed.ready("LD0/XCBR1.Pos")
        await bed.driver.update(PointChange(removed=[p for r, p in bed.points.items() if "MMXU" in r or "MMTR" in r]))
        await peer.order({"ref": "LD0/XCBR1.Pos.stVal", "kind": "dbpos", "value": 2})
        await until(lambda: bed.value("LD0/XCBR1.Pos") == 2)
        assert bed.link.counters["connects"] == 1


# -- data sets of our own ------------------------------------------------------------------------------------------


async def blocks_of(port):
    """Name -> (data set, enabled, reserved) of the report blocks, and the data sets, as another client sees them."""
    association = await Association.connect(Peer("127.0.0.1", port))
    try:
        model = await read_model(association)
        states = await all_states(association, model)
        return {s.block.name: (s.data_set, s.enabled, s.reserved or bool(s.reserved_for)) for s in states}, set(
            model.data_sets
        )
    finally:
        await association.close()


async def test_data_set_is_made_for_points_that_none_has_and_deleted_at_the_end(peer, tmp_path):
    before = await blocks_of(port_of(peer))
    async with Bed(port_of(peer), tmp_path, poll=60.0) as bed:
        await bed.ready("LD0/XSWI1.OpCnt")
        assert bed.link.counters["data_sets_made"] == 1
        _, data_sets = await blocks_of(port_of(peer))
        assert len(data_sets - before[1]) == 1
        await peer.order({"ref": "LD0/XSWI1.OpCnt.stVal", "kind": "int", "value": 41})
        await until(lambda: bed.value("LD0/XSWI1.OpCnt") == 41, what="the count, reported")
        await until(lambda: all(bed.sample(r).status == 0 for r in bed.points), what="all points Good")
    assert await blocks_of(port_of(peer)) == before


async def test_data_set_is_made_and_deleted_on_the_live_association_as_points_come_and_go(peer, tmp_path):
    from twin_gateway.drivers.contract import PointChange

    before = await blocks_of(port_of(peer))
    bed = Bed(port_of(peer), tmp_path, poll=60.0)
    count = bed.points["LD0/XSWI1.OpCnt"]
    others = [point for reference, point in bed.points.items() if reference != "LD0/XCBR1.Pos"]
    await bed.driver.update(PointChange(removed=others))
    async with bed:
        await bed.ready("LD0/XCBR1.Pos")
        assert bed.link.counters["data_sets_made"] == 0
        taken, _ = await blocks_of(port_of(peer))
        await bed.driver.update(PointChange(added=[count]))
        await bed.ready("LD0/XSWI1.OpCnt")
        assert bed.link.counters["data_sets_made"] == 1
        await peer.order({"ref": "LD0/XSWI1.OpCnt.stVal", "kind": "int", "value": 42})
        await peer.order({"ref": "LD0/XCBR1.Pos.stVal", "kind": "dbpos", "value": 2})
        await until(lambda: bed.value("LD0/XSWI1.OpCnt") == 42, what="the count, reported")
        await until(lambda: bed.value("LD0/XCBR1.Pos") == 2)
        await bed.driver.update(PointChange(removed=[count]))
        assert await blocks_of(port_of(peer)) == (taken, before[1])
        await peer.order({"ref": "LD0/XCBR1.Pos.stVal", "kind": "dbpos", "value": 1})
        await until(lambda: bed.value("LD0/XCBR1.Pos") == 1)
        assert bed.link.counters["connects"] == 1


async def test_data_set_that_was_left_by_a_crash_is_used_again(peer, tmp_path):
    before = await blocks_of(port_of(peer))
    crashed = await Process([HERE / "event_gateway.py", port_of(peer), tmp_path, "LD0/XSWI1.OpCnt", "make"]).start()
    await crashed.kill()
    left, _ = await blocks_of(port_of(peer))
    assert [name for name in left if left[name][0] != before[0][name][0]]
    async with Bed(port_of(peer), tmp_path, only={"LD0/XSWI1.OpCnt"}, poll=60.0) as bed:
        await bed.ready("LD0/XSWI1.OpCnt")
        assert bed.link.counters["data_sets_made"] == 0
        assert bed.link.counters["blocks_enabled"] == 1
    assert await blocks_of(port_of(peer)) == before


async def test_two_gateways_make_data_sets_of_their_own(peer, tmp_path):
    before = await blocks_of(port_of(peer))
    only = {"LD0/XSWI1.OpCnt"}
    one, other = (Bed(port_of(peer), tmp_path / name, only=only, poll=60.0) for name in "ab")
    async with one as first, other as second:
        await first.ready("LD0/XSWI1.OpCnt")
        await second.ready("LD0/XSWI1.OpCnt")
        await peer.order({"ref": "LD0/XSWI1.OpCnt.stVal", "kind": "int", "value": 7})
        for bed in (first, second):
            await until(lambda bed=bed: bed.value("LD0/XSWI1.OpCnt") == 7)
        assert first.link.counters["data_sets_made"] == second.link.counters["data_sets_made"] == 1
    assert await blocks_of(port_of(peer)) == before


async def test_wire_is_shown_to_the_capture_ring(peer, tmp_path):
    async with Bed(port_of(peer), tmp_path) as bed:
        await bed.ready()
        records = bed.link.ring.records()
        assert {record.sent for record in records} == {True, False}
        assert records[-1].flow.remote == ("127.0.0.1", port_of(peer))


async def test_buffer_that_overflowed_while_the_link_was_down_is_lost_data(peer, tmp_path):
    only = {"LD0/PTRC1.Str"}
    async with Bed(port_of(peer), tmp_path, only=only) as bed:
        await bed.ready("LD0/PTRC1.Str")
        assert "D08" not in bed.event_codes()
    for number in range(3000):
        await peer.tell({"ref": "LD0/PTRC1.Str.general", "kind": "bool", "value": number % 2 == 0})
    await until(lambda: len(peer.lines) >= 3000, what="the buffer is full")
    async with Bed(port_of(peer), tmp_path, only=only) as bed:
        await bed.ready("LD0/PTRC1.Str")
        assert "D08" in bed.event_codes()
        assert bed.link.counters["buffer_losses"] >= 1
