"""What a subscriber of another make sees is what the table holds."""

import asyncio
import json

import numpy as np
import pytest
import uvloop
from integration.mqtt.brokers import (
    BAY,
    GATEWAY,
    expected,
    mirrored,
    nats,
    program,
    quick_settings,
    settled,
    subscribed,
    table_of_bays,
)
from peers.waiting import patient, until

from address_space import clock
from address_space.events import Event, EventJournal
from address_space.point import Batch, Point
from address_space.quality import Quality, TimeFlag

POS, POWER, CURRENT, ENERGY, LOCAL = range(5)
TIME = clock.from_unix(1_760_000_000) + 1_230_000


def feed(table, turn=0):
    """Values, qualities and times of every kind, different in every turn."""
    qualities = [
        0,
        int(Quality.QUESTIONABLE | Quality.OLD_DATA),
        int(TimeFlag.NOT_SYNCHRONISED),
        int(Quality.INVALID | Quality.FAILURE),
    ]
    rows = list(range(len(table)))
    values = [
        (1 + (row + turn) % 2) if row % 5 == POS else (row + turn) % 2 if row % 5 == LOCAL else row / 7 + turn
        for row in rows
    ]
    times = [TIME + row * 12_345 + turn * 10_000_000 if row % 3 else 0 for row in rows]
    table.ingest(Batch.of(rows, values, [qualities[(row + turn) % 4] for row in rows], times))


async def test_every_point_has_value_quality_and_time_of_the_table(broker):
    table = table_of_bays()
    async with subscribed(broker.port) as subscriber, mirrored(table, quick_settings(broker.port)) as mirror:
        await until(lambda: settled(mirror))
        for turn in range(3):
            feed(table, turn)
            await asyncio.sleep(0.05)
        await until(lambda: subscriber.of("v") == expected(table))
        assert len(subscriber.of("v")) == len(table)
        assert mirror.counters.protocol == "5"


async def test_grouped_and_single_messages_agree_and_names_join_to_addresses(broker):
    table = table_of_bays()
    settings = quick_settings(broker.port, modes={"points", "grouped"})
    async with subscribed(broker.port) as subscriber, mirrored(table, settings) as mirror:
        feed(table)
        await until(lambda: settled(mirror))

        def joined():
            return {
                f"{place}/{name}": value
                for place, members in subscriber.of("g").items()
                for name, value in members.items()
            }

        await until(lambda: joined() == subscriber.of("v") == expected(table))
        assert subscriber.of("g").keys() == {f"dso1/north/PS01/MV1/F{bay:02d}" for bay in range(4)}


async def test_a_late_subscriber_gets_everything_retained_but_no_events(broker):
    table, events = table_of_bays(), EventJournal()
    settings = quick_settings(broker.port, modes={"points", "grouped"})
    states = {"link0": "up", "link1": "down"}
    async with mirrored(table, settings, events=events, link_states=lambda: states) as mirror:
        feed(table)
        events.append(Event("S06", "refused"))
        await until(lambda: settled(mirror))
        async with subscribed(broker.port) as subscriber:
            await until(lambda: subscriber.of("v") == expected(table) and len(subscriber.of("m")) == len(table))
            assert subscriber.of("s")[GATEWAY]["state"] == "online"
            assert subscriber.of("s")[f"{GATEWAY}/_/_/link1"]["state"] == "down"
            assert len(subscriber.of("g")) == 4
            assert not subscriber.of("e")
            assert all(retained for _, retained, _ in subscriber.all)


async def test_metadata_says_what_each_point_is(broker):
    table = table_of_bays(1)
    async with (
        subscribed(broker.port, topic="twin/m/#") as subscriber,
        mirrored(table, quick_settings(broker.port), binding=lambda link, source: f"test:{link}/{source}"),
    ):
        await until(lambda: len(subscriber.last) == len(table))
        position = subscriber.of("m")[f"dso1/north/PS01/MV1/F00/{BAY[POS]}"]
        assert position["cdc"] == "DPC"
        assert position["states"]["1"] == "off"
        assert position["binding"] == "test:link0/0"


async def test_value_and_metadata_of_a_retired_point_are_cleared_at_once(broker):
    table = table_of_bays(1)
    gone = f"dso1/north/PS01/MV1/F00/{BAY[POWER]}"
    async with subscribed(broker.port) as subscriber, mirrored(table, quick_settings(broker.port)) as mirror:
        feed(table)
        await until(lambda: settled(mirror) and len(subscriber.of("m")) == len(table))
        table.retire(np.array([table.find(gone)], np.int32))
        await until(lambda: not subscriber.of("v")[gone] and not subscriber.of("m")[gone])
        assert sum(bool(content) for content in subscriber.of("m").values()) == len(table) - 1


async def test_link_states_follow_and_vanish_with_the_link(broker):
    states = {"link0": "connecting"}
    async with (
        subscribed(broker.port, topic="twin/s/#") as subscriber,
        mirrored(table_of_bays(1), quick_settings(broker.port), link_states=lambda: dict(states)),
    ):
        topic = f"{GATEWAY}/_/_/link0"
        await until(lambda: subscriber.of("s").get(topic, {}).get("state") == "connecting")
        states["link0"] = "up"
        await until(lambda: subscriber.of("s")[topic]["state"] == "up")
        states.clear()
        await until(lambda: subscriber.of("s")[topic] is None)


async def test_events_come_in_order_under_what_they_are_about(broker):
    events = EventJournal()
    async with (
        subscribed(broker.port, topic="twin/e/#") as subscriber,
        mirrored(table_of_bays(1), quick_settings(broker.port), events=events) as mirror,
    ):
        await until(lambda: settled(mirror))
        for number in range(50):
            address = f"dso1/north/PS01/MV1/F00/{BAY[POS]}" if number % 2 else ""
            events.append(Event("S06", f"number {number}", 600, address))
        await until(lambda: len(subscriber.all) == 50)
        assert [content["text"] for _, _, content in subscriber.all] == [f"number {number}" for number in range(50)]
        assert {topic for topic, _, _ in subscriber.all} == {
            f"twin/e/{GATEWAY}",
            f"twin/e/dso1/north/PS01/MV1/F00/{BAY[POS]}",
        }


async def test_a_late_sample_is_an_event_and_never_the_retained_value(broker):
    table = table_of_bays(1)
    settings = quick_settings(broker.port, late_window=0.2)
    async with subscribed(broker.port) as subscriber, mirrored(table, settings) as mirror:
        feed(table)
        await until(lambda: subscriber.of("v") == expected(table))
        table.ingest(Batch.of([POWER], [-5.0], 0, TIME - 600_000_000, late=True))
        address = table.address(POWER)
        await until(lambda: address in subscriber.of("e"))
        event = subscriber.of("e")[address]
        assert (event["code"], event["v"], event["t"]) == ("late", -5.0, clock.iso(TIME - 600_000_000))
        assert mirror.counters.late == 1
        assert subscriber.of("v") == expected(table)


async def test_late_measured_values_are_one_event_for_each_link_and_positions_one_for_each(broker):
    table = table_of_bays(2)
    settings = quick_settings(broker.port, late_window=0.3)
    async with subscribed(broker.port) as subscriber, mirrored(table, settings) as mirror:
        feed(table)
        await until(lambda: subscriber.of("v") == expected(table))
        for minute in range(3, 0, -1):
            old = TIME - minute * 600_000_000
            table.ingest(Batch.of([POWER, POS], [minute, 1.0], 0, old, late=True))
        await until(lambda: len([one for one in subscriber.all if one[2].get("code") == "late"]) >= 4)
        await asyncio.sleep(0.5)
        link = table.binding(POWER)[0]
        events = [(topic, content) for topic, _, content in subscriber.all if content.get("code") == "late"]
        (summary,) = [content for topic, content in events if topic == f"twin/e/{GATEWAY}/_/_/{link}"]
        first, last = clock.iso(TIME - 3 * 600_000_000), clock.iso(TIME - 600_000_000)
        assert summary["details"] == {"count": "3", "first": first, "last": last}
        single = [content["t"] for topic, content in events if topic == f"twin/e/{table.address(POS)}"]
        assert single == [clock.iso(TIME - minute * 600_000_000) for minute in (3, 2, 1)]
        assert len(events) == 4
        assert mirror.counters.late == 6


async def test_points_added_while_running_are_mirrored_too(broker):
    table = table_of_bays(1)
    settings = quick_settings(broker.port, modes={"points", "grouped"})
    async with subscribed(broker.port) as subscriber, mirrored(table, settings) as mirror:
        await until(lambda: settled(mirror))
        address = "dso1/north/PS01/MV1/F00/_/MMXU2/TotW"
        rows = table.add([Point(address, table.profile(POWER), "link0", 9)])
        table.ingest(Batch.of(list(rows), [42.0], 0, TIME))
        await until(lambda: subscriber.of("v").get(address, {}).get("v") == 42.0 and address in subscriber.of("m"))
        await until(lambda: subscriber.of("g")["dso1/north/PS01/MV1/F00"].get("_/MMXU2/TotW", {}).get("v") == 42.0)


async def test_changes_lost_in_the_journal_are_made_good_and_told(broker):
    table, events = table_of_bays(2, journal_capacity=100), EventJournal()
    async with (
        subscribed(broker.port) as subscriber,
        mirrored(table, quick_settings(broker.port), events=events) as mirror,
    ):
        await until(lambda: settled(mirror))
        feed(table, 1)
        power = [row for row in range(len(table)) if row % 5 == POWER]
        for turn in range(500):
            table.ingest(Batch.of(power, [float(turn)] * len(power), 0, TIME + turn))
        await until(lambda: subscriber.of("v") == expected(table))
        assert mirror.counters.lost_changes > 0
        await until(lambda: any(content["code"] == "G02" for content in subscriber.of("e").values()))


async def test_state_is_published_again_now_and_then_for_brokers_that_forget(broker):
    table = table_of_bays()
    async with mirrored(table, quick_settings(broker.port, refresh=0.8)) as mirror:
        feed(table)
        await until(lambda: settled(mirror))
        address = table.address(POWER)
        forget = await asyncio.create_subprocess_exec(
            program("mosquitto_pub"), "-p", str(broker.port), "-r", "-n", "-t", f"twin/v/{address}"
        )
        assert await forget.wait() == 0
        async with subscribed(broker.port, topic="twin/v/#") as subscriber:
            await until(lambda: subscriber.of("v") == expected(table))


async def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(make_broker):
    made = make_broker(nats)
    made.start()
    table = table_of_bays()
    async with mirrored(table, quick_settings(made.port, modes={"points", "grouped"})) as mirror:
        feed(table)
        await until(lambda: settled(mirror), 20)
        assert mirror.counters.protocol == "3.1.1"
        feed(table, 1)
        await until(lambda: settled(mirror))
        # This broker acknowledges before it has stored; who subscribes in that moment gets the value before.
        await asyncio.sleep(1.0)
        async with subscribed(made.port) as subscriber:
            await until(lambda: subscriber.of("v") == expected(table))
            assert subscriber.of("s")[GATEWAY]["state"] == "online"


def test_the_mirror_runs_under_uvloop_and_leaves_in_good_order(broker):
    async def scenario():
        table = table_of_bays()
        async with subscribed(broker.port) as subscriber:
            async with mirrored(table, quick_settings(broker.port)) as mirror:
                feed(table)
                await until(lambda: settled(mirror))
                await until(lambda: subscriber.of("v") == expected(table))
            await until(lambda: subscriber.of("s")[GATEWAY]["state"] == "offline")
            assert subscriber.of("s")[GATEWAY]["t"] is not None

    uvloop.run(scenario())


async def test_a_message_larger_than_the_broker_takes_is_counted_and_the_rest_goes_on(make_broker):
    from integration.mqtt.brokers import mosquitto

    made = make_broker(mosquitto("allow_anonymous true\nmax_packet_size 1000"))
    made.start()
    table = table_of_bays(2)
    settings = quick_settings(made.port, modes={"points", "grouped"}, group_level=3)
    async with subscribed(made.port) as subscriber, mirrored(table, settings) as mirror:
        feed(table)
        await until(lambda: subscriber.of("v") == expected(table))
        await until(lambda: settled(mirror))
        assert mirror.counters.oversize > 0
        assert mirror.counters.disconnects == 0
        assert not subscriber.of("g")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_an_independent_dissector_finds_nothing_wrong_with_our_packets(broker, tmp_path, version):
    capture = tmp_path / "mqtt.pcapng"
    sniffer = await asyncio.create_subprocess_exec(
        program("tshark"),
        *("-i", "lo", "-f", f"tcp port {broker.port}", "-w", str(capture)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with patient(15):
        assert sniffer.stderr is not None
        line = ""
        while "Capturing on" not in line:
            line = (await sniffer.stderr.readline()).decode()
            if not line:
                pytest.skip("no right to capture on the loopback interface")
    await asyncio.sleep(0.5)
    table = table_of_bays()
    async with mirrored(table, quick_settings(broker.port, modes={"points", "grouped"}, protocol=version)) as mirror:
        feed(table)
        await until(lambda: settled(mirror))
        published = mirror.counters.published
    await asyncio.sleep(1.0)
    sniffer.terminate()
    await sniffer.communicate()
    decoded = await asyncio.create_subprocess_exec(
        program("tshark"),
        *("-r", str(capture), "-d", f"tcp.port=={broker.port},mqtt", "-T", "fields", "-e", "mqtt.msgtype"),
        *("-e", "mqtt.topic", "-e", "_ws.malformed", "-e", "mqtt.retain", "-Y", "mqtt"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await decoded.communicate()
    fields = [line.split("\t") for line in out.decode().splitlines()]
    kinds = [kind for line in fields for kind in line[0].split(",")]
    topics = {topic for line in fields for topic in line[1].split(",") if topic}
    assert not [line for line in fields if line[2]]
    assert kinds.count("3") == published + 1
    assert {f"twin/v/{address}" for address in expected(table)} <= topics
    assert json.dumps(kinds[0]) == '"1"'
