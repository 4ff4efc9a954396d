"""A command for a meter that is busy is dropped, unsent, when its time is over."""

import asyncio

from integration.dlms.test_dlms_recovery import Rig, position

from address_space.ports import Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceCommand


async def test_a_command_that_waited_too_long_for_its_turn_never_leaves(dlms, link):
    point = position(dlms)
    async with Rig(lambda _apdu, handle: handle()) as rig:
        driver = dlms.Driver("m", dlms.config(rig.port, poll=30.0), [point])
        async with dlms.Running(driver, link):
            await link.until(lambda: link.values.get(0) == 2)
            turn = driver._session._turn
            await turn.acquire()
            command = DeviceCommand(Verb.OPERATE, point, 1, "c", timeout=3.0, send_within=0.1)
            waiting = asyncio.create_task(driver.execute(command))
            await asyncio.sleep(0.3)
            turn.release()
            outcome = await waiting
            await asyncio.sleep(0.2)
    assert (outcome.status, outcome.sent) == (StatusCode.BadNoCommunication, False)
    assert rig.actions == 0
    assert rig.meter.connected
