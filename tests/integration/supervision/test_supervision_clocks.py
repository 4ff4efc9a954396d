"""Alarms of the supervision about clocks, exchanged devices, data that stands still, and certificates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from integration.supervision.supervised_plant import BAY, GOOD, IED, METER_LINK, PLACE, RTU_LINK, RTU_POINTS, Rig
from peers.twin.bench import ENGINEER

from address_space.quality import StatusCode, TimeFlag
from twin_gateway.functions.supervision_settings import ApprovedRevision, SupervisionSettings

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
