"""The capture ring of a link: the last octets that went over the wire, and their pcapng file for tshark.

TCP and UDP are written as packets made up around the octets: one packet a read or write of ours, with addresses, ports
and sequence numbers in order, so that a dissector follows the stream. Over TLS or DTLS the octets are the plain ones.
"""

from __future__ import annotations

import ipaddress
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

RING_OCTETS = 65_536
"""What one link keeps, payload and a fixed share for each record."""
_RECORD_OCTETS = 64
_SEGMENT = 65_000
_RAW_IP, _ETHERNET = 101, 1
_TCP, _UDP = 6, 17
_PUSH_ACK = 0x18

Endpoint = tuple[str, int]
"""IP address and port."""


class Carrier(StrEnum):
    """What the octets of a link travelled in."""

    TCP = "tcp"
    UDP = "udp"
    ETHERNET = "ethernet"  # the octets are whole frames


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection of a link, or its socket."""

    carrier: Carrier
    local: Endpoint = ("0.0.0.0", 0)
    remote: Endpoint = ("0.0.0.0", 0)


@dataclass(frozen=True, slots=True)
class Record:
    """Octets as they were read or written at once; `time` is of the gateway's clock, nanoseconds since 1970."""

    time: int
    flow: Flow
    sent: bool
    octets: bytes


class CaptureRing:
    """The last records of one link; never more than `limit` octets, the oldest go first.

    Attributes:
        dropped: records that made room for newer ones.
    """

    __slots__ = ("_flow", "_limit", "_records", "_size", "dropped")

    def __init__(self, limit: int = RING_OCTETS) -> None:
        self._limit = limit
        # Bare tuples until somebody looks: every read and write of every link comes through here.
        self._records: deque[tuple[int, Flow, bool, bytes]] = deque()
        self._size = 0
        self._flow = Flow(Carrier.TCP)
        self.dropped = 0

    def connected(self, flow: Flow) -> None:
        """What follows belongs to this connection."""
        self._flow = flow

    def add(self, sent: bool, octets: bytes) -> None:
        """Keep octets that were sent or received just now; of more than the ring holds, the last."""
        kept = bytes(octets[-(self._limit - _RECORD_OCTETS) :])
        records = self._records
        records.append((time.time_ns(), self._flow, sent, kept))
        size = self._size + len(kept) + _RECORD_OCTETS
        while size > self._limit:
            size -= len(records.popleft()[3]) + _RECORD_OCTETS
            self.dropped += 1
        self._size = size

    def records(self) -> list[Record]:
        """What is kept, oldest first."""
        return [Record(*each) for each in self._records]


def pcapng(name: str, records: Iterable[Record]) -> bytes:
    """Records of one link as a pcapng file with times in nanoseconds; `name` becomes the name of its interfaces."""
    parts = [_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))]
    options = _option(2, name.encode()[:255]) + _option(9, b"\x09") + _option(0, b"")
    parts += [_block(1, struct.pack("<HHI", kind, 0, 0) + options) for kind in (_RAW_IP, _ETHERNET)]
    sequences: dict[tuple[Flow, bool], int] = {}
    for record in records:
        interface = 1 if record.flow.carrier is Carrier.ETHERNET else 0
        for packet in _packets(record, sequences):
            head = struct.pack(
                "<IIIII", interface, record.time >> 32, record.time & 0xFFFF_FFFF, len(packet), len(packet)
            )
            parts.append(_block(6, head + packet))
    return b"".join(parts)


def _block(kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def _packets(record: Record, sequences: dict[tuple[Flow, bool], int]) -> Iterator[bytes]:
    flow = record.flow
    if flow.carrier is Carrier.ETHERNET:
        yield record.octets
        return
    source, target = (flow.local, flow.remote) if record.sent else (flow.remote, flow.local)
    for start in range(0, len(record.octets), _SEGMENT):
        part = record.octets[start : start + _SEGMENT]
        if flow.carrier is Carrier.UDP:
            yield _ip(source, target, _UDP, struct.pack(">HHHH", source[1], target[1], 8 + len(part), 0) + part)
            continue
        sent = sequences.get((flow, record.sent), 1)
        answered = sequences.get((flow, not record.sent), 1)
        sequences[flow, record.sent] = (sent + len(part)) & 0xFFFF_FFFF
        head = struct.pack(">HHIIBBHHH", source[1], target[1], sent, answered, 5 << 4, _PUSH_ACK, 65_535, 0, 0)
        yield _ip(source, target, _TCP, head + part)


def _ip(source: Endpoint, target: Endpoint, protocol: int, payload: bytes) -> bytes:
    one, other = (ipaddress.ip_address(each[0].partition("%")[0]) for each in (source, target))
    if one.version == 6:
        head = struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + one.packed + other.packed
        return head + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + one.packed + other.packed
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack(">H", checksum) + head[12:] + payload
