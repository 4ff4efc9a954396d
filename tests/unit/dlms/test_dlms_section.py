"""The device section: peculiarities of models, pushes, limits of setting the clock."""

import pytest

from twin_gateway.drivers.dlms.config import SPEC, DlmsConfig
from twin_gateway.drivers.dlms.tables import models
from twin_gateway.mapping.check import check

KEYS = {"authentication": "0" * 32, "encryption": "1" * 32}
FILE = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  m1:
    protocol: dlms
    host: 127.0.0.1
    model: idis
    clock_set: 30 s
    log_poll: 5 min
    push: {listen: "127.0.0.1:4059", silence: 2 h}
    at: {MV1/F05: {points: {MMXU1/Hz: {obis: 1-0:14.7.0}}}}
"""


def section(**fields):
    return DlmsConfig.model_validate({"host": "h", **fields})


def problems(**fields):
    return [name for name, _ in SPEC.check_device(section(**fields))]


@pytest.mark.parametrize("model", sorted(models()))
def test_every_row_of_the_table_is_a_valid_device_section(model):
    config = section(model=model)
    for name, value in models()[model].items():
        found = getattr(config, name)
        assert (list(found) if isinstance(found, tuple) else found) == value
    assert problems(model=model) == []


def test_what_the_section_says_itself_wins_over_its_model():
    config = section(model="inverted-deviation", deviation="standard")
    assert config.deviation_sign == 1 and section(model="inverted-deviation").deviation_sign == -1
    assert not section(model="no-lists").lists and section(model="idis", logs=[]).logs == ()


def test_an_unknown_model_or_table_is_named():
    with pytest.raises(ValueError, match=r"'x' is not one of .*gurux-c-server, idis"):
        section(model="x")
    assert problems(event_codes="x", status_bits="y") == ["event_codes", "status_bits"]


def test_clocks_are_not_set_unless_a_limit_says_how_far():
    assert section().clock_set == "never" and section(clock_set="30 s").clock_set == 30.0
    with pytest.raises(ValueError, match="clock_set"):
        section(clock_set="always")


@pytest.mark.parametrize("listen", ["4059", "0.0.0.0", "0.0.0.0:0", "0.0.0.0:65536", "a b:1"])
def test_where_to_listen_is_an_address_and_a_port(listen):
    with pytest.raises(ValueError, match="address and port"):
        section(push={"listen": listen})


def test_nothing_is_listened_to_unless_the_section_says_so():
    assert section().push is None
    assert section(push={"listen": "[::1]:4059"}).push.where == ("::1", 4059)


def test_a_meter_that_is_never_called_has_to_be_described():
    push = {"listen": "127.0.0.1:4059", "only": True}
    assert problems(push=push) == ["push"]
    columns = {"columns": ["3/1-0:1.8.0/2"]}
    assert problems(push=push | columns) == []
    assert problems(push=push | columns, security="hls-gmac", keys=KEYS) == ["push"]
    assert problems(push=push | columns | {"by": "name"}) == ["push"]


def test_a_mapping_file_may_say_all_of_it(tmp_path):
    path = tmp_path / "meters.yaml"
    path.write_text(FILE)
    mapping, found = check([path], environ={})
    assert mapping is not None and not found, found
    config = next(device.config for device in mapping.devices if device.name == "m1")
    assert config.event_codes == "idis" and config.push.silence == 7200.0 and config.clock_set == 30.0


def test_an_unknown_model_is_reported_where_it_stands_in_the_mapping_file(tmp_path):
    path = tmp_path / "meters.yaml"
    path.write_text(FILE.replace("model: idis", "model: other"))
    mapping, found = check([path], environ={})
    assert mapping is None and [(problem.line, "'other' is not one of" in problem.message) for problem in found] == [
        (8, True)
    ]
