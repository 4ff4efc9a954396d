"""The offset decoder against the codec library's own decoder."""

import contextlib
import math
import struct
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open61850.data import (
    ArrayData,
    BitStringData,
    BoolData,
    FloatData,
    IntData,
    MmsStringData,
    OctetStringData,
    RawData,
    StructureData,
    TimestampData,
    UIntData,
    VisibleStringData,
    decode_data,
    decode_data_sequence,
    encode_data,
)
from open61850.mms import pdu
from open61850.mms.report import decode_report
from open61850.mms.types import ArrayType, PrimitiveType, StructureType
from open61850.server import protocol

from address_space import clock
from address_space.quality import Quality, TimeFlag, from_61850
from twin_gateway.drivers.iec61850 import report as report_module
from twin_gateway.drivers.iec61850 import tlv
from twin_gateway.drivers.iec61850 import values as mms
from twin_gateway.drivers.iec61850.errors import MmsProtocolError
from twin_gateway.drivers.iec61850.plan import Plan, Signal, leaves
from twin_gateway.drivers.iec61850.report import ReadDecoder, ReportDecoder, Subscription, UnknownReport
from twin_gateway.drivers.iec61850.walk import walk

QUALITY, TIME = PrimitiveType("bit-string", -13), PrimitiveType("utc-time")
# the library raises OverflowError on floats close to the largest; ours takes them, see below
singles = st.floats(-(2.0**126), 2.0**126, width=32)
VALUES = {
    "float": (PrimitiveType("float", 32), singles.map(FloatData)),
    "double": (PrimitiveType("float", 64), st.floats(allow_nan=False).map(lambda v: FloatData(v, double=True))),
    "boolean": (PrimitiveType("boolean"), st.booleans().map(BoolData)),
    "position": (PrimitiveType("bit-string", 2), st.integers(0, 3).map(lambda v: BitStringData(bytes((v << 6,)), 6))),
    "integer": (PrimitiveType("integer", 32), st.integers(-(1 << 31), (1 << 31) - 1).map(IntData)),
    "long": (PrimitiveType("integer", 64), st.integers(-(1 << 53), 1 << 53).map(IntData)),
    "unsigned": (PrimitiveType("unsigned", 32), st.integers(0, (1 << 32) - 1).map(UIntData)),
}
moments = st.timedeltas(timedelta(days=365), timedelta(days=47_000)).map(lambda v: datetime(1970, 1, 1, tzinfo=UTC) + v)
stamps = st.builds(TimestampData, moments, st.integers(0, 255))
words = st.integers(0, 0x1FFF)


def bits(word):
    return BitStringData((word << 3).to_bytes(2, "big"), 3)


def flat(data):
    if isinstance(data, StructureData):
        return [leaf for member in data.members for leaf in flat(member)]
    if isinstance(data, ArrayData):
        return [leaf for element in data.elements for leaf in flat(element)]
    return [data]


texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)
anything = st.recursive(
    st.one_of(
        *(values for _, values in VALUES.values()), stamps, texts.map(VisibleStringData), texts.map(MmsStringData),
        st.binary(max_size=200).map(OctetStringData), words.map(bits),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=6).map(StructureData), st.lists(inner, max_size=6).map(ArrayData)),
    max_leaves=40,
)  # fmt: skip


@given(st.lists(anything, max_size=8), st.binary(max_size=5))
@settings(max_examples=100, deadline=None)
def test_walk_finds_the_leaves_that_the_library_decodes(items, before):
    encoded = before + b"".join(encode_data(item) for item in items)
    found = walk(encoded, len(before), len(encoded))
    parts = zip(found.tags, found.starts, found.stops, strict=True)
    assert [decode_data(tag, encoded[start:stop]) for tag, start, stop in parts] == [
        leaf for item in decode_data_sequence(encoded[len(before) :]) for leaf in flat(item)
    ]
    assert found.items == [sum(len(flat(i)) for i in items[:n]) for n in range(len(items) + 1)]


@given(st.binary(max_size=80))
@settings(max_examples=250, deadline=None)
def test_walk_of_nonsense_raises_its_own_error_only(noise):
    try:
        found = walk(noise, 0, len(noise))
    except MmsProtocolError:
        return
    assert found.items[-1] == len(found.tags)


@given(st.lists(anything, min_size=1, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_walk_agrees_with_the_library_about_damaged_octets(items, data):
    encoded = bytearray(b"".join(encode_data(item) for item in items))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    octets = bytes(encoded)
    try:
        found = walk(octets, 0, len(octets))
    except MmsProtocolError:
        return
    # what the walk accepts are TLVs that cover the octets without a gap, so the library accepts them as well
    with contextlib.suppress(OverflowError):
        decode_data_sequence(octets)
    assert all(0 <= start <= stop <= len(octets) for start, stop in zip(found.starts, found.stops, strict=True))


def test_walk_refuses_deep_nesting_without_recursion():
    nested = b""
    for _ in range(5000):
        nested = b"\xa2" + protocol.ber.encode_length(len(nested)) + nested
    with pytest.raises(MmsProtocolError, match="nested deeper"):
        walk(nested, 0, len(nested))
    with pytest.raises(MmsProtocolError, match="nested deeper"):
        tlv.check_depth(nested, 0, len(nested))


# -- whole reports -------------------------------------------------------------------------------------------------


class Sender:
    """A report control block as the library's server would encode it."""

    OPTIONS = BitStringData(b"\x7b\x80", 6)

    def __init__(self, members):
        self.members = members

    def report(self, included, values, sequence=1, reason=0x40, entry=b"\0" * 8):
        flags = np.zeros((len(self.members) + 7) // 8 * 8, np.uint8)
        flags[included] = 1
        inclusion = BitStringData(np.packbits(flags).tobytes(), (8 - len(self.members) % 8) % 8)
        results = [
            VisibleStringData("rpt"), self.OPTIONS, UIntData(sequence), RawData(0x8C, b"\0\0\x10\0\x3a\x98"),
            VisibleStringData("LD/LLN0$ds"), BoolData(False), OctetStringData(entry), UIntData(7), inclusion,
        ]  # fmt: skip
        results += values + [BitStringData(bytes((reason,)), 1)] * len(included)
        return protocol.information_report(results, list_name="RPT")


def places(encoded):
    """(start, stop) of the access results of an encoded information report."""
    _, position, end = tlv.header(encoded, 0, len(encoded))
    _, position, end = tlv.header(encoded, position, end)
    _, start, stop = tlv.header(encoded, position + 7, end)
    return start, stop


def number(data):
    if isinstance(data, BitStringData):
        return float(data.value[0] >> data.unused_bits)
    return float(data.value)


def ticks(stamp):
    raw = encode_data(stamp)[2:]
    exact = int.from_bytes(raw[:4], "big") * 10**7 + (int.from_bytes(raw[4:7], "big") * 10**7 + (1 << 23) >> 24)
    return clock.UNIX_EPOCH_TICKS + exact


@st.composite
def data_sets(draw):
    """Members with value, quality and time, and a few reports of some of them."""
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=12))
    members = [
        (f"LD/GGIO1$ST$D{i}", StructureType([("v", VALUES[kind][0]), ("q", QUALITY), ("t", TIME)]))
        for i, kind in enumerate(kinds)
    ]
    reports = []
    for _ in range(draw(st.integers(1, 4))):
        included = sorted(draw(st.sets(st.sampled_from(range(len(kinds))), min_size=1)))
        values = [(draw(VALUES[kinds[i]][1]), draw(words), draw(stamps)) for i in included]
        reports.append((included, values, draw(st.integers(0, 65535)), draw(st.sampled_from([0x40, 0x20, 8, 4]))))
    return members, reports


@given(data_sets())
@settings(max_examples=80, deadline=None)
def test_reports_give_the_same_as_the_library(drawn):
    members, reports = drawn
    signals = [Signal(row, f"{name}$v", f"{name}$q", f"{name}$t") for row, (name, _) in enumerate(members)]
    decoder = ReportDecoder()
    decoder.subscribe(Subscription("key", "rpt", "LD/LLN0$ds", Plan(members, signals)))
    for included, drawn_values, sequence, reason in reports + reports:  # the second time from the cached layouts
        values = [StructureData([value, bits(word), stamp]) for value, word, stamp in drawn_values]
        encoded = Sender(members).report(included, values, sequence, reason, sequence.to_bytes(8, "big"))
        ours, theirs = decoder.decode(encoded, *places(encoded)), decode_report(pdu.decode_pdu(encoded))
        assert (ours.sequence, ours.entry_id, ours.overflow, ours.revision, ours.reasons) == (
            theirs.seq_num, theirs.entry_id, theirs.buf_ovfl, theirs.conf_rev, reason
        )  # fmt: skip
        columns = ours.columns
        assert columns.rows.tolist() == [entry.index for entry in theirs.entries] == included
        assert columns.errors == 0
        for at, (value, word, stamp) in enumerate(drawn_values):
            expected = number(value)
            if isinstance(value, FloatData) and not value.double:
                expected = struct.unpack("!f", struct.pack("!f", value.value))[0]
            assert columns.values[at] == expected
            flags = int(columns.quality[at])
            assert flags & 0xFF_FFFF == from_61850(word)
            assert bool(flags & TimeFlag.INVALID) == bool(stamp.quality & 0x40)
            assert bool(flags & TimeFlag.NOT_SYNCHRONISED) == bool(stamp.quality & 0x20)
            assert bool(flags & TimeFlag.LEAP_KNOWN) == bool(stamp.quality & 0x80)
            assert columns.times[at] == ticks(stamp)


def measured(count=3):
    kind = StructureType([("mag", StructureType([("f", PrimitiveType("float", 32))])), ("q", QUALITY), ("t", TIME)])
    members = [(f"LD/MMXU1$MX$D{i}", kind) for i in range(count)]
    signals = [Signal(i, f"{name}$mag$f", f"{name}$q", f"{name}$t") for i, (name, _) in enumerate(members)]
    return members, signals


def sample(value, word=0, when=None, quality=0x0A):
    stamp = TimestampData(when or datetime(2026, 1, 1, 12, tzinfo=UTC), quality)
    return StructureData([StructureData([FloatData(value)]), bits(word), stamp])


def subscribed(members, signals):
    decoder = ReportDecoder()
    decoder.subscribe(Subscription("key", "rpt", "LD/LLN0$ds", Plan(members, signals)))
    return decoder


def test_equal_reports_are_walked_once():
    decoder = subscribed(*measured())
    for sequence in range(100, 120):
        encoded = Sender(measured()[0]).report([0, 1, 2], [sample(sequence + i) for i in range(3)], sequence)
        report = decoder.decode(encoded, *places(encoded))
        assert report.columns.values.tolist() == [sequence, sequence + 1, sequence + 2]
        assert report.sequence == sequence
    assert decoder.walked == 1


def test_single_changes_of_many_members_are_walked_once_each():
    members, signals = measured(40)
    decoder = subscribed(members, signals)
    for sequence in range(1000):
        encoded = Sender(members).report([sequence % 40], [sample(sequence)], sequence)
        assert decoder.decode(encoded, *places(encoded)).columns.values.tolist() == [sequence]
    assert decoder.walked == 80  # numbers of one octet and of two


def test_layouts_of_ever_other_messages_take_no_more_memory(monkeypatch):
    monkeypatch.setattr(report_module, "_LAYOUTS", 50)
    members, signals = measured(64)
    decoder = subscribed(members, signals)
    for number in range(300):
        included = [at for at in range(12) if number >> at & 1] or [63]
        encoded = Sender(members).report(included, [sample(1.0)] * len(included))
        decoder.decode(encoded, *places(encoded))
    kept = [shape for alike in decoder._shapes.values() for shape in alike]
    assert len(kept) == decoder._count <= 50
    assert sum(shape.layout.length for shape in kept) == decoder._octets <= 1 << 20


@pytest.mark.parametrize("raw", [b"\x7f\x7f\xff\xff", b"\x7f\x80\0\0", b"\xff\x80\0\0", b"\x7f\xc0\0\0", b"\0\0\0\1"])
def test_extreme_floats_come_through(raw):
    decoder = subscribed(*measured(1))
    encoded = Sender(measured(1)[0]).report([0], [sample(1.0)]).replace(struct.pack("!f", 1.0), raw, 1)
    (found,) = decoder.decode(encoded, *places(encoded)).columns.values
    np.testing.assert_equal(found, struct.unpack("!f", raw)[0])


def test_all_8192_quality_words_come_out_right():
    decoder = subscribed(*measured(1))
    for word in range(1 << 13):
        encoded = Sender(measured(1)[0]).report([0], [sample(1.0, word)])
        assert int(decoder.decode(encoded, *places(encoded)).columns.quality[0]) == from_61850(word)


def test_short_quality_lacks_only_its_last_bits():
    decoder = subscribed(*measured(1))
    value = sample(1.0)
    value.members[1] = BitStringData(b"\xc0", 6)
    encoded = Sender(measured(1)[0]).report([0], [value])
    assert int(decoder.decode(encoded, *places(encoded)).columns.quality[0]) == Quality.QUESTIONABLE


def test_clock_that_was_never_set_gives_no_time():
    decoder = subscribed(*measured(1))
    encoded = Sender(measured(1)[0]).report([0], [sample(1.0, when=datetime(1970, 1, 1, tzinfo=UTC), quality=0x60)])
    columns = decoder.decode(encoded, *places(encoded)).columns
    assert columns.times[0] == 0
    assert int(columns.quality[0]) & TimeFlag.INVALID


@given(st.integers(1, (1 << 32) - 1), st.integers(0, (1 << 24) - 1))
def test_fraction_of_a_second_is_exact_to_a_tick(seconds, fraction):
    raw = seconds.to_bytes(4, "big") + fraction.to_bytes(3, "big") + b"\0"
    found, _ = mms.times(np.frombuffer(raw, np.uint8), mms.places(np.array([0]), 8))
    exact = clock.UNIX_EPOCH_TICKS + seconds * 10**7 + fraction * 10**7 / 2**24
    assert math.isclose(float(found[0]) - exact, 0.0, abs_tol=20.0)  # float64 cannot say it closer
    assert found[0] == clock.UNIX_EPOCH_TICKS + seconds * 10**7 + (2 * fraction * 10**7 + (1 << 24)) // (1 << 25)


def test_millisecond_as_devices_write_it_is_that_millisecond():
    for millisecond in range(1000):
        raw = b"\0\0\0\1" + (millisecond * (1 << 24) // 1000).to_bytes(3, "big") + b"\0"
        found, _ = mms.times(np.frombuffer(raw, np.uint8), mms.places(np.array([0]), 8))
        assert abs(int(found[0]) - clock.UNIX_EPOCH_TICKS - 10**7 - millisecond * 10_000) <= 1


def test_refused_member_keeps_its_value_and_says_why():
    decoder = subscribed(*measured(2))
    sender = Sender(measured(2)[0])
    first = sender.report([0, 1], [sample(5.0), sample(6.0)])
    decoder.decode(first, *places(first))
    for code, quality in ((2, Quality.QUESTIONABLE | Quality.OLD_DATA), (1, Quality.INVALID | Quality.FAILURE),
                          (10, Quality.INVALID | Quality.CONFIGURATION_ERROR)):  # fmt: skip
        encoded = sender.report([0, 1], [RawData(0x80, bytes((code,))), sample(7.0)])
        columns = decoder.decode(encoded, *places(encoded)).columns
        assert (columns.values.tolist(), columns.errors) == ([5.0, 7.0], 1)
        assert int(columns.quality[0]) == quality
        assert columns.times[0] == 0


def test_member_of_another_type_is_a_configuration_error_and_never_good():
    decoder = subscribed(*measured(2))
    odd = [
        StructureData([StructureData([FloatData(1.0)]), bits(0)]),  # a leaf is missing
        StructureData([StructureData([VisibleStringData("1.0")]), bits(0), TimestampData(datetime.now(UTC))]),
        StructureData([StructureData([FloatData(1.0)]), UIntData(0), TimestampData(datetime.now(UTC))]),
    ]
    for value in odd:
        encoded = Sender(measured(2)[0]).report([0, 1], [value, sample(7.0)])
        columns = decoder.decode(encoded, *places(encoded)).columns
        assert int(columns.quality[0]) & 0xFF_FFFF == Quality.INVALID | Quality.CONFIGURATION_ERROR
        assert (columns.values[1], columns.errors) == (7.0, 1)


def test_parts_of_a_point_in_different_members_come_together():
    members = [
        ("LD/XCBR1$ST$Pos$stVal", PrimitiveType("bit-string", 2)), ("LD/XCBR1$ST$Pos$q", QUALITY),
        ("LD/XCBR1$ST$Pos$t", TIME),
    ]  # fmt: skip
    signal = Signal(4, "LD/XCBR1$ST$Pos$stVal", "LD/XCBR1$ST$Pos$q", "LD/XCBR1$ST$Pos$t")
    decoder = subscribed(members, [signal])
    sender = Sender(members)
    on, when = BitStringData(b"\x80", 6), TimestampData(datetime(2026, 1, 1, tzinfo=UTC), 10)

    def decoded(included, values):
        encoded = sender.report(included, values)
        columns = decoder.decode(encoded, *places(encoded)).columns
        return columns.values.tolist(), [int(w) & 0xFF_FFFF for w in columns.quality], columns.times.tolist()

    assert decoded([0], [on])[1] == [Quality.NOT_INITIALISED]  # its quality has never come: no made-up Good
    assert decoded([0, 1, 2], [on, bits(0), when]) == ([2.0], [0], [ticks(when)])
    assert decoded([1], [bits(0b11 << 11)]) == ([2.0], [Quality.QUESTIONABLE], [ticks(when)])
    off = decoded([0], [BitStringData(b"\x40", 6)])
    assert off == ([1.0], [Quality.QUESTIONABLE], [0])  # a new value keeps no old time


def test_data_set_without_the_quality_does_not_cover_a_point():
    members = [("LD/XCBR1$ST$Pos$stVal", PrimitiveType("bit-string", 2))]
    assert Plan(members, [Signal(0, "LD/XCBR1$ST$Pos$stVal", "LD/XCBR1$ST$Pos$q")]).signals == []
    assert len(Plan(members, [Signal(0, "LD/XCBR1$ST$Pos$stVal")]).signals) == 1


def test_gain_and_bias_of_the_device_are_applied():
    members, signals = measured(2)
    signals[1] = Signal(1, signals[1].value, signals[1].quality, signals[1].time, gain=1000.0, bias=5.0)
    encoded = Sender(members).report([0, 1], [sample(2.0), sample(2.0)])
    assert subscribed(members, signals).decode(encoded, *places(encoded)).columns.values.tolist() == [2.0, 2005.0]


def test_a_multiplier_of_a_tenth_makes_no_binary_noise():
    members, signals = measured(1)
    signals[0] = Signal(0, signals[0].value, signals[0].quality, signals[0].time, gain=10.0**-1)
    encoded = Sender(members).report([0], [sample(272.0)])
    assert subscribed(members, signals).decode(encoded, *places(encoded)).columns.values.tolist() == [27.2]


def test_texts_come_with_their_quality():
    members = [
        ("LD/LLN0$DC$NamPlt$d", PrimitiveType("visible-string", -255)),
        ("LD/GGIO1$ST$Msg", StructureType([("stVal", PrimitiveType("mms-string", -255)), ("q", QUALITY), ("t", TIME)])),
    ]
    signals = [
        Signal(0, "LD/LLN0$DC$NamPlt$d", text=True),
        Signal(1, "LD/GGIO1$ST$Msg$stVal", "LD/GGIO1$ST$Msg$q", "LD/GGIO1$ST$Msg$t", text=True),
    ]
    encoded = Sender(members).report([0, 1], [
        VisibleStringData("bay F07"),
        StructureData([MmsStringData("Größe"), bits(1 << 11), TimestampData(datetime(2026, 1, 1, tzinfo=UTC))]),
    ])  # fmt: skip
    first, second = subscribed(members, signals).decode(encoded, *places(encoded)).columns.texts
    assert (first.row, first.text, first.quality, first.source_time) == (0, "bay F07", 0, 0)
    assert (second.row, second.text, second.quality) == (1, "Größe", Quality.INVALID)
    assert second.source_time == clock.from_datetime(datetime(2026, 1, 1, tzinfo=UTC))


def test_report_of_a_block_nobody_subscribed_is_told_apart():
    members, signals = measured(1)
    decoder = ReportDecoder()
    decoder.subscribe(Subscription("key", "rpt", "LD/LLN0$other", Plan(members, signals)))
    encoded = Sender(members).report([0], [sample(1.0)])
    with pytest.raises(UnknownReport):
        decoder.decode(encoded, *places(encoded))


def test_report_with_too_many_results_is_refused():
    members, signals = measured(2)
    encoded = Sender(members).report([0], [sample(1.0), sample(2.0)])
    with pytest.raises(MmsProtocolError, match="results"):
        subscribed(members, signals).decode(encoded, *places(encoded))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_report_never_raises_another_error(data):
    members, signals = measured(3)
    encoded = bytearray(Sender(members).report([0, 2], [sample(1.0), sample(2.0)]))
    start, stop = places(bytes(encoded))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(start, stop - 1))] = data.draw(st.integers(0, 255))
    decoder = subscribed(members, signals)
    try:
        report = decoder.decode(bytes(encoded), start, stop)
    except MmsProtocolError:
        return
    assert len(report.columns.rows) == len(report.columns.values) == len(report.columns.quality)


def test_cached_layouts_are_bounded():
    members, signals = measured(9)
    decoder = subscribed(members, signals)
    for mask in range(1, 512):
        included = [i for i in range(9) if mask >> i & 1]
        encoded = Sender(members).report(included, [sample(float(i)) for i in included])
        assert decoder.decode(encoded, *places(encoded)).columns.rows.tolist() == included
    assert sum(len(of) for of in decoder._shapes.values()) <= 512
    assert all(len(of) <= 8 for of in decoder._shapes.values())


def test_read_answers_use_the_same_decoder():
    members, signals = measured(2)
    decoder = ReadDecoder(Plan(members, signals))
    for value in (1.0, 2.0):
        encoded = b"".join(encode_data(sample(value + i)) for i in range(2))
        assert decoder.decode(encoded, 0, len(encoded)).values.tolist() == [value, value + 1]
    with pytest.raises(MmsProtocolError, match="1 results for 2"):
        one = encode_data(sample(1.0))
        decoder.decode(one, 0, len(one))


def test_leaves_are_named_in_the_order_of_the_octets():
    inner = StructureType([("a", PrimitiveType("boolean")), ("b", PrimitiveType("boolean"))])
    kind = StructureType([("x", inner), ("y", ArrayType(2, inner)), ("z", PrimitiveType("boolean"))])
    assert leaves("LD/N", kind) == [
        "LD/N$x$a", "LD/N$x$b", "LD/N$y(0)$a", "LD/N$y(0)$b", "LD/N$y(1)$a", "LD/N$y(1)$b", "LD/N$z"
    ]  # fmt: skip


def test_time_of_entry_counts_from_1984():
    from twin_gateway.drivers.iec61850.values import entry_ticks

    moment = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
    days, rest = divmod(moment - datetime(1984, 1, 1, tzinfo=UTC), timedelta(days=1))
    raw = (rest // timedelta(milliseconds=1)).to_bytes(4, "big") + days.to_bytes(2, "big")
    assert entry_ticks(raw) == clock.from_datetime(moment)
    assert entry_ticks(b"") == entry_ticks(bytes(6)) == 0
