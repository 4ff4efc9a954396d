"""Every alarm of the devices, D01 to D10, raised and cleared through table, journal and events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from peers.twin.bench import ENGINEER, Bench, points

from address_space.point import Sample
from address_space.ports import Right
from address_space.quality import Quality, StatusCode, TimeFlag
from twin_gateway.drivers.contract import LinkService
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.supervision import Supervision, make_supervision
from twin_gateway.functions.supervision_settings import ApprovedRevision, SupervisionSettings
from twin_gateway.twin.rules import DeviceState as S

BAY = "dso1/north/PS01/MV1/F01"
IED = f"{BAY}/IED1"
METERS = [f"dso1/north/SP{k:02}/LV1/_/M1" for k in range(1, 4)]
RTU_LINK, IED_LINK, METER_LINK = (f"dso1/_sys/gw1/_/_/{name}" for name in ("rtu", "ied", "meters"))
PLACE = "dso1/north/_/_/_/_/twSUPV1"
IED_POINTS = (
    *(f"{IED}/LPHD1/{name}" for name in ("PhyHealth", "NumPwrUp", "WacTrg", "OutOv", "PwrSupAlm", "Sim")),
    *(f"{IED}/LPHD1/PhyNam/{name}" for name in ("serNum", "swRev")),
    *(f"{IED}/LLN0/{name}" for name in ("Beh", "Health", "Loc", "NamPlt/configRev")),
    *(f"{IED}/LTMS1/{name}" for name in ("TmSyn", "TmSynLkd")),
    *(f"{IED}/LCCH1/{name}" for name in ("ChLiv", "RedChLiv")),
    *(f"{IED}/LGOS1/{name}" for name in ("St", "NdsCom", "ConfRevNum", "RxConfRevNum")),
    f"{IED}/GSAL1/AuthFail",
    f"{IED}/ZBAT1/BatLo",
    f"{IED}/PTOC1/Op",
    f"{BAY}/_/MMXU1/TotW",
    f"{BAY}/QA1/XCBR1/Pos",
)
RTU_POINTS = ("dso1/north/RMU02/MV1/C01/QB1/XSWI1/Pos", "dso1/north/RMU02/MV1/C01/_/MMXU1/TotW")
METER_POINTS = [f"{meter}/MMTR1/DmdWh" for meter in METERS] + [f"{meter}/MMXU1/TotW" for meter in METERS]
GOOD = {
    f"{IED}/LPHD1/PhyHealth": 1,
    f"{IED}/LPHD1/NumPwrUp": 4,
    f"{IED}/LPHD1/PhyNam/serNum": "77",
    f"{IED}/LPHD1/PhyNam/swRev": "1.2",
    f"{IED}/LLN0/Beh": 1,
    f"{IED}/LLN0/Health": 1,
    f"{IED}/LLN0/NamPlt/configRev": "A3",
    f"{IED}/LTMS1/TmSyn": 2,
    f"{IED}/LTMS1/TmSynLkd": 1,
    f"{IED}/LCCH1/ChLiv": 1,
    f"{IED}/LCCH1/RedChLiv": 1,
    f"{IED}/LGOS1/St": 1,
    f"{IED}/LGOS1/ConfRevNum": 5,
    f"{IED}/LGOS1/RxConfRevNum": 5,
    f"{IED}/GSAL1/AuthFail": 2,
    f"{IED}/LPHD1/WacTrg": 0,
    RTU_POINTS[0]: 2,
    **dict.fromkeys(METER_POINTS, 100),
}


class Rig:
    """A bench with the supervision on it, driven by hand."""

    def __init__(self, folder: Path, settings: SupervisionSettings | None = None) -> None:
        mapped = points("ied", IED_POINTS) | points("rtu", RTU_POINTS) | points("meters", METER_POINTS)
        self.bench = Bench(folder, mapped)
        self.function = Supervision(
            self.bench.context,
            settings or SupervisionSettings(settle=1.0),
            list(self.bench.links.values()),
            {"ied": "iec61850", "rtu": "iec104", "meters": "dlms"},
            gateway="dso1/_sys/gw1",
            monotonic=lambda: self.bench.time,
            wall=lambda: self.bench.wall,
        )

    async def start(self) -> None:
        await self.function._open()
        self.bench.write(GOOD)
        self.bench.advance(2.0)
        await self.go()

    async def go(self, seconds: float = 0.0) -> None:
        """Deliver what was written, let time go by, and look again."""
        for chunk in self.bench.journal.take():
            self.function.take(chunk)
        self.bench.advance(seconds)
        self.bench.alarms.tick()
        await self.function.tick()
        await self.function._keep()

    async def write(self, values: dict[str, object], seconds: float = 0.0, quality: int = 0) -> None:
        self.bench.write(values, quality)
        await self.go(seconds)

    def state(self, place: str) -> S:
        return self.function.index.devices[place].state.state


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.start()
    yield made
    await made.function.store.close()


def sample(rig: Rig, address: str) -> Sample:
    return rig.bench.table.sample(rig.bench.table.find(address))


def test_a_healthy_plant_has_no_alarm_and_is_ok(rig: Rig) -> None:
    assert not rig.bench.codes()
    assert rig.state(IED) is S.OK
    assert rig.bench.value(f"{PLACE}/St") == S.OK
    assert rig.bench.value(f"{PLACE}/DevCnt") == 4
    assert rig.bench.value(f"{PLACE}/OkCnt") == 4
    assert rig.bench.value(f"{BAY}/_/twSUPV1/St") == S.OK
    assert rig.bench.value("dso1/_/_/_/_/_/twSUPV1/OkCnt") == 4


STATES = [
    ("D01", "LCCH1/RedChLiv", 0, 1, 400, S.DEGRADED, 0.0),
    ("D01", "LCCH1/ChLiv", 0, 1, 700, S.UNREACHABLE, 0.0),
    ("D02", "LTMS1/TmSynLkd", 4, 1, 500, S.DEGRADED, 31.0),
    ("D02", "LTMS1/TmSyn", 0, 2, 500, S.DEGRADED, 31.0),
    ("D04", "LPHD1/PhyHealth", 2, 1, 400, S.DEGRADED, 0.0),
    ("D04", "LPHD1/PhyHealth", 3, 1, 700, S.FAULT, 0.0),
    ("D04", "LLN0/Health", 3, 1, 700, S.FAULT, 0.0),
    ("D05", "LGOS1/St", 0, 1, 800, S.DEGRADED, 3.0),
    ("D05", "LGOS1/RxConfRevNum", 6, 5, 700, S.DEGRADED, 3.0),
    ("D05", "LGOS1/NdsCom", 1, 0, 400, S.DEGRADED, 0.0),
    ("D06", "LLN0/Beh", 3, 1, 400, S.TEST, 61.0),
    ("D06", "LLN0/Beh", 2, 1, 400, S.DEGRADED, 61.0),
    ("D06", "LPHD1/Sim", 1, 0, 400, S.TEST, 61.0),
    ("D08", "LPHD1/OutOv", 1, 0, 650, S.DEGRADED, 0.0),
    ("D10", "LPHD1/PwrSupAlm", 1, 0, 600, S.DEGRADED, 0.0),
    ("D10", "ZBAT1/BatLo", 1, 0, 600, S.DEGRADED, 0.0),
]


@pytest.mark.parametrize(("code", "point", "bad", "good", "severity", "state", "delay"), STATES)
async def test_conditions_that_the_device_tells_are_raised_and_cleared(
    rig: Rig, code: str, point: str, bad: int, good: int, severity: int, state: S, delay: float
) -> None:
    address = f"{IED}/{point}"
    rig.bench.told()
    await rig.write({address: bad})
    if delay:
        assert (code, address) not in rig.bench.codes()
        await rig.go(delay)
    assert (code, address) in rig.bench.codes()
    assert rig.state(IED) is state
    await rig.write({address: good})
    assert not rig.bench.codes()
    assert rig.state(IED) is S.OK
    told = [event for event in rig.bench.told() if event.address == address]
    assert [(event.code, event.state, event.severity) for event in told] == [
        (code, "active", severity),
        (code, "inactive", severity),
    ]


async def test_local_control_is_a_state_and_no_alarm_of_the_device(rig: Rig) -> None:
    await rig.write({f"{IED}/LLN0/Loc": 1})
    assert rig.state(IED) is S.LOCAL
    assert not rig.bench.codes()


async def test_restarts_and_watchdogs_are_events(rig: Rig) -> None:
    rig.bench.told()
    await rig.write({f"{IED}/LPHD1/NumPwrUp": 5, f"{IED}/LPHD1/WacTrg": 1})
    told = rig.bench.told()
    assert {(event.code, event.state, event.severity) for event in told} == {("D07", "event", 500)}
    assert len(told) == 2


async def test_rising_security_counters_alarm_until_ten_minutes_are_quiet(rig: Rig) -> None:
    address = f"{IED}/GSAL1/AuthFail"
    await rig.write({address: 3})
    assert ("D09", address) in rig.bench.codes()
    await rig.go(599.0)
    assert ("D09", address) in rig.bench.codes()
    await rig.go(2.0)
    assert not rig.bench.codes()


# ---- links -----------------------------------------------------------------------------------------------------------


async def test_one_alarm_stands_for_a_link_that_is_down_and_says_how_many_are_behind_it(rig: Rig) -> None:
    link = rig.bench.links["meters"]
    rig.bench.told()
    link.state, link.reason = LinkState.DOWN, "connection refused"
    rig.bench.table.link_lost("meters")
    await rig.go()
    assert rig.bench.codes() == {("D01", METER_LINK)}
    (event,) = rig.bench.told()
    assert "3 devices" in event.text and ("children", "3") in event.details
    assert all(rig.state(meter) is S.UNREACHABLE for meter in METERS)
    assert rig.function.index.devices[METERS[0]].state.reason == f"unreachable because of {METER_LINK}"
    link.state = LinkState.UP
    rig.bench.write(dict.fromkeys(METER_POINTS, 101))
    await rig.go()
    assert not rig.bench.codes()
    assert [event.state for event in rig.bench.told()] == ["inactive"]
    assert rig.state(METERS[0]) is S.OK


async def test_a_child_still_bad_a_minute_after_its_links_recovery_alarms_itself(rig: Rig) -> None:
    link = rig.bench.links["meters"]
    link.state = LinkState.DOWN
    rig.bench.table.link_lost("meters")
    await rig.go()
    link.state = LinkState.UP
    rig.bench.write({point: 101 for point in METER_POINTS if METERS[0] not in point})
    await rig.go()
    assert not rig.bench.codes()
    assert rig.state(METERS[0]) is S.UNREACHABLE
    await rig.go(61.0)
    assert rig.bench.codes() == {("D01", METERS[0])}
    rig.bench.write(dict.fromkeys(METER_POINTS, 102))
    await rig.go()
    assert not rig.bench.codes()


async def test_when_no_link_is_left_the_gateway_itself_is_the_cause(rig: Rig) -> None:
    for name, link in rig.bench.links.items():
        link.state = LinkState.DOWN
        rig.bench.table.link_lost(name)
    await rig.go()
    assert rig.bench.codes() == {("D01", "dso1/_sys/gw1")}


async def test_alarms_of_a_link_that_flaps_are_one(rig: Rig) -> None:
    link = rig.bench.links["rtu"]
    rig.bench.told()
    for _ in range(8):
        link.state = LinkState.DOWN
        await rig.go(10.0)
        link.state = LinkState.UP
        await rig.go(10.0)
    assert rig.bench.codes() == {("D01", RTU_LINK)}
    assert rig.function.index.devices[RTU_LINK].state.reason == "flapping"
    active = [event for event in rig.bench.told() if event.state == "active"]
    assert len(active) == 6
    await rig.go(601.0)
    assert not rig.bench.codes()


async def test_a_link_is_given_time_to_come_up_after_the_start(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SupervisionSettings(settle=30.0))
    link = rig.bench.links["rtu"]
    link.state, link.counters["connects"] = LinkState.CONNECTING, 0
    await rig.start()
    assert rig.state(RTU_LINK) is S.INITIALISING
    await rig.go(30.0)
    assert ("D01", RTU_LINK) in rig.bench.codes()
    await rig.function.store.close()


async def test_counters_of_a_link_that_should_not_rise_alarm_for_a_while(rig: Rig) -> None:
    rig.bench.links["ied"].counters["reports_missed"] = 3
    await rig.go()
    assert ("D08", IED_LINK) in rig.bench.codes()
    await rig.go(601.0)
    assert not rig.bench.codes()


async def test_values_of_a_lost_link_clear_nothing(rig: Rig) -> None:
    await rig.write({f"{IED}/ZBAT1/BatLo": 1})
    rig.bench.links["ied"].state = LinkState.DOWN
    rig.bench.table.link_lost("ied")
    await rig.go()
    assert ("D10", f"{IED}/ZBAT1/BatLo") in rig.bench.codes()


# ---- clocks, revisions, frozen data, certificates --------------------------------------------------------------------


async def _move(rig: Rig, point: str, offset: float, times: int = 5, quality: int = 0, *, every: float = 10.0) -> None:
    for k in range(times):
        rig.bench.advance(every)
        rig.bench.write({point: 1_000.0 + k + offset}, quality, rig.bench.wall + offset)
        await rig.go()


@pytest.mark.parametrize(("offset", "severity"), [(-0.4, 400), (0.3, 400), (-3.0, 500), (1.5, 500)])
async def test_the_offset_of_a_device_clock_is_told_from_fresh_changes(rig: Rig, offset: float, severity: int) -> None:
    rig.bench.told()
    await _move(rig, RTU_POINTS[1], offset)
    assert rig.bench.codes() == {("D02", RTU_LINK)}
    assert [event.severity for event in rig.bench.told()] == [severity]
    assert rig.bench.value(f"{RTU_LINK}/twSUPV1/TmOfs") == pytest.approx(offset, abs=0.06)
    await _move(rig, RTU_POINTS[1], 0.0)
    assert not rig.bench.codes()


async def test_samples_that_come_late_for_a_while_are_no_clock_error(rig: Rig) -> None:
    await _move(rig, RTU_POINTS[1], -0.6, every=1.0)
    await rig.go(60.0)
    assert not rig.bench.codes()
    assert rig.bench.value(f"{RTU_LINK}/twSUPV1/TmOfs") == pytest.approx(-0.55, abs=0.06)


async def test_a_clock_so_far_ahead_that_its_time_was_replaced_is_told_too(rig: Rig) -> None:
    await _move(rig, RTU_POINTS[1], 100.0)
    assert rig.bench.codes() == {("D02", RTU_LINK)}
    assert rig.bench.value(f"{RTU_LINK}/twSUPV1/TmOfs") == 2.0


async def test_times_that_are_not_the_devices_tell_nothing_of_its_clock(rig: Rig) -> None:
    await _move(rig, RTU_POINTS[1], -5.0, quality=int(TimeFlag.INVALID))
    assert not rig.bench.codes()


async def test_old_times_after_an_interrogation_tell_nothing_of_the_clock(rig: Rig) -> None:
    for _ in range(4):
        rig.bench.table.link_lost("rtu")
        await rig.go(1.0)
        rig.bench.write({RTU_POINTS[1]: 7.0}, source_time=rig.bench.wall - 3_600.0)
        await rig.go(1.0)
    assert not rig.bench.codes()


async def test_a_meters_clock_has_its_own_limits_and_is_read(rig: Rig) -> None:
    link = rig.bench.links["meters"]
    link.driver = SimpleNamespace(clock_error=-29.0)
    await rig.go(1.0)
    assert not rig.bench.codes()
    link.driver = SimpleNamespace(clock_error=200.0)
    await rig.go(1.0)
    assert rig.bench.codes() == {("D02", METER_LINK)}
    link.driver = SimpleNamespace(clock_error=0.5)
    await rig.go(1.0)
    assert not rig.bench.codes()


async def test_a_device_that_was_swapped_is_told_by_its_serial_number_until_it_is_accepted(rig: Rig) -> None:
    await rig.write({f"{IED}/LPHD1/PhyNam/serNum": "78"}, 1.0)
    assert rig.bench.codes() == {("D03", IED)}
    assert rig.bench.value(f"{IED}/twSUPV1/SerNumOk") is False
    result = await rig.function.call(PLACE, "ReadRevisionDiff", [IED], ENGINEER)
    assert result.outputs[0] == ["configRev", "swRev", "serNum"]
    assert (result.outputs[1][2], result.outputs[2][2], result.outputs[3]) == ("77", "78", [True, True, False])
    assert (await rig.function.call(PLACE, "AcceptRevision", [IED], ENGINEER)).status == StatusCode.Good
    await rig.go(1.0)
    assert not rig.bench.codes()
    assert rig.bench.audit.records[-1].kind == "supervision.accept"


async def test_firmware_that_is_not_approved_is_told_and_cannot_be_accepted(tmp_path: Path) -> None:
    approved = {IED: ApprovedRevision(configuration="A3", firmware=("1.3", "1.4"))}
    rig = Rig(tmp_path, SupervisionSettings(settle=1.0, approved=approved))
    await rig.start()
    assert rig.bench.codes() == {("D03", IED)}
    await rig.function.call(PLACE, "AcceptRevision", [IED], ENGINEER)
    await rig.go(1.0)
    assert rig.bench.codes() == {("D03", IED)}
    await rig.write({f"{IED}/LPHD1/PhyNam/swRev": "1.4"}, 1.0)
    assert not rig.bench.codes()
    await rig.function.store.close()


async def test_what_was_seen_first_is_remembered_over_a_restart(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.start()
    await rig.go(61.0)
    await rig.function.store.close()
    again = Rig(tmp_path)
    swapped = GOOD | {f"{IED}/LPHD1/PhyNam/serNum": "78"}
    await again.function._open()
    again.bench.write(swapped)
    again.bench.advance(2.0)
    await again.go()
    assert again.bench.codes() == {("D03", IED)}
    await again.function.store.close()


async def test_a_measurand_that_stands_still_is_frozen(rig: Rig) -> None:
    point = f"{BAY}/_/MMXU1/TotW"
    await _move(rig, point, 0.0, times=20)
    await rig.go(890.0)
    assert not rig.bench.codes()
    await rig.go(20.0)
    assert rig.bench.codes() == {("D08", IED)}
    assert rig.bench.value(f"{IED}/twSUPV1/FrzCnt") == 1
    await rig.write({point: 1.0}, 11.0)
    assert not rig.bench.codes()


async def test_certificates_that_expire_are_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SupervisionSettings(settle=1.0, certificates=(_certificate(tmp_path, 20),)))
    await rig.start()
    assert rig.bench.codes() == {("D09", "dso1/_sys/gw1")}
    (event,) = rig.bench.told()
    assert event.severity == 500
    await rig.go(21 * 86_400.0)
    assert [event.severity for event in rig.bench.told() if event.code == "D09"] == [900]
    _certificate(tmp_path, 1_000)
    await rig.go(3_601.0)
    assert ("D09", "dso1/_sys/gw1") not in rig.bench.codes()
    await rig.function.store.close()


def _certificate(folder: Path, days: float) -> Path:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    start = datetime.fromtimestamp(1_790_000_000, UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start - timedelta(days=1))
        .not_valid_after(start + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path = folder / "gateway.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


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
