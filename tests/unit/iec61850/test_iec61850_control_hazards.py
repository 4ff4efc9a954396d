"""Commands of 61850 that are late, busy or unclear: nothing leaves late, nothing is repeated or sent unasked."""

import asyncio
import itertools

import pytest
from open61850.mms import pdu
from open61850.mms.types import PrimitiveType, StructureType

from address_space.addcause import AddCause
from address_space.catalogue import ValueType
from address_space.ports import Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand
from twin_gateway.drivers.iec61850 import control
from twin_gateway.drivers.iec61850.association import Association
from twin_gateway.drivers.iec61850.control import DIRECT_NORMAL, SBO_ENHANCED, SBO_NORMAL, Controllable, Controls
from twin_gateway.drivers.iec61850.errors import MmsBusy, MmsNotSent, MmsProtocolError, MmsTimeout, MmsTooLarge

P = PrimitiveType
OPER = StructureType([("ctlVal", P("boolean"))])
SUCCESS, DENIED = b"\x81\x00", b"\x80\x01\x03"


class Device:
    """An association whose answers are told; remembers which attribute each request named."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []
        self.closed = asyncio.get_running_loop().create_future()

    def add_notice_sink(self, sink):
        pass

    def remove_notice_sink(self, sink):
        pass

    async def request(self, service, timeout=None, *, turn=None):
        name = next(part for part in ("SBOw", "Oper", "Cancel", "SBO", "stVal") if part.encode() in service)
        delay, answer = self.answers.get(name, (0, SUCCESS))
        if isinstance(answer, MmsBusy | MmsNotSent | MmsTooLarge):
            raise answer
        self.asked.append(name)
        await asyncio.sleep(delay)
        if isinstance(answer, Exception):
            raise answer
        return pdu.ConfirmedResponse(1, 5, answer)


async def operate(answers, model, mapped="device", **options):
    device = Device(answers)
    point = BoundPoint(0, "a", "SPC", ValueType.BOOLEAN, {"ref": "LD0/G.S"}, {"model": mapped})
    target = Controllable("LD/G$CO$S", model, OPER, OPER)
    command = DeviceCommand(Verb.OPERATE, point, True, "c", **options)
    outcome = await Controls(device, itertools.count(1)).execute(command, target, limit=2.0, feedback=False)
    return outcome, device.asked


async def test_a_request_without_a_turn_in_time_is_not_sent():
    association = Association()
    await association._slots.acquire()
    with pytest.raises(MmsBusy):
        await association.request(b"", turn=0.02)
    assert not association._pending
    association._slots.release()
    assert not association._slots.locked()


async def test_a_busy_association_drops_the_command_unsent():
    outcome, asked = await operate({"Oper": (0, MmsBusy("5 requests"))}, DIRECT_NORMAL)
    assert (outcome.status, outcome.gate, outcome.sent) == (StatusCode.BadResourceUnavailable, "link", False)
    assert asked == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MmsNotSent("closed by the peer"), StatusCode.BadNoCommunication),
        (MmsTooLarge("9"), StatusCode.BadInvalidArgument),
    ],
)
async def test_a_command_that_never_left_is_not_told_as_sent(error, status):
    outcome, asked = await operate({"Oper": (0, error)}, DIRECT_NORMAL)
    assert (outcome.status, outcome.sent, asked) == (status, False, [])


async def test_a_request_on_an_association_that_is_over_is_not_sent():
    association = Association()
    association.abort("closed by the peer")
    with pytest.raises(MmsNotSent, match="closed by the peer"):
        await association.request(b"")


async def test_a_device_that_takes_too_long_to_select_is_not_operated_and_gets_its_selection_back():
    outcome, asked = await operate({"SBOw": (0.2, SUCCESS)}, SBO_ENHANCED, send_within=0.1)
    assert (outcome.status, outcome.add_cause, outcome.sent) == (
        StatusCode.BadTimeout,
        AddCause.TIME_LIMIT_OVER,
        False,
    )
    assert asked == ["SBOw", "Cancel"]


@pytest.mark.parametrize("model", [SBO_NORMAL, SBO_ENHANCED])
async def test_who_selects_by_himself_is_not_selected_for(model):
    outcome, asked = await operate({}, model, mapped="sbo-enhanced")
    assert (outcome.add_cause, outcome.sent) == (AddCause.OBJECT_NOT_SELECTED, False)
    assert asked == []


async def test_after_a_refusal_the_selection_is_given_back():
    outcome, asked = await operate({"Oper": (0, DENIED)}, SBO_ENHANCED)
    assert not outcome.good
    assert asked == ["SBOw", "Oper", "Cancel"]


@pytest.mark.parametrize("fault", [MmsTimeout("no answer"), MmsProtocolError("nonsense")])
async def test_after_an_unknown_outcome_nothing_more_is_sent(fault):
    outcome, asked = await operate({"Oper": (0, fault)}, SBO_ENHANCED)
    assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
    assert "unknown" in outcome.text
    assert asked == ["SBOw", "Oper"]


async def test_a_selection_of_long_ago_does_not_stand_in_the_way_of_another_command(monkeypatch):
    monkeypatch.setattr(control, "_SELECTION_TIME", 0.02)
    device = Device({})
    point = BoundPoint(0, "a", "SPC", ValueType.BOOLEAN, {"ref": "LD0/G.S"}, {"model": "device"})
    target = Controllable("LD/G$CO$S", SBO_ENHANCED, OPER, OPER)
    controls = Controls(device, itertools.count(1))
    device.closed.set_result("gone")  # no termination will come

    async def send(verb, value):
        return await controls.execute(DeviceCommand(verb, point, value, "c"), target, limit=1.0, feedback=False)

    assert (await send(Verb.SELECT, True)).good
    await asyncio.sleep(0.05)
    assert (await send(Verb.OPERATE, False)).sent
    assert device.asked == ["SBOw", "SBOw", "Oper"]
