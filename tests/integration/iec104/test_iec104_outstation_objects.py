"""Counter interrogation, read command and protection events against an independent outstation (c104, own process)."""

import pytest
from peers.iec104.outstation import Outstation
from peers.iec104.scripted import association, point

from address_space import clock
from address_space.catalogue import ValueType
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceTable, LinkService

pytest.importorskip("c104", reason="the outstation runs on the c104 package")
MODELS = [
    {"ioa": 40, "type": "M_IT_NA_1", "value": 1234, "extra": 7},
    {"ioa": 50, "type": "M_ME_NC_1", "value": 12.5},
    {"ioa": 60, "type": "M_EP_TE_1", "value": 0},
    {"ioa": 61, "type": "M_EP_TF_1", "value": 0},
    {"ioa": 62, "type": "M_EP_TD_1", "value": 1},
]
STATIONS = [{"common_address": 1, "points": MODELS, "commands": []}]


def measured(row, ioa, kind, **fields):
    return point(row, ioa, kind, cdc="MV", value_type=ValueType.DOUBLE, **fields)


@pytest.mark.parametrize("settings", [{}, {"counter_freeze": "freeze"}, {"counter_freeze": "freeze-reset"}])
async def test_counters_come_by_a_counter_interrogation(tmp_path, settings):
    async with (
        Outstation(tmp_path / "rtu.yaml", STATIONS) as rtu,
        association(rtu, [measured(0, 40, "M_IT_NA_1"), measured(1, 50, "M_ME_NC_1")], **settings) as (driver, link),
    ):
        await link.until(lambda: link.counters["interrogations_confirmed"])
        before = len(link.samples(0))
        outcome = await driver.serve(LinkService.COUNTERS)
        assert outcome.good, outcome.text
        await link.until(lambda: len(link.samples(0)) > before)
        assert link.samples(0)[-1][0] == 1234
        assert link.errors == 0


async def test_single_objects_are_read_by_command(tmp_path):
    points = [measured(0, 50, "M_ME_NC_1", read=0.2)]
    async with (
        Outstation(tmp_path / "rtu.yaml", STATIONS) as rtu,
        association(rtu, points) as (driver, link),
    ):
        await link.until(lambda: link.counters["reads"] >= 2)
        assert link.samples(0)[-1][0] == 12.5
        outcome, lines = await driver.read_table(DeviceTable.OBJECT, "1/50")
        assert outcome.good, outcome.text
        assert (lines[0].item, lines[0].value) == ("1/50 M_ME_NC_1", "12.5")
        outcome, _ = await driver.read_table(DeviceTable.OBJECT, "1/41")
        assert (outcome.status, outcome.sent) == (StatusCode.BadNotSupported, True)
        assert link.counters["timeouts"] == 0


async def test_protection_events_have_their_bits_times_and_elapsed_times(tmp_path):
    async with (
        Outstation(tmp_path / "rtu.yaml", STATIONS) as rtu,
        association(rtu, []) as (_, link),
    ):
        await link.until(lambda: link.counters["interrogations_confirmed"])
        moment = round(clock.to_unix(clock.now()) * 1000) / 1000
        await rtu.order(ioa=60, value=0x03, extra=200, time=moment)
        await rtu.order(ioa=61, value=0x05, extra=300, quality=0x08, time=moment)
        await rtu.order(ioa=62, value=2, extra=100, time=moment)
        await link.until(lambda: len(link.told) == 3)
        ticks = clock.from_unix_ns(round(moment * 1000) * 1_000_000)
        assert [(code, text, at, quality) for code, text, _, _, at, quality in link.told] == [
            ("P02", "Protection start: general, phase L1 (SPE 0x03), 200 ms (object 1/60)", ticks, None),
            (
                "P01",
                "Protection output: general, phase L2 (OCI 0x05), elapsed time invalid (object 1/61)",
                ticks,
                "doubtful",
            ),
            ("protection", "Protection event: on, 100 ms (object 1/62)", ticks, None),
        ]
