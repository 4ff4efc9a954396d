"""Quality: every 61850 word and every 104 octet, both directions, and the order of the StatusCode rules."""

from __future__ import annotations

import numpy as np
import pytest
from asyncua import ua

from address_space.quality import (
    FROM_61850,
    FROM_QDS,
    Quality,
    StatusCode,
    TimeFlag,
    from_61850,
    from_qds,
    from_status,
    names,
    status_column,
    status_of,
    time_names,
    to_61850,
    to_qds,
    worst,
)

Q = Quality


def test_every_status_code_has_the_number_of_the_opc_foundation() -> None:
    for code in StatusCode:
        assert getattr(ua.StatusCodes, code.name) == code


def test_all_8192_words_of_61850_map_and_come_back() -> None:
    for bits in range(1 << 13):
        word = from_61850(bits)
        back = to_61850(word)
        reserved = bits >> 11 == 0b10
        assert back == (bits & 0x7FF | 0b01 << 11 if reserved else bits)
        assert status_of(word) in set(StatusCode)


@pytest.mark.parametrize(
    ("bits", "status"),
    [
        ("0000000000000", "Good"),
        ("0000000000100", "GoodLocalOverride"),
        ("0000000000010", "UncertainSimulatedValue"),
        ("1100000100000", "UncertainLastUsableValue"),
        ("1110000000000", "UncertainEngineeringUnitsExceeded"),
        ("0100001000000", "BadDeviceFailure"),
        ("0100100000000", "BadSensorFailure"),
        ("0110000000000", "BadSensorFailure"),
        ("0100000000000", "Bad"),
        ("1000000000000", "Bad"),
        ("1100000000001", "UncertainLastUsableValue"),
        ("1100010000000", "Uncertain"),
        ("1100000001000", "UncertainSensorNotAccurate"),
        ("1100100000000", "UncertainSensorCalibration"),
        ("1100000000100", "UncertainSubstituteValue"),
    ],
)
def test_61850_quality_becomes_the_status_of_the_table(bits: str, status: str) -> None:
    assert status_of(from_61850(int(bits, 2))).name == status


def test_all_quality_octets_of_104_map_and_come_back() -> None:
    for octet in range(256):
        if octet & 0x0E:
            continue
        assert to_qds(from_qds(octet)) == octet
    assert from_qds(0, test=True) == Q.TEST
    assert len(FROM_QDS) == 256
    assert len(FROM_61850) == 8192


@pytest.mark.parametrize(
    ("word", "status"),
    [
        (Q.NOT_CONFIGURED | Q.OUT_OF_SERVICE, StatusCode.BadNotConnected),
        (Q.OUT_OF_SERVICE | Q.NOT_INITIALISED, StatusCode.BadOutOfService),
        (Q.NOT_INITIALISED | Q.COMM_LOST, StatusCode.BadWaitingForInitialData),
        (Q.COMM_LOST, StatusCode.UncertainNoCommunicationLastUsableValue),
        (Q.COMM_LOST | Q.TEST, StatusCode.UncertainNoCommunicationLastUsableValue),
        (Q.COMM_LOST | Q.INVALID, StatusCode.BadNoCommunication),
        (Q.INVALID | Q.TEST, StatusCode.Bad),
        (Q.TEST | Q.OLD_DATA, StatusCode.UncertainSimulatedValue),
        (Q.SIMULATED, StatusCode.UncertainSimulatedValue),
        (Q.OLD_DATA | Q.OVERFLOW, StatusCode.UncertainLastUsableValue),
        (Q.OUT_OF_RANGE | Q.BAD_REFERENCE, StatusCode.UncertainEngineeringUnitsExceeded),
        (Q.BAD_REFERENCE | Q.INACCURATE, StatusCode.UncertainSensorCalibration),
        (Q.INACCURATE | Q.PARTIAL, StatusCode.UncertainSensorNotAccurate),
        (Q.PARTIAL | Q.ESTIMATED, StatusCode.UncertainSubNormal),
        (Q.ESTIMATED, StatusCode.UncertainSubstituteValue),
        (Q.SUBSTITUTED | Q.QUESTIONABLE, StatusCode.UncertainSubstituteValue),
        (Q.SUBSTITUTED, StatusCode.GoodLocalOverride),
        (Q.QUESTIONABLE, StatusCode.Uncertain),
        (Q.CARRY | Q.ADJUSTED | Q.TRANSIENT, StatusCode.Good),
        (Q.CONFIGURATION_ERROR, StatusCode.BadConfigurationError),
        (Q(0), StatusCode.Good),
    ],
)
def test_the_first_matching_rule_wins(word: Quality, status: StatusCode) -> None:
    assert status_of(int(word)) is status
    assert status_of(int(word) | TimeFlag.RECEIVED | TimeFlag.NOT_SYNCHRONISED) is status


def test_long_lost_communication_is_bad() -> None:
    assert status_of(int(Q.COMM_LOST), dead=True) is StatusCode.BadNoCommunication


def test_a_column_of_words_gives_the_same_codes_as_one_by_one() -> None:
    generator = np.random.default_rng(7)
    words = generator.integers(0, 1 << 24, 5000).astype(np.uint32)
    assert status_column(words).tolist() == [status_of(int(word)) for word in words]
    same = np.full(10, int(Q.OLD_DATA), np.uint32)
    assert set(status_column(same).tolist()) == {StatusCode.UncertainLastUsableValue}
    times = np.full(3, int(TimeFlag.RECEIVED), np.uint32)
    assert status_column(times).tolist() == [0, 0, 0]


def test_a_computed_value_is_as_bad_as_its_worst_input() -> None:
    words = np.array([0, int(Q.QUESTIONABLE | Q.OLD_DATA), int(Q.INVALID | Q.FAILURE)], np.uint32)
    assert worst(words) == Q.INVALID | Q.OLD_DATA | Q.FAILURE
    assert worst(words[:1]) == 0
    assert worst(words[:0]) == Q.INVALID


@pytest.mark.parametrize("code", list(StatusCode))
def test_every_status_has_an_outward_form_of_the_same_severity(code: StatusCode) -> None:
    word = from_status(int(code))
    severity = int(code) >> 30
    expected = {0: (0,), 1: (1, 0), 2: (2,)}[severity]
    assert word & 3 in expected
    if severity == 2:
        assert to_qds(word) & 0x80
        assert to_61850(word) >> 11 == 0b01


def test_names_for_people() -> None:
    assert names(0) == "good"
    assert names(int(Q.QUESTIONABLE | Q.OLD_DATA)) == "questionable,oldData"
    assert time_names(0) is None
    assert time_names(int(TimeFlag.RECEIVED | TimeFlag.INVALID)) == "rx"
    assert time_names(int(TimeFlag.NOT_SYNCHRONISED)) == "notSynchronised"
