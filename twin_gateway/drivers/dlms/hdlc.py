"""HDLC frames of IEC 62056-46 (format type 3): addresses, check sequences, and cutting a stream into frames.

    7E | A s+length (11 bits) | destination | source | control | HCS | information | FCS | 7E

The length counts everything between the flags, so nothing is escaped. Frames without information have no HCS.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass

from twin_gateway.drivers.dlms.errors import MalformedApduError

FLAG = 0x7E
POLL = 0x10
"""The poll bit of a command, the final bit of a response."""
RR, RNR, REJ = 0x01, 0x05, 0x09
SNRM, UA, DISC, DM, FRMR, UI = 0x83, 0x63, 0x43, 0x0F, 0x87, 0x03
"""Control octets without the poll bit."""

LLC_REQUEST, LLC_RESPONSE = b"\xe6\xe6\x00", b"\xe6\xe7\x00"
"""What stands in front of every APDU (IEC 62056-46, LLC sublayer)."""

MAX_INFORMATION = 2030
"""Most octets of information in a frame; the length field has 11 bits."""
DEFAULT_INFORMATION = 128
"""Where the parameter negotiation says nothing."""
_LARGEST = 0x7FF

_REVERSED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))


def check_sequence(data: bytes) -> bytes:
    """The two octets of FCS or HCS over `data` as sent (CRC-16/X-25 of ISO/IEC 13239).

    The library has the same polynomial with the highest bit first: octets and result are turned round.
    """
    crc = crc_hqx(data.translate(_REVERSED), 0xFFFF) ^ 0xFFFF
    return bytes((_REVERSED[crc >> 8], _REVERSED[crc & 0xFF]))


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a station.

    Attributes:
        upper: client SAP, or logical device.
        lower: physical device; None in the form of one octet.
        octets: 1, 2 or 4.
    """

    upper: int
    lower: int | None = None
    octets: int = 1

    def __post_init__(self) -> None:
        most = 0x3FFF if self.octets == 4 else 0x7F
        if self.octets not in (1, 2, 4) or (self.octets == 1) != (self.lower is None):
            raise ValueError("an HDLC address has 1 octet (upper only), or 2 or 4 (upper and lower)")
        if not 0 <= self.upper <= most or not 0 <= (self.lower or 0) <= most:
            raise ValueError(f"an HDLC address of {self.octets} octets goes up to {most} in each part")

    @classmethod
    def of_server(cls, upper: int, lower: int | None, octets: int | None) -> Address:
        """The shortest form that holds both parts, or the form asked for (a missing lower part is then 0).

        Raises:
            ValueError: it does not fit.
        """
        if octets is None:
            small = upper <= 0x7F and (lower or 0) <= 0x7F
            octets = 4 if not small else 1 if lower is None else 2
        return cls(upper, None if octets == 1 and lower is None else lower or 0, octets)

    def encode(self) -> bytes:
        """The octets; the lowest bit is set in the last one only."""
        if self.octets == 1:
            return bytes((self.upper << 1 | 1,))
        lower = self.lower or 0
        if self.octets == 2:
            return bytes((self.upper << 1, lower << 1 | 1))
        parts = (self.upper >> 7, self.upper & 0x7F, lower >> 7, lower & 0x7F)
        return bytes((parts[0] << 1, parts[1] << 1, parts[2] << 1, parts[3] << 1 | 1))


def _read_address(data: bytes, at: int) -> tuple[Address, int]:
    for size in (1, 2, 4):
        end = at + size
        if end > len(data):
            break
        if data[end - 1] & 1:
            field = data[at:end]
            if any(octet & 1 for octet in field[:-1]):
                break
            seven = [octet >> 1 for octet in field]
            if size == 1:
                return Address(seven[0]), end
            if size == 2:
                return Address(seven[0], seven[1], 2), end
            return Address(seven[0] << 7 | seven[1], seven[2] << 7 | seven[3], 4), end
    raise MalformedApduError("HDLC address is none of 1, 2 or 4 octets")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        control: the control octet with its poll or final bit.
        segmented: more frames of the same APDU follow.
    """

    destination: Address
    source: Address
    control: int
    information: bytes = b""
    segmented: bool = False

    @property
    def poll(self) -> bool:
        """The poll bit of a command, the final bit of a response."""
        return bool(self.control & POLL)

    @property
    def is_information(self) -> bool:
        """Whether this is an I frame."""
        return not self.control & 1

    @property
    def sent_number(self) -> int:
        """N(S) of an I frame."""
        return self.control >> 1 & 7

    @property
    def received_number(self) -> int:
        """N(R) of an I, RR, RNR or REJ frame: the number expected next."""
        return self.control >> 5

    @property
    def kind(self) -> int:
        """RR, RNR, REJ, SNRM, UA, DISC, DM, FRMR or UI of a frame that is no I frame."""
        return self.control & 0x0F if self.control & 3 == 1 else self.control & ~POLL

    def encode(self) -> bytes:
        """The octets with both flags."""
        head = self.destination.encode() + self.source.encode() + bytes((self.control,))
        length = 2 + len(head) + 2 + (2 + len(self.information) if self.information else 0)
        head = (0xA000 | (0x0800 if self.segmented else 0) | length).to_bytes(2, "big") + head
        if self.information:
            head += check_sequence(head) + self.information
        return b"\x7e" + head + check_sequence(head) + b"\x7e"


Unacknowledged = list[tuple[int, bytes, bool]]
"""I frames that were sent: number, information, whether more of the same APDU follow."""


def unacknowledged_after(sent: Unacknowledged, next_number: int, received_number: int) -> Unacknowledged:
    """What remains of the frames sent when the other side says what it expects next; a number of none changes nothing.

    Args:
        sent: frames that were not acknowledged so far, in order.
        next_number: number of the next new frame.
        received_number: N(R) of the other side.
    """
    numbers = [number for number, _, _ in sent]
    if received_number in numbers:
        return sent[numbers.index(received_number) :]
    return [] if received_number == next_number else sent


def information_control(sent: int, received: int, poll: bool) -> int:
    """Control octet of an I frame."""
    return received << 5 | (POLL if poll else 0) | sent << 1


def ready_control(received: int) -> int:
    """Control octet of RR with the poll bit."""
    return received << 5 | POLL | RR


class FrameReader:
    """Cuts a byte stream into frames; never keeps more than one frame of the longest kind.

    Attributes:
        damaged: frames with a wrong check sequence, format or address.
        skipped: octets that belonged to no frame.
    """

    __slots__ = ("_buffer", "damaged", "skipped")

    def __init__(self) -> None:
        self._buffer = b""
        self.damaged = 0
        self.skipped = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Takes received octets, returns the whole frames with right check sequences. Damaged ones are counted."""
        data = self._buffer + data if self._buffer else data
        out: list[Frame] = []
        at = 0
        while True:
            start = data.find(FLAG, at)
            if start < 0:
                self.skipped += len(data) - at
                at = len(data)
                break
            self.skipped += start - at
            at = start
            if len(data) - at < 3:
                break
            if data[at + 1] == FLAG:  # the closing flag of the frame before, or time fill
                at += 1
                continue
            length = int.from_bytes(data[at + 1 : at + 3], "big") & _LARGEST
            if data[at + 1] >> 4 != 0xA or length < 7:
                # After a frame whose closing flag also opened it, or in the midst of noise.
                self.damaged += data[at + 1] >> 4 == 0xA
                at += 1
                continue
            end = at + 1 + length
            if end >= len(data):
                if not self._head_is_right(data, at + 1, end):
                    # Not waited for: a damaged length would swallow what follows.
                    self.damaged += 1
                    at += 1
                    continue
                break
            frame = self._frame(data[at + 1 : end]) if data[end] == FLAG else None
            if frame is None:
                self.damaged += 1
                at += 1
                continue
            out.append(frame)
            # The closing flag may open the next frame.
            at = end
        self._buffer = data[at:]
        return out

    def forget(self) -> None:
        """Drops the beginning of a frame whose rest did not come."""
        self.damaged += bool(self._buffer)
        self._buffer = b""

    @staticmethod
    def _head_is_right(data: bytes, at: int, end: int) -> bool:
        """Whether the head of an incomplete frame is right as far as it is there; it begins at `at`."""
        try:
            _, after = _read_address(data, at + 2)
            _, after = _read_address(data, after)
        except MalformedApduError:
            # Too short to tell, or wrong whatever follows.
            return len(data) < at + 10
        after += 1
        if after + 2 > len(data):
            return True
        return after + 2 <= end and check_sequence(data[at:after]) == data[after : after + 2]

    @staticmethod
    def _frame(body: bytes) -> Frame | None:
        """The frame between two flags; None when it is damaged."""
        if check_sequence(body[:-2]) != body[-2:]:
            return None
        try:
            destination, at = _read_address(body, 2)
            source, at = _read_address(body, at)
        except MalformedApduError:
            return None
        if at + 3 > len(body):
            return None
        control, at = body[at], at + 1
        information = b""
        if len(body) > at + 2:
            if len(body) < at + 4 or check_sequence(body[:at]) != body[at : at + 2]:
                return None
            information = body[at + 2 : -2]
        return Frame(destination, source, control, information, bool(body[0] & 0x08))


@dataclass(frozen=True, slots=True)
class Parameters:
    """What SNRM proposes and UA grants, as its sender sees it: octets of information, frames of a window."""

    send_octets: int = DEFAULT_INFORMATION
    receive_octets: int = DEFAULT_INFORMATION
    send_window: int = 1
    receive_window: int = 1

    def lowered(self, other: Parameters) -> Parameters:
        """What holds for this side: each may only lower what the other says; its receiving is our sending."""
        return Parameters(
            min(self.send_octets, other.receive_octets),
            min(self.receive_octets, other.send_octets),
            min(self.send_window, other.receive_window),
            min(self.receive_window, other.send_window),
        )

    def encode(self) -> bytes:
        """The information field of SNRM or UA."""
        size = 1 if max(self.send_octets, self.receive_octets) < 0x100 else 2
        out = b""
        for number, value, octets in (
            (5, self.send_octets, size),
            (6, self.receive_octets, size),
            (7, self.send_window, 4),
            (8, self.receive_window, 4),
        ):
            out += bytes((number, octets)) + value.to_bytes(octets, "big")
        return bytes((0x81, 0x80, len(out))) + out

    @classmethod
    def decode(cls, data: bytes) -> Parameters:
        """The parameters in an information field; what is missing or 0 has its default.

        Raises:
            MalformedApduError: not such a field, or a value out of its range.
        """
        values = {5: DEFAULT_INFORMATION, 6: DEFAULT_INFORMATION, 7: 1, 8: 1}
        if data:
            if len(data) < 3 or data[:2] != b"\x81\x80" or len(data) < 3 + data[2]:
                raise MalformedApduError("HDLC parameters are malformed")
            at, end = 3, 3 + data[2]
            while at < end:
                if at + 2 > end or not 1 <= data[at + 1] <= 4 or at + 2 + data[at + 1] > end:
                    raise MalformedApduError("HDLC parameters are truncated")
                number, size = data[at], data[at + 1]
                value = int.from_bytes(data[at + 2 : at + 2 + size], "big")
                if number in values and value:
                    values[number] = value
                at += 2 + size
        if not (1 <= values[7] <= 7 and 1 <= values[8] <= 7):
            raise MalformedApduError("an HDLC window is 1 to 7 frames")
        if max(values[5], values[6]) > MAX_INFORMATION:
            raise MalformedApduError(f"HDLC frames hold at most {MAX_INFORMATION} octets")
        return cls(values[5], values[6], values[7], values[8])
