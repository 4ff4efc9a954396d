"""Reading what the broker sends."""

import socket
import tracemalloc

from twin_gateway.mqtt.counters import MirrorCounters
from twin_gateway.mqtt.link import BrokerLink
from twin_gateway.mqtt.settings import MqttSettings


class Nobody:
    """An owner that is told nothing."""


def test_acknowledgements_are_read_without_a_large_buffer_for_each_read():
    link = BrokerLink(
        MqttSettings(host="127.0.0.1"),
        Nobody(),
        MirrorCounters(),
        client_id="gw1",
        will=("twin/s", b""),
        farewell=lambda: b"",
    )
    ours, broker = socket.socketpair()
    with ours, broker:
        ours.setblocking(False)
        link._tokens = dict.fromkeys(range(1, 101))
        tracemalloc.start()
        try:
            for first in range(1, 101, 4):
                broker.sendall(b"".join(b"\x40\x02" + each.to_bytes(2, "big") for each in range(first, first + 4)))
                link._read_quick(None, ours)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert not link._tokens
    assert peak < 16_384
