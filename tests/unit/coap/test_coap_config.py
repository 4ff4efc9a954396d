"""What a mapping may say of CoAP devices and points, and the aliases of their resources."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from twin_gateway.drivers.coap.config import SPEC, CoapConfig
from twin_gateway.drivers.coap.driver import target_of
from twin_gateway.drivers.coap.linkformat import LinkFormatError, parse
from twin_gateway.mapping.check import check


def test_durations_carry_their_unit_and_become_seconds() -> None:
    config = CoapConfig(uri="coap://a", timeout="500 ms", poll="2 min", keepalive="1 h")
    assert (config.timeout, config.poll, config.keepalive) == (0.5, 120.0, 3600.0)


def test_times_must_be_positive_and_the_uri_loses_its_last_slash() -> None:
    assert CoapConfig(uri="coap://[2001:db8::5]/").uri == "coap://[2001:db8::5]"
    for wrong in ({"timeout": 0}, {"keepalive": -1}, {"receive_buffer": 0}, {"queue": 1}, {"port": 5683}):
        with pytest.raises(ValidationError):
            CoapConfig(uri="coap://a", **wrong)


@pytest.mark.parametrize(
    "uri",
    ["http://a", "coap://", "coap://a:0", "coap://a:99999", "coap://u@a", "coap://a/x?y", "coap://a/#f", "10.0.0.1"],
)
def test_a_device_uri_that_cannot_be_one_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError):
        CoapConfig(uri=uri)


@pytest.mark.parametrize(
    ("uri", "root", "host"),
    [
        ("coap://sensor.local:61616/base/", "/base", "sensor.local"),
        ("coap://10.0.0.1", "", ""),
        ("coap+tcp://[::1]:5683", "", ""),
    ],
)
def test_a_host_name_goes_into_the_request_and_an_address_does_not(uri: str, root: str, host: str) -> None:
    target = target_of(CoapConfig(uri=uri))
    assert (target.root, target.host_option) == (root, host)


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"path": "/fpi/1", "pointer": "/flt"}, "coap://[2001:db8::5]/fpi/1#/flt"),
        ({"path": "/fpi/1", "member": "a/b"}, "coap://[2001:db8::5]/fpi/1#/a~1b"),
        ({"path": "/senml", "name": "temp"}, "coap://[2001:db8::5]/senml#temp"),
        ({"path": "/temp"}, "coap://[2001:db8::5]/temp"),
    ],
)
def test_the_source_of_a_point_is_its_uri_and_an_alias_of_it(fields: dict[str, object], source: str) -> None:
    config = CoapConfig(uri="coap://[2001:db8::5]")
    assert SPEC.source(config, fields) == source
    assert SPEC.alias("link", config, source) == source
    assert SPEC.unalias(source) == (None, source)


@pytest.mark.parametrize("alias", ["", "sensor/1", "http://a/b", "coap://"])
def test_what_is_no_coap_uri_is_no_alias(alias: str) -> None:
    assert SPEC.unalias(alias) is None


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"path": "/a", "name": "x", "pointer": "/x"}, ["pointer"]),
        ({"path": "/a", "sum": True}, ["sum"]),
        ({"path": "/a", "poll": 5.0}, ["poll"]),
        ({"path": "/a", "poll": 5.0, "observe": False}, []),
        ({"path": "/a", "name": "x", "sum": True}, []),
    ],
)
def test_fields_that_contradict_each_other_are_problems(fields: dict[str, object], wrong: list[str]) -> None:
    assert [field for field, _ in SPEC.check(None, fields)] == wrong


def test_a_secured_device_without_a_key_is_told_what_to_add(tmp_path: Path) -> None:
    point = "    at: {MV1/C02: {points: {TA1/STMP1/Tmp: {path: /t, unit: Cel}}}}\n"
    head = "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n  t1:\n    protocol: coap\n"
    file = tmp_path / "m.yaml"
    file.write_text(head + '    uri: "coaps://[fd00:12::41]"\n' + point)
    _, (problem,) = check([file])
    said = str(problem)
    assert "7:10: error TG605" in said, "where the uri stands"
    added = re.search(r"add (psk: .*\})", said)
    assert added is not None
    line = f"    {added[1].partition(' with')[0].replace('NAME', 'gateway')}\n"
    file.write_text(head + '    uri: "coaps://[fd00:12::41]"\n' + line + point)
    _, problems = check([file], environ={"SECRET": "00112233445566778899aabbccddeeff"})
    assert problems == [], "what is told to add is enough"


def test_link_format_is_read_with_quotes_commas_and_flags() -> None:
    links = parse(b'</a>;ct=0;obs;title="x, \\"y\\"; z",</b/c> ; rt=temp , <coap://other/d>')
    assert [found.target for found in links] == ["/a", "/b/c", "coap://other/d"]
    assert links[0].parameters == {"ct": "0", "obs": "", "title": 'x, "y"; z'}
    assert parse(b"") == []


@pytest.mark.parametrize("text", [b"\xff", b"</a", b"</a></b>", b"junk", b"</a>;;"])
def test_what_is_no_link_format_is_an_error(text: bytes) -> None:
    with pytest.raises(LinkFormatError):
        parse(text)
