"""No turn of the event loop is held up for more than 20 ms by the twin functions, at rest and during a fault.

Counted is CPU time of the loop's thread (see `LoopWatch`): what other processes take from the machine is not its fault.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path

from peers.feeder.rig import AREA, HEAD, FieldRig
from peers.large_twin import LargeTwin
from peers.loop_watch import LoopWatch
from peers.waiting import until

from address_space.ports import Caller
from twin_gateway.grid.model import Position

LONGEST_S = 0.020
AREA_TOPOLOGY = f"{AREA}/_/_/_/_/twTOPO1"
READERS = (
    (AREA_TOPOLOGY, "PowerFlow", ()),
    (AREA_TOPOLOGY, "Estimate", ()),
    (AREA_TOPOLOGY, "Deviations", ()),
    (AREA, "GetFeederView", (HEAD,)),
    (f"{AREA}/_/_/_/_/twSUPV1", "DeviceReport", (AREA,)),
    (f"{AREA}/_/_/_/_/twFLSR1", "Simulate", (f"{AREA}/L05/MV1/_/WB1",)),
)


async def test_the_service_answers_while_the_twin_computes(tmp_path: Path) -> None:
    rig = FieldRig(tmp_path)
    rig.start()
    try:
        gateway = await rig.gateway(twin=rig.twin(flisr={"collect": 1.0}))
        try:
            caller = Caller("", frozenset({"Observer"}))
            # As the service does before it serves; what is only loaded or connected once is not meant.
            for owner, name, arguments in READERS:
                await gateway.twin.call(owner, name, arguments, caller)
            await asyncio.sleep(3)
            gc.collect()
            gc.freeze()
            state = gateway.table.find(f"{HEAD}/_/twFLSR1/PlanSt")
            with LoopWatch() as watch:
                await asyncio.sleep(2)
                await asyncio.to_thread(rig.inject, "fault", line="L08")
                await until(lambda: gateway.table.value(state) == 4, 30)
                for owner, name, arguments in READERS:
                    result = await gateway.twin.call(owner, name, arguments, caller)
                    assert result.status == 0, (name, result)
            assert watch.calls > 1000
            assert watch.worst.cpu < LONGEST_S, watch.report()
        finally:
            await gateway.stop()
    finally:
        gc.unfreeze()
        rig.stop()


async def test_ten_thousand_switches_and_meters_do_not_hold_it_up(tmp_path: Path) -> None:
    # Fewer results than usual, for the sake of the time that it takes to make them.
    twin = LargeTwin(tmp_path, powerflow={"estimates": False}, topology={"nodes": False})
    switches, links = list(twin.positions), list(twin.lines)
    assert min(len(switches), len(twin.grid.meters)) > 10_000
    dead = twin.table.find("dso1/_/_/_/_/_/twTOPO1/DeadCnt")
    gc.collect()
    gc.freeze()
    logging.disable(logging.WARNING)  # a line for each of thousands of alarms, for nobody
    try:
        with LoopWatch() as watch:
            await twin.start()
            await asyncio.sleep(1)
            for volts in (229.0, 231.0):
                await twin.measure(volts)
                await asyncio.sleep(0.3)
            twin.move(switches[::3], Position.OPEN)
            await until(lambda: (twin.table.value(dead) or 0) > 1000 and twin.alarms > 1000, 60)
            twin.move(switches[::3], Position.CLOSED)
            await until(lambda: twin.table.value(dead) == 0, 60)
            for link in links[:300]:
                twin.lose([link])
                await asyncio.sleep(0)
            await asyncio.sleep(1)
            for name, argument in (("DeviceReport", "dso1"), ("Trace", switches[100]), ("Neighbours", switches[100])):
                assert (await twin.call(name, argument)).status == 0, name
        twin.check()
        assert watch.calls > 500
        # Full collections come about once in a million new objects, and pytest's own objects are looked at with them.
        assert watch.worst_own.own < LONGEST_S, watch.report()
    finally:
        logging.disable(logging.NOTSET)
        gc.unfreeze()
        await twin.stop()
