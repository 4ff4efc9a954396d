"""File services against a device that does what the test says; names and limits of what is kept."""

import json
import stat
from types import SimpleNamespace

import pytest
from open61850 import ber

from address_space import clock
from twin_gateway.drivers.contract import DeviceFile
from twin_gateway.drivers.device_files import FileRefused, FileStore, Progress, safe_path
from twin_gateway.drivers.iec61850 import files
from twin_gateway.drivers.iec61850.errors import MmsProtocolError, ServiceError

STAMP = b"20260102030405.000Z"
WHOLE = bytes(range(256)) * 400


class Field:
    """What the file store needs of a link."""

    name = "ied-f07"

    def __init__(self, folder):
        self.data_directory = folder
        self.events = []

    def event(self, code, text, *, severity=400, address=""):
        self.events.append((code, text))


class Device:
    """Answers file services; `piece` octets at a time, from where it is asked to go on."""

    def __init__(self, octets=WHOLE, *, announced=None, piece=8000, honours=True, stop_after=None, endless=False):
        self.octets, self.announced = octets, len(octets) if announced is None else announced
        self.piece, self.honours, self.stop_after, self.endless = piece, honours, stop_after, endless
        self.asked, self.closed, self.at = [], 0, 0

    async def request(self, service):
        tag, at = ber.decode_tag(service)
        _, at = ber.decode_length(service, at)
        number = ber.tag_number(tag)
        self.asked.append(number)
        content = b""
        if number == files.OPEN:
            position = next(ber.decode_unsigned(t.value) for t in ber.iter_tlvs(service[at:]) if t.tag == 0x81)
            self.at = position if self.honours else 0
            attributes = ber.encode_tlv(0x80, ber.encode_unsigned(self.announced)) + ber.encode_tlv(0x81, STAMP)
            content = ber.encode_tlv(0x80, b"\x05") + ber.encode_tlv(0xA1, attributes)
        elif number == files.READ:
            assert service[at:] == b"\x05"
            if self.stop_after is not None:
                self.stop_after -= 1
                if self.stop_after < 0:
                    raise ServiceError(11, 0)
            piece = b"" if self.endless else self.octets[self.at : self.at + self.piece]
            self.at += len(piece)
            more = self.endless or self.at < len(self.octets)
            content = ber.encode_tlv(0x80, piece) + ber.encode_tlv(0x81, b"\xff" if more else b"\0")
        elif number == files.CLOSE:
            self.closed += 1
        return SimpleNamespace(content=content)


async def fetched(folder, device, name="rec1.dat", **limits):
    field = Field(folder)
    place, received = await files.fetch(device, field, name, FileStore(field, **limits))
    return place, received, field


def kept(folder):
    return folder / "files" / "ied-f07"


async def test_fetch_that_was_interrupted_goes_on_a_little_before_its_end(tmp_path):
    broken = Device(stop_after=6)
    with pytest.raises(ServiceError):
        await fetched(tmp_path, broken)
    assert (kept(tmp_path) / "rec1.dat.part").stat().st_size == 48_000
    assert broken.closed == 1
    # what stands 4096 octets before the end differs from the beginning of the file, so that going on can be told
    device = Device(WHOLE[:200] + b"x" + WHOLE[201:])
    (kept(tmp_path) / "rec1.dat.part").write_bytes(device.octets[:48_000])
    place, received, _ = await fetched(tmp_path, device)
    assert received == len(WHOLE) - 48_000 + 4096
    assert (kept(tmp_path) / "rec1.dat").read_bytes() == device.octets
    assert place == str(kept(tmp_path) / "rec1.dat")


async def test_fetch_of_a_file_that_looks_the_same_everywhere_begins_anew(tmp_path):
    with pytest.raises(ServiceError):
        await fetched(tmp_path, Device(stop_after=6))
    _, received, _ = await fetched(tmp_path, Device(honours=False))
    assert received == len(WHOLE)
    assert (kept(tmp_path) / "rec1.dat").read_bytes() == WHOLE


async def test_device_that_begins_again_is_found_out_by_what_is_here(tmp_path):
    octets = WHOLE[:200] + b"x" + WHOLE[201:]
    with pytest.raises(ServiceError):
        await fetched(tmp_path, Device(octets, stop_after=6))
    device = Device(octets, honours=False)
    _, received, _ = await fetched(tmp_path, device)
    assert (kept(tmp_path) / "rec1.dat").read_bytes() == octets
    assert received == len(octets)
    assert device.asked.count(files.OPEN) == 3


async def test_device_that_sends_more_than_it_has_announced_is_refused_and_nothing_is_kept(tmp_path):
    with pytest.raises(FileRefused, match="more than the 1000 octets"):
        await fetched(tmp_path, Device(announced=1000))
    assert [path for path in kept(tmp_path).rglob("*") if path.is_file()] == []


async def test_device_that_sends_less_than_it_has_announced_is_refused(tmp_path):
    with pytest.raises(FileRefused, match="102400 octets instead of the 200000"):
        await fetched(tmp_path, Device(announced=200_000))


async def test_device_that_sends_empty_pieces_for_ever_is_given_up(tmp_path):
    device = Device(endless=True)
    with pytest.raises(MmsProtocolError, match="without octets"):
        await fetched(tmp_path, device)
    assert len(device.asked) < 30


async def test_announced_size_over_the_limit_is_refused_before_the_first_octet(tmp_path):
    device = Device(announced=1 << 38)
    with pytest.raises(FileRefused, match="the limit is 67108864"):
        await fetched(tmp_path, device)
    assert files.READ not in device.asked
    assert device.closed == 1


async def test_damaged_record_of_an_interrupted_fetch_begins_anew(tmp_path):
    folder = kept(tmp_path)
    folder.mkdir(parents=True)
    (folder / "rec1.dat.part").write_bytes(b"old" * 5000)
    (folder / "rec1.dat.part.json").write_text("{")
    _, received, _ = await fetched(tmp_path, Device())
    assert received == len(WHOLE)


async def test_everything_kept_is_private(tmp_path):
    with pytest.raises(ServiceError):
        await fetched(tmp_path, Device(stop_after=2), "A/rec1.dat")
    for path in kept(tmp_path).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    said = json.loads((kept(tmp_path) / "A" / "rec1.dat.part.json").read_text())
    assert said == {"name": "A/rec1.dat", "size": len(WHOLE), "modified": files.file_time(STAMP)}


def test_progress_is_told_at_most_once_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("twin_gateway.drivers.device_files.time.monotonic", lambda: now[0])
    field = Field(tmp_path)
    progress = Progress(field, DeviceFile("rec1.dat", 2000))
    for octets in range(0, 2000, 125):
        progress.tell(octets)
        now[0] += 0.25
    assert [text for _, text in field.events] == [
        "File rec1.dat: 0 of 2000 octets, 0 %",
        "File rec1.dat: 500 of 2000 octets, 25 %",
        "File rec1.dat: 1000 of 2000 octets, 50 %",
        "File rec1.dat: 1500 of 2000 octets, 75 %",
    ]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("rec1.dat", "rec1.dat"),
        ("COMTRADE/rec1.dat", "COMTRADE/rec1.dat"),
        ("/COMTRADE//rec1.dat", "COMTRADE/rec1.dat"),
        ("\\COMTRADE\\rec1.dat", "COMTRADE/rec1.dat"),
    ],
)
def test_sound_names_stay(name, place):
    assert str(safe_path(name)) == place


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/../../b", ".ssh/authorized_keys", "rec 1\n.dat", "..\\..\\x", "rec1.dat.part", "~"]
)
def test_names_that_lead_elsewhere_are_made_safe_and_stay_apart(name):
    made = safe_path(name)
    assert not made.is_absolute()
    assert all(not part.startswith(".") for part in made.parts)
    assert made.suffix != ".part"
    assert str(made) != name
    assert made != safe_path(name + "x")


def test_parts_of_one_record_keep_a_common_name():
    first, second = safe_path("störung 1.cfg"), safe_path("störung 1.dat")
    assert first.stem == second.stem
    assert (first.suffix, second.suffix) == (".cfg", ".dat")


@pytest.mark.parametrize("name", ["", "/", "..", "a/..", "x" * 300])
def test_what_names_no_file_is_refused(name):
    with pytest.raises(FileRefused):
        safe_path(name)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"20260102030405.250Z", "2026-01-02T03:04:05.250Z"),
        (b"20260102030405Z", "2026-01-02T03:04:05Z"),
        (b"20261302030405Z", ""),
        (b"nonsense", ""),
        (b"", ""),
    ],
)
def test_time_of_a_file_is_read_or_not_known(text, moment):
    assert files.file_time(text) == (clock.from_iso(moment) if moment else 0)


def test_directory_is_read_with_and_without_the_explicit_sequence():
    attributes = ber.encode_tlv(0xA1, ber.encode_tlv(0x80, b"\x0a") + ber.encode_tlv(0x81, STAMP))
    entry = ber.encode_tlv(0x30, ber.encode_tlv(0xA0, ber.encode_tlv(0x19, b"rec1.dat")) + attributes)
    expected = [DeviceFile("rec1.dat", 10, files.file_time(STAMP))]
    for listed in (ber.encode_tlv(0x30, entry), entry):
        assert files.directory_response(ber.encode_tlv(0xA0, listed) + ber.encode_tlv(0x81, b"\xff")) == (
            expected,
            True,
        )
