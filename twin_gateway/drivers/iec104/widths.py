"""Address widths of a link that are not those of the standard: ASDUs between the link's form and the usual one."""

from __future__ import annotations

from typing import NamedTuple

from twin_gateway.drivers.iec104.types import TYPES, AsduError

_USUAL = (2, 2, 3)
_BROADCAST = b"\xff\xff"
_GARBLED = b""
"""What no decoder takes: one counted error."""


class Widths(NamedTuple):
    """Octets of the cause of transmission (1 or 2), the common address (1 or 2) and the object address (1 to 3).

    IEC 60870-5-104 fixes 2, 2 and 3; stations that came from IEC 60870-5-101 keep the narrower fields. Everything else
    of the driver knows the usual form only: `widen` makes it of what comes, `narrow` the link's of what goes.
    """

    cause: int = 2
    common_address: int = 2
    object_address: int = 3

    @property
    def usual(self) -> bool:
        """Nothing needs to be translated."""
        return self == _USUAL

    def widen(self, asdu: bytes) -> bytes:
        """The usual form of a received ASDU; what is cut or left over stays so, or becomes empty. Never raises."""
        header = 2 + self.cause + self.common_address
        if len(asdu) < header:
            return _GARBLED
        common = asdu[2 + self.cause : header]
        if self.common_address == 1:
            common = _BROADCAST if common == b"\xff" else common + b"\0"
        head = asdu[:2] + asdu[2 : 2 + self.cause] + bytes(2 - self.cause) + common
        width, body, count = self.object_address, asdu[header:], asdu[1] & 0x7F
        fill = bytes(3 - width)
        if not fill or not count:
            return head + body
        if count == 1 or asdu[1] & 0x80:
            return head + body if len(body) < width else head + body[:width] + fill + body[width:]
        known = TYPES.get(asdu[0])
        if known is None:
            return head + body
        step = width + known.size
        if len(body) != count * step:
            return _GARBLED
        objects = [body[at : at + width] + fill + body[at + width : at + step] for at in range(0, len(body), step)]
        return head + b"".join(objects)

    def narrow(self, asdu: bytes) -> bytes:
        """The link's form of an ASDU of one object that is to be sent.

        Raises:
            AsduError: an address does not fit.
        """
        common, address = asdu[4:6], asdu[6:9]
        if self.common_address == 1:
            if common != _BROADCAST and common[1]:
                raise AsduError(f"common address {int.from_bytes(common, 'little')} does not fit into one octet")
            common = common[:1]
        if any(address[self.object_address :]):
            number = int.from_bytes(address, "little")
            raise AsduError(f"object address {number} does not fit into {self.object_address} octets")
        return asdu[: 2 + self.cause] + common + address[: self.object_address] + asdu[9:]
