"""The capture process: the only one with a raw socket; hands GOOSE frames of some multicast addresses to the gateway.

It is given one end of a stream socket (the number of the descriptor is its argument). It reads one line of JSON with
the interface and the wanted (destination, APPID) pairs, opens the socket, gives up every privilege and copies frames
until the other end is closed. Frames are not decoded here.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

HEAD = struct.Struct(">BH")
"""Head of a record on the channel: kind, octets that follow."""
MAX_LINE = 65_536
_ETHERTYPE, _EVERY_TYPE = 0x88B8, 3
_MAX_FRAME = 1600
_QUEUE_OCTETS = 1 << 20
_FAREWELL_S = 1.0
_AT_ONCE = 64
_FOREIGN_EVERY_S = 1.0
_STATISTICS_EVERY = 1.0
_MEMBERSHIP, _MULTICAST, _AUXILIARY, _STATISTICS, _IGNORE_OUTGOING = 1, 0, 8, 6, 23
_SOL_PACKET, _OUTGOING, _VLAN_VALID = 263, 4, 0x10
_ATTACH_FILTER = 26
_RECEIVE_OCTETS = 1 << 20
_NOBODY = 65_534
_NO_NEW_PRIVILEGES = 38


class Kind(IntEnum):
    """Kinds of records on the channel."""

    READY = 1  # the socket is open, the privileges are gone
    FRAME = 2  # one Ethernet frame, with its VLAN tag
    DROPPED = 3  # frames that did not fit into a queue (8 octets), here or in the kernel
    OVERSIZED = 4  # one frame that is longer than Ethernet's
    REFUSED = 5  # the socket cannot be opened: text


def filter_of(destinations: Sequence[bytes]) -> list[tuple[int, int, int, int]]:
    """A classic BPF program that lets through GOOSE to one of these addresses: (code, true, false, operand)."""
    program: list[tuple[int, int, int, int]] = [
        (0x28, 0, 0, 12),  # the EtherType; the kernel has taken off the VLAN tag
        (0x15, 1, 0, _ETHERTYPE),
        (0x06, 0, 0, 0),
    ]
    for address in destinations:
        program += [
            (0x20, 0, 0, 0),  # the first four octets
            (0x15, 0, 3, int.from_bytes(address[:4], "big")),
            (0x28, 0, 0, 4),  # the last two
            (0x15, 0, 1, int.from_bytes(address[4:], "big")),
            (0x06, 0, 0, 0xFFFF),
        ]
    return [*program, (0x06, 0, 0, 0)]


def open_socket(interface: str, destinations: Sequence[bytes]) -> socket.socket:
    """A raw socket that gets GOOSE frames to these addresses and nothing else.

    Raises:
        OSError: no such interface, or no right (CAP_NET_RAW).
    """
    # Protocol 0 receives nothing until it is bound, so nothing comes in before the filter stands.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        program = b"".join(struct.pack("=HBBI", *step) for step in filter_of(destinations))
        memory = ctypes.create_string_buffer(program)
        head = struct.pack("@HP", len(program) // 8, ctypes.addressof(memory))
        opened.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, head)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_OCTETS)
        opened.setsockopt(_SOL_PACKET, _AUXILIARY, 1)
        with contextlib.suppress(OSError):  # before Linux 4.20; what goes out is then seen by its type
            opened.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        # A socket for one EtherType would be shown frames of a foreign VLAN as if they had no tag.
        opened.bind((interface, _EVERY_TYPE))
        index = socket.if_nametoindex(interface)
        for address in destinations:
            request = struct.pack("=iHH8s", index, _MULTICAST, 6, address)
            opened.setsockopt(_SOL_PACKET, _MEMBERSHIP, request)
    except BaseException:
        opened.close()
        raise
    return opened


def give_up_privileges() -> None:
    """No capability, no way to new ones, and not root any more.

    Raises:
        OSError: something is still there afterwards.
    """
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x2008_0522, 0), 8)
    if library.capset(header, ctypes.create_string_buffer(24)) != 0:
        raise OSError(ctypes.get_errno(), "the privileges cannot be given up")


class Capture:
    """Copies frames from the raw socket to the channel, in batches, with a bounded queue.

    Args:
        channel: connected stream socket.
        raw: see `open_socket`.
        wanted: (destination, APPID) pairs; others at a wanted address are shown once a second, so that a wrong APPID
            can be told, but are no load.

    Attributes:
        dropped: frames that found no room and have not been told yet.
    """

    def __init__(self, channel: socket.socket, raw: socket.socket, wanted: frozenset[tuple[bytes, bytes]]) -> None:
        self._channel, self._raw, self._wanted = channel, raw, wanted
        self._out = bytearray(HEAD.pack(Kind.READY, 0))
        self._foreign_at = -_FOREIGN_EVERY_S
        self._statistics_at = 0.0
        self.dropped = 0

    def run(self) -> None:
        """Until the other end closes.

        Raises:
            OSError: the interface is gone.
        """
        waiting = select.poll()
        waiting.register(self._raw, select.POLLIN)
        while self._send():
            waiting.register(self._channel, select.POLLIN | (select.POLLOUT if self._out else 0))
            for descriptor, happened in waiting.poll(_STATISTICS_EVERY * 1000):
                if descriptor == self._raw.fileno():
                    self._receive()
                elif happened & ~select.POLLOUT:
                    return  # nothing more is said here: it was closed
            self._statistics()

    def _receive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                octets, ancillary, flags, address = self._raw.recvmsg(_MAX_FRAME, 128)
            except BlockingIOError:
                return
            if address[2] == _OUTGOING:
                continue
            self.take(octets, ancillary, truncated=bool(flags & socket.MSG_TRUNC))

    def take(self, octets: bytes, ancillary: Sequence[tuple[int, int, bytes]], *, truncated: bool) -> None:
        """Queue one frame."""
        tag = b""
        for level, kind, data in ancillary:
            if level == _SOL_PACKET and kind == _AUXILIARY and len(data) >= 18:
                status, tci = struct.unpack_from("=I", data)[0], struct.unpack_from("=H", data, 16)[0]
                if status & _VLAN_VALID:
                    tag = struct.pack(">HH", 0x8100, tci)
        if (octets[:6], octets[14:16]) not in self._wanted:
            now = time.monotonic()
            if now - self._foreign_at < _FOREIGN_EVERY_S:
                return
            self._foreign_at = now
        kind = Kind.OVERSIZED if truncated else Kind.FRAME
        body = b"" if truncated else octets[:12] + tag + octets[12:]
        if len(self._out) + HEAD.size + len(body) > _QUEUE_OCTETS:
            self.dropped += 1
            return
        self._out += HEAD.pack(kind, len(body))
        self._out += body

    def _statistics(self) -> None:
        now = time.monotonic()
        if now - self._statistics_at < _STATISTICS_EVERY:
            return
        self._statistics_at = now
        _packets, lost = struct.unpack("=II", self._raw.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self.dropped += lost
        if self.dropped and len(self._out) < _QUEUE_OCTETS:
            self._out += HEAD.pack(Kind.DROPPED, 8) + self.dropped.to_bytes(8, "big")
            self.dropped = 0

    def refuse(self, reason: Exception) -> None:
        """Say why it ends, behind what waits to be sent: the other end may have half a record."""
        self._channel.settimeout(_FAREWELL_S)
        with contextlib.suppress(OSError):
            self._channel.sendall(self._out + _refusal(reason))

    def _send(self) -> bool:
        """Write what the channel takes; False when its other end is gone."""
        if self._out:
            try:
                del self._out[: self._channel.send(self._out)]
            except BlockingIOError:
                pass
            except OSError:
                return False
        return True


def _refusal(reason: Exception) -> bytes:
    text = str(reason).encode()[:1000]
    return HEAD.pack(Kind.REFUSED, len(text)) + text


def _request(channel: socket.socket) -> dict[str, Any] | None:
    """The line that says what is wanted; None when the other end went away first."""
    line = b""
    while not line.endswith(b"\n"):
        part = channel.recv(4096)
        if not part or len(line) > MAX_LINE:
            return None
        line += part
    found = json.loads(line)
    return found if isinstance(found, dict) else None


def main(arguments: Sequence[str]) -> int:
    """Serve one gateway; the exit code. Further arguments are the only interfaces that may be asked for."""
    channel = socket.socket(fileno=int(arguments[0]))
    request = _request(channel)
    if request is None:
        return 1
    try:
        interface = str(request["interface"])
        if arguments[1:] and interface not in arguments[1:]:
            raise PermissionError(f"interface {interface} is not among {', '.join(arguments[1:])}")
        wanted = frozenset(
            (bytes.fromhex(destination)[:6], int(app_id).to_bytes(2, "big"))
            for destination, app_id in request["streams"]
        )
        raw = open_socket(interface, sorted({destination for destination, _ in wanted}))
        give_up_privileges()
    except (OSError, KeyError, TypeError, ValueError) as error:
        with contextlib.suppress(OSError):
            channel.sendall(_refusal(error))
        return 1
    channel.setblocking(False)
    capture = Capture(channel, raw, wanted)
    try:
        capture.run()
    except OSError as error:
        capture.refuse(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
