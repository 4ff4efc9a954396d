"""A-XDR, wrapper, OBIS codes and ACSE APDUs."""

import contextlib
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.acse import (
    AssociationRequest,
    AssociationResponse,
    InitiateRequest,
    InitiateResponse,
    Mechanism,
)
from twin_gateway.drivers.dlms.axdr import BitString, Tag, decode, encode, read_length, write_length
from twin_gateway.drivers.dlms.errors import DlmsError, MalformedApduError, WrapperError
from twin_gateway.drivers.dlms.wrapper import Deframer, frame


@pytest.mark.parametrize(
    ("tag", "value", "octets"),
    [
        (Tag.NULL, None, "00"),
        (Tag.BOOLEAN, True, "0301"),
        (Tag.INT32, -2, "05fffffffe"),
        (Tag.UINT32, 123456, "060001e240"),
        (Tag.OCTET_STRING, b"\x01\x02", "09020102"),
        (Tag.VISIBLE_STRING, "abc", "0a03616263"),
        (Tag.UTF8_STRING, "é", "0c02c3a9"),
        (Tag.INT8, -1, "0fff"),
        (Tag.INT16, -2, "10fffe"),
        (Tag.UINT8, 255, "11ff"),
        (Tag.UINT16, 2301, "1208fd"),
        (Tag.INT64, -1, "14" + "ff" * 8),
        (Tag.UINT64, 1 << 63, "158000000000000000"),
        (Tag.ENUM, 30, "161e"),
        (Tag.FLOAT32, 1.5, "173fc00000"),
        (Tag.FLOAT64, 1.5, "183ff8000000000000"),
        (Tag.BIT_STRING, BitString(10, b"\xa5\x40"), "040aa540"),
        (Tag.DATE, b"\x07\xea\x0b\x17\x01", "1a07ea0b1701"),
    ],
)
def test_every_simple_type_has_its_octets(tag, value, octets):
    assert encode(tag, value).hex() == octets
    assert decode(bytes.fromhex(octets)) == (value, len(octets) // 2)


def test_structures_and_arrays_become_lists():
    data = encode(Tag.STRUCTURE, [encode(Tag.INT8, -1), encode(Tag.ARRAY, [encode(Tag.ENUM, 30)])])
    assert decode(data) == ([-1, [30]], len(data))


def test_the_first_value_is_decoded_and_what_trails_is_the_callers_business():
    # The vendor's own sample server sends such a clock: the value, then more octets.
    assert decode(bytes.fromhex("1208fd090f090c")) == (2301, 3)


def test_a_compact_array_is_decoded_by_its_type_description():
    # two structures of (uint16, octet-string)
    body = struct.pack(">H", 7) + b"\x01a" + struct.pack(">H", 8) + b"\x00"
    data = b"\x13\x02\x02\x12\x09" + bytes((len(body),)) + body
    assert decode(data) == ([[7, b"a"], [8, b""]], len(data))


@pytest.mark.parametrize(
    "octets",
    [
        "",  # nothing
        "05ff",  # truncated number
        "0905aa",  # truncated octets
        "0985ffffffffff",  # five octets of length
        "0180",  # indefinite length
        "01840000ffff",  # more elements than octets
        "01" * 40,  # nested too deep
        "07",  # no such type
        "1300820000",  # compact array of null
        "1302000100",  # compact array of empty structures
        "130100000500",  # compact array of arrays without elements
    ],
)
def test_bad_octets_raise_the_codecs_own_error(octets):
    with pytest.raises(MalformedApduError):
        decode(bytes.fromhex(octets))


@given(st.integers(0, (1 << 32) - 1))
def test_lengths_round_trip(length):
    data = write_length(length)
    assert read_length(data, 0) == (length, len(data))


_VALUES = st.recursive(
    st.one_of(
        st.just(encode(Tag.NULL)),
        st.integers(-(1 << 31), (1 << 31) - 1).map(lambda v: encode(Tag.INT32, v)),
        st.integers(0, (1 << 64) - 1).map(lambda v: encode(Tag.UINT64, v)),
        st.binary(max_size=300).map(lambda v: encode(Tag.OCTET_STRING, v)),
        st.text(max_size=50).map(lambda v: encode(Tag.UTF8_STRING, v)),
        st.floats(allow_nan=False).map(lambda v: encode(Tag.FLOAT64, v)),
    ),
    lambda inner: st.lists(inner, max_size=5).map(lambda v: encode(Tag.STRUCTURE, v)),
    max_leaves=20,
)


@given(_VALUES, st.binary(max_size=5))
def test_whatever_is_encoded_is_consumed_exactly(data, trailing):
    _, end = decode(data + trailing)
    assert end == len(data)


@given(st.binary(max_size=200))
def test_random_octets_only_ever_raise_dlms_errors(data):
    try:
        _, end = decode(data)
        assert 0 < end <= len(data)
    except DlmsError:
        pass


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.integers(1, 40))
def test_frames_come_out_whole_however_the_stream_is_cut(apdus, size):
    stream = b"".join(frame(16, 1, apdu) for apdu in apdus)
    deframer = Deframer()
    seen = [item for at in range(0, len(stream), size) for item in deframer.feed(stream[at : at + size])]
    assert seen == [(16, 1, apdu) for apdu in apdus]


@pytest.mark.parametrize("header", ["0002001000010005", "0001001000010000", "000100100001ffff"])
def test_a_bad_header_ends_the_stream_before_anything_is_kept(header):
    with pytest.raises(WrapperError):
        Deframer(limit=4096).feed(bytes.fromhex(header))


@pytest.mark.parametrize("text", ["1-0:1.8.0", "1-0:1.8.0.255", "1-0:1.8.0*255", "1.0.1.8.0.255", "1.0.1.8.0"])
def test_obis_codes_are_read_in_all_spellings(text):
    assert obis.parse(text) == bytes((1, 0, 1, 8, 0, 255))
    assert obis.text(obis.parse(text)) == "1-0:1.8.0"


@pytest.mark.parametrize("text", ["", "1-0:1.8", "1-0:1.8.256", "1.8.0", "1-0:1.8.0.255.1", "A-0:1.8.0"])
def test_what_is_no_obis_code_is_refused(text):
    with pytest.raises(ValueError, match="OBIS"):
        obis.parse(text)


@pytest.mark.parametrize(
    ("text", "class_id"),
    [
        ("1-0:1.8.0", 3),
        ("1-0:32.7.0", 3),
        ("1-0:1.6.0", 4),
        ("1-0:1.4.0", 5),
        ("1-0:0.4.2", 1),
        ("1-0:99.1.0", 7),
        ("0-0:1.0.0", 8),
        ("0-0:96.1.0", 1),
        ("0-0:96.3.10", 70),
        ("0-0:97.97.0", 1),
        ("0-0:99.98.0", 7),
    ],
)
def test_the_class_follows_from_the_obis_code(text, class_id):
    assert obis.default_class(obis.parse(text)) == class_id


def test_association_apdus_round_trip():
    request = AssociationRequest(3, Mechanism.HLS_GMAC, b"\x21\x00", b"12345678", b"c" * 16)
    assert AssociationRequest.decode(request.encode()) == request
    response = AssociationResponse(0, 14, 3, b"87654321", b"s" * 16, 5, b"\x28\x00")
    assert AssociationResponse.decode(response.encode()) == response
    assert InitiateRequest.decode(InitiateRequest(0x1E1F, 4096, b"k" * 16).encode()) == InitiateRequest(
        0x1E1F, 4096, b"k" * 16
    )
    assert InitiateResponse.decode(InitiateResponse(0x1018, 512).encode()) == InitiateResponse(0x1018, 512)


def test_an_aarq_without_security_has_the_octets_of_the_green_book():
    apdu = AssociationRequest(1, Mechanism.NONE, InitiateRequest(0x007E1F, 0x04B0).encode()).encode()
    assert apdu.hex() == "601da109060760857405080101be10040e01000000065f1f0400007e1f04b0"


@given(st.binary(max_size=120), st.sampled_from([0x60, 0x61, 0x01, 0x08]))
def test_random_acse_octets_only_ever_raise_dlms_errors(data, tag):
    for kind in (AssociationRequest, AssociationResponse, InitiateRequest, InitiateResponse):
        for apdu in (data, bytes((tag,)) + data, bytes((tag,)) + write_length(len(data)) + data):
            with contextlib.suppress(DlmsError):
                kind.decode(apdu)


def test_infinities_survive_as_floats():
    assert math.isinf(decode(encode(Tag.FLOAT64, math.inf))[0])
