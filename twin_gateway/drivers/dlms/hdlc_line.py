"""HDLC as the primary station sees it: setting the link up, segments, windows, numbers, what was lost; no I/O."""

from __future__ import annotations

from twin_gateway.drivers.dlms.errors import MalformedApduError, WrapperError
from twin_gateway.drivers.dlms.hdlc import (
    DISC,
    DM,
    FRMR,
    LLC_REQUEST,
    LLC_RESPONSE,
    POLL,
    REJ,
    RNR,
    RR,
    SNRM,
    UA,
    UI,
    Address,
    Frame,
    FrameReader,
    Parameters,
    Unacknowledged,
    information_control,
    ready_control,
    unacknowledged_after,
)


class HdlcLine:
    """One link in normal response mode: we poll, the meter answers and never speaks unasked (but for UI frames).

    Args:
        client, server: the two addresses.
        proposed: parameters of our SNRM.
        limit: longest APDU taken, octets.
        retries: how often something is said again to a meter that keeps silent.

    Attributes:
        ready: whether the link is set up.
        parameters: what is in force, as we see it.
        progress: counts frames that carried something on; an answer is on its way as long as it grows.
    """

    def __init__(
        self,
        client: Address,
        server: Address,
        proposed: Parameters,
        *,
        limit: int = 0xFFFF,
        retries: int = 3,
    ) -> None:
        self._client = client
        self._server = server
        self._proposed = proposed
        self._limit = limit + len(LLC_RESPONSE)
        self._retries = retries
        self._reader = FrameReader()
        self.oddities = {"frame_errors": 0, "repeated_frames": 0, "frame_losses": 0}
        """Counts of what was survivable."""
        self.parameters = Parameters()
        self.ready = False
        self.progress = 0
        self.misaddressed = 0
        self._sent = 0  # V(S): number of the next new I frame
        self._received = 0  # V(R): number expected next
        self._queue: list[tuple[bytes, bool]] = []
        self._unacknowledged: Unacknowledged = []
        self._assembly: list[bytes] = []
        self._assembled = 0
        self._tries = 0
        self._our_turn = True
        self._last = b""
        self._out = b""

    # --- what the session calls ----------------------------------------------------------------------------------

    def open(self) -> bytes:
        """The octets that ask for a link."""
        return self._say(Frame(self._server, self._client, SNRM | POLL, self._proposed.encode()))

    def send(self, apdu: bytes) -> bytes:
        """The first octets of an APDU; the rest follows as the meter acknowledges."""
        whole = LLC_REQUEST + apdu
        size = self.parameters.send_octets
        cuts = [whole[at : at + size] for at in range(0, len(whole), size)]
        self._queue += [(cut, number < len(cuts) - 1) for number, cut in enumerate(cuts)]
        # A second APDU waits until the meter has acknowledged the frames of the first.
        return b"" if self._unacknowledged else self._window()

    def poll(self) -> bytes:
        """Octets that let the meter go on when it is our turn: one more APDU is wanted."""
        if not self.ready or not self._our_turn:
            return b""
        return self._say(self._supervisory())

    def feed(self, data: bytes) -> list[bytes]:
        """Takes received octets; returns the APDUs in them. `take_out` then has what the link itself answers.

        Raises:
            WrapperError: the meter refused or reset the link, or breaks its rules.
        """
        apdus: list[bytes] = []
        damaged = self._reader.damaged
        for frame in self._reader.feed(data):
            if frame.source != self._server or frame.destination != self._client:
                self.misaddressed += 1
                continue
            self._tries = 0
            apdus += self._take(frame)
        self.oddities["frame_errors"] += self._reader.damaged - damaged
        return apdus

    def take_out(self) -> bytes:
        """What feed() wants to be sent."""
        out, self._out = self._out, b""
        return out

    def expired(self) -> bytes:
        """Octets to send after silence: the last question again, or none when the meter was asked often enough."""
        if self._tries >= self._retries or not self._last:
            return b""
        self._tries += 1
        self._reader.forget()
        self.oddities["repeated_frames"] += 1
        if not self.ready:
            return self._last
        # Asking what the meter has is safer than saying it again: its answer tells whether the request was lost.
        return self._say(self._supervisory())

    def close(self) -> bytes:
        """The octets that end the link."""
        self.ready = False
        return Frame(self._server, self._client, DISC | POLL).encode()

    # --- sending -------------------------------------------------------------------------------------------------

    def _say(self, frame: Frame) -> bytes:
        self._our_turn = False
        self._last = frame.encode()
        return self._last

    def _supervisory(self) -> Frame:
        return Frame(self._server, self._client, ready_control(self._received))

    def _window(self) -> bytes:
        """The next I frames, as many as the window takes; the last one gives the turn to the meter."""
        while self._queue and len(self._unacknowledged) < self.parameters.send_window:
            information, more = self._queue.pop(0)
            self._unacknowledged.append((self._sent, information, more))
            self._sent = (self._sent + 1) & 7
        return self._frames()

    def _frames(self) -> bytes:
        last = len(self._unacknowledged) - 1
        out = b""
        for place, (number, information, more) in enumerate(self._unacknowledged):
            control = information_control(number, self._received, place == last)
            out += Frame(self._server, self._client, control, information, more).encode()
        self._our_turn = False
        self._last = out
        return out

    def _acknowledge(self, number: int) -> bool:
        """Drops the frames before `number`; whether any of ours remains unacknowledged."""
        before = len(self._unacknowledged)
        self._unacknowledged = unacknowledged_after(self._unacknowledged, self._sent, number)
        self.progress += before > len(self._unacknowledged)
        return bool(self._unacknowledged)

    # --- receiving -----------------------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> list[bytes]:
        if frame.is_information:
            return self._information(frame)
        kind = frame.kind
        if kind == UI:
            information = frame.information
            return [information[3:]] if information[:3] == LLC_RESPONSE and len(information) > 3 else []
        if kind == UA:
            self._accepted(frame)
            return []
        if kind == DM:
            self.ready = False
            raise WrapperError("the meter refuses or has ended the HDLC link (DM)")
        if kind == FRMR:
            self.ready = False
            raise WrapperError(f"the meter rejects an HDLC frame (FRMR {frame.information[:3].hex()})")
        if kind in (RR, RNR, REJ) and self.ready:
            self._supervised(frame, kind)
        return []

    def _accepted(self, frame: Frame) -> None:
        if self.ready:
            return  # the answer to a repeated SNRM
        self.parameters = self._proposed.lowered(Parameters.decode(frame.information))
        self.ready, self._our_turn, self._last = True, True, b""
        self._sent = self._received = 0

    def _supervised(self, frame: Frame, kind: int) -> None:
        self._our_turn = self._our_turn or frame.poll
        lost = self._acknowledge(frame.received_number)
        if not frame.poll:
            return
        if kind == RNR:
            # The meter is busy: nothing new until it says it is ready; expired() asks.
            self._last = self._supervisory().encode()
            return
        if lost:
            self.oddities["frame_losses"] += 1
            self._out += self._frames()
        elif self._queue:
            self._out += self._window()
        elif self._assembly:
            self._out += self._say(self._supervisory())

    def _information(self, frame: Frame) -> list[bytes]:
        if not self.ready:
            return []
        self._acknowledge(frame.received_number)
        ahead = (frame.sent_number - self._received) & 7
        if ahead >= self.parameters.receive_window:
            # Taken before, the answer to a question that was said twice. To answer each of the two answers would go on
            # for ever; what we have said since is answered too, or said again after a silence.
            self.oddities["frame_losses"] += 1
            return []
        if frame.poll:
            self._our_turn = True
        apdus: list[bytes] = []
        whole = True
        if not ahead:
            self._received = (self._received + 1) & 7
            whole = self._keep(frame, apdus)
        else:
            # One was lost: our N(R) tells the meter where to go on.
            self.oddities["frame_losses"] += 1
            whole = False
        if frame.poll and self._queue and not self._unacknowledged:
            self._out += self._window()
        elif frame.poll and not whole:
            self._out += self._say(self._supervisory())
        return apdus

    def _keep(self, frame: Frame, apdus: list[bytes]) -> bool:
        """Adds a segment; whether the APDU is complete."""
        if not frame.information:
            raise WrapperError("an HDLC I frame without information")
        self._assembled += len(frame.information)
        if self._assembled > self._limit:
            raise WrapperError(f"an APDU in HDLC frames is longer than {self._limit} octets")
        self._assembly.append(frame.information)
        self.progress += 1
        if frame.segmented:
            return False
        whole = b"".join(self._assembly)
        self._assembly, self._assembled = [], 0
        if whole[:3] != LLC_RESPONSE or len(whole) == 3:
            raise MalformedApduError("an HDLC message without the LLC of a response")
        apdus.append(whole[3:])
        return True
