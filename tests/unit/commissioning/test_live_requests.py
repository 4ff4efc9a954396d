"""Readings of the running gateway's devices: handed out page by page, and kept only as long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from twin_gateway.commissioning.live import DeviceReading
from twin_gateway.commissioning.live_request import PAGE, LiveRequests
from twin_gateway.commissioning.reading import Reading
from twin_gateway.control import ControlError
from twin_gateway.gateway import Gateway

COUNT = 2 * PAGE + 1


def reading(number: int) -> Reading:
    return Reading(f"dso1/{number}", "", "rtu", "MV", 1.0, "W", "Good", True, "good", "", "", "", None)


async def test_a_reading_is_forgotten_when_its_last_page_has_been_handed_out() -> None:
    requests = LiveRequests(cast(Gateway, SimpleNamespace()))
    found = DeviceReading("rtu", "iec104", "up", "", "", "", 1.0, [reading(number) for number in range(COUNT)])
    answer = requests._answer(found)
    points = answer["points"]
    more = requests.handlers["live.more"]
    while len(points) < answer["total"]:
        points += await more({"ticket": answer["ticket"], "offset": len(points)})
    assert [each["address"] for each in points] == [f"dso1/{number}" for number in range(COUNT)]
    with pytest.raises(ControlError, match="no longer kept"):
        await more({"ticket": answer["ticket"], "offset": 0})
