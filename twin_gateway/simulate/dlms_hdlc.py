"""The secondary station of HDLC for simulated meters: answers when polled, keeps what is not acknowledged; no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twin_gateway.drivers.dlms.errors import MalformedApduError
from twin_gateway.drivers.dlms.hdlc import (
    DISC,
    DM,
    LLC_REQUEST,
    LLC_RESPONSE,
    POLL,
    REJ,
    RNR,
    RR,
    SNRM,
    UA,
    Address,
    Frame,
    FrameReader,
    Parameters,
    Unacknowledged,
    information_control,
    ready_control,
    unacknowledged_after,
)

_MOST_OCTETS = 1 << 20


@dataclass(slots=True)
class _Link:
    """One client's link to one meter."""

    granted: Parameters
    sent: int = 0
    received: int = 0
    assembly: list[bytes] = field(default_factory=list)
    queue: list[tuple[bytes, bool]] = field(default_factory=list)
    unacknowledged: Unacknowledged = field(default_factory=list)


class HdlcStation:
    """All links of one connection.

    Args:
        serve: takes client SAP, logical device and APDU; returns what the meter answers, None when there is no meter.
        largest: frame lengths and windows granted at most.
    """

    def __init__(self, serve: Callable[[int, int, bytes], list[bytes] | None], largest: Parameters) -> None:
        self._serve = serve
        self._largest = largest
        self._reader = FrameReader()
        self._links: dict[tuple[Address, Address], _Link] = {}

    def feed(self, data: bytes) -> bytes:
        """Takes received octets; returns what the meters answer."""
        return b"".join([self._take(frame) for frame in self._reader.feed(data)])

    def _take(self, frame: Frame) -> bytes:
        who = frame.source, frame.destination

        def unnumbered(kind: int, information: bytes = b"") -> bytes:
            return Frame(who[0], who[1], kind | POLL, information).encode()

        if frame.control & ~POLL == SNRM:
            if self._serve(who[0].upper, who[1].upper, b"") is None:
                return b""
            try:
                asked = Parameters.decode(frame.information)
            except MalformedApduError:
                return unnumbered(DM)
            granted = self._largest.lowered(asked)
            self._links[who] = _Link(granted)
            return unnumbered(UA, granted.encode())
        if frame.control & ~POLL == DISC:
            return unnumbered(UA if self._links.pop(who, None) else DM)
        link = self._links.get(who)
        if link is None:
            return unnumbered(DM)
        if frame.is_information:
            return self._information(link, who, frame)
        if frame.kind in {RR, RNR, REJ}:
            self._acknowledge(link, frame.received_number)
            return self._answer(link, who) if frame.poll and frame.kind != RNR else b""
        return b""

    def _information(self, link: _Link, who: tuple[Address, Address], frame: Frame) -> bytes:
        self._acknowledge(link, frame.received_number)
        if frame.sent_number == link.received:
            link.received = (link.received + 1) & 7
            link.assembly.append(frame.information)
            whole = b"" if frame.segmented else b"".join(link.assembly)
            if sum(map(len, link.assembly)) > _MOST_OCTETS or whole:
                link.assembly = []
            if whole[:3] == LLC_REQUEST:
                size = link.granted.send_octets
                for apdu in self._serve(who[0].upper, who[1].upper, whole[3:]) or []:
                    octets = LLC_RESPONSE + apdu
                    link.queue += [
                        (octets[at : at + size], at + size < len(octets)) for at in range(0, len(octets), size)
                    ]
        return self._answer(link, who) if frame.poll else b""

    @staticmethod
    def _acknowledge(link: _Link, number: int) -> None:
        link.unacknowledged = unacknowledged_after(link.unacknowledged, link.sent, number)

    @staticmethod
    def _answer(link: _Link, who: tuple[Address, Address]) -> bytes:
        """What is not acknowledged again, or the next frames, or that nothing is there."""
        if not link.unacknowledged:
            while link.queue and len(link.unacknowledged) < link.granted.send_window:
                link.unacknowledged.append((link.sent, *link.queue.pop(0)))
                link.sent = (link.sent + 1) & 7
        if not link.unacknowledged:
            return Frame(who[0], who[1], ready_control(link.received)).encode()
        last = link.unacknowledged[-1][0]
        return b"".join(
            Frame(who[0], who[1], information_control(n, link.received, n == last), octets, more).encode()
            for n, octets, more in link.unacknowledged
        )
