"""`import opcua`: the names of other servers, in processes of their own, to a list that `import csv` completes."""

import csv
import json
import sys
from pathlib import Path

import pytest
from peers import ports
from peers.import_bed import device, run
from peers.opcua import certificates

from twin_gateway.engineering import opcua_import_browse
from twin_gateway.mapping.check import check

VENDOR = """
import asyncio, sys
from asyncua import Server, ua

async def made(port, *secured):
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/x")
    if secured:
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await server.load_certificate(secured[0])
        await server.load_private_key(secured[1])
    ns = await server.register_namespace("urn:vendor")
    name = lambda text: (ua.NodeId(text, ns), ua.QualifiedName(text.rpartition(".")[2], ns))
    bay = await server.nodes.objects.add_object(*name("Plant.Bay1"))
    volts = await bay.add_variable(*name("Plant.Bay1.U12"), 20.1)
    unit = ua.EUInformation(DisplayName=ua.LocalizedText("kV"), UnitId=4937300)
    await volts.add_property(ua.NodeId("p1", ns), ua.QualifiedName("EngineeringUnits", 0), unit)
    await volts.add_property(ua.NodeId("p2", ns), ua.QualifiedName("EURange", 0), ua.Range(0, 24))
    breaker = await bay.add_variable(ua.NodeId(7, ns), ua.QualifiedName("=CB;1", ns), True)
    await breaker.set_writable()
    node = await bay.add_object(*name("IED1.MMXU1"))
    power = await node.add_object(*name("IED1.MMXU1.TotW"))
    await power.add_variable(*name("IED1.MMXU1.TotW.q"), 0)
    mag = await power.add_object(*name("IED1.MMXU1.TotW.mag"))
    await mag.add_variable(*name("IED1.MMXU1.TotW.mag.f"), 1.5)
    many = await server.nodes.objects.add_object(*name("Many"))
    for i in range(20):
        await many.add_variable(*name(f"Many.v{i}"), i)
    return server

async def main():
    async with await made(sys.argv[1]), await made(*sys.argv[2:]):
        print("ready", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def vendors(tmp_path_factory):
    """URLs of two servers with a vendor's own names, the second one secured, and files of the latter's certificate.

    The library is the one that the import uses as a client.
    """
    theirs = certificates.application("vendor").save(tmp_path_factory.mktemp("pki"), "theirs")
    plain, secured = ports.free_port(), ports.free_port()
    own = (theirs["certificate"], theirs["key"])
    with device(sys.executable, "-c", VENDOR, plain, secured, *own) as peer:
        assert peer.line() == "ready\n"
        yield f"opc.tcp://127.0.0.1:{plain}/x", f"opc.tcp://127.0.0.1:{secured}/x", theirs


@pytest.fixture
def vendor(vendors):
    """URL of the one without security."""
    return vendors[0]


@pytest.fixture(scope="module")
def gateway():
    """URL of our own server, with 104 points."""
    command = (sys.executable, "-m", "peers.opcua.strained_server", json.dumps({"bays": 3}))
    with device(*command, cwd=Path(__file__).parents[2]) as peer:
        yield f"opc.tcp://127.0.0.1:{peer.said()['port']}"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


def test_names_units_ranges_and_types_of_a_vendors_server(vendor, tmp_path):
    result = run("opcua", vendor, "--into", tmp_path / "v.csv")
    assert result.exit_code == 0, result.output
    rows = {row["node_id"]: row for row in rows_of(tmp_path / "v.csv")}
    volts = rows["nsu=urn:vendor;s=Plant.Bay1.U12"]
    assert (volts["unit"], volts["range"], volts["data_type"], volts["access"]) == ("kV", "0..24", "Double", "read")
    assert volts["address"] == ""
    breaker = rows["nsu=urn:vendor;i=7"]
    assert (breaker["name"], breaker["access"]) == ("'=CB;1", "read, write"), "no formula for a spreadsheet"
    assert len(rows) == 23


def test_names_of_61850_become_addresses_once_for_each_data_object(vendor, tmp_path):
    run("opcua", vendor, "--into", tmp_path / "v.csv")
    found = [row for row in rows_of(tmp_path / "v.csv") if row["address"]]
    assert [row["address"] for row in found] == ["_/_/Bay1/MMXU1/TotW"]
    assert found[0]["node_id"].endswith("TotW.mag.f")


def test_a_gateways_own_names_come_with_their_104_objects_and_the_list_becomes_a_mapping(gateway, tmp_path):
    file = tmp_path / "g.csv"
    assert run("opcua", gateway, "--into", file).exit_code == 0
    rows = {row["address"]: row for row in rows_of(file)}
    position = rows["dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos"]
    assert (position["device"], position["common_address"], position["ioa"]) == ("ps01-rtu", "1", "4001")
    assert position["aliases"].startswith("mrid:")
    assert not any("/_sys/" in address or "#" in address for address in rows)
    unbound = run("csv", file, "--host", "10.0.0.1")
    assert unbound.exit_code == 1
    assert "type: the cell is empty" in unbound.output
    kept = [row | {"type": "M_DP_TB_1"} for row in rows.values() if row["ioa"] == "4001"]
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, kept[0], delimiter=";")
        writer.writeheader()
        writer.writerows(kept)
    options = ("--grid", "dso1", "--device", "ps01-rtu", "--host", "10.0.0.1", "--to", tmp_path / "g.yaml")
    made = run("csv", file, *options)
    assert made.exit_code == 0, made.output
    mapping, _ = check([tmp_path / "g.yaml"])
    assert mapping is not None
    assert [point.address for _, point in mapping.points()] == ["dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos"]


def test_a_server_that_answers_in_parts_is_asked_for_the_rest(gateway, tmp_path, monkeypatch):
    assert run("opcua", gateway, "--into", tmp_path / "whole.csv").exit_code == 0
    monkeypatch.setattr(opcua_import_browse, "_AT_ONCE", 1)
    assert run("opcua", gateway, "--into", tmp_path / "parts.csv").exit_code == 0
    assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_a_merge_puts_new_nodes_behind_and_changes_no_line(vendor, tmp_path):
    file = tmp_path / "v.csv"
    run("opcua", vendor, "--into", file)
    lines = file.read_text().splitlines(keepends=True)
    edited = lines[0] + lines[2].replace(";", "MV1/F01/MMXU1/TotW;", 1) + "".join(lines[4:])
    file.write_text(edited)
    refused = run("opcua", vendor, "--into", file)
    assert refused.exit_code == 1
    assert "is there already; --mode merge" in refused.output
    result = run("opcua", vendor, "--into", file, "--mode", "merge")
    assert result.exit_code == 0, result.output
    assert file.read_text().startswith(edited)
    assert len(rows_of(file)) == 23


def test_what_is_more_than_the_limits_is_told(vendor, tmp_path):
    result = run("opcua", vendor, "--into", tmp_path / "v.csv", "--depth", "2")
    assert "what is deeper than 2 levels is left out (--depth)" in result.output
    assert not any(row["address"] for row in rows_of(tmp_path / "v.csv"))
    below = run("opcua", vendor, "--node", "ns=2;s=Plant.Bay1", "--into", tmp_path / "b.csv")
    assert below.exit_code == 0, below.output
    assert len(rows_of(tmp_path / "b.csv")) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--node", "ns=2;s=Nope"), "the server has no such node"),
        (("--node", "Nope"), "'Nope' is no NodeId"),
        (("--user", "a", "--password", "swordfish"), "--password is no reference"),
        (("--user", "a", "--password", "${NOT_THERE}"), "the environment variable NOT_THERE is not set"),
        (("--policy", "Basic128Rsa15"), "no security policy Basic128Rsa15"),
        (("--policy", "Basic256Sha256"), "a security policy needs --certificate, --key and --server-certificate"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(vendor, tmp_path, options, said):
    result = run("opcua", vendor, "--into", tmp_path, *options)
    assert result.exit_code == 1
    assert said in result.output
    assert "swordfish" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_wrong_password_and_a_server_that_is_not_there_are_said(gateway, tmp_path):
    refused = run("opcua", gateway, "--into", tmp_path, "--user", "a", "--password", "${PW}", PW="wrong")
    assert "the server refuses the user (BadUserAccessDenied)" in refused.output
    nobody = run("opcua", f"opc.tcp://127.0.0.1:{ports.free_port()}", "--into", tmp_path)
    assert "nobody listens there" in nobody.output
    assert refused.exit_code == nobody.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_a_secured_server_is_entered_only_when_it_has_the_certificate_that_was_named(vendors, tmp_path):
    mine = certificates.application("importer").save(tmp_path / "pki", "mine")
    _, url, theirs = vendors
    security = ("--policy", "Basic256Sha256", "--certificate", mine["certificate"], "--key", mine["key"])
    assert "the server has no endpoint with no security policy" in run("opcua", url).output
    broken = run("opcua", url, *security, "--server-certificate", mine["key"], "--json")
    assert json.loads(broken.stdout)["failed"][0]["message"] == "a certificate or the key cannot be read"
    other = run("opcua", url, *security, "--server-certificate", mine["certificate"], "--timeout", "1")
    assert other.exit_code == 1
    assert "is --server-certificate the server's own" in other.output
    result = run("opcua", url, *security, "--server-certificate", theirs["certificate"], "--into", tmp_path / "s.csv")
    assert result.exit_code == 0, result.output
    assert len(rows_of(tmp_path / "s.csv")) == 23
