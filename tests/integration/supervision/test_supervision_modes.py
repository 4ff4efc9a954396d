"""Test mode, maintenance, the roll-up to places, and the methods of the supervision."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.supervision.supervised_plant import BAY, IED, PLACE, RTU_POINTS, Rig, sample
from peers.twin.bench import ENGINEER, Bench, points

from address_space.ports import Right
from address_space.quality import Quality, StatusCode
from twin_gateway.drivers.contract import LinkService
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.supervision import make_supervision
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.twin.rules import DeviceState as S

# ---- test mode, maintenance, roll-up ---------------------------------------------------------------------------------


async def test_alarms_of_a_device_in_test_are_marked_and_it_leaves_the_roll_up(rig: Rig) -> None:
    await rig.write({f"{IED}/LLN0/Beh": 3})
    rig.bench.told()
    await rig.write({f"{IED}/LPHD1/PhyHealth": 3})
    (event,) = rig.bench.told()
    assert ("marked", "test") in event.details
    assert rig.state(IED) is S.FAULT
    await rig.write({f"{IED}/LPHD1/PhyHealth": 1})
    assert rig.bench.value(f"{PLACE}/TestCnt") == 1
    assert rig.bench.value(f"{PLACE}/St") == S.OK


async def test_values_of_a_device_in_test_are_test_values_until_it_is_on_again(rig: Rig) -> None:
    process, itself = f"{BAY}/QA1/XCBR1/Pos", f"{IED}/LPHD1/PhyHealth"
    await rig.write({process: 2})
    await rig.write({f"{IED}/LLN0/Beh": 3})
    assert sample(rig, process).status == StatusCode.UncertainSimulatedValue
    assert sample(rig, itself).status == StatusCode.Good
    assert sample(rig, RTU_POINTS[0]).status == StatusCode.Good
    await rig.write({process: 1})
    assert (sample(rig, process).value, sample(rig, process).status) == (1, StatusCode.UncertainSimulatedValue)
    await rig.write({f"{IED}/LLN0/Beh": 1})
    assert (sample(rig, process).value, sample(rig, process).status) == (1, StatusCode.Good)


async def test_values_of_a_device_that_is_off_are_out_of_service(rig: Rig) -> None:
    process = f"{BAY}/_/MMXU1/TotW"
    await rig.write({process: 5.0})
    await rig.write({f"{IED}/LLN0/Beh": 5})
    assert sample(rig, process).status == StatusCode.BadOutOfService
    await rig.write({f"{IED}/LLN0/Beh": 1})
    assert sample(rig, process).status == StatusCode.Good


async def test_a_test_flag_of_the_device_itself_outlives_the_test_mode(rig: Rig) -> None:
    process = f"{BAY}/QA1/XCBR1/Pos"
    await rig.write({f"{IED}/LLN0/Beh": 3})
    await rig.write({process: 2}, quality=int(Quality.TEST))
    await rig.write({f"{IED}/LLN0/Beh": 1})
    assert sample(rig, process).status == StatusCode.UncertainSimulatedValue
    await rig.write({process: 2})
    assert sample(rig, process).status == StatusCode.Good


async def test_test_values_make_marked_alarms(rig: Rig) -> None:
    await rig.write({f"{IED}/ZBAT1/BatLo": 1}, quality=int(Quality.TEST))
    assert [alarm.marked for alarm in rig.bench.alarms.active()] == ["test"]


async def test_maintenance_suppresses_alarms_not_events_and_its_end_brings_them(rig: Rig) -> None:
    started = await rig.function.call(PLACE, "SetMaintenance", [BAY, True, "new battery"], ENGINEER)
    assert started.status == StatusCode.Good
    rig.bench.told()
    await rig.write({f"{IED}/ZBAT1/BatLo": 1, f"{IED}/LPHD1/NumPwrUp": 9})
    told = [(event.code, event.state) for event in rig.bench.told()]
    assert told == [("D10", "suppressed"), ("D07", "event")]
    await rig.function.call(PLACE, "SetMaintenance", [BAY, False, ""], ENGINEER)
    assert ("D10", "active") in [(event.code, event.state) for event in rig.bench.told()]
    assert [record.kind for record in rig.bench.audit.records] == ["maintenance.begin", "maintenance.end"]


async def test_maintenance_needs_a_reason_and_an_address_that_exists(rig: Rig) -> None:
    for arguments, status in (
        ([BAY, True, " "], StatusCode.BadInvalidArgument),
        (["dso1/south", True, "why"], StatusCode.BadNoMatch),
        (["a b", True, "why"], StatusCode.BadInvalidArgument),
    ):
        assert (await rig.function.call(PLACE, "SetMaintenance", arguments, ENGINEER)).status == status


async def test_a_protection_device_makes_the_state_of_its_area_one_meter_does_not(rig: Rig) -> None:
    await rig.write({f"{IED}/LPHD1/PhyHealth": 3})
    assert rig.bench.value(f"{PLACE}/St") == S.FAULT
    assert rig.bench.value(f"{PLACE}/StRsn") == f"{IED} is fault"
    assert rig.bench.value(f"{PLACE}/FltCnt") == 1
    assert rig.bench.value(f"{PLACE}/CntAlm") == 1


async def test_availability_and_failures_are_kept_over_a_restart(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.start()
    await rig.go(900.0)
    rig.bench.links["ied"].state = LinkState.DOWN
    await rig.go()
    await rig.go(100.0)
    assert rig.bench.value(f"{IED}/twSUPV1/Avl") == pytest.approx(90.0, abs=0.1)
    assert rig.bench.value(f"{IED}/twSUPV1/MTBF") == pytest.approx(0.25, abs=0.05)
    await rig.function._save()
    await rig.function.store.close()
    again = Rig(tmp_path)
    await again.start()
    assert again.bench.value(f"{IED}/twSUPV1/Avl") == pytest.approx(90.0, abs=0.2)
    await again.function.store.close()


# ---- methods ---------------------------------------------------------------------------------------------------------


async def test_device_report_lists_devices_below_a_place(rig: Rig) -> None:
    await rig.write({f"{IED}/LPHD1/PhyHealth": 2})
    result = await rig.function.call(PLACE, "DeviceReport", ["dso1/north"], ENGINEER)
    assert result.status == StatusCode.Good
    devices, states, reasons, links, _since, _availability, offsets, alarms, summary = result.outputs
    at = devices.index(IED)
    assert (states[at], reasons[at], links[at], alarms[at]) == (int(S.DEGRADED), "Device has a warning", "ied", 1)
    assert offsets[at] != offsets[at]  # not known yet
    assert summary.startswith("4 devices: 3 ok, 1 degraded")
    assert (await rig.function.call(PLACE, "DeviceReport", ["dso1/south"], ENGINEER)).status == StatusCode.BadNoMatch


@pytest.mark.parametrize(
    ("method", "service", "right"),
    [
        ("RequestGI", LinkService.INTERROGATE, Right.OPERATE),
        ("RequestCounters", LinkService.COUNTERS, Right.OPERATE),
        ("TestLink", LinkService.TEST, Right.OPERATE),
        ("SyncTime", LinkService.SYNCHRONISE, Right.CONFIGURE),
    ],
)
async def test_services_of_links_are_asked_for_audited_and_guarded(
    rig: Rig, method: str, service: LinkService, right: Right
) -> None:
    assert (await rig.function.call(PLACE, method, ["rtu"], ENGINEER)).status == StatusCode.Good
    assert rig.bench.links["rtu"].served == [service]
    assert [record.kind for record in rig.bench.audit.records] == [f"link.{service}", "link.outcome"]
    assert (await rig.function.call(PLACE, method, ["nobody"], ENGINEER)).status == StatusCode.BadNoMatch
    rig.bench.policy.denied.add(right)
    assert (await rig.function.call(PLACE, method, ["rtu"], ENGINEER)).status == StatusCode.BadUserAccessDenied
    assert rig.bench.links["rtu"].served == [service]
    assert next(spec.right for spec in rig.function.specs() if spec.name == method) is right


async def test_every_answer_has_as_many_outputs_as_its_spec(rig: Rig) -> None:
    rig.bench.policy.denied |= set(Right)
    for spec in rig.function.specs():
        arguments = [False if argument.type_id == 1 else "dso1/nowhere" for argument in spec.inputs]
        result = await rig.function.call(spec.owner, spec.name, arguments, ENGINEER)
        assert len(result.outputs) == len(spec.outputs), spec.name
        assert result.status & 0x8000_0000


def test_the_factory_makes_the_function(tmp_path: Path) -> None:
    bench = Bench(tmp_path, points("rtu", RTU_POINTS))
    function = make_supervision(bench.context, SupervisionSettings(), list(bench.links.values()), {"rtu": "iec104"})
    assert function.name == "supervision"
    assert bench.table.find(f"{PLACE}/St") >= 0
