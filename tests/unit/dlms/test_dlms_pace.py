"""Turns at a host: places, order, and the share of meters that do not answer."""

import asyncio

from twin_gateway.drivers.dlms.pace import Host, Pace


async def exchange(pace, seconds, done, name):
    async with pace:
        await asyncio.sleep(seconds)
    done.append(name)


async def test_dead_meters_hold_no_more_than_a_quarter_of_the_places():
    host, done = Host(8), []
    dead = [Pace(host) for _ in range(20)]
    for pace in dead:
        pace.suspect = True
    tasks = [asyncio.create_task(exchange(pace, 10.0, done, "dead")) for pace in dead]
    await asyncio.sleep(0)
    # Without a share of their own, twenty dead meters would hold all eight places for ten seconds.
    async with asyncio.timeout(1.0):
        await asyncio.gather(*[exchange(Pace(host), 0.01, done, number) for number in range(30)])
    assert done == list(range(30))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_dead_meter_leaves_three_quarters_of_the_time_of_a_single_place():
    host, order = Host(1), []
    suspects = [Pace(host) for _ in range(3)]
    for pace in suspects:
        pace.suspect = True
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def healthy():
        pace = Pace(host)
        while loop.time() - began < 0.4:
            await exchange(pace, 0.005, order, "good")

    await asyncio.gather(healthy(), *[exchange(pace, 0.05, order, "dead") for pace in suspects])
    first, last = order.index("dead"), len(order) - order[::-1].index("dead")
    assert order[:last].count("good") >= 2 * (0.05 / 0.005) and first < last


async def test_a_suspect_is_heard_although_the_host_is_busy():
    host, done = Host(4), []
    stop = asyncio.Event()

    async def busy():
        pace = Pace(host)
        while not stop.is_set():
            await exchange(pace, 0.002, [], "")

    tasks = [asyncio.create_task(busy()) for _ in range(20)]
    suspect = Pace(host)
    suspect.suspect = True
    async with asyncio.timeout(1.0):
        await exchange(suspect, 0.001, done, "back")
    stop.set()
    await asyncio.gather(*tasks)
    assert done == ["back"]


async def test_meters_take_turns():
    host, order = Host(1), []

    async def meter(name):
        pace = Pace(host)
        for _ in range(4):
            await exchange(pace, 0.0, order, name)

    await asyncio.gather(*[meter(name) for name in "abc"])
    assert [sorted(order[at : at + 3]) for at in range(0, 12, 3)] == [["a", "b", "c"]] * 4


async def test_who_gives_up_waiting_leaves_no_place_behind():
    host = Host(1)
    async with Pace(host):
        waiting = [asyncio.create_task(exchange(Pace(host), 0.0, [], "")) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting[:4]:
            task.cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(1.0):
        await waiting[4]
        async with Pace(host):
            pass
