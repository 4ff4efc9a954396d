"""What Oper, SBOw and Cancel carry for every kind of controllable object."""

import itertools

import pytest
from open61850.data import (
    BitStringData,
    BoolData,
    FloatData,
    IntData,
    OctetStringData,
    StructureData,
    TimestampData,
    UIntData,
)
from open61850.mms.types import PrimitiveType, StructureType

from address_space.catalogue import ValueType
from address_space.ports import Verb
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand
from twin_gateway.drivers.iec61850.control import Controllable, Controls, _test_of, _value
from twin_gateway.drivers.iec61850.errors import ModelError

P = PrimitiveType
ORIGIN = StructureType([("orCat", P("integer", 8)), ("orIdent", P("octet-string", -64))])
TAIL = [("origin", ORIGIN), ("ctlNum", P("unsigned", 8)), ("T", P("utc-time")), ("Test", P("boolean"))]
POINT = BoundPoint(0, "a", "DPC", ValueType.INT32, {"ref": "LD0/CSWI1.Pos"})


def oper(kind, *more):
    return StructureType([("ctlVal", kind), *more, *TAIL, ("Check", P("bit-string", -2))])


def carried(kind, value, *, double_point=False, gain=1.0, bias=0.0, more=(), **options):
    target = Controllable("LD/N$CO$Do", 1, oper(kind, *more), double_point=double_point, gain=gain, bias=bias)
    command = DeviceCommand(Verb.OPERATE, POINT, value, "c", **options)
    issue = Controls(None, itertools.count(254))._issue(command, target)
    return target, issue, _value(target.oper, issue)


@pytest.mark.parametrize(("value", "expected"), [(1, False), (2, True), (True, True), (False, False)])
def test_double_point_is_commanded_off_1_and_on_2(value, expected):
    _, _, sent = carried(P("boolean"), value, double_point=True)
    assert sent.members[0] == BoolData(expected)


@pytest.mark.parametrize(("value", "double"), [(0, True), (3, True), (2, False), (0.5, False), (None, False)])
def test_switch_takes_no_other_value(value, double):
    with pytest.raises(ModelError):
        carried(P("boolean"), value, double_point=double)


def test_order_carries_originator_number_time_test_and_checks():
    _, _, sent = carried(P("boolean"), True, test=True, synchro_check=False, origin=b"x" * 80, origin_category=6)
    _, origin, number, time, test, check = sent.members
    assert origin == StructureData([IntData(6), OctetStringData(b"x" * 64)])
    assert (number, test, check) == (UIntData(254), BoolData(True), BitStringData(b"\x40", 6))
    assert isinstance(time, TimestampData)
    _, _, sent = carried(P("boolean"), True, interlock_check=False)
    assert sent.members[-1] == BitStringData(b"\x80", 6)


def test_numbers_of_commands_run_from_0_to_255():
    numbers = itertools.count(254)
    controls = Controls(None, numbers)
    target = Controllable("LD/N$CO$Do", 1, oper(P("boolean")))
    command = DeviceCommand(Verb.OPERATE, POINT, True, "c")
    assert [controls._issue(command, target).number for _ in range(4)] == [254, 255, 0, 1]


def test_analogue_set_point_is_sent_in_the_unit_of_the_device():
    kind = StructureType([("f", P("float", 32))])
    target, issue, sent = carried(kind, 2_500_000.0, gain=1000.0)
    assert sent.members[0] == StructureData([FloatData(2500.0)])
    reached = _test_of(target, issue)
    assert reached(FloatData(2500.0))
    assert not reached(FloatData(2400.0))
    assert not reached(None)


def test_set_point_of_tenths_is_a_whole_number_of_the_device():
    _, _, sent = carried(StructureType([("i", P("integer", 32))]), 0.3, gain=10.0**-1)
    assert sent.members[0] == StructureData([IntData(3)])


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (P("integer", 32), -3, IntData(-3)), (P("unsigned", 8), 3, UIntData(3)), (P("float", 32), 0.5, FloatData(0.5)),
        (P("bit-string", 2), 1, BitStringData(b"\x80", 6)), (P("bit-string", 2), -1, BitStringData(b"\x40", 6)),
        (P("bit-string", 2), 0, BitStringData(b"\0", 6)),
    ],
)  # fmt: skip
def test_set_points_and_steps_by_type(kind, value, expected):
    assert carried(kind, value)[2].members[0] == expected


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), 1e30, 1 << 31])
def test_integer_takes_whole_numbers_of_its_size_only(value):
    with pytest.raises(ModelError):
        carried(P("integer", 32), value)


@pytest.mark.parametrize(("kind", "value"), [(P("unsigned", 8), -1), (P("unsigned", 8), 256), (P("float", 32), 1e39)])
def test_value_that_the_type_cannot_hold_is_an_error(kind, value):
    with pytest.raises(ModelError):
        carried(kind, value)


def test_number_is_needed_where_the_device_wants_one():
    with pytest.raises(ModelError):
        carried(P("integer", 32), True)


def test_activation_time_of_the_type_is_filled_and_an_unknown_member_is_an_error():
    _, _, sent = carried(P("boolean"), True, more=[("operTm", P("utc-time"))])
    assert sent.members[1].value.year == 1970  # the only way to say "now" to such a type
    with pytest.raises(ModelError, match="nix"):
        carried(P("boolean"), True, more=[("nix", P("boolean"))])
