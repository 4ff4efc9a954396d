"""LwM2M and IPSO objects: TLV of the standard's own examples, SenML, units, and what is written."""

import json

import cbor2
import pytest

from address_space.catalogue import ValueType
from address_space.ports import Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.coap import objects, tlv, writing
from twin_gateway.drivers.coap.client import Response
from twin_gateway.drivers.coap.config import SPEC, CoapConfig
from twin_gateway.drivers.coap.objects import Kind, ObjectError
from twin_gateway.drivers.coap.payload import Document, PayloadError, Reading, Selector
from twin_gateway.drivers.coap.resource import Key, Resource, Samples, resources_of
from twin_gateway.drivers.coap.tlv import TlvError
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand

NOW = 1_700_000_000.0


def device() -> bytes:
    """Read of /3/0, the example of OMA-TS-LightweightM2M_Core for one object instance."""
    parts = (
        "C800144F70656E204D6F62696C6520416C6C69616E6365",
        "C801164C69676874776569676874204D324D20436C69656E74",
        "C80209333435303030313233",
        "C303312E30",
        "8606410001410105",
        "88070842000ED842011388",
        "870841007D42010384",
        "C10964",
        "C10A0F",
        "830B410000",
        "C40D5182428F",
        "C60E2B30323A3030",
        "C11055",
    )
    return bytes.fromhex("".join(parts))


def test_the_example_of_the_standard_is_read() -> None:
    found = tlv.decode(device(), (3, 0))
    assert found[3, 0, 0] == b"Open Mobile Alliance"
    assert found[3, 0, 2] == b"345000123"
    assert objects.value_of(found[3, 0, 7, 0], Kind.INTEGER) == 3800
    assert objects.value_of(found[3, 0, 7, 1], Kind.INTEGER) == 5000
    assert objects.value_of(found[3, 0, 8, 1], Kind.INTEGER) == 900
    assert objects.value_of(found[3, 0, 9], Kind.INTEGER) == 100
    assert objects.value_of(found[3, 0, 13], Kind.TIME) == 1367491215


def test_object_instances_are_told_apart() -> None:
    # /3303 with instances 0 and 1: 21.5 and -4.25 as single floats.
    payload = bytes.fromhex("0800 07E41644 41AC0000 0801 07E41644 C0880000".replace(" ", ""))
    found = tlv.decode(payload, (3303,))
    assert {path: objects.value_of(value, Kind.FLOAT) for path, value in found.items()} == {
        (3303, 0, 5700): 21.5,
        (3303, 1, 5700): -4.25,
    }


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("C1", "cut off"),
        ("C10964C2", "cut off"),
        ("C40964", "an entry of 4 octets where 1 are left"),
        ("D8 09 FFFFFF 00", "octets where"),
        ("08 00 02 00 00", "may not stand"),  # an object instance in an object instance
        ("83 06 C1 00 05", "may not stand"),  # a resource in a multiple resource
    ],
)
def test_octets_that_are_no_tlv_say_where(octets: str, text: str) -> None:
    with pytest.raises(TlvError, match=text):
        tlv.decode(bytes.fromhex(octets.replace(" ", "")), (3, 0))


def test_the_number_of_entries_is_limited() -> None:
    with pytest.raises(TlvError, match="more than 1000 entries"):
        tlv.decode(b"\xc1\x09\x64" * 1001, (3, 0))


@pytest.mark.parametrize("path", [(3303, 0, 5700), (1, 0, 7), (3306, 12, 5850, 3)])
@pytest.mark.parametrize("size", [0, 7, 8, 255, 256, 65_536])
def test_what_is_encoded_is_decoded_again(path: tlv.Path, size: int) -> None:
    value = bytes(size)
    assert tlv.decode(tlv.encode(path, value), path[:2]) == {path: value}


def reading(payload: bytes, form: int | None, path: str, asked: str = "", kind: str | None = None) -> Reading:
    wanted = objects.parse(path)
    (found,) = Document(payload, form, NOW, asked=objects.numbers_of(asked or objects.instance_path(wanted))).select(
        Selector(resource=wanted, kind=kind)
    )
    return found


def test_the_unit_is_what_resource_5701_says() -> None:
    tlvs = tlv.encode((3303, 0, 5700), bytes.fromhex("41AC0000")) + tlv.encode((3303, 0, 5701), b"degC")
    assert reading(tlvs, 11542, "3303/0/5700") == Reading(21.5, "Cel", None)
    pack = json.dumps([{"bn": "/3304/0/", "n": "5700", "v": 40}, {"n": "5701", "vs": "%"}]).encode()
    assert reading(pack, 110, "3304/0/5700") == Reading(40, "/100", None)


def test_without_5701_the_object_has_its_own_unit_or_the_record_says_it() -> None:
    assert reading(tlv.encode((3316, 0, 5700), bytes.fromhex("43660000")), 11542, "3316/0/5700").unit == "V"
    assert reading(b'[{"n":"/3305/0/5800","v":2,"u":"kW"}]', 110, "3305/0/5800") == Reading(2, "kW", None)
    assert reading(device(), 11542, "3/0/9") == Reading(100, "/100", None)
    assert reading(device(), 11542, "3/0/7/1") == Reading(5000, "mV", None)


@pytest.mark.parametrize("form", [110, 112])
def test_senml_of_objects_is_read_in_json_and_cbor(form: int) -> None:
    pack = [{"bn": "/3200/1/", "n": "5500", "vb": True}, {"n": "5501", "v": 7}]
    labels = {"bn": -2, "n": 0, "vb": 4, "v": 2}
    cbor = cbor2.dumps([{labels[key]: value for key, value in record.items()} for record in pack])
    payload = json.dumps(pack).encode() if form == 110 else cbor
    assert reading(payload, form, "3200/1/5500").value is True
    assert reading(payload, form, "3200/1/5501").value == 7
    with pytest.raises(PayloadError, match="no resource 3200/1/5502"):
        reading(payload, form, "3200/1/5502")


def test_one_resource_as_text_is_read_only_where_it_alone_was_asked_for() -> None:
    assert reading(b"21.5", 0, "3303/0/5700", asked="/3303/0/5700").value == 21.5
    with pytest.raises(PayloadError, match="one value and not object instance 3303/0"):
        reading(b"21.5", 0, "3303/0/5700")


def test_the_time_of_a_measurement_is_resource_5518() -> None:
    tlvs = tlv.encode((3300, 0, 5700), bytes.fromhex("41AC0000")) + tlv.encode((3300, 0, 5518), b"\x65\x53\xf1\x00")
    assert reading(tlvs, 11542, "3300/0/5700").time == NOW


def test_what_an_unknown_resource_holds_has_to_be_said() -> None:
    octets = tlv.encode((26241, 0, 3), b"\x00\x2a")
    with pytest.raises(PayloadError, match="say its 'type'"):
        reading(octets, 11542, "26241/0/3")
    assert reading(octets, 11542, "26241/0/3", kind="integer").value == 42


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        ("0203", Kind.BOOLEAN),
        ("02", Kind.BOOLEAN),
        ("41AC00", Kind.FLOAT),
        ("7FC00000", Kind.FLOAT),
        ("010203", Kind.INTEGER),
        ("FF", Kind.STRING),
    ],
)
def test_octets_that_do_not_fit_the_kind_are_an_error(octets: str, kind: Kind) -> None:
    with pytest.raises(ObjectError):
        objects.value_of(bytes.fromhex(octets), kind)


def test_a_mapping_names_objects() -> None:
    config = CoapConfig(uri="coap://10.0.0.1")
    assert SPEC.source(config, {"object": "3303/0/5700"}) == "coap://10.0.0.1/3303/0/5700"
    named = CoapConfig(endpoint="urn:imei:1")
    assert SPEC.source(named, {"object": "/3303/0/5700"}) == "coap+ep://urn:imei:1/3303/0/5700"
    assert SPEC.unalias("coap+ep://urn:imei:1/3303/0/5700") == (None, "coap+ep://urn:imei:1/3303/0/5700")
    assert not SPEC.check(config, {"object": "3303/0/5700"})
    assert SPEC.check(config, {"object": "26241/0/3"})
    assert SPEC.check(config, {"object": "3303/0/5700", "path": "/x"})
    assert SPEC.check(config, {})


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({}, "either a uri or an endpoint"),
        ({"uri": "coap://a", "endpoint": "b"}, "either a uri or an endpoint"),
        ({"uri": "coaps://a"}, "coaps needs a key: add psk: {identity: NAME"),
        (
            {
                "uri": "coaps://a",
                "psk": {"identity": "i", "key": "00"},
                "tls": {"ca": "a", "certificate": "c", "key": "k"},
            },
            "either a psk or certificates",
        ),
        ({"uri": "coap://a", "psk": {"identity": "i", "key": "00"}}, "only coaps://"),
        ({"uri": "coaps://a", "psk": {"identity": "i", "key": "00"}, "proxy": "coap://p"}, "DTLS ends at the proxy"),
    ],
)
def test_sections_that_contradict_themselves_are_refused(section: dict[str, object], says: str) -> None:
    problems = SPEC.check_device(CoapConfig(**section))
    assert any(says in text for _, text in problems)


def command(value: float | bool, control: dict[str, object], cdc: str = "APC", **fields: object) -> DeviceCommand:
    point = BoundPoint(
        1, "g/a/s/v/b/e/GGIO1/AnOut", cdc, ValueType.DOUBLE, fields or {"path": "/r"}, {"model": "direct", **control}
    )
    return DeviceCommand(Verb.OPERATE, point, value, "c1")


@pytest.mark.parametrize(
    ("given", "path", "octets", "form"),
    [
        (command(21.5, {}), "/r", b"21.5", 0),
        (command(3.0, {"path": "/w"}), "/w", b"3", 0),
        (command(True, {"on": "ON"}, "SPC"), "/r", b"ON", 0),
        (command(1, {"off": "OFF"}, "DPC"), "/r", b"OFF", 0),
        (command(True, {"format": "json", "name": "on"}, "SPC"), "/r", b'{"on": true}', 50),
        (command(2, {"format": "json"}, "DPC"), "/r", b"true", 50),
        (command(True, {"object": "3306/0/5850", "format": "tlv"}, "SPC"), "/3306/0/5850", b"\xe1\x16\xda\x01", 11542),
        (
            command(50.0, {"format": "senml+json"}, object="3306/0/5851"),
            "/3306/0/5851",
            b'[{"n": "/3306/0/5851", "v": 50}]',
            110,
        ),
    ],
)  # fmt: skip
def test_commands_become_bodies(given: DeviceCommand, path: str, octets: bytes, form: int) -> None:
    body = writing.body_of(given)
    assert (body.path, body.octets, body.content_format, body.post) == (path, octets, form, False)


def test_what_coap_cannot_command_is_refused_before_anything_is_sent() -> None:
    good = command(1.0, {})
    for wrong in (
        DeviceCommand(Verb.SELECT, good.point, 1.0, "c"),
        DeviceCommand(Verb.OPERATE, good.point, 1.0, "c", test=True),
    ):
        with pytest.raises(writing.NotWritableError) as refused:
            writing.body_of(wrong)
        assert refused.value.status == StatusCode.BadNotSupported
    with pytest.raises(writing.NotWritableError, match="TLV writes a resource"):
        writing.body_of(command(1.0, {"format": "tlv"}))


def test_battery_and_radio_reach_points_of_the_supervision() -> None:
    known: dict[Key, Resource] = {}
    rows = {
        1: ("3/0/9", {"below": 20}, "SPS", ValueType.BOOLEAN),
        2: ("3/0/9", {}, "MV", ValueType.DOUBLE),
        3: ("3/0/7/1", {}, "MV", ValueType.DOUBLE),
        4: ("4/0/2", {"below": -110}, "SPS", ValueType.BOOLEAN),
    }
    resources_of(
        (
            BoundPoint(row, f"g/a/s/v/b/e/X{row}", cdc, kind, {"object": path, **more}, unit="V" if row == 3 else None)
            for row, (path, more, cdc, kind) in rows.items()
        ),
        CoapConfig(uri="coap://a"),
        known,
    )
    assert sorted(key.path for key in known) == ["/3/0", "/4/0"], "an object instance is asked for once"
    values: dict[int, float] = {}
    for payload, path in ((device(), "/3/0"), (tlv.encode((4, 0, 2), b"\x88"), "/4/0")):
        live = Samples()
        response = Response(205, payload, 11542, 60, NOW, 0.0, False)
        assert known[Key(path, None)].take(response, live, Samples()) == []
        values.update(zip(live.rows, live.values, strict=True))
    assert values == {1: 0.0, 2: 100.0, 3: 5.0, 4: 1.0}
