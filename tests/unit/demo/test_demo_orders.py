"""The demo's files: clean, complete, and enough to know what to tell which simulator."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from twin_gateway.config import load_config
from twin_gateway.demo.files import (
    DemoError,
    find_mappings,
    make_operator,
    make_secrets,
    prepare_simulators,
    registers_of,
    write_gateway,
)
from twin_gateway.demo.model import DISCONNECTORS, PLACE, TAP, Feeder
from twin_gateway.demo.orders import wire_up
from twin_gateway.mapping.check import check, run_check
from twin_gateway.security.users import load_users

MAPPINGS = find_mappings()
F06 = f"{PLACE}/PS01/MV1/F06"


@pytest.fixture(scope="module")
def mapping(tmp_path_factory):
    found, problems = check([MAPPINGS / "templates", MAPPINGS / "demo"], environ=make_secrets())
    assert [str(problem) for problem in problems] == []
    assert found is not None
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return prepare_simulators(MAPPINGS / "demo" / "simulators", tmp_path_factory.mktemp("sim") / "s", make_secrets())


@pytest.fixture(scope="module")
def wiring(mapping, files):
    return wire_up(mapping, registers_of(files), [*Feeder().positions, *DISCONNECTORS, TAP])


def test_the_demo_is_as_large_as_promised(mapping):
    devices = Counter(device.protocol for device in mapping.devices)
    assert devices["iec61850"] >= 2
    assert devices["iec104"] >= 2
    assert devices["dlms"] >= 20
    assert devices["coap"] >= 10
    assert mapping.point_count > 300


@pytest.mark.parametrize("folders", [("demo",), ("templates", "demo"), ("",)])
def test_the_check_of_the_demo_is_clean_with_and_without_naming_its_templates(folders, capsys):
    assert run_check([MAPPINGS / folder for folder in folders], environ=make_secrets()) == 0
    assert capsys.readouterr().out.splitlines() == ["ok: 35 devices, 584 points"]


def test_everything_the_model_says_has_a_device_that_tells_it(wiring):
    feeder = Feeder()
    feeder.step(1.0, 12.0)
    said = {*feeder.readings(), *feeder.positions, *DISCONNECTORS, TAP}
    assert said - wiring.wires.keys() == set()


def test_every_device_has_a_simulator(mapping, files):
    played = {device for file in files for device in file.devices}
    assert {device.name for device in mapping.devices if device.protocol != "iec61850"} == played


def test_a_remote_terminal_unit_is_told_kilowatts_and_kilovolts(wiring):
    place = f"{PLACE}/RMU0217/MV1/C01/_/MMXU1"
    order = json.loads(wiring.wires[f"{place}/TotW"].line(437_026.0))
    assert order == {"common_address": 217, "ioa": 115, "value": 437.026}
    assert json.loads(wiring.wires[f"{place}/PhV/phsB"].line(11_650.0))["value"] == 11.65


def test_a_counter_of_ten_kilowatt_hours_is_told_in_steps(wiring):
    order = json.loads(wiring.wires[f"{PLACE}/PS01/HV1/E01/_/MMTR1/SupWh"].line(9.1e9))
    assert order["value"] == 910_000


def test_a_bay_unit_is_told_what_its_scl_file_declares(wiring):
    assert json.loads(wiring.wires[f"{F06}/_/MMXU1/TotW"].line(437_026.0)) == {
        "ref": "LD0/MMXU1.TotW",
        "value": 437.026,
    }
    assert json.loads(wiring.wires[f"{F06}/_/MMTR1/SupWh"].line(1_200_014_600.0))["value"] == 12_000_146
    assert json.loads(wiring.wires[f"{F06}/QB1/CILO1/EnaOpn"].line(0.0))["value"] is False


def test_a_meter_is_told_in_the_units_of_its_registers(wiring):
    meter = f"{PLACE}/SP021701/LV1/_/M1"
    assert json.loads(wiring.wires[f"{meter}/MMTR1/DmdVArh"].line(8820.1304))["value"] == 8_820_130
    energy = json.loads(wiring.wires[f"{meter}/MMTR1/DmdWh"].line(42_000_656.6))
    assert energy == {"meter": "meter-021701", "obis": "1-0:1.8.0", "value": 42_000_657}


def test_a_contact_that_says_the_opposite_is_told_the_opposite(wiring):
    wire = wiring.wires[f"{PLACE}/PS01/LV1/_/RTU1/GGIO1/Ind1"]
    assert json.loads(wire.line(0.0))["value"] is True


def test_a_position_goes_out_with_the_time_of_its_change(wiring):
    order = json.loads(wiring.wires[f"{F06}/QA1/XCBR1/Pos"].line(2, 1_767_225_600.25))
    assert order == {"ref": "LD0/XCBR1.Pos", "value": 2, "time": 1_767_225_600.25}
    disconnector = f"{PLACE}/SP021701/LV1/_/M1/XSWI1/Pos"
    assert json.loads(wiring.wires[disconnector].line(1, 5.0)) == {"meter": "meter-021701", "connected": False}


def test_what_simulators_report_is_known_by_its_address(wiring):
    assert wiring.address_of("ied-f06", {"operated": "LD0/XCBR1.Pos", "value": 1}) == (f"{F06}/QA1/XCBR1/Pos", 1)
    moved = {"moved": 200, "common_address": 218, "value": 2.0}
    assert wiring.address_of("rtu-rmu0218", moved) == (f"{PLACE}/RMU0218/MV1/C02/QB1/XSWI1/Pos", 2)
    opened = {"meter": "meter-021805", "connected": False}
    assert wiring.address_of("meter-ts0218", opened) == (f"{PLACE}/SP021805/LV1/_/M1/XSWI1/Pos", 1)
    assert wiring.address_of("rtu-ps01", {"moved": 1050, "value": 10}) == (TAP, 10)
    assert wiring.address_of("rtu-ps01", {"command": 5050, "value": 2}) is None
    assert wiring.address_of("rtu-ps01", {"moved": 1201, "value": 1}) is None, "the heating is not in the model"


def test_no_secret_stands_in_a_file_of_the_project():
    secret = re.compile(r"(?:authentication|encryption|password): (?!\"?\$\{)")
    files = [file for file in (MAPPINGS / "demo").rglob("*") if file.suffix in {".yaml", ".dlms"}]
    assert len(files) >= 6
    for file in files:
        assert not secret.search(file.read_text("utf-8")), file.name


def test_secrets_are_filled_into_private_copies(files):
    (street,) = [file for file in files if file.path.name == "ts0217.dlms"]
    keys = street.content["meters"]["meter-021701"]["keys"]
    assert len(bytes.fromhex(keys["authentication"])) == 16
    assert street.path.stat().st_mode & 0o077 == 0


def test_the_gateway_of_the_demo_is_made_from_the_documented_file(tmp_path):
    path = write_gateway(MAPPINGS / "demo", tmp_path, opcua=4850, http=8490, mqtt=None)
    config = load_config(path)
    assert (config.opcua.port, config.http.port if config.http else 0, config.mqtt) == (4850, 8490, None)
    assert config.opcua.anonymous == "observe"
    assert [place.name for place in config.mappings] == ["templates", "demo"]
    assert yaml.safe_load((MAPPINGS / "demo" / "gateway.yaml").read_text("utf-8"))["opcua"]["host"] == "127.0.0.1"


def test_the_operator_has_a_password_of_the_run_that_only_the_owner_can_read(tmp_path):
    password = make_operator(tmp_path)
    assert load_users(tmp_path / "users.yaml")["operator"].roles == ("Operator",)
    assert (tmp_path / "operator.txt").stat().st_mode & 0o077 == 0
    assert password in (tmp_path / "operator.txt").read_text("utf-8")
    assert make_operator(tmp_path) != password


def test_a_demo_without_its_files_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twin_gateway.demo.files.__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(DemoError, match="mappings/demo"):
        find_mappings()
    assert not Path("mappings").exists()
