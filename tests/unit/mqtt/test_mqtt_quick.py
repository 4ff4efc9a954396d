"""The packets of the hot path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_gateway.mqtt.quick import MAX_PACKET, acknowledgements, packet_length, publish_packet


def test_a_publish_is_written_as_in_the_standard():
    packet = publish_packet("a/b", b"hi", 10, retain=True, version_5=False)
    assert packet == b"\x33\x09\x00\x03a/b\x00\x0ahi"
    packet = publish_packet("a/b", b"hi", 10, retain=False, version_5=True)
    assert packet == b"\x32\x0a\x00\x03a/b\x00\x0a\x00hi"


@pytest.mark.parametrize("size", [110, 120, 127, 128, 16_370, 16_384, 70_000, 2_100_000])
@pytest.mark.parametrize("version_5", [False, True])
def test_the_length_of_a_publish_counts_the_rest(size, version_5):
    packet = publish_packet("ü/b", b"x" * size, 1, retain=False, version_5=version_5)
    length, shift, index = 0, 0, 1
    while True:
        length |= (packet[index] & 0x7F) << shift
        shift, index = shift + 7, index + 1
        if packet[index - 1] < 0x80:
            break
    assert length == len(packet) - index


def test_acknowledgements_of_both_versions_are_read_up_to_the_first_other_packet():
    data = (
        b"\x40\x02\x00\x01" + b"\x40\x03\x12\x34\x10" + b"\x40\x04\x00\x05\x97\x00" + b"\xd0\x00" + b"\x40\x02\x00\x09"
    )
    assert acknowledgements(data) == ([(1, 0), (0x1234, 0x10), (5, 0x97)], 15)


@given(st.lists(st.integers(1, 65_535), max_size=20), st.integers(0, 100))
def test_a_cut_stream_of_acknowledgements_is_read_up_to_the_cut(packet_ids, cut):
    data = b"".join(b"\x40\x02" + packet_id.to_bytes(2, "big") for packet_id in packet_ids)[:cut]
    found, used = acknowledgements(data)
    assert used == len(data) // 4 * 4
    assert [packet_id for packet_id, _ in found] == packet_ids[: used // 4]


@given(st.binary(max_size=64))
def test_anything_else_is_left_alone(data):
    found, used = acknowledgements(data)
    assert used <= len(data)
    assert all(0 <= packet_id <= 0xFFFF and 0 <= code <= 0xFF for packet_id, code in found)


def test_the_length_of_a_packet_is_known_when_it_is_there():
    assert packet_length(b"\xd0") is None
    assert packet_length(b"\xd0\x00") == 2
    assert packet_length(b"\xe0\x80") is None
    assert packet_length(b"\xe0\x80\x01") == 3 + 128


def test_a_huge_or_malformed_length_is_refused():
    with pytest.raises(ValueError, match="nothing is subscribed"):
        packet_length(b"\x30" + b"\xff\xff\xff\x7f")
    with pytest.raises(ValueError, match="malformed"):
        packet_length(b"\x30\x80\x80\x80\x80")
    with pytest.raises(ValueError, match="nothing is subscribed"):
        packet_length(b"\x30\x80\x80\x04")
    assert MAX_PACKET == 65_536
