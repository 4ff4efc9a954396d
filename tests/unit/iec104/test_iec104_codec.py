"""The ASDU codec: every type there and back, wire octets by hand, and nothing but AsduError on nonsense."""

import contextlib
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peers.iec104.elements import ELEMENTS

from twin_gateway.drivers.iec104.codec import Asdu, Information, decode, encode
from twin_gateway.drivers.iec104.times import Stamp, TagFlag
from twin_gateway.drivers.iec104.types import TYPES, AsduError, TimeTag

YEAR = 2026
WALL = 1_780_000_000_123


def stamp_for(known):
    return {
        TimeTag.NONE: None,
        TimeTag.CP24: Stamp(59 * 60_000 + 59_999, TagFlag.SUBSTITUTED, 3),
        TimeTag.CP56: Stamp(WALL, TagFlag.SUMMER, 7),
    }[known.time]


def sample(known, address=1001):
    value, extra, quality = ELEMENTS[known.family]
    return Information(address, value, extra, quality, stamp_for(known))


@pytest.mark.parametrize("known", TYPES.values(), ids=lambda known: known.name)
def test_every_type_survives_the_wire(known):
    asdu = Asdu(known.number, 3, 7, (sample(known),), negative=True, test=True, originator=9)
    assert decode(encode(asdu), YEAR) == asdu


@pytest.mark.parametrize("known", [known for known in TYPES.values() if known.monitor], ids=lambda known: known.name)
@pytest.mark.parametrize("sequence", [False, True])
def test_monitor_types_carry_many_objects(known, sequence):
    objects = tuple(sample(known, 500 + index) for index in range(9))
    asdu = Asdu(known.number, 20, 65_534, objects, sequence=sequence)
    octets = encode(asdu)
    assert len(octets) == (9 + 9 * known.size if sequence else 6 + 9 * (3 + known.size))
    assert decode(octets, YEAR) == asdu


def test_a_float_with_time_tag_is_read_from_the_octets_of_the_standard():
    octets = bytes.fromhex("24 01 03 00 01 00 e9 03 00") + struct.pack("<f", 1.5)
    octets += bytes.fromhex("00 e8 03 0f 0c 96 06 1a")  # 2026-06-22 12:15:01.000
    asdu = decode(octets, YEAR)
    assert asdu.name == "M_ME_TF_1"
    assert asdu.objects == (Information(1001, 1.5, 0, 0, Stamp(1_782_130_501_000, TagFlag(0), 7)),)


def test_a_selected_double_command_is_the_octet_of_the_standard():
    asdu = Asdu(46, 6, 1, (Information(5000, 2, 0x80 | 1 << 2),))
    assert encode(asdu).hex() == "2e0106000100881300" + "86"


@pytest.mark.parametrize("octet", range(256))
def test_single_points_keep_value_and_quality_bits_apart(octet):
    item = decode(bytes((1, 1, 3, 0, 1, 0, 1, 0, 0, octet)), YEAR).objects[0]
    assert (item.value, item.quality) == (octet & 1, octet & 0xF0)


@pytest.mark.parametrize("octet", range(256))
def test_step_positions_are_signed_seven_bit_numbers_with_a_transient_flag(octet):
    item = decode(bytes((5, 1, 3, 0, 1, 0, 1, 0, 0, octet, 0)), YEAR).objects[0]
    position = octet & 0x7F
    assert item.value == (position if position < 64 else position - 128)
    assert item.extra == octet >> 7


@pytest.mark.parametrize("octet", range(256))
def test_counters_keep_sequence_number_carry_adjusted_and_invalid(octet):
    item = decode(bytes((15, 1, 37, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, octet)), YEAR).objects[0]
    assert (item.value, item.extra, item.quality) == (1, octet & 0x1F, octet & 0xE0)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x01",
        bytes((1, 0, 3, 0, 1, 0)),  # no object
        bytes((1, 1, 3, 0, 1, 0)),  # header only
        bytes((1, 1, 3, 0, 1, 0, 1, 0, 0)),  # address only
        bytes((1, 1, 3, 0, 1, 0, 1, 0, 0, 1, 1)),  # one octet too many
        bytes((1, 0x82, 3, 0, 1, 0, 1, 0, 0, 1)),  # second of a sequence missing
        bytes((41, 1, 3, 0, 1, 0, 1, 0, 0, 1)),  # no such type
        bytes((45, 2, 6, 0, 1, 0, 1, 0, 0, 1, 2, 0, 0, 1)),  # a command has one object
        bytes((45, 0x81, 6, 0, 1, 0, 1, 0, 0, 1)),  # and no sequence
        bytes((1, 0x82, 3, 0, 1, 0, 255, 255, 255, 1, 1)),  # past the last address
    ],
)
def test_what_is_no_asdu_is_refused(octets):
    with pytest.raises(AsduError):
        decode(octets, YEAR)


@settings(max_examples=600, deadline=None)
@given(st.binary(max_size=260))
def test_decoding_noise_raises_nothing_but_asdu_errors(noise):
    with contextlib.suppress(AsduError):
        decode(noise, YEAR)


@settings(max_examples=600, deadline=None)
@example(number=34, structure=1, header=bytes(4), body=bytes(13))  # a time tag of zeros is no time
@example(number=2, structure=1, header=bytes(4), body=bytes((0, 0, 0, 0, 0xFF, 0xFF, 0)))
@given(st.sampled_from(sorted(TYPES)), st.integers(0, 255), st.binary(min_size=4, max_size=4), st.binary(max_size=243))
def test_what_decodes_can_be_encoded_and_decodes_the_same(number, structure, header, body):
    octets = bytes((number, structure)) + header + body
    try:
        asdu = decode(octets, YEAR)
    except AsduError:
        return
    again = decode(encode(asdu), YEAR)
    assert repr(again) == repr(asdu)  # by text: NaN is not equal to itself


@pytest.mark.parametrize(
    "asdu",
    [
        Asdu(9, 3, 1, (Information(1, 1.5),)),
        Asdu(11, 3, 1, (Information(1, 40_000),)),
        Asdu(5, 3, 1, (Information(1, 64),)),
        Asdu(13, 3, 1, (Information(1, 1e300),)),
        Asdu(13, 3, 1, (Information(1 << 24, 1.0),)),
        Asdu(13, 3, 70_000, (Information(1, 1.0),)),
        Asdu(36, 3, 1, (Information(1, 1.0),)),
        Asdu(99, 3, 1, (Information(1, 1.0),)),
        Asdu(1, 3, 1, ()),
        Asdu(13, 3, 1, tuple(Information(index, 1.0) for index in range(1, 60))),
        Asdu(1, 3, 1, (Information(1, 1), Information(3, 1)), sequence=True),
    ],
)
def test_what_does_not_fit_is_not_encoded(asdu):
    with pytest.raises(AsduError):
        encode(asdu)


def test_full_scale_is_sent_as_the_nearest_normalised_value():
    assert decode(encode(Asdu(9, 3, 1, (Information(1, 1.0),))), YEAR).objects[0].value == 32767 / 32768
