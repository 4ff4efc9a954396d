"""What is odd about a reading, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from twin_gateway.engineering.live_surprises import surprises

PLACE = "dso1/north/PS01/MV1/F05/_/MMXU1"


def point(**fields: Any) -> dict[str, Any]:
    return {
        "address": f"{PLACE}/TotW", "type": "MV", "value": 1000.0, "unit": "W", "status": "Good", "good": True,
        "quality": "good", "time": "2026-11-23T10:00:00Z", "time_quality": "", "received": "2026-11-23T10:00:01Z",
        "delay_s": 1.0, "error": "", "answered": True, "device_type": "", "binding": "d",
    } | fields  # fmt: skip


def kinds(*points: dict[str, Any], expected: dict[str, tuple[str, str]] | None = None, **device: Any) -> list[str]:
    reading = {
        "device": "rtu", "protocol": "iec104", "state": "up", "reason": "", "error": "", "points": points,
        "strays": [], "differences": [],
    } | device  # fmt: skip
    return [each.kind for each in surprises([reading], expected)]


def test_a_good_value_in_time_is_no_surprise() -> None:
    assert kinds(point(), expected={f"{PLACE}/TotW": ("rtu", "d")}) == []


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"answered": False, "received": "", "value": None, "good": False}, "never answered"),
        ({"answered": False}, "never answered"),
        ({"good": False, "status": "BadSensorFailure"}, "bad quality"),
        ({"time_quality": "notSynchronised"}, "time not synchronised"),
        ({"time_quality": "invalid"}, "time invalid"),
        ({"time_quality": "future", "time": "", "delay_s": None}, "time far off"),
        ({"time": "1984-01-01T00:00:00Z"}, "time far off"),
        ({"delay_s": 3601.0}, "time far off"),
        ({"device_type": "SPS"}, "other type"),
        ({"address": f"{PLACE}/Hz", "unit": "Hz", "value": 0.05}, "unit suspicious"),
        ({"address": f"{PLACE}/PPV/phsAB", "unit": "V", "value": 20.1}, "unit suspicious"),
        ({"address": f"{PLACE}/PPV/phsAB", "unit": "kV", "value": 20100.0}, "unit suspicious"),
        ({"address": f"{PLACE}/TotPF", "unit": "", "value": 97.0}, "unit suspicious"),
        ({"value": float("nan")}, "unit suspicious"),
        ({"unit": "degC", "value": 293.0}, "unit suspicious"),
    ],
)
def test_one_odd_thing_is_one_surprise(fields: dict[str, Any], kind: str) -> None:
    assert kinds(point(**fields)) == [kind]


@pytest.mark.parametrize(
    "fields",
    [
        {"time": "", "time_quality": "rx", "delay_s": None},
        {"address": f"{PLACE}/PPV/phsAB", "unit": "V", "value": 0.0},
        {"address": f"{PLACE}/PPV/phsAB", "unit": "V", "value": -20_100.0},
        {"address": f"{PLACE}/PF/phsA", "unit": "", "value": -0.97},
        {"unit": "", "type": "DPC", "value": 2, "delay_s": 864_000.0},
        {"value": True, "unit": ""},
        {"value": "a text", "unit": ""},
    ],
)
def test_what_is_usual_is_no_surprise(fields: dict[str, Any]) -> None:
    assert kinds(point(**fields)) == []


def test_an_old_time_among_newer_ones_is_no_wrong_clock() -> None:
    assert kinds(point(delay_s=86_400.0), point(delay_s=0.2)) == []


def test_a_device_that_is_down_is_told_once() -> None:
    gone = point(answered=False, received="", value=None, good=False, time="", delay_s=None)
    assert kinds(gone, state="down", reason="Connection refused") == ["no link", "never answered"]


def test_strays_and_differences_of_the_description_are_told() -> None:
    stray = {"fields": {"ioa": 4711}, "reason": "unknown address", "count": 3, "value": "1"}
    other = stray | {"reason": "other type"}
    difference = {"item": "LLN0$DC$NamPlt$configRev", "expected": "2", "found": "3"}
    assert kinds(strays=[stray, other], differences=[difference]) == ["description differs", "unmapped", "other type"]
    assert kinds(strays=[stray | {"reason": "unmapped member", "count": 0}]) == [], "offered, and not asked for"
    assert kinds(strays=[stray] * 10).count("unmapped") == 4, "three by name, the others as a number"


def test_a_binding_that_is_not_that_of_the_files_is_told() -> None:
    assert kinds(point(binding="d"), expected={f"{PLACE}/TotW": ("rtu", "other")}) == ["other binding"]
    assert kinds(point(binding=""), expected={}) == []


def test_a_point_of_the_files_that_the_gateway_does_not_read_from_its_device_is_told() -> None:
    new, elsewhere = f"{PLACE}/TotVAr", f"{PLACE}/Hz"
    expected = {f"{PLACE}/TotW": ("rtu", "d"), new: ("rtu", "n"), elsewhere: ("ied", "e")}
    assert kinds(point(), expected=expected) == ["not there"]
    assert kinds(point(), point(address=new, binding="n"), expected=expected) == []
    assert kinds(point(), point(address=new, binding="n"), point(address=elsewhere), expected=expected) == [
        "other binding"
    ]


@pytest.mark.parametrize(
    ("address", "odd"),
    [
        ("dso1/north/PF01/MV1/F05/QA1/CSWI1/Pos", False),
        ("dso1/north/PF01/MV1/F05/_/MMXU1/PFSign", False),
        (f"{PLACE}/PF/phsA", True),
        ("dso1/north/PS01/MV1/F05/_/MMXN2/TotPF", True),
    ],
)
def test_a_power_factor_is_known_by_its_data_object_and_not_by_the_name_of_a_place(address: str, odd: bool) -> None:
    assert kinds(point(address=address, unit="", value=2)) == (["unit suspicious"] if odd else [])
