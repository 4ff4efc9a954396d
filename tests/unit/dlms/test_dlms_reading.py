"""From raw answers to samples: scaler, unit, quality, positions, texts, profile rows, command outcomes."""

from datetime import UTC, datetime, timedelta

import pytest

from address_space.catalogue import ValueType
from address_space.ports import Outcome, Verb
from address_space.quality import Quality, StatusCode, status_of
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand
from twin_gateway.drivers.dlms import disconnector, obis
from twin_gateway.drivers.dlms.axdr import BitString
from twin_gateway.drivers.dlms.clock import MeterTime
from twin_gateway.drivers.dlms.config import SPEC, DlmsConfig
from twin_gateway.drivers.dlms.errors import AccessError, ActionError, MalformedApduError, ServiceError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.quality import of_access_result
from twin_gateway.drivers.dlms.reading import Reading
from twin_gateway.drivers.dlms.scales import UnitMismatchError, scale_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TYPES = {"DPC": ValueType.INT32, "SPS": ValueType.BOOLEAN, "VSS": ValueType.STRING, "INS": ValueType.INT32}


def point(row, code, cdc="MV", quantity=None, unit=None, **fields):
    value_type = TYPES.get(cdc, ValueType.DOUBLE)
    return BoundPoint(row, f"p{row}", cdc, value_type, {"obis": code, **fields}, quantity=quantity, unit=unit)


def read(points, values, scalers=()):
    reading = Reading(points, UTC, 1)
    reading.scalers.take(reading.missing_scalers(), list(scalers))
    return reading, reading.batch(values, NOW)


@pytest.mark.parametrize(
    ("scaler_unit", "quantity", "unit", "raw", "value"),
    [
        ([-1, 35], "voltage", None, 2301, 230.1),
        ([3, 30], "active energy", None, 5, 5000.0),
        ([0, 32], "reactive energy", None, 1500, 1.5),  # varh -> kvarh
        ([0, 31], "apparent energy", None, 1500, 1.5),
        ([0, 30], "active energy", "kWh", 1500, 1.5),  # the mapping's unit is what is delivered
        ([0, 24], "pressure", None, 2, 200_000.0),
        ([-1, 52], "temperature", None, 2981, 24.95),
        ([-3, 255], None, None, 980, 0.98),
        ([-3, 255], "ratio", None, 980, 0.98),
        ([0, 255], "voltage", "V", 230, 230.0),  # the meter says nothing, the mapping does
        ([0, 56], "percent", None, 50, 50.0),
        ([0, 27], None, None, 12, 12.0),
    ],
)
def test_scaler_and_unit_lead_to_the_delivered_unit(scaler_unit, quantity, unit, raw, value):
    assert scale_of(scaler_unit, point(0, "1-0:1.8.0", quantity=quantity, unit=unit))(raw) == pytest.approx(value)


def test_decimal_scalers_are_exact():
    scale = scale_of([-1, 35], point(0, "1-0:32.7.0"))
    assert [scale(raw) for raw in (2301, 2303, 2299)] == [230.1, 230.3, 229.9]


@pytest.mark.parametrize("scaler_unit", [[0, 33], [0, 255], [0, 199]])
def test_a_unit_of_another_quantity_is_a_mapping_fault(scaler_unit):
    with pytest.raises(UnitMismatchError):
        scale_of(scaler_unit, point(0, "1-0:32.7.0", quantity="voltage"))


@pytest.mark.parametrize("scaler_unit", [None, [1], [1, 2, 3], b"\x01", [99, 35], ["a", 1], [True, 35]])
def test_a_broken_scaler_unit_is_refused(scaler_unit):
    with pytest.raises(MalformedApduError):
        scale_of(scaler_unit, point(0, "1-0:32.7.0", quantity="voltage"))


def test_without_a_scaler_there_is_no_value():
    points = [point(0, "1-0:32.7.0", quantity="voltage")]
    _, batch = read(points, [2301], [AccessError(3)])
    assert status_of(int(batch.quality[0])) is StatusCode.BadConfigurationError


def test_a_scaler_that_is_temporarily_unavailable_is_asked_for_again():
    reading = Reading([point(0, "1-0:32.7.0", quantity="voltage")], UTC, 1)
    reading.scalers.take(reading.missing_scalers(), [AccessError(2)])
    assert reading.missing_scalers()
    reading.scalers.take(reading.missing_scalers(), [[-1, 35]])
    assert not reading.missing_scalers() and reading.batch([2301], NOW).values[0] == 230.1


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (1, StatusCode.BadDeviceFailure),
        (2, StatusCode.UncertainLastUsableValue),
        (11, StatusCode.UncertainLastUsableValue),
        (3, StatusCode.BadConfigurationError),
        (4, StatusCode.BadConfigurationError),
        (9, StatusCode.BadConfigurationError),
        (12, StatusCode.BadConfigurationError),
        (13, StatusCode.BadConfigurationError),
        (14, StatusCode.Bad),
        (250, StatusCode.Bad),
    ],
)
def test_every_data_access_result_has_its_status(code, status):
    assert status_of(of_access_result(code)) is status


def test_an_unavailable_value_keeps_the_last_one():
    reading, _ = read([point(0, "1-0:32.7.0", quantity="voltage")], [2301], [[-1, 35]])
    batch = reading.batch([AccessError(2)], NOW)
    assert batch.values[0] == 230.1 and batch.quality[0] == Quality.QUESTIONABLE | Quality.OLD_DATA


@pytest.mark.parametrize("raw", [None, b"abc", "x", [1]])
def test_what_is_no_number_is_never_good(raw):
    _, batch = read([point(0, "1-0:32.7.0", quantity="voltage")], [raw], [[-1, 35]])
    assert batch.quality[0] & Quality.INVALID


@pytest.mark.parametrize(("raw", "double", "single"), [(0, 1, 0), (1, 2, 1), (2, 1, 0), (True, 2, 1), (False, 1, 0)])
def test_control_and_output_state_become_positions(raw, double, single):
    points = [point(0, "0-0:96.3.10", "DPC"), point(1, "0-0:96.3.10", "SPS")]
    _, batch = read(points, [raw])
    assert list(batch.values) == [double, single] and not batch.quality.any()


def test_an_unknown_control_state_is_not_good():
    _, batch = read([point(0, "0-0:96.3.10", "DPC")], [7])
    assert batch.quality[0] & Quality.INVALID


def test_texts_and_bit_strings():
    points = [
        point(0, "0-0:96.1.0", "VSS"),
        point(1, "0-0:42.0.0", "VSS"),
        point(2, "0-0:96.10.1", "INS"),
    ]
    _, batch = read(points, [b"00000417", b"\x01\x02", BitString(10, b"\xa5\x40")])
    assert [sample.text for sample in batch.texts] == ["00000417", "0102"]
    assert list(batch.values) == [0b1010010101]


def test_each_attribute_is_asked_for_once():
    points = [point(0, "1-0:1.8.0"), point(1, "1-0:1.8.0"), point(2, "1-0:1.6.0")]
    numbers = [str(attribute) for attribute in Reading(points, UTC, 1).attributes]
    assert numbers == ["3/1-0:1.8.0/2", "4/1-0:1.6.0/2", "4/1-0:1.6.0/5"]


ENERGY = Attribute(3, obis.parse("1-0:1.8.0"), 2)


def test_a_push_that_was_overtaken_by_a_reading_does_not_look_like_a_reset():
    reading, _ = read([point(0, "1-0:1.8.0")], [5000], [[0, 30]])
    reading.pushed({ENERGY: 4999}, None, NOW)
    reading.batch([5001], NOW)
    assert not reading.take_drops()
    reading.batch([17], NOW)
    assert [(drop.before, drop.after) for drop in reading.take_drops()] == [(5001, 17)]


def test_a_meter_that_only_pushes_is_watched_by_its_pushes_in_the_order_of_their_times():
    reading = Reading([point(0, "1-0:1.8.0")], UTC, 1)
    reading.restore_scalers({"3/1-0:1.8.0/3": [0, 30]})
    for minutes, raw in ((0, 5000), (30, 5002), (15, 5001), (45, 17)):
        time = MeterTime(NOW + timedelta(minutes=minutes))
        reading.pushed({ENERGY: raw}, time, NOW)
    assert [(drop.before, drop.after) for drop in reading.take_drops()] == [(5002, 17)]


# --- commands ----------------------------------------------------------------------------------------------------


def command(value, cdc="DPC", **fields):
    return DeviceCommand(
        **{"verb": Verb.OPERATE, "point": point(0, "0-0:96.3.10", cdc), "value": value} | fields, command_id="c"
    )


@pytest.mark.parametrize(
    ("value", "cdc", "wanted"),
    [(1, "DPC", 0), (2, "DPC", 1), (True, "DPC", 1), (False, "DPC", 0), (1, "SPC", 1), (0, "SPC", 0), (True, "SPC", 1)],
)
def test_off_and_on_mean_disconnect_and_reconnect(value, cdc, wanted):
    assert disconnector.wanted_state(command(value, cdc)) == wanted


@pytest.mark.parametrize("value", [None, 0, 3, 1.5, float("nan")])
def test_anything_else_is_refused(value):
    outcome = disconnector.wanted_state(command(value))
    assert isinstance(outcome, Outcome) and outcome.status == StatusCode.BadInvalidArgument and not outcome.sent


@pytest.mark.parametrize(
    ("wanted", "state", "status"),
    [
        (0, 0, StatusCode.Good),
        (1, 1, StatusCode.Good),
        (0, 2, StatusCode.Good),  # ready for reconnection is off
        (1, 2, StatusCode.BadInvalidState),  # waits for a hand
        (1, 0, StatusCode.BadInvalidState),
        (0, 1, StatusCode.BadInvalidState),
        (0, None, StatusCode.BadTimeout),
    ],
)
def test_only_the_position_that_followed_is_good(wanted, state, status):
    outcome = disconnector.after_read_back(command(1), wanted, state)
    assert outcome.status == status and outcome.sent


def test_refusals_of_the_meter_and_unusable_answers_are_told_apart():
    refused = disconnector.of_error(command(1), ActionError(3), sent=True)
    assert refused.status == StatusCode.BadUserAccessDenied
    assert disconnector.of_error(command(1), ServiceError("no", 2), sent=True).status == StatusCode.Bad
    unknown = disconnector.of_error(command(1), MalformedApduError("?"), sent=True)
    assert unknown.status == StatusCode.BadTimeout and "outcome unknown" in unknown.text


# --- the mapping's side ------------------------------------------------------------------------------------------


def test_sources_and_aliases_lead_back_and_forth():
    config = DlmsConfig(host="h", logical_device=17)
    source = SPEC.source(config, {"obis": "1-0:1.8.0"})
    alias = SPEC.alias("m-417", config, source)
    assert alias == "m-417/17/3/1.0.1.8.0.255/2"
    assert SPEC.unalias(alias) == ("m-417", source)
    assert SPEC.unalias("nonsense") is None
    assert SPEC.source(config, {"obis": "1.0.1.8.0.255", "class": 3}) == source


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"security": "lls"}, "security"),
        ({"security": "hls-gmac"}, "security"),
        ({"password": "x"}, "password"),
        ({"keys": {"authentication": "0" * 32, "encryption": "0" * 32}}, "keys"),
        ({"dedicated_key": True}, "dedicated_key"),
    ],
)
def test_security_that_does_not_fit_is_a_problem(fields, field):
    config = DlmsConfig.model_validate({"host": "h", **fields})
    assert [name for name, _ in SPEC.check_device(config)] == [field]


@pytest.mark.parametrize(
    "fields",
    [
        {"keys": {"authentication": "0" * 31, "encryption": "0" * 32}},
        {"system_title": "00"},
        {"time_zone": "Mars/Base"},
        {"port": 0},
        {"poll": 0},
        {"sercurity": "none"},
    ],
)
def test_bad_device_sections_are_refused(fields):
    with pytest.raises(ValueError, match="validation error"):
        DlmsConfig.model_validate({"host": "h", **fields})


def test_secrets_of_the_device_section_never_show():
    keys = {"authentication": "A5" * 16, "encryption": "5A" * 16}
    config = DlmsConfig.model_validate({"host": "h", "security": "hls-gmac", "keys": keys, "password": "geheim"})
    shown = repr(config) + str(config) + config.model_dump_json()
    assert "A5A5" not in shown and "5A5A" not in shown and "geheim" not in shown


def test_problems_of_points_are_named_by_field():
    assert not SPEC.check(None, {"obis": "1-0:1.8.0"})
    assert SPEC.check(None, {"obis": "1-0:1.8.999"})[0][0] == "obis"
    assert "no point" in SPEC.check(None, {"obis": "1-0:99.1.0"})[0][1]
    assert SPEC.cdcs({"obis": "0-0:96.3.10"}) >= {"DPC", "SPS"}
    assert "DPC" not in SPEC.cdcs({"obis": "1-0:1.8.0"})
