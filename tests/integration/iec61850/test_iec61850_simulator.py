"""The simulated IED, through the driver."""

import asyncio
import json
import os
import signal
import sys
import time

import pytest
from integration.iec61850.bed import BAY, Bed, simulator, unix
from peers.ports import free_port
from peers.waiting import until

from address_space.quality import Quality, StatusCode


@pytest.fixture
async def ied():
    process = await simulator("--still").start()
    yield process
    await process.kill()


def port_of(ied):
    return json.loads(ied.first)["ports"]["F07Q1"]


async def test_model_served_is_the_one_of_the_file(ied, tmp_path):
    async with Bed(port_of(ied), tmp_path, scl=str(BAY)) as bed:
        await bed.ready()
        await until(lambda: all(bed.sample(r).status == 0 for r in bed.points), what="all points Good")
        assert bed.link.counters["model_differences"] == 0, bed.texts()


async def test_order_on_stdin_becomes_value_quality_and_time(ied, tmp_path):
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()
        await ied.tell({"ref": "LD0/MMXU1.A.phsB", "value": 12.5, "quality": "questionable", "time": 1_767_225_600.25})
        await until(lambda: bed.value("LD0/MMXU1.A.phsB") == 12.5)
        sample = bed.sample("LD0/MMXU1.A.phsB")
        assert (sample.quality & 3, unix(sample.source_time)) == (Quality.QUESTIONABLE, 1_767_225_600.25)


async def test_breaker_passes_through_intermediate_and_counts(ied, tmp_path):
    seen = []
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()
        await ied.tell({"ref": "LD0/CSWI1.Pos", "travel": 0.4})
        operation = asyncio.create_task(bed.command("operate", "LD0/CSWI1.Pos", 2))
        while not operation.done():
            seen.append(bed.value("LD0/XCBR1.Pos"))
            await asyncio.sleep(0.02)
        assert operation.result().good
        await until(lambda: bed.value("LD0/XCBR1.Pos") == 2)
        assert {1, 0} <= set(seen)
        await until(lambda: bed.value("LD0/XCBR1.OpCnt") == 1)
        assert json.loads(ied.lines[-1]) == {"operated": "LD0/XCBR1.Pos", "value": 2}


async def test_interlocked_switch_is_refused_with_add_cause_10(ied, tmp_path):
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()
        await ied.tell({"ref": "LD0/CSWI1.Pos", "interlocked": True})
        await ied.tell({"ref": "LD0/CILO3.EnaCls", "value": True})  # orders are taken one after the other
        await until(lambda: bed.value("LD0/CILO3.EnaCls") is True)
        outcome = await bed.command("operate", "LD0/CSWI1.Pos", 2)
        assert (outcome.add_cause, outcome.status) == (10, StatusCode.BadInvalidState)
        assert "interlocking" in outcome.text
        assert (await bed.command("operate", "LD0/CSWI1.Pos", 2, interlock_check=False)).good


async def test_release_of_cilo_is_asked(ied, tmp_path):
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()
        outcome = await bed.command("operate", "LD0/CSWI3.Pos", 2)  # CILO3.EnaCls is false in the file
        assert outcome.add_cause == 10
        await ied.tell({"ref": "LD0/CILO3.EnaCls", "value": True})
        await until(lambda: bed.value("LD0/CILO3.EnaCls") is True)
        assert (await bed.command("operate", "LD0/CSWI3.Pos", 2)).good


async def test_position_reached_already_is_good(ied, tmp_path):
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()
        outcome = await bed.command("operate", "LD0/CSWI1.Pos", 1)
        assert (outcome.status, outcome.add_cause) == (StatusCode.Good, 5)
        outcome = await bed.command("select", "LD0/CSWI1.Pos", 1)
        assert (outcome.good, outcome.add_cause) == (False, 5)  # it is not selected now


async def test_stuck_switch_leaves_the_outcome_unknown(ied, tmp_path):
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()
        for reference, value in (("LD0/CSWI1.Pos", 2), ("LD0/CSWI2.Pos", 1)):  # enhanced, and normal security
            await ied.tell({"ref": reference, "stuck": True})
            outcome = await bed.command("operate", reference, value, timeout=0.6)
            assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
            assert "outcome unknown" in outcome.text


async def test_two_commands_at_once_on_one_object_are_not_sent(ied, tmp_path):
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()
        first, second = await asyncio.gather(
            bed.command("operate", "LD0/CSWI1.Pos", 2), bed.command("operate", "LD0/CSWI1.Pos", 2)
        )
        assert first.good
        assert (second.add_cause, second.sent) == (12, False)


async def test_link_lost_during_a_command_leaves_the_outcome_unknown(tmp_path):
    ied = await simulator("--still").start()
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()
        await ied.tell({"ref": "LD0/CSWI1.Pos", "travel": 5})
        operation = asyncio.create_task(bed.command("operate", "LD0/CSWI1.Pos", 2))
        await until(lambda: bed.value("LD0/XCBR1.Pos") == 0)
        await ied.kill()
        outcome = await operation
        assert (outcome.status, outcome.add_cause, outcome.sent) == (StatusCode.BadTimeout, 23, True)


async def test_entries_since_the_last_one_on_disk_are_replayed(ied, tmp_path):
    reference = "LD0/PTRC1.Str"
    bed = Bed(port_of(ied), tmp_path, only={reference, "LD0/XCBR1.Pos"})
    async with bed:
        await bed.ready(reference)
        await ied.tell({"ref": reference, "value": True, "time": 1_767_225_600.0})
        await until(lambda: bed.value(reference) is True)
        file, seen = tmp_path / "ied-f07.entries.json", time.time()
        await until(lambda: file.exists() and file.stat().st_mtime > seen, what="the next save")
        saved = file.read_text()
    # a killed process writes nothing at its end and gives nothing back
    (tmp_path / "ied-f07.entries.json").write_text(saved)
    await ied.tell({"ref": reference, "value": False, "time": 1_767_225_601.0})
    await ied.tell({"ref": reference, "value": True, "time": 1_767_225_602.0})
    await asyncio.sleep(0.2)
    async with Bed(port_of(ied), tmp_path, only={reference}) as again:
        await again.ready(reference)
        await until(lambda: again.late.pending, what="late samples")
        late = [(raw, unix(when)) for _, raw, when in again.late_samples()]
        assert late == [(0, 1_767_225_601.0), (1, 1_767_225_602.0)]
        assert again.value(reference) is True


async def test_full_buffer_is_an_event(ied, tmp_path):
    references = {"LD0/PTRC1.Str"}
    async with Bed(port_of(ied), tmp_path, only=references) as bed:
        await bed.ready("LD0/PTRC1.Str")
    for number in range(1_050):  # the device keeps 1000 entries
        await ied.tell({"ref": "LD0/PTRC1.Str", "value": number % 2 == 0})
    last = {"ref": "LD0/PTOC1.StrVal", "value": 1.5}
    await ied.tell(last)
    before = await ied.tell("nonsense")  # orders are taken one after the other, and this one is answered
    await until(lambda: len(ied.lines) > before, 15, "all orders taken")
    async with Bed(port_of(ied), tmp_path, only=references) as bed:
        await bed.ready("LD0/PTRC1.Str")
        await until(lambda: "D08" in bed.event_codes(), what="the event")


async def test_values_move_and_agree_with_each_other(tmp_path):
    ied = await simulator().start()
    try:
        async with Bed(port_of(ied), tmp_path) as bed:
            await bed.ready()
            await bed.command("operate", "LD0/CSWI1.Pos", 2)
            await until(lambda: (bed.value("LD0/MMXU1.TotW") or 0) > 1e6, what="power through the closed breaker")
            power = sum(bed.value(f"LD0/MMXU1.PhV.phs{p}") * bed.value(f"LD0/MMXU1.A.phs{p}") for p in "ABC")
            assert bed.value("LD0/MMXU1.TotW") == pytest.approx(0.97 * power, rel=0.05)
            await bed.command("operate", "LD0/CSWI1.Pos", 1)
            await until(lambda: bed.value("LD0/MMXU1.TotW") == 0.0, what="no power through the open breaker")
    finally:
        await ied.kill()


async def test_nonsense_on_stdin_is_answered_and_harms_nothing(ied, tmp_path):
    for line in (
        b"nonsense",
        b"[]",
        b'{"ref": "LD0/NIX1.Pos", "value": 1}',
        b'{"ref": "LD0/XCBR1.Pos", "value": "on"}',
    ):
        before = len(ied.lines)
        ied.process.stdin.write(line + b"\n")
        await until(lambda before=before: len(ied.lines) > before)
        assert "error" in json.loads(ied.lines[-1])
    async with Bed(port_of(ied), tmp_path) as bed:
        await bed.ready()


async def test_simulator_ends_cleanly_on_sigterm(ied):
    os.kill(ied.process.pid, signal.SIGTERM)
    assert await asyncio.wait_for(ied.process.wait(), 30) == 0


async def test_file_that_is_none_ends_the_simulator_with_an_error(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "twin_gateway.simulate.iec61850", tmp_path / "none.cid", "--port", str(free_port()),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, b"cannot read" in errors) == (1, True)
