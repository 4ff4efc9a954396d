"""The demo's files: clean, complete, and enough to know what to tell which simulator."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from twin_gateway.config import load_config
from twin_gateway.demo.files import (
    DemoError,
    find_mappings,
    lay_out,
    make_operator,
    make_secrets,
    ports_of,
    write_gateway,
)
from twin_gateway.functions.switchgear_nameplates import read_nameplates
from twin_gateway.grid.model import CimClass, Grid
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.mapping.check import check, run_check
from twin_gateway.mapping.model import Mapping
from twin_gateway.security.users import load_users
from twin_gateway.simulate.feeder.devices import Plan, make_plans
from twin_gateway.simulate.feeder.field import Field, switch_of_position
from twin_gateway.simulate.feeder.field_settings import FieldSettings
from twin_gateway.simulate.feeder.points import readers
from twin_gateway.simulate.feeder.wiring import Wiring, WiringError, wire_up

MAPPINGS = find_mappings()
NORTH = "dso1/north"
F01 = f"{NORTH}/PS01/MV1/F01"


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    return make_secrets()


@pytest.fixture(scope="module")
def mapping(secrets: dict[str, str]) -> Mapping:
    found, problems = check([MAPPINGS / "templates", MAPPINGS / "demo"], environ=secrets)
    assert [str(problem) for problem in problems] == []
    assert found is not None
    return found


@pytest.fixture(scope="module")
def wiring(mapping: Mapping) -> Wiring:
    return wire_up(mapping)


@pytest.fixture(scope="module")
def grid() -> Grid:
    found, problems = read_grid([MAPPINGS / "demo" / "grid.yaml"])
    assert [str(problem) for problem in problems] == []
    assert found is not None
    return found


@pytest.fixture(scope="module")
def plans(mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> list[Plan]:
    return make_plans(mapping, tmp_path_factory.mktemp("plans") / "s", travel=lambda _address: 0.5)


def test_the_demo_is_as_large_as_promised(mapping: Mapping) -> None:
    devices = Counter(device.protocol for device in mapping.devices)
    assert devices["iec61850"] >= 2
    assert devices["iec104"] >= 32
    assert devices["dlms"] >= 20
    assert devices["coap"] >= 10
    assert mapping.point_count > 1000


@pytest.mark.parametrize("folders", [("demo",), ("templates", "demo"), ("",)])
def test_the_check_of_the_demo_is_clean_with_and_without_naming_its_templates(folders, capsys) -> None:
    assert run_check([MAPPINGS / folder for folder in folders], environ=make_secrets()) == 0
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("ok: 65 devices, ")


def test_every_switch_indicator_and_measurement_of_the_grid_has_a_device_that_tells_it(
    grid: Grid, wiring: Wiring
) -> None:
    points = {*grid.indicators, *grid.measurements, *switch_of_position(grid)}
    feeder = grid.feeders[F01]
    points |= {*feeder.trip, *feeder.start, *feeder.breaker_failure, feeder.reclosing, feeder.reclose_block}
    points |= {f"{meter}/MMTR1/DmdWh" for meter in grid.meters}
    assert points - wiring.wires.keys() == set()


def test_what_a_station_measures_comes_from_the_grid(grid: Grid, wiring: Wiring) -> None:
    known = readers(Field(grid, FieldSettings(), 0.0), wiring.wires)
    measured = {address for address in wiring.wires if "/MMXU1/" in address or "/MMTR1/" in address}
    assert {address for address in measured - known.keys() if not address.endswith("/Beh")} == set()


def test_every_device_is_played_by_one_process(mapping: Mapping, plans: list[Plan]) -> None:
    played = Counter(device for plan in plans for device in plan.devices)
    assert played == Counter(device.name for device in mapping.devices)
    assert len(plans) <= 8
    assert {port for plan in plans for port in plan.ports} == ports_of(mapping).keys()


def test_the_files_of_the_simulators_are_private_and_hold_the_keys(plans: list[Plan], secrets: dict[str, str]) -> None:
    (street,) = [plan for plan in plans if "meter-140001" in plan.devices]
    path = Path(street.command[-1])
    meter = json.loads(path.read_text())["meters"]["meter-140001"]
    assert meter["keys"] == {
        "authentication": secrets["TWIN_DEMO_METER_AK"],
        "encryption": secrets["TWIN_DEMO_METER_EK"],
    }
    assert path.stat().st_mode & 0o077 == 0


def test_a_remote_terminal_unit_is_told_kilowatts_and_kilovolts(wiring: Wiring) -> None:
    order = json.loads(wiring.wires[f"{NORTH}/RMU06/MV1/C05/_/MMXU1/TotW"].line(437_026.0))
    assert order == {"common_address": 6, "ioa": 115, "value": 437.026}
    assert json.loads(wiring.wires[f"{NORTH}/RMU06/MV1/T01/_/MMXU1/PhV/phsB"].line(7_250.0))["value"] == 7.25


def test_a_bay_unit_is_told_base_units(wiring: Wiring) -> None:
    order = json.loads(wiring.wires[f"{F01}/_/MMXU1/TotW"].line(437_026.0))
    assert order == {"ref": "LD0/MMXU1.TotW", "si": 437026.0}


def test_a_meter_is_told_in_the_units_of_its_registers(wiring: Wiring) -> None:
    meter = f"{NORTH}/SP140001/LV1/_/M1"
    assert json.loads(wiring.wires[f"{meter}/MMTR1/DmdVArh"].line(8820.1304))["value"] == 8_820_130
    energy = json.loads(wiring.wires[f"{meter}/MMTR1/DmdWh"].line(42_000_656.6))
    assert energy == {"meter": "meter-140001", "obis": "1-0:1.8.0", "value": 42_000_657}


def test_a_contact_that_says_the_opposite_is_told_the_opposite(wiring: Wiring) -> None:
    wire = wiring.wires[f"{NORTH}/PS01/LV1/_/RTU1/GGIO1/Ind1"]
    assert json.loads(wire.line(0.0))["value"] is True


def test_a_position_goes_out_with_the_time_of_its_change_and_a_forced_value_with_its_quality(wiring: Wiring) -> None:
    order = json.loads(wiring.wires[f"{F01}/QA1/XCBR1/Pos"].line(2, 1_767_225_600.25))
    assert order == {"ref": "LD0/XCBR1.Pos", "si": 2, "time": 1_767_225_600.25}
    disconnector = f"{NORTH}/SP140001/LV1/_/M1/XSWI1/Pos"
    assert json.loads(wiring.wires[disconnector].line(1, 5.0)) == {"meter": "meter-140001", "connected": False}
    told = json.loads(wiring.wires[f"{NORTH}/RMU06/MV1/C05/QB1/XSWI1/Pos"].line(0, 5.0, "invalid"))
    assert (told["value"], told["quality"]) == (0, 0x80)
    with pytest.raises(WiringError, match="meter-140001"):
        wiring.wires[f"{NORTH}/SP140001/LV1/_/M1/MMXU1/TotW"].line(1.0, None, "invalid")


@pytest.fixture
def heard(wiring: Wiring) -> Iterator[object]:
    def addresses(device: str, **line: object) -> object:
        found = wiring.addresses_of(device, line)
        return None if found is None else (set(found[0]), found[1])

    yield addresses


def test_what_simulators_report_is_known_by_its_addresses(heard) -> None:
    breaker = {f"{F01}/QA1/XCBR1/Pos"}
    assert heard("ied-f01", operated="LD0/XCBR1.Pos", value=1) == (breaker, 1)
    block = {f"{F01}/QA1/GGIO1/SPCSO1"}
    assert heard("ied-f01", operated="LD0/GGIO1.SPCSO1", value=1) == (block, 1)
    switch = {f"{NORTH}/RMU08/MV1/C33/QB1/{node}/Pos" for node in ("CSWI1", "XSWI1")}
    # The process plays many stations: the common address says which one it is.
    assert heard("rtu-rmu02", moved=300, common_address=8, value=2.0) == (switch, 2)
    house = {f"{NORTH}/SP220005/LV1/_/M1/{node}/Pos" for node in ("CSWI1", "XSWI1")}
    assert heard("meter-ts22", meter="meter-220005", connected=False) == (house, 1)
    assert heard("rtu-ps01", command=5201, common_address=1, value=2) is None


def test_no_secret_stands_in_a_file_of_the_project() -> None:
    secret = re.compile(r"(?:authentication|encryption|password): (?!\"?\$\{)")
    files = [file for file in (MAPPINGS / "demo").rglob("*") if file.suffix == ".yaml"]
    assert len(files) >= 6
    for file in files:
        assert not secret.search(file.read_text("utf-8")), file.name


def test_the_gateway_of_the_demo_is_made_from_the_documented_file(tmp_path: Path) -> None:
    lay_out(MAPPINGS / "demo", tmp_path)
    path = write_gateway(MAPPINGS / "demo", tmp_path, opcua=4850, http=8490, mqtt=None, control=14998)
    config = load_config(path)
    assert (config.opcua.port, config.http.port if config.http else 0, config.mqtt) == (4850, 8490, None)
    assert config.opcua.anonymous == "observe"
    assert config.twin is not None
    assert config.twin.injection.control == 14998
    assert all(path.is_file() for path in config.twin.grid)
    assert config.twin.switchgear.nameplates is not None
    assert config.twin.switchgear.nameplates.is_file()
    assert config.mappings == (tmp_path / "mappings/templates", tmp_path / "mappings/demo")
    assert (config.data_directory, config.users) == (tmp_path / "data", tmp_path / "users.yaml")
    assert yaml.safe_load((MAPPINGS / "demo" / "gateway.yaml").read_text("utf-8"))["opcua"]["host"] == "127.0.0.1"


def test_the_mapping_files_of_a_run_may_be_edited_and_stay_so(tmp_path: Path, secrets: dict[str, str]) -> None:
    place = lay_out(MAPPINGS / "demo", tmp_path)
    found, problems = check([tmp_path / "mappings"], environ=secrets)
    assert (found is not None, problems) == (True, [])
    (place / "rmu.yaml").write_text("mapping: 1\n")
    (place / "meters.yaml").unlink()
    assert lay_out(MAPPINGS / "demo", tmp_path) == place
    assert (place / "rmu.yaml").read_text() == "mapping: 1\n"
    assert not (place / "meters.yaml").exists()


def test_mapping_files_that_were_copied_in_part_are_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secrets: dict[str, str]
) -> None:
    copied: list[object] = []

    def full(source: str, target: str, **_: object) -> str:
        if len(copied) == 3:
            raise OSError("no space left")
        copied.append(target)
        return str(copy(source, target))

    copy = shutil.copyfile
    with monkeypatch.context() as patch, pytest.raises((OSError, shutil.Error)):
        patch.setattr(shutil, "copyfile", full)
        lay_out(MAPPINGS / "demo", tmp_path)
    lay_out(MAPPINGS / "demo", tmp_path)
    found, problems = check([tmp_path / "mappings"], environ=secrets)
    assert (found is not None, problems) == (True, [])


def test_every_breaker_and_some_switches_of_the_grid_have_nameplates(grid: Grid) -> None:
    plates, problems = read_nameplates(MAPPINGS / "demo" / "plates.yaml")
    assert [str(problem) for problem in problems] == []
    assert set(plates) <= set(grid.equipment)
    breakers = {item.address for item in grid.equipment.values() if item.cim_class is CimClass.BREAKER}
    assert breakers <= set(plates)
    assert len(plates) >= len(breakers) + 5
    assert all(plate.wear is not None and plate.gas is not None and plate.gas.limits for plate in plates.values())


def test_the_operator_has_a_password_of_the_run_that_only_the_owner_can_read(tmp_path: Path) -> None:
    password = make_operator(tmp_path)
    assert load_users(tmp_path / "users.yaml")["operator"].roles == ("Operator",)
    assert (tmp_path / "operator.txt").stat().st_mode & 0o077 == 0
    assert password in (tmp_path / "operator.txt").read_text("utf-8")
    assert make_operator(tmp_path) != password


def test_a_demo_without_its_files_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twin_gateway.demo.files.__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(DemoError, match="mappings/demo"):
        find_mappings()
    assert not Path("mappings").exists()
