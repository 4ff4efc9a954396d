"""The difference of two mappings: what an engineer changed in the files, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from address_space.address import parse
from address_space.catalogue import classify
from twin_gateway.drivers.contract import DeviceConfig
from twin_gateway.drivers.registry import protocol
from twin_gateway.mapping.bind import make_profile
from twin_gateway.mapping.check import check
from twin_gateway.mapping.difference import Difference, FieldChange, PointChange, difference
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.point import MappedPoint

BASE = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-1:
    protocol: iec104
    host: 10.0.0.1
    common_address: 7
    at:
      MV1/F01:
        points:
          MMXU1/TotW: {ioa: 1000, type: M_ME_TF_1, unit: kW, scale: 0.5, deadband: 5 kW}
          MMXU1/Hz: {ioa: 1001, type: M_ME_TF_1, unit: Hz, alarm: {hi: 51 Hz}}
          QA1/CSWI1/Pos: {ioa: 1, type: M_DP_TB_1, control: {ioa: 4001, type: C_DC_NA_1, model: sbo-normal}}
  rtu-2:
    protocol: iec104
    host: 10.0.0.2
    common_address: 8
    at:
      MV1/F02:
        points:
          MMXU1/TotW: {ioa: 1000, type: M_ME_TF_1, unit: kW}
"""
F01 = "dso1/north/PS01/MV1/F01"
W1 = f"{F01}/_/MMXU1/TotW"


def read(folder: Path, text: str) -> Mapping:
    path = folder / "station.yaml"
    path.write_text(text, "utf-8")
    mapping, problems = check([path], environ={})
    assert mapping is not None, problems
    return mapping


def between(folder: Path, *edits: tuple[str, str], text: str = BASE) -> Difference:
    changed = text
    for before, after in edits:
        assert before in changed
        changed = changed.replace(before, after, 1)
    return difference(read(folder, text), read(folder, changed))


def only(found: Difference) -> PointChange:
    (point,) = found.points()
    return point


def test_the_same_files_read_twice_do_not_differ(tmp_path: Path) -> None:
    assert not between(tmp_path)


def test_comments_and_order_of_lines_are_no_difference(tmp_path: Path) -> None:
    assert not between(tmp_path, ("mapping: 1", "# a comment\nmapping: 1"))


def test_a_point_that_is_new_is_added_and_its_link_stays(tmp_path: Path) -> None:
    line = "          MMXU1/TotVAr: {ioa: 1002, type: M_ME_TF_1, unit: kvar}\n          QA1/CSWI1/Pos:"
    found = between(tmp_path, ("          QA1/CSWI1/Pos:", line))
    point = only(found)
    assert (point.old, point.device, point.address) == (None, "rtu-1", f"{F01}/_/MMXU1/TotVAr")
    assert [(device.name, device.reconnects) for device in found.devices] == [("rtu-1", False)]


def test_a_point_that_is_left_out_is_removed(tmp_path: Path) -> None:
    line = "          MMXU1/Hz: {ioa: 1001, type: M_ME_TF_1, unit: Hz, alarm: {hi: 51 Hz}}\n"
    point = only(between(tmp_path, (line, "")))
    assert (point.new, point.address, point.device_from) == (None, f"{F01}/_/MMXU1/Hz", "rtu-1")


def test_scale_offset_deadband_and_name_are_told_as_written_and_touch_no_link(tmp_path: Path) -> None:
    found = between(
        tmp_path, ("scale: 0.5, deadband: 5 kW", "scale: 0.1, offset: 2, deadband: 7 kW, display_name: Load")
    )
    assert set(only(found).fields) == {
        FieldChange("scale", 0.5, 0.1),
        FieldChange("offset", 0.0, 2.0),
        FieldChange("deadband", 5000.0, 7000.0),
        FieldChange("display_name", None, "Load"),
    }
    assert not found.devices[0].reconnects


def test_a_unit_of_the_device_is_one_change_and_not_one_of_the_scale(tmp_path: Path) -> None:
    found = between(tmp_path, ("unit: kW, scale", "unit: MW, scale"))
    assert only(found).fields == (FieldChange("unit", "kW", "MW"),)


def test_a_binding_that_changes_is_told_and_its_link_stays(tmp_path: Path) -> None:
    found = between(
        tmp_path, ("ioa: 1000, type: M_ME_TF_1, unit: kW, scale", "ioa: 1009, type: M_ME_TF_1, unit: kW, scale")
    )
    assert only(found).fields == (FieldChange("ioa", 1000, 1009),)
    assert not found.devices[0].reconnects


def test_what_a_command_and_an_alarm_rule_say_is_told_by_field(tmp_path: Path) -> None:
    found = between(tmp_path, ("hi: 51 Hz", "hi: 52 Hz"), ("ioa: 4001", "ioa: 4002"))
    assert [point.fields for point in found.points()] == [
        (FieldChange("alarm.hi", 51.0, 52.0),),
        (FieldChange("control.ioa", 4001, 4002),),
    ]


def test_a_point_that_is_no_longer_commanded_has_lost_its_control(tmp_path: Path) -> None:
    found = between(tmp_path, (", control: {ioa: 4001, type: C_DC_NA_1, model: sbo-normal}", ""))
    assert FieldChange("control", True, None) in only(found).fields


def test_a_setting_of_the_device_reconnects_it_and_touches_no_point(tmp_path: Path) -> None:
    (device,) = between(tmp_path, ("10.0.0.2", "10.0.0.9")).devices
    assert device.fields == (FieldChange("host", "10.0.0.2", "10.0.0.9"),)
    assert device.reconnects
    assert not device.points


def test_the_display_name_of_a_device_touches_no_link(tmp_path: Path) -> None:
    (device,) = between(tmp_path, ("host: 10.0.0.2", "host: 10.0.0.2\n    display_name: House")).devices
    assert not device.reconnects


def test_a_place_with_was_has_moved_with_all_its_points(tmp_path: Path) -> None:
    moved = f'MV1/F05:\n        aliases: "was:{F01}"\n        points:'
    found = between(tmp_path, ("MV1/F01:\n        points:", moved))
    changes = list(found.points())
    assert [change.moved_from for change in changes] == [W1, f"{F01}/_/MMXU1/Hz", f"{F01}/QA1/CSWI1/Pos"]
    assert not any(change.guessed or change.fields for change in changes)


def test_a_point_with_was_has_moved_and_may_have_changed_too(tmp_path: Path) -> None:
    moved = f'MMXU2/TotW: {{aliases: "was:{W1}", ioa: 1003,'
    found = between(tmp_path, ("MMXU1/TotW: {ioa: 1000,", moved))
    point = only(found)
    assert (point.moved_from, point.guessed) == (W1, False)
    assert point.fields == (FieldChange("ioa", 1000, 1003),)


def test_the_same_protocol_point_under_another_address_is_a_guess(tmp_path: Path) -> None:
    point = only(between(tmp_path, ("          MMXU1/Hz:", "          MMXU2/Hz:")))
    assert (point.moved_from, point.guessed) == (f"{F01}/_/MMXU1/Hz", True)


def test_no_move_is_guessed_between_two_devices(tmp_path: Path) -> None:
    found = between(tmp_path, ("MV1/F02:", "MV1/F03:"), ("  rtu-2:", "  rtu-3:"))
    assert sorted((point.new is None, point.old is None) for point in found.points()) == [(False, True), (True, False)]


def test_a_device_that_is_replaced_keeps_its_addresses(tmp_path: Path) -> None:
    found = between(tmp_path, ("  rtu-2:", "  rtu-9:"), ("10.0.0.2", "10.0.0.9"))
    (point,) = found.points()
    assert point.address == "dso1/north/PS01/MV1/F02/_/MMXU1/TotW"
    assert point.fields == (FieldChange("device", "rtu-2", "rtu-9"),)
    assert point.old is not None
    assert point.device_from == "rtu-2"
    assert [(device.name, device.old is None, device.new is None) for device in found.devices] == [
        ("rtu-9", True, False),
        ("rtu-2", False, True),
    ]


def test_a_device_that_gives_a_point_away_is_among_those_that_change(tmp_path: Path) -> None:
    line = "          MMXU1/Hz: {ioa: 1001, type: M_ME_TF_1, unit: Hz, alarm: {hi: 51 Hz}}\n"
    given = BASE.replace(line, "") + f"      MV1/F01:\n        points:\n{line}"
    found = difference(read(tmp_path, BASE), read(tmp_path, given))
    assert only(found).fields == (FieldChange("device", "rtu-1", "rtu-2"),)
    assert {device.name: device.reconnects for device in found.devices} == {"rtu-1": False, "rtu-2": False}


def test_a_secret_that_changes_is_told_without_its_value(tmp_path: Path) -> None:
    text = """\
mapping: 1
grid: dso1
place: north/SP1
devices:
  m1:
    protocol: dlms
    host: 10.9.3.2
    security: lls
    client: 1
    password: ${WORD}
    at: {LV1/_/M1: {points: {MMTR1/DmdWh: {obis: 1-0:1.8.0}}}}
"""
    path = tmp_path / "meter.yaml"
    path.write_text(text, "utf-8")
    old, _ = check([path], environ={"WORD": "elderberry"})
    new, _ = check([path], environ={"WORD": "gooseberry"})
    assert old is not None
    assert new is not None
    (device,) = difference(old, new).devices
    assert [change.field for change in device.fields] == ["password"]
    assert "berry" not in repr(device.fields)
    assert device.reconnects


# ---- properties over random mappings

TAILS = ("MMXU1/TotW", "MMXU2/TotW", "MMXU1/TotVAr", "MMXU2/TotVAr")
SPEC = protocol("iec104")
BINDING = st.tuples(
    st.sampled_from(("a", "b")),
    st.integers(1, 6),
    st.sampled_from((1.0, 0.1, 7.0)),
    st.none() | st.tuples(st.sampled_from(("F1", "F2", "F3")), st.sampled_from(TAILS)),
)
MAPPINGS = st.dictionaries(st.tuples(st.sampled_from(("F1", "F2", "F3")), st.sampled_from(TAILS)), BINDING, max_size=8)


def address_of(key: tuple[str, str]) -> str:
    return f"g/a/s/MV1/{key[0]}/_/{key[1]}"


def built(content: dict[tuple[str, str], Any]) -> Mapping:
    devices = {name: MappedDevice(name, SPEC, DeviceConfig(), "g/a/s", "f.yaml", 1, 1) for name in ("a", "b")}
    for key, (device, ioa, scale, was) in content.items():
        address = address_of(key)
        point_class = classify(parse(address))
        profile = make_profile(point_class, key[1], {"scale": scale}, controllable=False)
        aliases = (f"was:{address_of(was)}",) if was is not None and was != key else ()
        devices[device].points.append(
            MappedPoint(
                address, profile, {"ioa": ioa}, None, ioa, point_class.quantity, None, "read", 0, True, (), aliases,
                "f.yaml", 1, 1,
            )
        )  # fmt: skip
    return Mapping([device for device in devices.values() if device.points])


def table_of(mapping: Mapping) -> dict[str, tuple[str, MappedPoint]]:
    return {point.address: (device.name, replace(point, profile=point.profile)) for device, point in mapping.points()}


@settings(max_examples=60, deadline=None)
@given(MAPPINGS)
def test_no_mapping_differs_from_itself(content: dict[tuple[str, str], Any]) -> None:
    assert not difference(built(content), built(content))


@settings(max_examples=150, deadline=None)
@given(MAPPINGS, MAPPINGS)
def test_the_difference_leads_from_the_old_mapping_to_the_new_one(
    before: dict[tuple[str, str], Any], after: dict[tuple[str, str], Any]
) -> None:
    old, new = built(before), built(after)
    table = table_of(old)
    changes = list(difference(old, new).points())
    for change in changes:
        if change.old is not None:
            assert table.pop(change.old.address)[1] == change.old
            assert change.moved_from in (None, change.old.address)
    for change in changes:
        if change.new is not None:
            assert change.address not in table
            table[change.address] = (change.device, change.new)
    assert table == table_of(new)


@settings(max_examples=60, deadline=None)
@given(MAPPINGS, MAPPINGS)
def test_a_change_names_only_fields_that_differ_and_a_guess_keeps_its_device(
    before: dict[tuple[str, str], Any], after: dict[tuple[str, str], Any]
) -> None:
    for change in difference(built(before), built(after)).points():
        assert all(field.old != field.new for field in change.fields)
        assert change.old is not None or change.new is not None
        if change.old is not None and change.new is not None:
            assert change.fields or change.moved_from
        if change.guessed:
            assert change.old is not None
            assert change.new is not None
            assert change.device_from == change.device
            assert change.old.source == change.new.source
