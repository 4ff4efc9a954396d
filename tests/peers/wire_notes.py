"""What every link that tests give to a driver keeps: last errors by address, and the octets on the wire."""

from __future__ import annotations

from functools import cached_property

from address_space import clock
from twin_gateway.drivers.capture import CaptureRing, Flow


class WireNotes:
    """The part of `contract.Link` that drivers use alike; a base for recorders."""

    @cached_property
    def last_errors(self) -> dict[str, str]:
        """Address of a point, empty for the link -> the last error."""
        return {}

    @cached_property
    def ring(self) -> CaptureRing:
        """What the driver read and wrote."""
        return CaptureRing(1 << 20)

    def kept_until(self) -> int:
        return clock.now()

    def error(self, text: str, address: str = "") -> None:
        assert text
        self.last_errors[address] = text

    def connected(self, flow: Flow) -> None:
        self.ring.connected(flow)

    def traffic(self, sent: bool, octets: bytes) -> None:
        assert octets
        self.ring.add(sent, octets)
