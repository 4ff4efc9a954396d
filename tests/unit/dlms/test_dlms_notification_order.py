"""Pushes that come in another order than they were sent: the older one never becomes the live value."""

import pytest

from twin_gateway.drivers.dlms.notification import Notification, overtaken, parse_notification

NOON, LATER = bytes.fromhex("07ea0b17010c0000ff000000"), bytes.fromhex("07ea0b17010c000aff000000")


def push(number, time):
    return Notification(time, 1, None, 0, number)


@pytest.mark.parametrize(
    ("this", "last", "expected"),
    [
        (push(7, NOON), push(8, LATER), True),
        (push(0xFFFFFF, NOON), push(0, LATER), True),
        (push(8, LATER), push(7, NOON), False),
        (push(9, NOON), push(8, LATER), False),  # its clock was set back
        (push(0, NOON), push(0, LATER), False),  # a meter that does not count
        (push(7, b""), push(8, b""), False),
        (push(-1, NOON), push(8, LATER), False),
    ],
)
def test_a_push_is_overtaken_when_its_number_and_its_time_are_both_older(this, last, expected):
    assert overtaken(this, last) is expected


def test_the_number_is_that_of_the_long_invoke_id_without_its_priority():
    apdu = b"\x0f\xc0\x00\x01\x02\x0c" + NOON + b"\x11\x05"
    assert parse_notification(apdu).number == 0x102
