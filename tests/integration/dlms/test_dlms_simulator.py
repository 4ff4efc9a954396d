"""Our simulated meters, read by the gurux-dlms client and by our driver, each in another process than the meters."""

import json
import subprocess
import sys

import pytest

from address_space.ports import Verb
from twin_gateway.drivers.contract import DeviceCommand

pytestmark = pytest.mark.timeout(300)

KEYS = {"authentication": bytes(range(0xD0, 0xE0)).hex(), "encryption": bytes(range(16)).hex()}
METERS = {
    "defaults": {
        "disconnector": "connected",
        "clock": {"deviation": 120},
        "registers": {
            "1-0:1.8.0": {"value": 123456, "unit": "Wh", "integrates": "1-0:1.7.0"},
            "1-0:1.7.0": {"value": 3600, "unit": "W"},
            "1-0:32.7.0": {"value": 230.1, "unit": "V", "scaler": -1},
        },
        "profile": {"columns": ["1-0:1.8.0"], "period": "15 min", "rows": 2880},
    },
    "meters": {
        "m1": {"security": "none"},
        "m2": {"security": "lls", "client": 32, "password": "12345678"},
        "m3": {"security": "hls-gmac", "keys": KEYS, "pdu_size": 400},
        "m4": {"security": "none", "lists": False},
    },
}
DEVICES = {"none": (1, 16), "lls": (2, 32), "gmac": (3, 1)}


@pytest.mark.parametrize("security", ["none", "lls", "gmac"])
def test_the_gurux_client_reads_registers_clock_and_objects(gurux, our_meters, security):
    seen = gurux(our_meters(METERS).port, *DEVICES[security], security, clock=True)
    assert seen["voltage"] == pytest.approx(230.1) and seen["unit"] == 35
    assert {"1.0.1.8.0.255": 3, "0.0.96.3.10.255": 70, "1.0.99.1.0.255": 7}.items() <= seen["objects"].items()
    assert seen["clock"].endswith("+02:00")


def test_the_gurux_client_reads_a_profile_in_blocks_and_by_range(gurux, our_meters):
    seen = gurux(our_meters(METERS).port, *DEVICES["none"], rows=8)
    assert seen["all_rows"] == 2880
    assert 7 <= len(seen["range"]) <= 9


def test_the_gurux_client_switches_the_disconnector(gurux, our_meters):
    peer = our_meters(METERS)
    assert gurux(peer.port, *DEVICES["gmac"], "gmac", switch="off")["output"] is False
    assert json.loads(peer.line(5)) == {"meter": "m3", "connected": False}


@pytest.mark.parametrize(("device", "security"), [(1, "none"), (2, "lls"), (3, "hls-gmac"), (4, "none")])
async def test_our_driver_reads_them_with_blocks_lists_and_ranges(dlms, our_meters, link, device, security):
    peer = our_meters(METERS)
    points = [
        dlms.point(0, "1-0:32.7.0", quantity="voltage"),
        dlms.point(1, "1-0:1.8.0", quantity="active energy", profile="1-0:99.1.0"),
        dlms.point(2, "0-0:96.3.10", "DPC"),
    ]
    config = dlms.config(peer, security, logical_device=device, profile_depth=30.5 * 86_400)
    driver = dlms.Driver("m", config, points)
    async with dlms.Running(driver, link):
        await link.until(lambda: link.counters["profile_rows"] >= 2870 and link.values.get(2), 20.0)
        assert abs(driver.clock_error) < 2
    assert link.values[0] == 230.1 and link.values[1] >= 123456 and link.values[2] == 2


async def test_an_open_disconnector_stops_the_flow_and_an_order_moves_a_register(dlms, our_meters, link):
    peer = our_meters(METERS)
    position = dlms.point(1, "0-0:96.3.10", "DPC", control={"model": "disconnect"})
    points = [dlms.point(0, "1-0:1.7.0", quantity="active power"), position]
    async with dlms.Running(driver := dlms.Driver("m", dlms.config(peer), points), link):
        await link.until(lambda: link.values.get(0) == 3600.0)
        peer.order(meter="m1", obis="1-0:1.7.0", value=980)
        await link.until(lambda: link.values[0] == 980.0)
        outcome = await driver.execute(DeviceCommand(Verb.OPERATE, position, 1, "c1"))
        assert outcome.good
        await link.until(lambda: link.values[0] == 0.0)
        peer.order(meter="m1", connected=True)
        await link.until(lambda: link.values[0] == 980.0 and link.values[1] == 2)


def test_a_bad_file_is_refused_in_words(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("meters: {m1: {registers: {1-0:1.8.0: {value: 1, unit: furlong}}}}\n")
    command = [sys.executable, "-m", "twin_gateway.simulate.dlms", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "furlong" in done.stderr and "Traceback" not in done.stderr
