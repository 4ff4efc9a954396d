"""The alarm list: every code that the service tells of is in it, with types and classes that OPC UA knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import twin_gateway
from twin_gateway.alarms.catalogue import CONDITION_CLASSES, alarm_code, alarm_codes

TYPES = {
    "AlarmConditionType",
    "CertificateExpirationAlarmType",
    "DiscrepancyAlarmType",
    "ExclusiveLimitAlarmType",
    "InstrumentDiagnosticAlarmType",
    "NonExclusiveLimitAlarmType",
    "OffNormalAlarmType",
    "SystemOffNormalAlarmType",
    "TripAlarmType",
}


def test_every_code_in_the_source_is_in_the_list() -> None:
    package = Path(twin_gateway.__file__).parent
    told = {
        code
        for folder in ("functions", "commands", "mqtt", "drivers", "alarms")
        for path in (package / folder).rglob("*.py")
        for code in re.findall(r'"([PSCDLTFG]\d\d)"', path.read_text("utf-8"))
    }
    assert len(told) > 35
    assert told - set(alarm_codes()) == set()


@pytest.mark.parametrize("code", alarm_codes())
def test_a_code_has_a_type_a_class_and_a_severity_of_opc_ua(code: str) -> None:
    listed = alarm_code(code)
    assert listed.type_name in TYPES
    assert listed.condition_class in CONDITION_CLASSES
    assert 1 <= listed.severity <= 1000
    assert listed.name and listed.judged_within > 0
    assert listed.acknowledge or not listed.confirm


def test_safety_and_trips_are_acknowledged_and_very_severe() -> None:
    grave = [
        each for each in alarm_codes().values() if each.condition_class == "Safety" or each.type_name == "TripAlarmType"
    ]
    assert len(grave) >= 6
    assert all(each.acknowledge and each.severity >= 900 for each in grave)


def test_a_code_of_ones_own_is_a_plain_alarm() -> None:
    own = alarm_code("X77")
    assert (own.type_name, own.condition_class, own.acknowledge) == ("AlarmConditionType", "Process", True)


def test_the_table_in_the_documentation_is_the_list() -> None:
    page = Path(twin_gateway.__file__).parents[1] / "docs" / "alarms.md"
    rows = [line for line in page.read_text("utf-8").splitlines() if re.match(r"\| [A-Z]\d\d \|", line)]
    expected = []
    for each in alarm_codes().values():
        asks = "ack, confirm" if each.confirm else "ack" if each.acknowledge else "-"
        kind = each.type_name.removesuffix("Type")
        expected.append(f"| {each.code} | {each.name} | {kind} | {each.condition_class} | {each.severity} | {asks} |")
    assert rows == expected
