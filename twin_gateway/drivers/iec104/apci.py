"""The APCI state machine of IEC 60870-5-104, both roles, without I/O: framing, sequence numbers, windows, timers."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from twin_gateway.drivers.iec104.codec import MAX_ASDU

START = 0x68
_START, _LONGEST = bytes((START,)), 255
_HEADER = struct.Struct("<BBHH")
_SEQUENCE = 0x7FFF
_BURST = 4
"""So many frames of one length are looked at together."""
_ROUND = range(_SEQUENCE + 1 + 4096)
_NUMBERS_LOW = bytes(number << 1 & 0xFF for number in _ROUND)
_NUMBERS_HIGH = bytes(number >> 7 & 0xFF for number in _ROUND)
"""The octets of all send sequence numbers in order, on past the last: those of a burst must be a part of them."""

FRAMING, SEQUENCE, T1 = "framing_errors", "sequence_errors", "t1_timeouts"
"""Counters of what ends a connection."""


class ApciError(ConnectionError):
    """The peer broke framing, sequence numbers or a time-out; the standard asks for the connection to be closed.

    Attributes:
        counter: what it is counted as.
    """

    def __init__(self, text: str, counter: str = FRAMING) -> None:
        super().__init__(text)
        self.counter = counter


class Control(IntEnum):
    """Control octets of the unnumbered frames."""

    STARTDT_ACT = 0x07
    STARTDT_CON = 0x0B
    STOPDT_ACT = 0x13
    STOPDT_CON = 0x23
    TESTFR_ACT = 0x43
    TESTFR_CON = 0x83


@dataclass(frozen=True, slots=True)
class Limits:
    """Windows in frames, time-outs in seconds, and how many ASDUs may wait for the window to open."""

    k: int = 12
    w: int = 8
    t1: float = 15.0
    t2: float = 10.0
    t3: float = 20.0
    queue: int = 1024


def _unnumbered(control: int) -> bytes:
    return bytes((START, 4, control, 0, 0, 0))


_U_FRAMES = {control: _unnumbered(control) for control in Control}


class Endpoint:
    """One end of a connection. Times are seconds of one monotonic clock that the caller gives with every call.

    What is to be written gathers in `output`; the caller sends and clears it. ASDUs come out of `receive` as octets:
    a malformed ASDU is not this layer's affair.

    Attributes:
        controlling: True for the controlling station (client), False for the controlled one (server).
        started: user data transfer is on.
        output: frames to be written, in order.
        unexpected: well-formed unnumbered frames that nobody asked for.
        tests: TESTFR frames sent because the connection was idle for t3.
    """

    def __init__(self, *, controlling: bool, limits: Limits, now: float) -> None:
        self.controlling, self.limits = controlling, limits
        self.started = False
        self.output: list[bytes] = []
        self.unexpected = self.tests = 0
        self._buffer = b""
        self._send_number = self._receive_number = self._acknowledged = 0
        self._unconfirmed = 0  # frames received since we last acknowledged
        self._acknowledge_at: float | None = None
        self._last_received = now
        self._sent_at: deque[float] = deque()
        self._waiting: deque[bytes] = deque()
        self._asked: dict[Control, float] = {}  # unnumbered confirmation awaited -> deadline

    # -- sending ------------------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """Frames that may leave at once."""
        return self.limits.k - len(self._sent_at) if self.sending else 0

    @property
    def sending(self) -> bool:
        """User data may be sent: transfer is on and its end was not asked for."""
        return self.started and Control.STOPDT_CON not in self._asked

    @property
    def waiting(self) -> int:
        """ASDUs that wait for the window to open."""
        return len(self._waiting)

    @property
    def owing(self) -> bool:
        """Frames have been received that were not acknowledged yet."""
        return self._unconfirmed > 0

    def start(self, now: float) -> None:
        """Ask for user data transfer (controlling station)."""
        self._ask(Control.STARTDT_ACT, Control.STARTDT_CON, now)

    def stop(self, now: float) -> None:
        """Ask for the end of user data transfer (controlling station); acknowledges what came first."""
        self.acknowledge()
        self._ask(Control.STOPDT_ACT, Control.STOPDT_CON, now)

    def send(self, asdu: bytes, now: float) -> bool:
        """Send an ASDU or let it wait for the window; False when transfer is off or the queue full: nothing is kept."""
        if not self.sending or len(self._waiting) >= self.limits.queue:
            return False
        if not 0 < len(asdu) <= MAX_ASDU:
            raise ValueError(f"an ASDU has 1 to {MAX_ASDU} octets, not {len(asdu)}")
        self._waiting.append(asdu)
        self._flush(now)
        return True

    def send_now(self, asdu: bytes, now: float) -> bool:
        """Send an ASDU only if it can leave at once; never queues."""
        return not self._waiting and self.window > 0 and self.send(asdu, now)

    def _flush(self, now: float) -> None:
        while self._waiting and self.window > 0:
            asdu = self._waiting.popleft()
            header = _HEADER.pack(START, 4 + len(asdu), self._send_number << 1, self._receive_number << 1)
            self.output.append(header + asdu)
            self._send_number = (self._send_number + 1) & _SEQUENCE
            self._sent_at.append(now)
            self._unconfirmed, self._acknowledge_at = 0, None

    def acknowledge(self) -> None:
        """Acknowledge what has been received, without waiting for more of it (w) or for time to run out (t2)."""
        if self._unconfirmed:
            self.output.append(_HEADER.pack(START, 4, 1, self._receive_number << 1))
            self._unconfirmed, self._acknowledge_at = 0, None

    def _ask(self, request: Control, confirmation: Control, now: float) -> None:
        if confirmation not in self._asked:
            self._asked[confirmation] = now + self.limits.t1
            self.output.append(_U_FRAMES[request])

    # -- receiving ----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float, asdus: list[bytes]) -> None:
        """Take octets from the peer; ASDUs in them are appended to `asdus`, also when an error follows them.

        Raises:
            ApciError: framing or sequence numbers are broken; the connection must be closed.
        """
        self._last_received = now
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        position, end = self._burst(data, asdus), len(data)
        while position + 2 <= end:
            length = data[position + 1]
            if data[position] != START or not 4 <= length <= 253:
                raise ApciError(f"no APDU starts with {data[position : position + 2].hex()}")
            after = position + 2 + length
            if after > end:
                break
            first = data[position + 2]
            if not first & 1:
                number = (first | data[position + 3] << 8) >> 1
                if number != self._receive_number:
                    raise ApciError(f"frame {number} came where {self._receive_number} was due", SEQUENCE)
                if not self.started:
                    raise ApciError("user data came while transfer was stopped", SEQUENCE)
                self._receive_number = (number + 1) & _SEQUENCE
                acknowledged = (data[position + 4] | data[position + 5] << 8) >> 1
                if acknowledged != self._acknowledged:
                    self._confirmed(acknowledged)
                self._unconfirmed += 1
                asdus.append(data[position + 6 : after])
            elif length != 4:
                raise ApciError(f"a supervisory frame has 4 octets, not {length}")
            elif first & 2:
                self._control(first, now)
            else:
                self._confirmed((data[position + 4] | data[position + 5] << 8) >> 1)
            position = after
        self._buffer = data[position:]
        if self._unconfirmed:
            if self._unconfirmed >= self.limits.w:
                self.acknowledge()
            elif self._acknowledge_at is None:
                self._acknowledge_at = now + self.limits.t2
        if self._waiting:
            self._flush(now)

    def _burst(self, data: bytes, asdus: list[bytes]) -> int:
        """Take the octets' first frames at once when all of them are as long and each has the number that is due.

        This is what a busy station sends. The octets of the control field are compared by strides, so no frame costs
        a step of its own; anything else is left to be taken frame by frame.

        Returns:
            How many octets were taken.
        """
        step = data[1] + 2 if len(data) > 1 else 0
        count = len(data) // step if step > 6 else 0
        if count < _BURST or not self.started:
            return 0
        end, number = count * step, self._receive_number
        if not (
            data[2:end:step] == _NUMBERS_LOW[number : number + count]
            and data[3:end:step] == _NUMBERS_HIGH[number : number + count]
            and data[:end:step] == _START * count
            and data[1:end:step] == data[1:2] * count
            and data[4:end:step] == data[4:5] * count
            and data[5:end:step] == data[5:6] * count
            and step <= _LONGEST
        ):
            return 0
        self._receive_number = (number + count) & _SEQUENCE
        acknowledged = (data[4] | data[5] << 8) >> 1
        if acknowledged != self._acknowledged:
            self._confirmed(acknowledged)
        self._unconfirmed += count
        asdus += [data[start : start + step - 6] for start in range(6, end, step)]
        return end

    def _confirmed(self, number: int) -> None:
        count = (number - self._acknowledged) & _SEQUENCE
        if count > len(self._sent_at):
            raise ApciError(f"the peer acknowledged frame {number}, which was never sent", SEQUENCE)
        self._acknowledged = number
        for _ in range(count):
            self._sent_at.popleft()

    def _control(self, octet: int, now: float) -> None:
        match octet:
            case Control.TESTFR_ACT:
                self.output.append(_U_FRAMES[Control.TESTFR_CON])
            case Control.STARTDT_ACT if not self.controlling:
                self.started = True
                self.output.append(_U_FRAMES[Control.STARTDT_CON])
            case Control.STOPDT_ACT if not self.controlling:
                self.acknowledge()
                self.started = False
                self._waiting.clear()
                self.output.append(_U_FRAMES[Control.STOPDT_CON])
            case Control.STARTDT_CON | Control.STOPDT_CON | Control.TESTFR_CON:
                if self._asked.pop(Control(octet), None) is None:
                    self.unexpected += 1
                elif octet == Control.STARTDT_CON:
                    self.started = True
                    self._flush(now)
                elif octet == Control.STOPDT_CON:
                    self.started = False
                    self._waiting.clear()
            case Control.STARTDT_ACT | Control.STOPDT_ACT:
                self.unexpected += 1
            case _:
                raise ApciError(f"no unnumbered frame has the control octet {octet:#04x}")

    # -- time ---------------------------------------------------------------------------------------------------

    @property
    def period(self) -> float:
        """How often `tick` wants to be called, in seconds."""
        return max(0.01, min(1.0, self.limits.t1 / 4, self.limits.t2 / 4, self.limits.t3 / 4))

    def tick(self, now: float) -> None:
        """Acknowledge in time (t2), test an idle connection (t3), give up on a silent peer (t1: ApciError)."""
        for confirmation, deadline in self._asked.items():
            if now >= deadline:
                raise ApciError(f"no {confirmation.name} within t1 ({self.limits.t1:g} s)", T1)
        if self._sent_at and now - self._sent_at[0] >= self.limits.t1:
            raise ApciError(f"a frame was not acknowledged within t1 ({self.limits.t1:g} s)", T1)
        if self._acknowledge_at is not None and now >= self._acknowledge_at:
            self.acknowledge()
        if now - self._last_received >= self.limits.t3 and Control.TESTFR_CON not in self._asked:
            self.tests += 1
            self._ask(Control.TESTFR_ACT, Control.TESTFR_CON, now)
