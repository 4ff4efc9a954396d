"""ASDUs of ours as the codec of hat-drivers (own process) reads and writes them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from peers.iec104.elements import ELEMENTS

from twin_gateway.drivers.iec104.codec import Asdu, Information, encode
from twin_gateway.drivers.iec104.times import Stamp, TagFlag
from twin_gateway.drivers.iec104.types import TYPES, TimeTag

pytest.importorskip("hat.drivers", reason="the other codec is that of the hat-drivers package")
CODEC = Path(__file__).parents[2] / "peers" / "iec104" / "hat_codec.py"
WALL = 1_780_000_000_123
SPECIAL = {
    45: (1, 0x84, 0),
    58: (1, 0x84, 0),
    100: (20, 0, 0),
    101: (0x45, 0, 0),
    110: (-0.5, 3, 0),
    111: (-5, 3, 0),
    112: (3.5, 3, 0),
    113: (3, 0, 0),
}


def read_by_hat(asdus):
    lines = "\n".join(encode(asdu).hex() for asdu in asdus) + "\n"
    done = subprocess.run(
        [sys.executable, str(CODEC)], input=lines, capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def sample(known):
    tag = {TimeTag.NONE: None, TimeTag.CP24: Stamp(61_001, TagFlag(0), 3), TimeTag.CP56: Stamp(WALL, TagFlag(0), 7)}
    value, extra, quality = SPECIAL.get(known.number, ELEMENTS[known.family])
    address = 0 if known.number in {70, 100, 101, 103, 104, 105, 106, 107} else 1234
    return Information(address, value, extra, quality, tag[known.time])


def test_every_type_that_hat_knows_comes_back_octet_for_octet():
    asdus = [
        Asdu(known.number, 3 if known.monitor else 6, 7, (sample(known),), originator=5) for known in TYPES.values()
    ]
    told = read_by_hat(asdus)
    assert len(told) == len(asdus)
    unread = {TYPES[asdu.type].name for asdu, answer in zip(asdus, told, strict=True) if "error" in answer}
    assert unread == set()
    for asdu, answer in zip(asdus, told, strict=True):
        assert TYPES[asdu.type].name.startswith(answer["type"]), asdu
        assert answer["rest"] == "", asdu
        assert answer["again"] == encode(asdu).hex(), asdu


def test_counters_parameters_and_protection_hold_what_was_meant():
    tag = Stamp(WALL, TagFlag(0), 7)
    asdus = [
        Asdu(101, 6, 7, (Information(0, 0x82),)),
        Asdu(15, 37, 7, (Information(40, -5, 17, 0x60),)),
        Asdu(112, 6, 7, (Information(6001, -2.5, 3),)),
        Asdu(113, 8, 7, (Information(6001, 3),)),
        Asdu(39, 3, 7, (Information(800, 0x21, 120, 0x08, tag),)),
        Asdu(40, 3, 7, (Information(801, 0x05, 55, 0, tag),)),
    ]
    request, counter, parameter, activation, start, output = [answer["fields"] for answer in read_by_hat(asdus)]
    assert request == {"request": 2, "freeze": 2}
    assert counter == {
        "value.value": -5,
        "quality.invalid": False,
        "quality.adjusted": True,
        "quality.overflow": True,
        "quality.sequence": 17,
    }
    assert parameter == {"value.value": -2.5, "qualifier": 3}
    assert activation == {"qualifier": 3}
    assert {name for name, part in start.items() if part is True} == {
        "value.general",
        "value.reverse",
        "quality.time_invalid",
    }
    assert start["duration_time"] == 120
    assert {name for name, part in output.items() if part is True} == {"value.general", "value.l2"}
    assert output["operating_time"] == 55
