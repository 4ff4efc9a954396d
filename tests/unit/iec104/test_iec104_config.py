"""The device section and the aliases of 104 points."""

import pytest
from pydantic import ValidationError

from twin_gateway.drivers.iec104.config import SPEC, Iec104Config


def device(**fields):
    return Iec104Config.model_validate({"host": "10.0.0.1", **fields})


def test_the_defaults_are_those_of_the_standard():
    config = device()
    assert (config.port, config.k, config.w) == (2404, 12, 8)
    assert (config.t0, config.t1, config.t2, config.t3) == (10, 15, 10, 20)


def test_one_or_several_common_addresses_may_be_given():
    assert device(common_address=7).common_address == (7,)
    assert device(common_address=[7, 9]).common_address == (7, 9)


def test_the_port_with_tls_is_that_of_the_standard_unless_one_is_given():
    tls = {"ca": "a", "certificate": "b", "key": "c"}
    assert (device(tls=tls).port, device(tls=tls, port=2404).port) == (19_998, 2404)


def test_redundant_addresses_take_the_port_of_the_device_unless_they_have_one():
    config = device(port=2500, redundant=["rtu-b", "10.0.0.2:2405", "[fd00::1]:2406", "[fd00::2]"])
    assert config.addresses == (("rtu-b", 2500), ("10.0.0.2", 2405), ("fd00::1", 2406), ("fd00::2", 2500))
    assert device(redundant="rtu-b").addresses == (("rtu-b", 2404),)


def test_durations_are_texts_with_a_unit_or_seconds():
    config = device(gi_interval="15 min", t1="15 s", clock_sync=30.0)
    assert (config.gi_interval, config.t1, config.clock_sync) == (900, 15, 30)


@pytest.mark.parametrize(
    "fields",
    [
        {"common_address": 0},
        {"common_address": 65_535},
        {"common_address": []},
        {"common_address": [1, 1]},
        {"time_zone": "Mars/Olympus"},
        {"w": 13},
        {"t2": "15 s"},
        {"t1": "soon"},
        {"port": 0},
        {"host": ""},
        {"hots": "x"},
        {"redundant": "10.0.0.1"},
        {"redundant": ["10.0.0.2", "10.0.0.2:2404"]},
        {"redundant": "10.0.0.2:70000"},
        {"redundant": "a b"},
        {"common_address_octets": 1, "common_address": 255},
        {"cause_octets": 1, "originator": 3},
        {"object_address_octets": 4},
    ],
)
def test_a_device_section_that_cannot_work_is_refused(fields):
    with pytest.raises(ValidationError):
        device(**fields)


@pytest.mark.parametrize(
    ("fields", "alias"),
    [
        ({"ioa": 4001, "type": "M_SP_NA_1"}, "rtu/7/4001"),
        ({"ioa": 4001, "type": "M_SP_NA_1", "common_address": 9}, "rtu/9/4001"),
        ({"ioa": 16_777_215, "type": "M_BO_NA_1", "bit": 31}, "rtu/7/16777215.31"),
    ],
)
def test_an_alias_names_link_station_and_object_and_leads_back(fields, alias):
    config = device(common_address=[7, 9])
    source = SPEC.source(config, fields)
    assert SPEC.alias("rtu", config, source) == alias
    assert SPEC.unalias(alias) == ("rtu", source)


@pytest.mark.parametrize("alias", ["rtu", "rtu/7", "rtu/0/1", "rtu/7/0", "rtu/65535/1", "rtu/1/16777216", "rtu/1/1.32"])
def test_what_is_no_alias_is_none(alias):
    assert SPEC.unalias(alias) is None


def test_a_command_has_a_binding_of_its_own():
    config = device(common_address=[7, 9])
    fields = {"ioa": 1, "type": "M_DP_NA_1", "common_address": 9}
    assert SPEC.command_source(config, fields, {"ioa": 5, "type": "C_DC_NA_1"}) == 9 << 24 | 5


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"ioa": 1, "type": "M_SP_NA_1", "common_address": 8}, "common_address"),
        ({"ioa": 1, "type": "M_SP_NA_1", "bit": 0}, "bit"),
        ({"ioa": 1, "type": "M_PS_NA_1", "bit": 16}, "bit"),
        ({"ioa": 1, "type": "M_ME_NC_1", "nominal": 100}, "nominal"),
        ({"ioa": 65_536, "type": "M_SP_NA_1"}, "ioa"),
    ],
)
def test_fields_that_do_not_fit_the_type_or_the_device_are_problems(fields, where):
    assert [name for name, _ in SPEC.check(device(common_address=7, object_address_octets=2), fields)] == [where]


def test_types_feed_the_common_data_classes_of_the_vocabulary():
    def cdcs(name, **more):
        return SPEC.cdcs({"type": name, **more})

    assert {"SPS", "SPC"} <= cdcs("M_SP_TB_1")
    assert "MV" not in cdcs("M_SP_TB_1")
    assert {"DPS", "DPC"} <= cdcs("M_DP_NA_1")
    assert {"MV", "CMV", "APC"} <= cdcs("M_ME_TF_1")
    assert "BCR" in cdcs("M_IT_NA_1")
    assert "SPS" in cdcs("M_PS_NA_1", bit=3)
    assert {"ACT", "ACD"} <= cdcs("M_EP_TE_1")
