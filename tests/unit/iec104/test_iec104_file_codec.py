"""ASDUs of file transfer: octets by hand, there and back, and what is refused."""

import pytest
from peers.iec104.files import encode_directory

from twin_gateway.drivers.iec104.file_codec import (
    LONGEST_SEGMENT,
    Directory,
    Entry,
    FileMessage,
    FileType,
    checksum,
    decode_file,
    encode_file,
)
from twin_gateway.drivers.iec104.files import name_of, place_of
from twin_gateway.drivers.iec104.times import Stamp, TagFlag
from twin_gateway.drivers.iec104.types import AsduError

STAMP = Stamp(1_780_000_000_123, TagFlag(0), 7)
MESSAGES = {
    FileType.FILE_READY: FileMessage(FileType.FILE_READY, 7, 20_001, 2, length=70_000, qualifier=0x80),
    FileType.SECTION_READY: FileMessage(FileType.SECTION_READY, 7, 20_001, 2, 3, 65_536, 0),
    FileType.CALL: FileMessage(FileType.CALL, 7, 20_001, 2, 3, qualifier=6),
    FileType.LAST: FileMessage(FileType.LAST, 7, 20_001, 2, 3, qualifier=3, checksum=0xA5),
    FileType.ACKNOWLEDGE: FileMessage(FileType.ACKNOWLEDGE, 7, 20_001, 2, 3, qualifier=3),
    FileType.SEGMENT: FileMessage(FileType.SEGMENT, 7, 20_001, 2, 3, data=b"COMTRADE"),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_type_survives_the_wire(kind):
    assert decode_file(encode_file(MESSAGES[kind]), 2026) == MESSAGES[kind]


def test_a_call_of_a_section_is_the_octets_of_the_standard():
    assert encode_file(MESSAGES[FileType.CALL]).hex(" ") == "7a 01 0d 00 07 00 21 4e 00 02 00 03 06"


def test_a_directory_numbers_its_files_one_after_the_other():
    lines = tuple(Entry(100 + at, 2, 1234 + at, at == 1, at == 2, False, STAMP) for at in range(3))
    octets = encode_directory(Directory(7, lines))
    assert octets[:9].hex(" ") == "7e 83 05 00 07 00 64 00 00"
    assert len(octets) == 9 + 3 * 13
    assert decode_file(octets, 2026) == Directory(7, lines)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        bytes((122, 1, 13, 0, 1, 0)),
        bytes((1, 1, 13, 0, 1, 0, 1, 0, 0, 1)),  # another type
        bytes((127, 1, 13, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0)),
        encode_file(MESSAGES[FileType.CALL])[:-1],
        encode_file(MESSAGES[FileType.CALL]) + b"\0",
        encode_file(MESSAGES[FileType.SEGMENT])[:-1],  # fewer octets than announced
        bytes((122, 2)) + encode_file(MESSAGES[FileType.CALL])[2:],
        bytes((126, 0x82, 5, 0, 1, 0, 1, 0, 0)) + bytes(13),  # a line is missing
        bytes((126, 0x82, 5, 0, 1, 0, 0xFF, 0xFF, 0xFF)) + bytes(26),  # past the last address
    ],
)
def test_what_is_no_file_transfer_is_refused(octets):
    with pytest.raises(AsduError):
        decode_file(octets, 2026)


def test_a_segment_too_long_for_an_asdu_is_not_encoded():
    encode_file(MESSAGES[FileType.SEGMENT]._replace(data=bytes(LONGEST_SEGMENT)))
    with pytest.raises(AsduError):
        encode_file(MESSAGES[FileType.SEGMENT]._replace(data=bytes(LONGEST_SEGMENT + 1)))


def test_the_checksum_is_the_sum_of_octets():
    assert checksum(bytes((255, 2, 3))) == 4


def test_names_of_files_lead_back_to_where_they_are():
    entry = Entry(20_001, 2, 10, False, False, False, STAMP)
    assert place_of(name_of(7, entry)) == (7, 20_001, 2)
    assert place_of(name_of(7, entry._replace(name=77))) == (7, 20_001, 77)
    for name in ("", "7", "7/1", "7/1.", "7/99999999.events", "7/1.nothing", "../1.events", "7/1.0"):
        assert place_of(name) is None
