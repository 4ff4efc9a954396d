"""No turn of the event loop is held up for more than 20 ms by the twin functions, at rest and during a fault.

Counted is CPU time of the loop's thread (see `LoopWatch`): what other processes take from the machine is not its fault.
"""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from peers.feeder.rig import AREA, HEAD, FieldRig, until_true
from peers.loop_watch import LoopWatch

from address_space.ports import Caller

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
                await until_true(lambda: gateway.table.value(state) == 4, 30)
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
