"""`import coap`: devices and a resource directory in processes of their own, to mapping files that pass the check."""

import json
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from peers import import_bed, ports
from peers.import_bed import device
from peers.waiting import wait_until
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.data_lock import locked
from twin_gateway.mapping.check import check

PEERS = Path(__file__).parents[2] / "peers" / "coap"
SENML = {"u": {"unit": "V", "value": 230}, "oil": {"unit": "Cel", "value": 40}, "temp": {"unit": "Cel", "value": 21.5}}
run = partial(import_bed.run, "coap")
OBJECT = {"5700": {"unit": "Cel", "value": 20}, "5601": {"value": 3}}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Ports of two devices by name: `pack` with SenML, text and JSON, `ipso` with objects."""
    file = tmp_path_factory.mktemp("sensors") / "sensors.yaml"
    pack = {
        "/temp": {"text": 21.5, "rt": "temperature"},
        "/name": {"text": "hello"},
        "/senml": {"format": "senml+cbor", "base_name": "urn:dev:mac:0024befffe804ff1/", "records": SENML},
        "/state": {"json": {"flt": False, "battery": {"level": 0.9}}},
    }
    ipso = {
        "/3303/0": {"format": "senml+json", "base_name": "/3303/0/", "records": OBJECT},
        "/3306/0/5850": {"text": 0},
        "/3/0/9": {"text": 80},
        "/3202/1/5600": {"text": 4.2},
        "/3316/0/5700": {"text": 231},
    }
    devices = {name: {"port": 0, "resources": own} for name, own in (("pack", pack), ("ipso", ipso))}
    file.write_text(yaml.safe_dump({"devices": devices}))
    with device(sys.executable, "-m", "twin_gateway.simulate.coap", str(file)) as peer:
        yield peer.said()["ports"]


def points_of(path: Path) -> dict[str, dict]:
    return {point.address.partition("/M1/")[2]: dict(point.fields) for point in import_bed.points_of(path)}


def into(folder: Path) -> tuple[object, ...]:
    return ("--grid", "g", "--place", "a/s", "--at", "MV1/{name}/M1", "--into", folder / "s.yaml")


def test_records_and_resource_types_find_their_places(simulated, tmp_path):
    result = run(f"127.0.0.1:{simulated['pack']}", *into(tmp_path))
    assert result.exit_code == 0, result.output
    points = points_of(tmp_path / "s.yaml")
    assert points["MMXN1/Vol"]["name"] == "u"
    assert points["oilSTMP1/Tmp"]["name"] == "oil"
    assert points["STMP1/Tmp"]["name"] == "temp"
    assert points["tempSTMP1/Tmp"]["path"] == "/temp"
    text = (tmp_path / "s.yaml").read_text()
    assert "unit assumed: the device says none" in text
    assert "# - /state#battery/level: number" in text


def test_objects_become_points_with_commands_where_they_are_written(simulated, tmp_path):
    result = run(f"coap://127.0.0.1:{simulated['ipso']}", *into(tmp_path), "--all")
    assert result.exit_code == 0, result.output
    points = points_of(tmp_path / "s.yaml")
    assert points["STMP1/Tmp"]["object"] == "3303/0/5700"
    assert points["ZBAT1/BatLo"]["below"] == 20
    # A resource that is there without its object instance is read by itself.
    assert points["MMXN1/Vol"]["path"] == "/3316/0/5700"
    assert points["AiGGIO2/AnIn1"]["path"] == "/3202/1/5600"
    assert points["O3303_5601GGIO1/AnIn1"]["object"] == "3303/0/5601"
    assert "{path: /3306/0/5850, control: direct}" in (tmp_path / "s.yaml").read_text()
    assert "ActGGIO1/SPCSO1" in points


def test_without_fetching_values_the_links_alone_are_taken(simulated, tmp_path):
    result = run(f"127.0.0.1:{simulated['ipso']}", *into(tmp_path), "--no-values")
    assert result.exit_code == 0, result.output
    assert points_of(tmp_path / "s.yaml")["STMP1/Tmp"]["object"] == "3303/0/5700"


def test_a_merge_adds_what_is_new_and_leaves_what_people_wrote(simulated, tmp_path):
    run(f"127.0.0.1:{simulated['pack']}", *into(tmp_path))
    file = tmp_path / "s.yaml"
    kept = file.read_text().replace("name: oil}", "name: oil, deadband: 0.5 Cel}")
    file.write_text(kept)
    result = run(f"127.0.0.1:{simulated['pack']}", *into(tmp_path), "--mode", "merge", "--all")
    assert result.exit_code == 0, result.output
    assert "name: oil, deadband: 0.5 Cel}" in file.read_text()
    assert points_of(file)["levelGGIO1/AnIn1"]["pointer"] == "/battery/level"
    again = file.read_text()
    assert run(f"127.0.0.1:{simulated['ipso']}", *into(tmp_path), "--mode", "merge").exit_code == 0
    assert again in file.read_text() + "\n", "another device is put behind, and taken for no other"
    assert file.read_text().count("protocol: coap") == 2


def test_an_independent_server_is_read(tmp_path):
    if shutil.which("node") is None or not (PEERS / "node_modules" / "coap").is_dir():
        pytest.skip("npm coap is not installed")
    port = ports.free_port(socket.SOCK_DGRAM)
    with device("node", str(PEERS / "server.js"), str(port)) as peer:
        assert peer.said()["port"] == port
        links = '</t>;rt="temperature-c";obs,</x>;rt="blob",</3316/0/5700>,</t>,</\u00fc>'
        orders = [
            {"path": "/t", "payload": "21.5", "format": 0},
            {"path": "/x", "hex": "00ff", "format": 42},
            {"path": "/3316/0/5700", "payload": "231", "format": 0},
            {"path": "/.well-known/core", "payload": links, "format": 40},  # what it has at last
        ]
        peer.order(*orders)
        wait_until(lambda: run(f"127.0.0.1:{port}", *into(tmp_path)).exit_code == 0)
    points = points_of(tmp_path / "s.yaml")
    assert points["STMP1/Tmp"]["path"] == "/t"
    assert points["MMXN1/Vol"] == {"path": "/3316/0/5700", "observe": False}
    text = (tmp_path / "s.yaml").read_text()
    assert "content format 42 is not read" in text
    assert "/ü: a path that a mapping cannot say" in text


def test_a_key_is_used_and_stands_as_a_reference_only(tmp_path):
    if shutil.which("coap-server-openssl") is None:
        pytest.skip("libcoap's server with OpenSSL is not installed")
    port = ports.free_port(socket.SOCK_DGRAM)
    command = ("coap-server-openssl", "-A", "127.0.0.1", "-p", str(port - 1), "-k", "sesame", "-v", "0")
    said = ("--set", "psk.identity=gw", "--set", "psk.key=${KEY}", "--set", "timeout=1 s", "--all")
    with device(*command):
        wait_until(lambda: ports.bound_udp(port))
        wrong = run(f"coaps://127.0.0.1:{port}", *into(tmp_path), *said, KEY=b"another".hex())
        assert wrong.exit_code == 1
        assert "are key and identity" in wrong.output
        assert not list(tmp_path.iterdir())
        result = run(f"coaps://127.0.0.1:{port}", *into(tmp_path), *said, KEY=b"sesame".hex())
    # libcoap's example server has a time and no value with a place: what it has is told, nothing is made up.
    assert "/time" in result.output + "".join(path.read_text() for path in tmp_path.iterdir())
    assert b"sesame".hex() not in result.output + "".join(path.read_text() for path in tmp_path.iterdir())


def test_the_endpoints_of_an_independent_directory_become_devices(tmp_path):
    port = ports.free_port(socket.SOCK_DGRAM)
    with device(sys.executable, "-m", "aiocoap.cli.rd", "--bind", f"127.0.0.1:{port}"):
        links = tmp_path / "links"
        links.write_text('</3303/0>;obs,</temp>;rt="temperature"')
        client = shutil.which("coap-client-notls")
        if client is None:
            pytest.skip("libcoap's client is not installed")
        base = "coap://127.0.0.1:9999"
        wait_until(lambda: ports.bound_udp(port))
        for name in ("urn:dev:ops:1", "urn:dev:ops:2"):
            where = f"coap://127.0.0.1:{port}/resourcedirectory/?ep={name}&lt=300&base={base}"
            post = [client, "-B", "1", "-m", "post", "-t", "40", "-f", str(links), where]
            subprocess.run(post, capture_output=True, check=False, timeout=20)
        folder = tmp_path / "foreign"
        folder.mkdir()
        (tmp_path / "own").mkdir()
        where = ("--grid", "g", "--place", "a/{endpoint}", "--at", "MV1/_/M1", "--directory")
        foreign = run(f"127.0.0.1:{port}", *where, "--into", folder / "u.yaml")
        own = run(f"127.0.0.1:{port}", *where, "--into", tmp_path / "own" / "e.yaml", "--registered")
    assert foreign.exit_code == 0, foreign.output
    assert own.exit_code == 0, own.output
    assert f"uri: {base}" in (folder / "u.yaml").read_text()
    mapping, _ = check([tmp_path / "own" / "e.yaml"])
    assert mapping is not None
    assert [getattr(device.config, "endpoint", "") for device in mapping.devices] == ["urn:dev:ops:1", "urn:dev:ops:2"]
    assert {point.address.rpartition("/M1/")[2] for _, point in mapping.points()} == {"STMP1/Tmp", "tempSTMP1/Tmp"}


def test_what_cannot_be_asked_is_said_and_nothing_written(simulated, tmp_path):
    dead = ports.free_port(socket.SOCK_DGRAM)
    result = run(f"127.0.0.1:{dead}", *into(tmp_path), "--set", "timeout=1 s", "--set", "ack_timeout=300 ms")
    assert result.exit_code == 1
    assert f"error: 127.0.0.1:{dead}: Connection refused" in result.output
    none = run(f"127.0.0.1:{simulated['pack']}", *into(tmp_path), "--directory")
    assert "no resource directory there" in none.output
    assert none.exit_code == 1
    secret = run(f"127.0.0.1:{simulated['pack']}", *into(tmp_path), "--set", "oscore.secret=0011")
    assert secret.exit_code == 1
    assert "0011" not in secret.output
    assert not list(tmp_path.iterdir())


def test_oscore_is_used_with_the_numbers_of_a_gateway_that_does_not_run(tmp_path):
    folder, secret = tmp_path / "theirs", "00" * 15 + "01"
    folder.mkdir()
    theirs = {"sender-id_hex": "02", "recipient-id_hex": "01", "secret_hex": secret}
    (folder / "settings.json").write_text(json.dumps(theirs))
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    port = ports.free_port(socket.SOCK_DGRAM)
    said = [
        f"oscore.{name}={value}" for name, value in (("sender_id", "01"), ("recipient_id", "02"), ("secret", "${S}"))
    ]
    settings = [word for text in said for word in ("--set", text)]
    options = (f"127.0.0.1:{port}", *into(tmp_path), *settings, "--all")
    with device(sys.executable, str(PEERS / "protected_server.py"), str(port), str(folder)) as peer:
        assert peer.said()
        without = run(*options, S=secret)
        assert without.exit_code == 1
        assert "OSCORE uses no sequence number twice; name the gateway.yaml with --config" in without.output
        config = ("--config", tmp_path / "gateway.yaml")
        with locked(tmp_path / "data"):
            running = run(*options, *config, S=secret)
        assert "runs, and numbers of its keys are not used twice; stop it first" in running.output
        wrong = run(*options, *config, "--set", "timeout=1 s", S="00" * 16)
        assert wrong.exit_code == 1
        assert not (tmp_path / "s.yaml").exists()
        result = run(*options, *config, S=secret)
    assert result.exit_code == 0, result.output
    assert {"path": "/value"}.items() <= points_of(tmp_path / "s.yaml")["GGIO1/AnIn1"].items()
    assert secret not in (tmp_path / "s.yaml").read_text()
    assert list((tmp_path / "data" / "links").rglob("oscore-*.json"))
