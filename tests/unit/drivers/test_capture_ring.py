"""The capture ring: bounded, the newest stay; its file is read by tshark."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from twin_gateway.drivers.capture import CaptureRing, Carrier, Flow, pcapng

STARTDT = bytes.fromhex("680407000000")
TESTFR = bytes.fromhex("680443000000")


def layers(path: Path, *options: str) -> list[dict[str, str]]:
    """The packets of a file as tshark reads them: field -> its first value."""
    done = subprocess.run(
        ["tshark", "-r", str(path), "-T", "json", *options], capture_output=True, text=True, check=True, timeout=60
    )
    return [packet["_source"]["layers"] for packet in json.loads(done.stdout)]


def test_the_ring_keeps_the_newest_within_its_octets() -> None:
    ring = CaptureRing(1000)
    for number in range(100):
        ring.add(number % 2 == 0, bytes([number]) * 36)
    kept = ring.records()
    assert [record.octets[0] for record in kept] == list(range(90, 100))
    assert ring.dropped == 90


def test_of_one_read_larger_than_the_ring_its_last_octets_stay() -> None:
    ring = CaptureRing(200)
    ring.add(False, bytes(range(256)) * 4)
    (record,) = ring.records()
    assert record.octets == (bytes(range(256)) * 4)[-136:]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0"])
def test_tshark_follows_a_stream_of_104(tmp_path: Path, host: str) -> None:
    ring = CaptureRing()
    ring.connected(Flow(Carrier.TCP, (host, 40_000), (host, 2404)))
    ring.add(True, STARTDT)
    ring.add(False, STARTDT[:2])
    ring.add(False, STARTDT[2:] + TESTFR)
    path = tmp_path / "link.pcapng"
    path.write_bytes(pcapng("rtu-7", ring.records()))
    sent, _part, whole = layers(path)
    assert sent["tcp"]["tcp.dstport"] == "2404"
    assert sent["frame"]["frame.interface_id_tree"]["frame.interface_name"] == "rtu-7"
    assert int(sent["iec60870_104"]["iec60870_104.utype"], 16) == 1
    assert "iec60870_104" in whole, "frames cut by a read are put together"
    malformed = subprocess.run(
        ["tshark", "-r", str(path), "-Y", "_ws.malformed || tcp.analysis.flags"], capture_output=True, check=True
    )
    assert malformed.stdout == b""


def test_tshark_reads_datagrams_and_whole_frames(tmp_path: Path) -> None:
    ring = CaptureRing()
    ring.connected(Flow(Carrier.UDP, ("127.0.0.1", 40_000), ("127.0.0.1", 5683)))
    ring.add(True, bytes.fromhex("40010001b474656d70"))  # CON GET /temp
    ring.connected(Flow(Carrier.ETHERNET))
    goose = bytes.fromhex("010ccd01000102000000000188b80001000a000000006100")
    ring.add(False, goose)
    path = tmp_path / "link.pcapng"
    path.write_bytes(pcapng("mixed", ring.records()))
    coap, frame = layers(path)
    assert coap["coap"]["coap.mid"] == "1"
    assert frame["eth"]["eth.dst"] == "01:0c:cd:01:00:01"
    assert "goose" in frame


def test_a_read_of_more_than_a_packet_holds_becomes_several(tmp_path: Path) -> None:
    ring = CaptureRing(1 << 20)
    ring.connected(Flow(Carrier.TCP, ("127.0.0.1", 1), ("127.0.0.1", 102)))
    ring.add(False, bytes(200_000))
    path = tmp_path / "link.pcapng"
    path.write_bytes(pcapng("x", ring.records()))
    packets = layers(path)
    assert sum(int(packet["tcp"]["tcp.len"]) for packet in packets) == 200_000
    assert len(packets) == 4
