"""Setting groups, files, logs and TLS of the driver against libiec61850, which shares no code with it."""

import asyncio
import contextlib
import dataclasses
import importlib.util
import json
import os
import stat
import subprocess
import sys

import pytest
from integration.iec61850.bed import BAY, HERE, Bed, Process
from peers.certificates import certificate, revocations
from peers.ports import free_port
from peers.waiting import until

from address_space import clock
from address_space.ports import Caller
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceTable, PointChange
from twin_gateway.functions.supervision_requests import DeviceRequests

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyiec61850") is None, reason="pyiec61850-ng is not installed: no independent peer"
)

CALLER = Caller("eve", frozenset({"Engineer"}))
SETTINGS = (
    ("          </LN0>", '            <SettingControl numOfSGs="3" actSG="2"/>\n          </LN0>'),
    ('fc="SP"/>\n      <DA name="units"', 'fc="SG"/>\n      <DA name="units"'),
    (
        '<DOI name="Mod">',
        '<LogControl name="EventLog" datSet="Status" logName="EventLog"/><Log name="EventLog"/><DOI name="Mod">',
    ),
)


@pytest.fixture(scope="module")
def scl(tmp_path_factory):
    """The bay with three setting groups, a pick-up value that belongs to them, and a log."""
    text = BAY.read_text()
    for old, new in SETTINGS:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path_factory.mktemp("scl") / "groups.cid"
    path.write_text(text)
    return path


class Shared:
    """A device for all tests of this file; each has folders and names of its own in it."""

    def __init__(self, scl, folder):
        self.arguments = [HERE / "libiec61850_services.py", scl, free_port(), "--files", folder]
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *map(str, self.arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout.readline() == b"ready\n"

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def device(scl, tmp_path_factory):
    shared = Shared(scl, tmp_path_factory.mktemp("device"))
    yield shared
    shared.end()


@contextlib.asynccontextmanager
async def connected(device, folder, **settings):
    async with Bed(device.arguments[2], folder, file=device.arguments[1], **settings) as bed:
        await bed.ready()
        yield bed


def kept(folder):
    return folder / "files" / "ied-f07"


def record(device, name, octets, at=1_767_225_600):
    path = device.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(octets)
    os.utime(path, (at, at))
    return octets


# -- files ----------------------------------------------------------------------------------------------------------


async def test_files_of_a_folder_are_listed_with_size_and_time(device, tmp_path):
    record(device, "LISTED/rec1.cfg", b"one\r\n" * 10)
    record(device, "LISTED/rec1.dat", bytes(3000))
    async with connected(device, tmp_path) as bed:
        outcome, found = await bed.link.list_files("LISTED")
        assert outcome.status == StatusCode.Good, outcome.text
        listed = {file.name.rsplit("/", 1)[-1]: (file.size, clock.to_unix(file.modified)) for file in found}
        assert listed == {"rec1.cfg": (50, 1_767_225_600.0), "rec1.dat": (3000, 1_767_225_600.0)}
        outcome, everything = await bed.link.list_files("")
        assert {file.name for file in found} <= {file.name for file in everything}


async def test_long_list_of_files_is_continued_to_its_end(device, tmp_path):
    (device.folder / "LONG").mkdir()
    names = {f"LONG/record-with-a-long-name-{number:04}.cfg" for number in range(1200)}
    for name in names:
        (device.folder / name).touch()
    async with connected(device, tmp_path) as bed:
        outcome, found = await bed.link.list_files("LONG")
        assert outcome.good
        assert {file.name for file in found} == names
        assert len(found) == len(names)


async def test_file_arrives_whole_private_and_with_its_own_time(device, tmp_path):
    octets = record(device, "COMTRADE/rec1.dat", os.urandom(700_000))
    async with connected(device, tmp_path) as bed:
        outcome = await bed.link.fetch_file("COMTRADE/rec1.dat")
        assert outcome.status == StatusCode.Good, outcome.text
        target = kept(tmp_path) / "COMTRADE" / "rec1.dat"
        assert outcome.text == f"{target}: 700000 octets received"
        assert target.read_bytes() == octets
        status = target.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o600, 1_767_225_600)
        assert list(kept(tmp_path).rglob("*.part*")) == []
        bed.texts()
        told = [event.text for event in bed.seen if event.code == "file"]
        assert told[-1] == f"File COMTRADE/rec1.dat was fetched: {outcome.text}"
        assert len(told) <= 3  # the first progress, the end, hardly a second in between


async def test_device_that_begins_again_instead_of_going_on_is_found_out(device, tmp_path):
    octets = record(device, "rec2.dat", os.urandom(200_000))
    folder = kept(tmp_path)
    folder.mkdir(parents=True)
    (folder / "rec2.dat.part").write_bytes(octets[:150_000])
    said = {"name": "rec2.dat", "size": 200_000, "modified": clock.from_unix(1_767_225_600)}
    (folder / "rec2.dat.part.json").write_text(json.dumps(said))
    async with connected(device, tmp_path) as bed:
        outcome = await bed.link.fetch_file("rec2.dat")
        assert outcome.good, outcome.text
        assert (folder / "rec2.dat").read_bytes() == octets
        # libiec61850 takes the position for the count of octets only, and sends the beginning of the file
        assert outcome.text.endswith(": 200000 octets received")


async def test_file_that_has_changed_on_the_device_begins_anew(device, tmp_path):
    octets = record(device, "rec3.dat", os.urandom(50_000))
    folder = kept(tmp_path)
    folder.mkdir(parents=True)
    (folder / "rec3.dat.part").write_bytes(bytes(40_000))
    said = {"name": "rec3.dat", "size": 50_000, "modified": clock.from_unix(1_767_000_000)}
    (folder / "rec3.dat.part.json").write_text(json.dumps(said))
    async with connected(device, tmp_path) as bed:
        outcome = await bed.link.fetch_file("rec3.dat")
        assert outcome.text.endswith(": 50000 octets received")
        assert (folder / "rec3.dat").read_bytes() == octets


async def test_another_record_of_the_same_name_does_not_replace_the_first(device, tmp_path):
    async with connected(device, tmp_path) as bed:
        record(device, "rec.dat", b"first")
        assert (await bed.link.fetch_file("rec.dat")).good
        record(device, "rec.dat", b"second", at=1_767_229_200)
        assert (await bed.link.fetch_file("rec.dat")).good
    assert (kept(tmp_path) / "rec.dat").read_bytes() == b"second"
    assert (kept(tmp_path) / "rec.20260101T000000Z.dat").read_bytes() == b"first"


async def test_missing_file_and_missing_folder_are_told(device, tmp_path):
    async with connected(device, tmp_path) as bed:
        outcome = await bed.link.fetch_file("none.dat")
        assert (outcome.status, outcome.text) == (StatusCode.BadNoMatch, "there is no such file")
        await until(lambda: "File none.dat: there is no such file" in bed.texts())
        outcome, found = await bed.link.list_files("NONE")
        assert not found
        assert (await bed.link.list_files(""))[0].good, "the association stands"


async def test_file_over_the_limits_is_refused_and_leaves_nothing(device, tmp_path):
    record(device, "big.dat", bytes(5000))
    async with connected(device, tmp_path, largest_file=6000, file_room=9000) as bed:
        record(device, "bigger.dat", bytes(7000))
        outcome = await bed.link.fetch_file("bigger.dat")
        assert outcome.text == "bigger.dat has 7000 octets, the limit is 6000"
        assert (await bed.link.fetch_file("big.dat")).good
        record(device, "more.dat", bytes(5000))
        outcome = await bed.link.fetch_file("more.dat")
        assert "5000 octets are kept of this link already" in outcome.text
    assert [path.name for path in kept(tmp_path).rglob("*")] == ["big.dat"]


async def test_file_of_a_device_that_dies_is_kept_for_the_next_time(scl, tmp_path):
    own = Shared(scl, tmp_path)
    record(own, "rec4.dat", os.urandom(8_000_000))
    async with connected(own, tmp_path) as bed:
        fetching = asyncio.create_task(bed.link.fetch_file("rec4.dat"))
        part = kept(tmp_path) / "rec4.dat.part"
        await until(lambda: part.exists() and part.stat().st_size > 0, what="the first octets")
        own.end()
        outcome = await fetching
        assert not outcome.good
        assert 0 < part.stat().st_size < 8_000_000


async def test_person_fetches_a_record_by_the_methods_of_the_supervision(device, tmp_path):
    octets = record(device, "ASKED/rec1.dat", os.urandom(30_000))
    audited = []

    async def audit(kind, address, caller, details, **more):
        audited.append((kind, details))

    async with connected(device, tmp_path) as bed:
        methods = DeviceRequests("dso1", {"ied-f07": bed.link}.get, lambda *_: True, audit)
        listed = await methods.call("ListFiles", ["ied-f07", "ASKED"], CALLER)
        (name,), (size,), _, _ = listed.outputs
        assert size == 30_000
        fetched = await methods.call("FetchFile", ["ied-f07", name], CALLER)
        assert fetched.status == StatusCode.Good, fetched.text
        assert audited == [("link.fetch", {"file": name}), ("link.outcome", {"file": name})]
        groups = await methods.call("ReadDeviceTable", ["ied-f07", "setting groups", ""], CALLER)
        assert dict(zip(groups.outputs[0], groups.outputs[1], strict=True))["F07Q1LD0/LLN0.SGCB.ActSG"] == "2"
    assert (kept(tmp_path) / "ASKED" / "rec1.dat").read_bytes() == octets


# -- setting groups -------------------------------------------------------------------------------------------------


async def test_setting_groups_are_read_as_a_list(device, tmp_path):
    async with connected(device, tmp_path) as bed:
        outcome, lines = await bed.link.read_table(DeviceTable.SETTING_GROUPS, "")
        assert outcome.good, outcome.text
        found = {line.item: line.value for line in lines}
        assert found["F07Q1LD0/LLN0.SGCB.NumOfSG"] == "3"
        assert found["F07Q1LD0/LLN0.SGCB.ActSG"] == "2"
        assert "F07Q1LD0/LLN0.SGCB.LActTm" in found


async def test_settings_of_the_active_group_are_listed(device, tmp_path):
    async with connected(device, tmp_path) as bed:
        outcome, lines = await bed.link.read_table(DeviceTable.SETTINGS, "LD0")
        assert outcome.text == "active group of F07Q1LD0: 1 settings"
        assert [(line.item, line.value) for line in lines] == [("F07Q1LD0/PTOC1.StrVal.setMag.f[SG]", "600")]
        assert bed.value("LD0/PTOC1.StrVal") == 600.0
        outcome, _ = await bed.link.read_table(DeviceTable.SETTINGS, "LD9")
        assert outcome.status == StatusCode.BadInvalidArgument


async def test_active_group_and_number_of_groups_are_points(device, tmp_path):
    async with connected(device, tmp_path, poll=0.2) as bed:
        for name, value in (("ActSG", 2), ("NumOfSG", 3)):
            point = bed.points["LD0/XCBR1.OpCnt"]
            fed = dataclasses.replace(point, fields={"ref": f"LD0/LLN0.SGCB.{name}"}, control=None)
            await bed.driver.update(PointChange(removed=[point], added=[fed]))
            await until(lambda value=value: bed.value("LD0/XCBR1.OpCnt") == value, what=name)


# -- logs -----------------------------------------------------------------------------------------------------------


async def test_logs_are_listed_and_one_that_keeps_nothing_is_empty(device, tmp_path):
    async with connected(device, tmp_path) as bed:
        outcome, lines = await bed.link.read_table(DeviceTable.LOGS, "")
        assert (outcome.good, [line.item for line in lines]) == (True, ["F07Q1LD0/LLN0$EventLog"])
        outcome, lines = await bed.link.read_table(DeviceTable.LOG, "LD0/LLN0$EventLog 2026-01-01T00:00:00Z")
        assert (outcome.good, lines) == (True, [])
        outcome, _ = await bed.link.read_table(DeviceTable.LOG, "LD0/LLN0$NoLog")
        assert not outcome.good


# -- the SCL file against the device ---------------------------------------------------------------------------------


async def test_device_that_is_as_its_file_says_has_no_differences(device, tmp_path):
    async with connected(device, tmp_path, scl=str(device.arguments[1])) as bed:
        assert bed.driver.differences == []
        assert bed.link.counters["model_differences"] == 0


async def test_differences_in_types_members_blocks_and_revisions_are_listed_and_told_once(device, scl, tmp_path):
    text = scl.read_text()
    for old, new in (
        ('cdc="ING">\n      <DA name="setVal" bType="INT32"', 'cdc="ING">\n      <DA name="setVal" bType="INT64"'),
        ('<FCDA ldInst="LD0" lnClass="LLN0" doName="Health" fc="ST"/>', ""),
        ('LLN0.brStatus" datSet="Status" confRev="1"', 'LLN0.brStatus" datSet="Status" confRev="7"'),
        ('<DAI name="configRev"><Val>1</Val></DAI>', '<DAI name="configRev"><Val>2</Val></DAI>'),
    ):
        assert old in text, old
        text = text.replace(old, new, 1)
    other = tmp_path / "other.cid"
    other.write_text(text)
    async with connected(device, tmp_path, scl=str(other)) as bed:
        found = {(of.item, of.expected, of.found) for of in bed.driver.differences}
        assert ("F07Q1LD0/LLN0$DC$NamPlt$configRev", "2", "1") in found
        assert {("F07Q1LD0/LLN0$BR$brStatus01$ConfRev", "7", "1")} <= found
        assert ("data set F07Q1LD0/LLN0$Status: member F07Q1LD0/LLN0$ST$Health", "", "there") in found
        assert ("type of F07Q1LD0/PTOC1$SP$OpDlTmms$setVal", "integer64", "integer32") in found
        told = [event.text for event in bed.seen if event.code == "D03"] if bed.texts() else []
        assert len(told) == 1
        assert told[0].startswith("The device is otherwise than its SCL file: ")


# -- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def secured(scl, tmp_path):
    folder = tmp_path / "pki"
    folder.mkdir()
    ca = certificate(folder, "ca")
    pairs = {
        "ca": ca,
        "server": certificate(folder, "server", ca, days=20.0),
        "gateway": certificate(folder, "gateway", ca),
    }
    process = await Process([HERE / "libiec61850_services.py", scl, free_port(), "--tls", folder]).start()
    process.pairs = pairs
    yield process
    await process.kill()


def tls(pairs, **changes):
    files_ = {"ca": pairs["ca"].file, "certificate": pairs["gateway"].file, "key": pairs["gateway"].key_file} | changes
    return {name: str(file) for name, file in files_.items()}


async def test_association_with_certificates_of_both_sides(secured, tmp_path):
    async with connected(secured, tmp_path, tls=tls(secured.pairs)) as bed:
        assert (await bed.link.read_table(DeviceTable.SETTING_GROUPS, ""))[0].good


async def test_certificate_of_the_device_that_expires_soon_is_told(secured, tmp_path):
    async with connected(secured, tmp_path, tls=tls(secured.pairs)) as bed:
        until_ = secured.pairs["server"].certificate.not_valid_after_utc
        assert f"the certificate of the device itself expires on {until_:%Y-%m-%d}" in bed.texts()
        assert "D09" in bed.event_codes()


async def test_device_refuses_a_certificate_that_its_authority_has_not_signed(secured, tmp_path):
    folder = tmp_path / "pki"
    stranger = certificate(folder, "stranger", certificate(folder, "elsewhere"))
    wrong = tls(secured.pairs, certificate=stranger.file, key=stranger.key_file)
    async with Bed(secured.arguments[2], tmp_path, file=secured.arguments[1], tls=wrong) as bed:
        await until(lambda: bed.link.reason not in {"", "not connected yet"}, what="the reason")
        assert bed.link.reason.startswith("TLS: the device "), bed.link.reason
        assert bed.link.counters["connects"] == 0


async def test_certificate_of_the_device_that_was_revoked_is_refused(secured, tmp_path):
    revoked = tls(secured.pairs, crl=revocations(secured.pairs["ca"], secured.pairs["server"]))
    async with Bed(secured.arguments[2], tmp_path, file=secured.arguments[1], tls=revoked) as bed:
        await until(lambda: "revoked" in bed.link.reason, what="the reason")
        assert bed.link.reason == "TLS: the device's certificate is refused: certificate revoked"
