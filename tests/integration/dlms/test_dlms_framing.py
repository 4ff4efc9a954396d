"""The driver over HDLC and with short names, and what happens when the meter falls silent or is gone."""

import pytest

from twin_gateway.drivers.dlms.config import SPEC, DlmsConfig

pytestmark = pytest.mark.timeout(120)

METERS = {
    "framing": "hdlc",
    "defaults": {
        "registers": {
            "1-0:1.8.0": {"value": 123456, "unit": "Wh"},
            "1-0:32.7.0": {"value": 230.1, "unit": "V", "scaler": -1},
        },
        "profile": {"columns": ["1-0:1.8.0"], "period": "15 min", "rows": 96},
    },
    "meters": {"m1": {}, "m2": {"logical_device": 300}},
}


@pytest.mark.parametrize("device", [1, 300])
async def test_a_meter_behind_hdlc_is_read_with_its_profile(dlms, our_meters, link, device):
    peer = our_meters(METERS)
    points = [
        dlms.point(0, "1-0:32.7.0", quantity="voltage"),
        dlms.point(1, "1-0:1.8.0", quantity="active energy", profile="1-0:99.1.0"),
    ]
    config = dlms.config(peer, framing="hdlc", logical_device=device, hdlc={"frame_octets": 200, "window": 3})
    async with dlms.Running(dlms.Driver("m", config, points), link):
        await link.until(lambda: link.values.get(0) == 230.1 and link.counters["profile_rows"] >= 90, 20.0)
    assert link.counters["frame_errors"] == link.counters["frame_losses"] == 0
    assert link.ring.records()


async def test_a_silent_meter_behind_hdlc_is_asked_again_and_then_lost(dlms, our_meters, link):
    peer = our_meters(METERS)
    points = [dlms.point(0, "1-0:32.7.0", quantity="voltage")]
    config = dlms.config(peer, framing="hdlc", timeout=1.5, hdlc={"retry_after": 0.3})
    with pytest.raises(ConnectionError, match="no answer"):
        async with dlms.Running(dlms.Driver("m", config, points), link) as task:
            await link.until(lambda: 0 in link.values)
            peer.order(meter="m1", silent=True)
            await task
    assert link.counters["repeated_frames"] >= 2 and link.counters["timeouts"] == 1


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"security": "hls-ecdsa"}, "security"),
        ({"security": "hls-ecdsa", "keys": {"authentication": "0" * 32, "encryption": "1" * 32}}, "curve_keys"),
        ({"key_agreement": "one-pass"}, "key_agreement"),
        ({"general_ciphering": True}, "general_ciphering"),
        ({"framing": "hdlc", "client": 200}, "client"),
        ({"framing": "hdlc", "hdlc": {"address_octets": 1, "physical_device": 5}}, "hdlc"),
        ({"framing": "hdlc", "logical_device": 200, "hdlc": {"address_octets": 2}}, "hdlc"),
    ],
)
def test_what_does_not_go_together_is_said(section, field):
    problems = SPEC.check_device(DlmsConfig.model_validate({"host": "127.0.0.1"} | section))
    assert field in [name for name, _ in problems]
