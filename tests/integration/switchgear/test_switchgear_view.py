"""Marks and quality of the results of switchgear, its methods, and the view of a feeder."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.switchgear.watched_switchgear import AREA, BAY, HEALTH, PLATES, QA1, Rig
from peers.twin.bench import ENGINEER, Bench, points

from address_space.ports import Right
from address_space.quality import Quality, StatusCode
from twin_gateway.functions.switchgear import NameplateError, make_switchgear
from twin_gateway.functions.switchgear_settings import SwitchgearSettings

# ---- marks, quality, methods -----------------------------------------------------------------------------------------


async def test_alarms_carry_the_mark_of_their_place(rig: Rig) -> None:
    rig.marked = "suppressed"
    rig.bench.told()
    await rig.write({f"{QA1}/SCBR1/ColA": 4.9, f"{BAY}/_/SARC1/FADet": 1})
    assert {alarm.marked for alarm in rig.bench.alarms.active()} == {"suppressed"}
    assert {event.state for event in rig.bench.told()} == {"suppressed"}


async def test_results_have_the_worst_quality_of_their_inputs(rig: Rig) -> None:
    await rig.write({f"{QA1}/SIMG1/Tmp": 21.0}, quality=int(Quality.QUESTIONABLE | Quality.OLD_DATA))
    row = rig.bench.table.find(f"{HEALTH}/HealthIdx")
    assert int(rig.bench.table.quality[row]) & Quality.OLD_DATA


async def test_an_index_of_which_little_is_known_is_uncertain(tmp_path: Path) -> None:
    bench = Bench(tmp_path, points("ied", (f"{QA1}/XCBR1/Pos", f"{QA1}/SIMG1/Pres")))
    function = make_switchgear(bench.context, SwitchgearSettings())
    bench.write({f"{QA1}/XCBR1/Pos": 2})
    await function.open()
    await function.tick()
    assert bench.table.status[bench.table.find(f"{HEALTH}/HealthIdx")] & 0xC000_0000 == 0x4000_0000
    await function._store.close()


async def test_setting_a_baseline_needs_operations_and_the_right(rig: Rig) -> None:
    assert (await rig.function.call(AREA, "SetBaseline", [QA1], ENGINEER)).status == StatusCode.BadInvalidState
    await rig.operate(opening_time=0.05)
    assert ("C02", "QA1/twHLTH1/Mech") in rig.codes()
    assert (await rig.function.call(AREA, "SetBaseline", [QA1], ENGINEER)).status == StatusCode.Good
    await rig.go()
    assert not rig.codes()
    rig.bench.policy.denied.add(Right.CONFIGURE)
    for name, arguments in (("SetBaseline", [QA1]), ("ResetWear", [QA1, 0.0])):
        assert (await rig.function.call(AREA, name, arguments, ENGINEER)).status == StatusCode.BadUserAccessDenied


async def test_every_answer_has_as_many_outputs_as_its_spec(rig: Rig) -> None:
    for spec in rig.function.specs():
        arguments = [0.0 if argument.type_id == 11 else "dso1/nowhere" for argument in spec.inputs]
        result = await rig.function.call(spec.owner, spec.name, arguments, ENGINEER)
        assert len(result.outputs) == len(spec.outputs), spec.name
        assert result.status == StatusCode.BadNoMatch


def test_a_wrong_file_of_nameplates_is_refused_with_its_places(tmp_path: Path) -> None:
    with pytest.raises(NameplateError, match=r"plates.yaml:6:\d+: error TG201"):
        Rig(tmp_path, PLATES.replace("medium:", "mediums:"))


# ---- the view of a feeder --------------------------------------------------------------------------------------------


async def test_the_view_of_a_feeder_is_one_call(rig: Rig) -> None:
    await rig.write({f"{BAY}/IED1/PTRC1/Tr": 1, f"{BAY}/IED1/PTRC1/Tr/phsA": 1, f"{BAY}/_/SARC1/FADet": 1}, 1.0)
    result = await rig.function.call(AREA, "GetFeederView", [BAY], ENGINEER)
    assert result.status == StatusCode.Good
    items, references, values, statuses, times, ties, others, transformers, customers, alarms, tags, summary = (
        result.outputs
    )
    assert len(items) == len(references) == len(values) == len(statuses) == len(times)
    at = references.index(f"{QA1}/XCBR1/Pos")
    assert (items[at], values[at], statuses[at]) == ("position", "2", 0)
    assert {"current", "power", "trip", "health", "local"} <= set(items)
    assert (ties, others) == ([f"{AREA}/RMU02/MV1/C33/QB1"], [f"{AREA}/PS01/MV1/F02"])
    assert (transformers, customers) == ([f"{AREA}/TS02/MV1/T01/TA1"], 42)
    assert alarms[0].startswith("C07 950")
    assert tags == []
    assert "42 customers" in summary


async def test_the_summary_of_a_feeder_is_published(rig: Rig) -> None:
    view = f"{BAY}/_/twFDRV1"
    assert rig.bench.value(f"{view}/LodPct") == pytest.approx(100.0 * 300.0 / 350.0, abs=0.1)
    assert rig.bench.value(f"{view}/CusCnt") == 42
    assert rig.bench.value(f"{view}/Ties") == f"{AREA}/RMU02/MV1/C33/QB1"
    assert f"{QA1}/XCBR1/Pos" in str(rig.bench.value(f"{view}/Refs"))
    await rig.write({f"{AREA}/RMU02/MV1/C33/QB1/XSWI1/Pos": 2, f"{QA1}/XCBR1/Pos": 1}, 1.0)
    assert rig.bench.value(f"{view}/CusCnt") == 0
    assert rig.bench.value(f"{AREA}/PS01/MV1/F02/_/twFDRV1/CusCnt") == 42


async def test_the_last_fault_stays_in_the_view(rig: Rig) -> None:
    view = f"{BAY}/_/twFDRV1"
    await rig.write({f"{BAY}/IED1/PTRC1/Tr": 1, f"{BAY}/IED1/PTRC1/Tr/phsA": 1, f"{QA1}/SCBR1/SwA": 2_500.0}, 1.0)
    told = rig.bench.value(f"{view}/FltTm")
    assert told and rig.bench.value(f"{view}/FltPhs") == "A"
    assert rig.bench.value(f"{view}/FltA") == 2_500.0
    await rig.write({f"{BAY}/IED1/PTRC1/Tr": 0, f"{BAY}/IED1/PTRC1/Tr/phsA": 0}, 1.0)
    assert rig.bench.value(f"{view}/FltTm") == told
