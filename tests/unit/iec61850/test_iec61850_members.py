"""Members of data sets and what they flatten to: structures in structures, arrays, elements of arrays."""

import pytest
from open61850 import ber
from open61850.data import ArrayData, BitStringData, FloatData, IntData, StructureData, TimestampData, encode_data
from open61850.mms import pdu
from open61850.mms.pdu import ObjectName
from open61850.mms.types import ArrayType, PrimitiveType, StructureType

from address_space import clock
from twin_gateway.drivers.iec61850 import data_sets, services
from twin_gateway.drivers.iec61850.errors import MmsProtocolError, ModelError
from twin_gateway.drivers.iec61850.model import LogicalNode, Model
from twin_gateway.drivers.iec61850.plan import Plan, Signal
from twin_gateway.drivers.iec61850.points import Reference, points_of, resolve
from twin_gateway.drivers.iec61850.report import ReadDecoder

P = PrimitiveType
F, Q, T = P("float", 32), P("bit-string", -13), P("utc-time")


def struct(**parts):
    return StructureType(list(parts.items()))


VECTOR = struct(mag=struct(f=F), ang=struct(f=F))
CMV = struct(instCVal=VECTOR, cVal=VECTOR, range=P("integer", 8), q=Q, t=T)
WYE = struct(phsA=CMV, phsB=CMV, phsC=CMV, neut=CMV)
DEL = struct(phsAB=CMV, phsBC=CMV, phsCA=CMV)
HWYE = struct(phsAHar=ArrayType(4, struct(mag=struct(f=F))), q=Q, t=T)
HMV = struct(har=ArrayType(3, struct(cVal=VECTOR, q=Q, t=T)))
MX = struct(A=WYE, PPV=DEL, HA=HWYE, HPhV=HMV)
MODEL = Model("IED", {"IEDLD0": {"MMXU1": LogicalNode("IEDLD0", "MMXU1", struct(MX=MX))}})
HERE = "IEDLD0/MMXU1$MX"
STAMP = TimestampData(clock.to_datetime(clock.from_unix(1_767_225_600)), 0x0A)
GOOD, BAD = BitStringData(b"\0\0", 3), BitStringData(b"\x40\0", 3)


def vector(value):
    return StructureData([StructureData([FloatData(value)]), StructureData([FloatData(0.0)])])


def cmv(value, quality=GOOD):
    return StructureData([vector(-1.0), vector(value), IntData(0), quality, STAMP])


def source(text, cdc):
    return resolve(MODEL, Reference.parse(text), cdc)


def read(members, wanted, *data):
    """Value and quality of each wanted reference out of the octets of some members."""
    signals = []
    for row, (text, cdc) in enumerate(wanted):
        of = source(text, cdc)
        signals.append(Signal(row, of.value, of.quality, of.time))
    plan = Plan([(name, MODEL.type_of(name)) for name in members], signals)
    assert len(plan.signals) == len(signals)
    octets = b"".join(encode_data(of) for of in data)
    columns = ReadDecoder(plan).decode(octets, 0, len(octets))
    assert columns.errors == 0
    return dict(zip(columns.rows.tolist(), zip(columns.values.tolist(), (columns.quality & 3).tolist(), strict=True),
                    strict=True))  # fmt: skip


def test_phases_below_a_wye_and_a_delta_each_have_their_own_value_and_quality():
    wye = StructureData([cmv(1.0), cmv(2.0, BAD), cmv(3.0), cmv(4.0)])
    delta = StructureData([cmv(12.0), cmv(23.0), cmv(31.0, BAD)])
    wanted = [("LD0/MMXU1.A.phsB", "CMV"), ("LD0/MMXU1.A.neut", "CMV"), ("LD0/MMXU1.PPV.phsCA", "CMV"),
              ("LD0/MMXU1.PPV.phsAB", "CMV")]  # fmt: skip
    found = read([f"{HERE}$A", f"{HERE}$PPV"], wanted, wye, delta)
    assert {row: value for row, (value, _) in found.items()} == {0: 2.0, 1: 4.0, 2: 31.0, 3: 12.0}
    assert [found[row][1] != 0 for row in range(4)] == [True, False, True, False]


def test_sub_object_as_a_member_is_flattened_like_the_whole():
    assert read([f"{HERE}$A$phsC"], [("LD0/MMXU1.A.phsC", "CMV")], cmv(3.5)) == {0: (3.5, 0)}


def test_attribute_of_a_sub_object_can_be_a_point_of_its_own():
    found = read([f"{HERE}$A"], [("LD0/MMXU1.A.phsA.instCVal.mag.f", "MV")],
                 StructureData([cmv(1.0)] * 4))  # fmt: skip
    assert found == {0: (-1.0, 0)}


def test_element_of_an_array_takes_quality_and_time_of_the_data_object():
    harmonics = StructureData([
        ArrayData([StructureData([StructureData([FloatData(float(n))])]) for n in range(4)]), BAD, STAMP
    ])  # fmt: skip
    wanted = [("LD0/MMXU1.HA.phsAHar(3)", "MV"), ("LD0/MMXU1.HA.phsAHar(0).mag.f", "MV")]
    found = read([f"{HERE}$HA"], wanted, harmonics)
    assert (found[0][0], found[1][0]) == (3.0, 0.0)
    assert found[0][1] == found[1][1] != 0


def test_element_of_an_array_may_have_a_quality_of_its_own():
    each = [StructureData([vector(float(n)), BAD if n == 2 else GOOD, STAMP]) for n in range(3)]
    wanted = [("LD0/MMXU1.HPhV.har(1)", "CMV"), ("LD0/MMXU1.HPhV.har(2)", "CMV")]
    found = read([f"{HERE}$HPhV"], wanted, StructureData([ArrayData(each)]))
    assert [found[0][0], found[1][0]] == [1.0, 2.0]
    assert found[0][1] == 0 != found[1][1]


def test_array_is_polled_as_a_whole():
    assert source("LD0/MMXU1.HPhV.har(1)", "CMV").object == f"{HERE}$HPhV$har"
    assert source("LD0/MMXU1.HA.phsAHar(3)", "MV").object == f"{HERE}$HA"


@pytest.mark.parametrize("text", ["LD0/MMXU1.HPhV.har(3)", "LD0/MMXU1.A(0).phsA", "LD0/MMXU1.HPhV.har"])
def test_element_that_does_not_exist_is_refused(text):
    with pytest.raises(ModelError):
        source(text, "CMV")


def test_discovery_offers_every_phase():
    offered = {point.reference for point in points_of(MODEL, "LD0")}
    assert {"LD0/MMXU1.A.phsA", "LD0/MMXU1.A.neut", "LD0/MMXU1.PPV.phsBC"} <= offered


# -- what a device says of its data sets ----------------------------------------------------------------------------


class Answers:
    """An association that answers every request with the same octets."""

    pdu_size = 1000

    def __init__(self, content=b""):
        self.content = content
        self.asked = []

    async def request(self, service):
        self.asked.append(service)
        return pdu.ConfirmedResponse(1, 12, self.content)


def member(name, alternate=b""):
    of = ber.encode_tlv(0xA0, pdu.encode_object_name(ObjectName(name, "IEDLD0")))
    return ber.encode_tlv(0x30, of + (ber.encode_tlv(0xA5, alternate) if alternate else b""))


def listed(*entries):
    return Answers(ber.encode_tlv(0x80, b"\0") + ber.encode_tlv(0xA1, b"".join(entries)))


async def members(*entries):
    return await services.data_set_members(listed(*entries), ObjectName("LLN0$x", "IEDLD0"))


async def test_members_of_a_data_set_keep_their_order():
    assert await members(member("MMXU1$MX$A"), member("MMXU1$MX$PPV")) == [f"{HERE}$A", f"{HERE}$PPV"]


async def test_member_that_is_an_element_of_an_array_is_named_with_its_number():
    index = ber.encode_tlv(0x82, b"\x02")
    assert await members(member("MMXU1$MX$HPhV$har", index)) == [f"{HERE}$HPhV$har(2)"]


async def test_member_that_is_a_component_of_an_element_is_named_by_both():
    inside = ber.encode_tlv(0x30, ber.encode_tlv(0x81, b"cVal"))
    selection = ber.encode_tlv(0xA0, ber.encode_tlv(0x81, b"\x02") + inside)
    assert await members(member("MMXU1$MX$HPhV$har", selection)) == [f"{HERE}$HPhV$har(2)$cVal"]
    assert MODEL.type_of(f"{HERE}$HPhV$har(2)$cVal") == VECTOR


@pytest.mark.parametrize(
    "alternate",
    [b"\xa3\x06\x80\x01\x00\x81\x01\x02", b"\xa0\x03\x81\x01\x02", b"\x84\x00", b"\x82\x01\x01\x82\x01\x02"],
)
async def test_selection_of_several_elements_is_no_member(alternate):
    with pytest.raises(MmsProtocolError):
        await members(member("MMXU1$MX$HPhV$har", alternate))


async def test_name_that_is_no_ascii_is_no_answer_of_a_device():
    torn = Answers(ber.encode_tlv(0xA0, ber.encode_tlv(0x1A, b"MMXU1\xb5MX")) + ber.encode_tlv(0x81, b"\0"))
    with pytest.raises(MmsProtocolError):
        await services.names(torn, 0, "IEDLD0")
    foreign = ber.encode_tlv(0xA1, ber.encode_tlv(0x1A, b"IEDLD\xb0") + ber.encode_tlv(0x1A, b"MMXU1$MX$A"))
    with pytest.raises(MmsProtocolError):
        await members(ber.encode_tlv(0x30, ber.encode_tlv(0xA0, foreign)))
    component = ber.encode_tlv(0x30, ber.encode_tlv(0x80, b"q\xff") + ber.encode_tlv(0xA1, b"\x83\x00"))
    torn = Answers(
        ber.encode_tlv(0x80, b"\0") + ber.encode_tlv(0xA2, ber.encode_tlv(0xA2, ber.encode_tlv(0xA1, component)))
    )
    with pytest.raises(MmsProtocolError):
        await services.type_of(torn, ObjectName("MMXU1", "IEDLD0"))


def test_data_sets_to_be_made_fit_the_device():
    objects = [f"IEDLD0/GGIO1$ST$Ind{number}" for number in range(250)] + ["IEDLD0/GGIO1$CF$Ind1"]
    link = Answers()
    groups = data_sets.groups(link, objects)
    assert [name for group in groups for name in group] == objects[:250]
    assert all(len(group) <= data_sets.MOST_MEMBERS for group in groups)
    for group in groups:
        assert len(services.variable_list([services.ObjectName(n, "IEDLD0") for n in group])) < link.pdu_size
    link.pdu_size = 65_000
    assert [len(group) for group in data_sets.groups(link, objects)] == [100, 100, 50]


def test_names_of_our_data_sets_are_ours_again_after_a_restart_and_nobody_elses():
    ours = data_sets.prefix("ied-f07", "/var/lib/a")
    assert data_sets.prefix("ied-f07", "/var/lib/a") == ours != data_sets.prefix("ied-f07", "/var/lib/b")
    assert data_sets.is_ours(f"IEDLD0/LLN0${ours}0", ours)
    assert not data_sets.is_ours("IEDLD0/LLN0$Status", ours)
