"""`import dlms`: meters in processes of their own, of pydlms and of the simulator, to files that pass the check."""

import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from peers import import_bed, ports
from peers.import_bed import device

from twin_gateway.mapping.check import check

DLMS = Path(__file__).parents[1] / "dlms"
AK, EK = bytes(range(0xD0, 0xE0)).hex(), bytes(range(16)).hex()
run = partial(import_bed.run, "dlms")
REGISTERS = {
    "1-0:1.8.0": {"value": 123456, "unit": "Wh"},
    "1-0:1.8.2": {"value": 77, "unit": "Wh"},
    "1-0:2.8.0": {"value": 5, "unit": "A"},  # not what an energy register is for
    "1-0:32.7.0": {"value": 230.1, "unit": "V", "scaler": -1},
    "1-0:52.7.0": {"value": 230.1, "unit": "V", "scaler": -1},
    "1-0:72.7.0": {"value": 230.1, "unit": "V", "scaler": -1},
    "1-0:124.7.0": {"value": 400, "unit": "V"},
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Port of three meters behind one concentrator; the third has keys."""
    file = tmp_path_factory.mktemp("meters") / "meters.yaml"
    profile = {"columns": ["1-0:1.8.0"], "period": "15 min", "rows": 4}
    defaults = {"registers": REGISTERS, "profile": profile, "disconnector": "connected"}
    keys = {"authentication": AK, "encryption": EK}
    meters = {
        "m1": {"serial": "00000417"},
        "m2": {"serial": "00000418"},
        "m3": {"serial": "00000419", "security": "hls-gmac", "keys": keys},
    }
    file.write_text(yaml.safe_dump({"port": 0, "defaults": defaults, "meters": meters}))
    with device(sys.executable, "-m", "twin_gateway.simulate.dlms", str(file)) as peer:
        yield peer.said()["ports"]["m1"]


@pytest.fixture(scope="module")
def station():
    """Gives ports of pydlms meters: asked with what the station takes."""
    with device(sys.executable, str(DLMS / "pydlms_station.py")) as peer:

        def meter(**asked) -> int:
            peer.order(asked)
            return int(peer.line().split()[1])

        yield meter


def points_of(path: Path) -> dict[str, dict]:
    return {point.address: dict(point.fields) for point in import_bed.points_of(path)}


def test_meters_of_one_list_share_a_template_and_pass_the_check(simulated, tmp_path):
    options = ("--grid", "g", "--place", "a/SP{serial}", "--name", "m{serial}", "--at", "LV1/_/M1", "--into", tmp_path)
    result = run(f"127.0.0.1:{simulated}/1..2", *options)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "dlms.yaml").read_text()
    assert text.count("use: m1-dlms") == 2
    assert '"MMXU1/PhV/phs{A,B,C}": {obis: "1-0:{32,52,72}.7.0"}  # 0.1 V' in text
    assert "every 15 min: 2 columns" in text
    points = points_of(tmp_path / "dlms.yaml")
    assert points["g/a/SP00000418/LV1/_/M1/MMTR1/DmdWh"]["profile"] == "1-0:99.1.0"
    assert "g/a/SP00000418/LV1/_/M1/Tar2MMTR1/DmdWh" in points
    assert "g/a/SP00000417/LV1/_/M1/CSWI1/Pos" in points


def test_a_file_fits_the_others_of_its_folder(simulated, tmp_path):
    options = ("--grid", "g", "--place", "a/SP{serial}", "--at", "LV1/_/M1", "--into")
    assert run(f"127.0.0.1:{simulated}/1..2", *options, tmp_path / "one.yaml", "--name", "m{serial}").exit_code == 0
    taken = run(f"127.0.0.1:{simulated}/1..2", *options, tmp_path / "two.yaml", "--name", "x{serial}")
    assert taken.exit_code == 1
    assert "TG406" in taken.output
    assert not (tmp_path / "two.yaml").exists()
    beside = (*options[:3], "b/SP{serial}", *options[4:])
    result = run(f"127.0.0.1:{simulated}/1..2", *beside, tmp_path / "two.yaml", "--name", "x{serial}")
    assert result.exit_code == 0, result.output
    mapping, problems = check([tmp_path])
    assert mapping is not None, [str(problem) for problem in problems]


def test_a_register_in_another_unit_than_its_place_gets_no_point(simulated, tmp_path):
    run(f"127.0.0.1:{simulated}/1", "--grid", "g", "--place", "a/s", "--into", tmp_path / "m.yaml")
    text = (tmp_path / "m.yaml").read_text()
    assert "# - 1-0:2.8.0 class 3: register, A, its unit is A: not active energy" in text
    assert not any(address.endswith("SupWh") for address in points_of(tmp_path / "m.yaml"))


def test_all_gives_generic_places_that_follow_from_the_code(simulated, tmp_path):
    run(f"127.0.0.1:{simulated}/1", "--grid", "g", "--place", "a/s", "--into", tmp_path / "m.yaml", "--all")
    points = points_of(tmp_path / "m.yaml")
    keys = {address.partition("-1/")[2] for address in points}
    assert {"O124_7_0GGIO1/AnIn1", "O2_8_0GGIO1/AnIn1"} <= keys


def test_keys_are_used_and_stand_as_references_only(simulated, tmp_path):
    settings = ("--set", "security=hls-gmac", "--set", "keys.authentication=${AK}", "--set", "keys.encryption=${EK}")
    options = (f"127.0.0.1:{simulated}/3", "--grid", "g", "--place", "a/s", "--into", tmp_path / "m.yaml", *settings)
    missing = run(*options)
    assert missing.exit_code == 1
    assert "the environment variable AK is not set" in missing.output
    wrong = run(*options, AK=AK, EK=EK[::-1])
    assert wrong.exit_code == 1
    assert "are the keys those of this meter" in wrong.output
    assert not list(tmp_path.iterdir())
    result = run(*options, AK=AK, EK=EK)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "m.yaml").read_text()
    assert 'keys: {authentication: "${AK}", encryption: "${EK}"}' in text
    assert AK not in text
    assert EK not in text


def test_a_secret_on_the_command_line_is_refused_and_not_repeated(simulated):
    result = run(
        f"127.0.0.1:{simulated}/3",
        "--grid",
        "g",
        "--place",
        "a/s",
        "--set",
        "security=lls",
        "--set",
        "password=swordfish",
    )
    assert result.exit_code == 1
    assert "a secret may not stand in the file" in result.output
    assert "swordfish" not in result.output


def test_settings_of_a_mapping_file_are_used_and_new_points_merged_into_it(simulated, tmp_path):
    file = tmp_path / "m.yaml"
    file.write_text(
        f"""mapping: 1
grid: g
place: a/s
devices:
  m3:
    protocol: dlms
    host: 127.0.0.1
    port: {simulated}
    logical_device: 3
    security: hls-gmac
    keys: {{authentication: "${{AK}}", encryption: "${{EK}}"}}
    at:
      LV1/_/M7:
        points:
          MMTR1/DmdWh: {{obis: 1-0:1.8.0, deadband: 3 Wh}}   # ours
"""
    )
    result = run(file, "--mode", "merge", AK=AK, EK=EK)
    assert result.exit_code == 0, result.output
    text = file.read_text()
    assert "MMTR1/DmdWh: {obis: 1-0:1.8.0, deadband: 3 Wh}   # ours" in text
    points = points_of(file)
    assert points["g/a/s/LV1/_/M7/MMXU1/PhV/phsB"]["obis"] == "1-0:52.7.0"
    assert text == file.read_text()
    run(file, "--mode", "merge", AK=AK, EK=EK)
    assert text == file.read_text(), "a second merge finds nothing new"


def test_two_meters_behind_one_host_are_not_taken_for_each_other(simulated, tmp_path):
    options = ("--grid", "g", "--place", "a/{name}", "--at", "LV1/_/M1", "--into", tmp_path / "m.yaml")
    assert run(f"127.0.0.1:{simulated}/1", *options, "--name", "one").exit_code == 0
    result = run(f"127.0.0.1:{simulated}/2", *options, "--name", "two", "--mode", "merge")
    assert result.exit_code == 0, result.output
    places = {address.split("/")[2] for address in points_of(tmp_path / "m.yaml")}
    assert places == {"one", "two"}


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        ({}, []),
        ({}, ["security=lls", "password=${PW}", "client=32"]),
        ({}, ["security=hls-gmac", "keys.authentication=${AK}", "keys.encryption=${EK}", "client=1"]),
        ({"short": True}, ["referencing=short"]),
        ({"hdlc": True}, ["framing=hdlc"]),
    ],
    ids=["none", "password", "keys", "short names", "hdlc"],
)
def test_an_independent_meter_is_read_in_every_way_of_associating(station, tmp_path, asked, settings):
    said = [word for text in settings for word in ("--set", text)]
    port = station(**asked)
    where = ("--grid", "g", "--place", "a/s", "--into", tmp_path / "m.yaml", "--all")
    result = run(f"127.0.0.1:{port}", *where, *said, PW="12345678", AK=AK, EK=EK)
    assert result.exit_code == 0, result.output
    obis = {str(fields["obis"]) for fields in points_of(tmp_path / "m.yaml").values()}
    assert {"1-0:1.8.0", "1-0:32.7.0"} <= obis


def test_a_meter_that_cannot_be_reached_is_said_and_nothing_written(simulated, station, tmp_path):
    dead = ports.free_port()
    where = ("--grid", "g", "--place", "a/{name}", "--into", tmp_path / "m.yaml", "--set", "timeout=1 s")
    result = run(f"127.0.0.1:{dead}", f"127.0.0.1:{simulated}/1", *where)
    assert result.exit_code == 1
    assert f"127.0.0.1:{dead} (127.0.0.1:{dead}): nobody listens there" in result.output
    assert not list(tmp_path.iterdir())
    silent = run(f"127.0.0.1:{simulated}/9", *where)
    assert "no answer within 1 s" in silent.output
    refused = run(f"127.0.0.1:{station()}", *where, "--set", "security=lls", "--set", "password=${PW}", PW="wrong")
    assert refused.exit_code == 1
    assert "is it the password of this client?" in refused.output
    assert "Traceback" not in refused.output
    assert not list(tmp_path.iterdir())


def test_partial_writes_the_meters_that_answered(simulated, tmp_path):
    where = ("--grid", "g", "--place", "a/{name}", "--into", tmp_path / "m.yaml", "--partial")
    result = run(f"127.0.0.1:{ports.free_port()}", f"127.0.0.1:{simulated}/1", *where)
    assert result.exit_code == 1
    assert {address.split("/")[2] for address in points_of(tmp_path / "m.yaml")} == {f"meter-127-0-0-1-{simulated}-1"}
