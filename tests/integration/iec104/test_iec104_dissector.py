"""What we put on the wire, as an independent dissector (tshark) reads it."""

import shutil
import struct
import subprocess

import pytest
from peers.iec104.buffering import BufferingStation
from peers.iec104.scripted import association

from twin_gateway.drivers.capture import pcapng
from twin_gateway.drivers.contract import LinkService
from twin_gateway.drivers.iec104.apci import Control, Endpoint, Limits
from twin_gateway.drivers.iec104.codec import Asdu, Information, encode
from twin_gateway.drivers.iec104.counters import FREEZES, qualifiers
from twin_gateway.drivers.iec104.times import Stamp, TagFlag
from twin_gateway.drivers.iec104.types import TYPES, Family, TimeTag

TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
WALL = 1_780_000_000_123  # 2026-05-28 20:26:40.123
OUR_PORT = 40_000


def capture(path, payloads):
    """A capture of one TCP stream to port 2404, one payload a packet, raw IPv4."""
    records = [struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)]
    sequence = 1
    for number, payload in enumerate(payloads):
        tcp = struct.pack(">HHIIBBHHH", OUR_PORT, 2404, sequence, 1, 5 << 4, 0x18, 65_535, 0, 0)
        sequence += len(payload)
        total = 20 + len(tcp) + len(payload)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, number, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\2")
        records.append(struct.pack("<IIII", number, 0, total, total) + ip + tcp + payload)
    path.write_bytes(b"".join(records))


def dissect(path, *fields, ports=(2404,)):
    known = [part for port in ports for part in ("-d", f"tcp.port=={port},iec60870_104")]
    shown = [part for field in fields for part in ("-e", field)]
    done = subprocess.run(
        [TSHARK, "-r", str(path), *known, "-T", "fields", *shown],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


def sample(known):
    value = 0.5 if known.family in {Family.NORMALISED, Family.NORMALISED_BARE, Family.SETPOINT_NORMALISED} else 1
    tag = {
        TimeTag.NONE: None,
        TimeTag.CP24: Stamp(61_001, TagFlag(0), 3),
        TimeTag.CP56: Stamp(WALL, TagFlag(0), 7),
    }[known.time]
    address = 0 if known.number in {70, 100, 101, 103, 104, 105, 106, 107} else 1234
    return Information(address, value, 0, 0, tag)


def frames(asdus):
    """The octets our controlled station would send."""
    endpoint = Endpoint(controlling=False, limits=Limits(k=1000), now=0.0)
    endpoint.receive(bytes((0x68, 4, Control.STARTDT_ACT, 0, 0, 0)), 0.0, [])
    for asdu in asdus:
        assert endpoint.send(encode(asdu), 0.0)
    return endpoint.output


@needs_tshark
def test_every_type_is_dissected_without_complaint(tmp_path):
    # 105 to 107 and the 101-only types are asked for too: whatever we encode must be well-formed for others
    asdus = [
        Asdu(known.number, 3 if known.monitor else 6, 7, (sample(known),), originator=5) for known in TYPES.values()
    ]
    path = tmp_path / "all.pcap"
    capture(path, frames(asdus))
    rows = dissect(path, "iec60870_asdu.typeid", "iec60870_asdu.addr", "iec60870_asdu.oa", "_ws.malformed")
    assert rows[0][0] == ""  # the start confirmation
    assert [row[0] for row in rows[1:]] == [str(asdu.type) for asdu in asdus]
    assert {(row[1], row[2]) for row in rows[1:]} == {("7", "5")}
    assert {row[3] for row in rows} == {""}


@needs_tshark
def test_values_addresses_and_times_are_read_as_meant(tmp_path):
    tag = Stamp(WALL, TagFlag(0), 7)
    asdus = [
        Asdu(36, 3, 7, (Information(1234, -12.5, 0, 0x80, tag),)),
        Asdu(11, 20, 7, (Information(70_000, -1234),)),
        Asdu(9, 20, 7, (Information(1, -0.5), Information(2, 0.25)), sequence=True),
        Asdu(46, 6, 7, (Information(5000, 2, 0x80 | 1 << 2),)),
    ]
    path = tmp_path / "values.pcap"
    capture(path, frames(asdus))
    fields = ("ioa", "float", "scalval", "normval", "cp56time", "qds.iv", "dco.on", "dco.se", "dco.qu")
    rows = dissect(path, *(f"iec60870_asdu.{field}" for field in fields))[1:]
    assert rows[0][:2] == ["1234", "-12.5"]
    assert "2026" in rows[0][4]
    assert ":26:40.123" in rows[0][4]
    assert rows[0][5] in {"1", "True"}
    assert rows[1][0] == "70000"
    assert rows[1][2] == "-1234"
    assert rows[2][0] == "1,2"
    assert rows[2][3] == "-0.5,0.25"
    assert rows[3][0] == "5000"
    assert rows[3][7] in {"1", "True"}


@needs_tshark
def test_qualifiers_of_requests_set_points_and_parameters_are_read_as_meant(tmp_path):
    requests = [qualifier for qualifier, _ in qualifiers((1, 3), FREEZES["freeze-reset"])]
    requests += [qualifiers((), FREEZES["reset"], read=False)[0][0]]
    asdus = [Asdu(101, 6, 7, (Information(0, qualifier),)) for qualifier in requests]
    asdus += [
        Asdu(50, 6, 7, (Information(6000, 12.5, 17),)),
        Asdu(112, 6, 7, (Information(6001, -2.5, 3),)),
        Asdu(47, 6, 7, (Information(6002, 2, 2 << 2),)),
        Asdu(51, 6, 7, (Information(6003, 0xDEADBEEF),)),
        Asdu(102, 5, 7, (Information(6004),)),
        Asdu(15, 37, 7, (Information(40, -5, 17, 0x60),)),
    ]
    path = tmp_path / "qualifiers.pcap"
    capture(path, frames(asdus))
    names = (
        "rqt",
        "frz",
        "qos.ql",
        "float",
        "qpm.kpa",
        "rco.up",
        "rco.qu",
        "bitstring",
        "ioa",
        "bcr.sq",
        "bcr.cy",
        "bcr.ca",
    )
    rows = [
        dict(zip(names, row, strict=True)) for row in dissect(path, *(f"iec60870_asdu.{name}" for name in names))[1:]
    ]
    assert [(row["rqt"], row["frz"]) for row in rows[:5]] == [
        ("1", "2"),
        ("3", "2"),
        ("1", "0"),
        ("3", "0"),
        ("5", "3"),
    ]
    assert (rows[5]["qos.ql"], rows[5]["float"]) == ("17", "12.5")
    assert (rows[6]["qpm.kpa"], rows[6]["float"]) == ("3", "-2.5")
    assert (rows[7]["rco.up"], rows[7]["rco.qu"]) == ("2", "2")
    assert rows[8]["bitstring"] != ""
    assert rows[9]["ioa"] == "6004"
    assert rows[10]["bcr.sq"] == "17"
    assert {rows[10]["bcr.cy"], rows[10]["bcr.ca"]} <= {"1", "True"}


@needs_tshark
async def test_a_link_with_a_switch_over_and_all_system_commands_is_dissected_from_its_capture_ring(tmp_path):
    fields = {"clock_sync": 60.0, "delay_acquisition": True, "originator": 5, "t1": 0.8, "t2": 0.3, "t3": 0.4}
    async with BufferingStation(2) as station:
        second = f"127.0.0.1:{station.ports[1]}"
        async with association(station, [], redundant=second, **fields) as (driver, link):
            await link.until(lambda: link.counters["clock_commands_confirmed"] and link.counters["connection_2"])
            assert (await driver.serve(LinkService.TEST)).good
            station.cut(station.started[0])
            await link.until(lambda: link.counters["clock_commands_confirmed"] == 2)
        path = tmp_path / "link.pcapng"
        path.write_bytes(pcapng("rtu", link.ring.records()))
        asked = ("iec60870_asdu.typeid", "iec60870_asdu.oa", "iec60870_104.utype", "_ws.malformed", "tcp.dstport")
        rows = dissect(path, *asked, ports=station.ports)
    assert {row[3] for row in rows} == {""}
    sent = [row for row in rows if int(row[4]) in station.ports]
    commands = [kind for row in sent for kind in row[0].split(",") if kind]
    # interrogation, delay acquired and loaded, clock, test; and after the switch-over again without the test
    assert commands == ["100", "106", "106", "103", "107", "100", "106", "106", "103"]
    assert {originator for row in sent for originator in row[1].split(",")} == {"", "5"}
    controls = [int(kind, 0) << 2 | 3 for row in sent for kind in row[2].split(",") if kind]
    assert controls.count(Control.STARTDT_ACT) == 2
