"""Files of a station: the disturbance list, a file in sections, and everything that may go wrong on the way.

The stations here are scripted by ourselves, as no other outstation with file transfer is at hand; that our frames are
those of the standard is checked by an independent dissector, as far as it looks: types, causes and addresses.
"""

import shutil
import subprocess

import pytest
from peers.iec104.files import OfferedFiles
from peers.iec104.scripted import Recorder, ScriptedStation, association, tagged

from address_space import clock
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import FileServingDriver
from twin_gateway.drivers.iec104.apci import START
from twin_gateway.drivers.iec104.file_codec import FileType

RECORD = bytes(range(256)) * 10 + b"the end"
FILES = {(20_001, 2): RECORD, (20_002, 2): b"short", (30_000, 1): bytes(1000)}
STAMP = tagged(1_700_000_000_000)


class FileStation(ScriptedStation):
    """A scripted station whose frames of file transfer go to `offered`."""

    def __init__(self, offered, **more):
        super().__init__(**more)
        self.offered = offered

    def _on_asdus(self, connection, asdus):
        for octets in asdus:
            if 120 <= octets[0] <= 126:
                for answer in self.offered.answer(octets):
                    assert connection.send(answer)
            else:
                super()._on_asdus(connection, [octets])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(Recorder, "data_directory", tmp_path)
    return tmp_path


async def test_the_directory_lists_files_with_length_and_time():
    offered = OfferedFiles(FILES, STAMP)
    async with FileStation(offered) as station, association(station, []) as (driver, _):
        assert isinstance(driver, FileServingDriver)
        outcome, files = await driver.list_files("")
        assert outcome.status == StatusCode.Good
        assert [(file.name, file.size) for file in files] == [
            ("1/20001.disturbance", len(RECORD)),
            ("1/20002.disturbance", 5),
            ("1/30000.transparent", 1000),
        ]
        assert {file.modified for file in files} == {clock.from_unix_ns(1_700_000_000 * 10**9)}


async def test_a_file_of_several_sections_lies_in_the_folder_of_the_link(folder):
    offered = OfferedFiles(FILES, STAMP)
    async with FileStation(offered) as station, association(station, []) as (driver, link):
        outcome = await driver.fetch_file("1/20001.disturbance")
        assert outcome.status == StatusCode.Good, outcome.text
        path = folder / "files" / "rtu" / "1" / "20001.disturbance"
        assert path.read_bytes() == RECORD
        assert path.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in path.parent.iterdir()] == [path.name]
        assert offered.verdicts == [3, 3, 3, 1]
        assert outcome.text == f"{len(RECORD)} octets in {path}"
        assert not [text for code, text in link.events if code == "file" and str(path) in text]


async def test_a_section_with_a_wrong_checksum_is_asked_for_again(folder):
    offered = OfferedFiles(FILES, STAMP)
    offered.wrong_sections = 2
    async with FileStation(offered) as station, association(station, []) as (driver, _):
        outcome = await driver.fetch_file("1/20001.disturbance")
        assert outcome.status == StatusCode.Good, outcome.text
        assert offered.verdicts == [0x24, 0x24, 3, 3, 3, 1]
        assert (folder / "files/rtu/1/20001.disturbance").read_bytes() == RECORD


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ({"wrong_sections": 9}, "3 times with a wrong checksum"),
        ({"wrong_file": True}, "checksum or the length"),
        ({"refuses": True}, "not have the file ready"),
        ({"announces": 100}, "announces 1000 octets where 100 are left"),
        ({"announces": 0xFF_FFFF}, "checksum or the length"),
        ({"silent": True}, "did not come within 0.2 s"),
    ],
)
async def test_what_goes_wrong_is_told_and_leaves_nothing_behind(folder, trouble, said):
    offered = OfferedFiles(FILES, STAMP)
    vars(offered).update(trouble)
    async with FileStation(offered) as station, association(station, [], answer_timeout=0.2) as (driver, link):
        await link.until(lambda: any(asdu.type == 100 for asdu in station.received))
        outcome = await driver.fetch_file("1/20001.disturbance")
        assert not outcome.good
        assert said in outcome.text
        assert not [path for path in folder.rglob("*") if path.is_file()]
        assert link.counters["file_errors"] == 1
        assert not driver.running.done()
        vars(offered).update(OfferedFiles(FILES, STAMP).__dict__)
        assert (await driver.fetch_file("1/20002.disturbance")).good


async def test_a_file_that_the_station_does_not_know_is_refused():
    async with FileStation(OfferedFiles(FILES, STAMP)) as station, association(station, []) as (driver, _):
        outcome = await driver.fetch_file("1/5.disturbance")
        assert "it has no such file" in outcome.text
        outcome = await driver.fetch_file("9/5.disturbance")
        assert (outcome.status, outcome.sent) == (StatusCode.BadNoMatch, False)
        outcome, files = await driver.list_files("9")
        assert (outcome.status, files) == (StatusCode.BadNoMatch, ())


async def test_a_station_without_file_transfer_says_so():
    class Plain(ScriptedStation):
        def _on_asdus(self, connection, asdus):
            for octets in asdus:
                if octets[0] == FileType.CALL:
                    connection.send(octets[:2] + b"\x6c" + octets[3:])  # unknown type, negative
                else:
                    super()._on_asdus(connection, [octets])

    async with Plain() as station, association(station, []) as (driver, _):
        outcome, files = await driver.list_files("")
        assert (outcome.status, list(files)) == (StatusCode.BadNotSupported, [])
        assert "knows no file transfer" in outcome.text


async def test_a_record_that_the_station_announces_is_an_event():
    offered = OfferedFiles({(20_001, 2): RECORD}, STAMP)
    async with FileStation(offered) as station, association(station, []) as (_, link):
        station.send(*offered.directory(cause=3))
        await link.until(lambda: link.events)
        assert link.events == [("file", f"Station 1 offers file 1/20001.disturbance ({len(RECORD)} octets)")]


async def test_a_lost_link_ends_the_transfer():
    offered = OfferedFiles(FILES, STAMP)

    class Cut(FileStation):
        def _on_asdus(self, connection, asdus):
            if asdus and asdus[0][0] == FileType.ACKNOWLEDGE:
                connection.abort("cut")
            else:
                super()._on_asdus(connection, asdus)

    async with Cut(offered) as station, association(station, []) as (driver, _):
        outcome = await driver.fetch_file("1/20001.disturbance")
        assert outcome.status == StatusCode.BadNoCommunication


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
async def test_an_independent_dissector_reads_every_frame_of_a_transfer(tmp_path):
    offered = OfferedFiles({(20_001, 2): RECORD}, STAMP)
    async with FileStation(offered) as station, association(station, []) as (driver, link):
        await driver.list_files("")
        assert (await driver.fetch_file("1/20001.disturbance")).good
        octets = b"".join(record.octets for record in link.ring.records())
    frames, at = [], 0
    while at < len(octets):
        assert octets[at] == START
        frames.append(octets[at : at + 2 + octets[at + 1]])
        at += 2 + octets[at + 1]
    text = tmp_path / "frames.txt"
    lines = [f"000000 {frame.hex(' ')}" for frame in frames]
    text.write_text("\n".join(lines) + "\n")
    capture = tmp_path / "frames.pcap"
    subprocess.run(["text2pcap", "-q", "-T", "40000,2404", str(text), str(capture)], check=True, capture_output=True)
    fields = ("iec60870_asdu.typeid", "iec60870_asdu.ioa", "_ws.malformed")
    shown = [part for field in fields for part in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", str(capture), "-d", "tcp.port==2404,iec60870_104", "-T", "fields", *shown],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {row[2] for row in rows if len(row) > 2} <= {""}
    of_files = [row for row in rows if row[0].isdecimal() and 120 <= int(row[0]) <= 126]
    assert {int(row[0]) for row in of_files} == set(FileType)
    assert {row[1] for row in of_files if row[0] != "122"} == {"20001"}
