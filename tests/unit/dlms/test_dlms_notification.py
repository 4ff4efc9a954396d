"""Notifications: which value belongs to which attribute, and octets that are none."""

import random

import pytest

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.errors import DlmsError, MalformedApduError
from twin_gateway.drivers.dlms.notification import assigned, columns_of_setup, parse_notification
from twin_gateway.drivers.dlms.obis import Attribute

VOLTS = obis.parse("1-0:32.7.0")
# What gurux-dlms GXDLMSSecureNotify sends for a name, a voltage and an energy.
SENT = bytes.fromhex("0fc00000010c07ea0b17ff0d291b2f0000000203091054574d303030303030303030303030311208fd060001e240")
SETUP = [[1, obis.parse("0-0:42.0.0"), 2, 0], [3, VOLTS, 2, 0], [3, obis.parse("1-0:1.8.0"), 2, 0]]


def test_a_data_notification_of_gurux_is_read():
    found = parse_notification(SENT)
    assert found.time.hex() == "07ea0b17ff0d291b2f000000" and found.trailing == 0
    values = assigned(found.body, columns_of_setup(SETUP))
    assert values[Attribute(3, VOLTS, 2)] == 2301 and values[Attribute(1, SETUP[0][1], 2)] == b"TWM0000000000001"


def test_an_event_notification_names_its_attribute():
    apdu = b"\xc2\x00\x00\x03" + VOLTS + b"\x02" + encode(Tag.UINT16, 2301)
    found = parse_notification(apdu)
    assert found.attribute == Attribute(3, VOLTS, 2) and found.body == 2301 and found.time == b""


def test_an_object_pushed_as_a_whole_gives_each_attribute_and_a_part_of_one_gives_none():
    columns = columns_of_setup([[3, VOLTS, 0, 0], [7, obis.parse("1-0:99.1.0"), 2, 1]])
    assert assigned([[VOLTS, 2301, [-1, 35]], [1]], columns) == {
        Attribute(3, VOLTS, 1): VOLTS,
        Attribute(3, VOLTS, 2): 2301,
        Attribute(3, VOLTS, 3): [-1, 35],
    }


def test_another_number_of_values_than_the_push_setup_lists_is_refused():
    with pytest.raises(MalformedApduError, match="2 values were pushed, the push setup lists 3"):
        assigned([1, 2], columns_of_setup(SETUP))


@pytest.mark.parametrize("setup", [None, 7, [[1]], [[1, b"short", 2, 0]], [SETUP[0]] * 300])
def test_a_broken_push_setup_is_refused(setup):
    with pytest.raises(MalformedApduError):
        columns_of_setup(setup)


def test_mutated_notifications_raise_nothing_but_what_is_counted():
    chance = random.Random(61)
    columns = columns_of_setup(SETUP)
    for _ in range(20_000):
        octets = bytearray(SENT if chance.random() < 0.8 else b"\xc2\x01\x0c" + SENT[6:])
        for _ in range(chance.randrange(1, 4)):
            octets[chance.randrange(len(octets))] = chance.randrange(256)
        try:
            assigned(parse_notification(bytes(octets[: chance.randrange(1, len(octets) + 1)])).body, columns)
        except DlmsError:
            continue
