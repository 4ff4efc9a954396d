"""One subscription: which of the messages that come are taken, what was missed, and whether it is alive. Pure.

Rules of IEC 61850-8-1 and 7-2: a new state has a new stNum and begins with sqNum 0, repetitions count sqNum; no message
within the time allowed to live means that the association is lost. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from .frame import Frame, Message

LONGEST_LIVE_S = 600.0
"""A publisher that is silent for longer is lost, whatever it has said."""
_MOST = 0xFFFF_FFFF
_AGREEING = 3
"""Messages behind the last one that, each ahead of the one before, mean a publisher that has begun anew."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the messages of a control block must carry; None where nothing is said.

    Attributes:
        destination, source: MAC addresses, 6 octets.
        entries: number of members.
    """

    control_block: str
    destination: bytes
    app_id: int
    data_set: str | None
    go_id: str | None
    revision: int | None
    vlan: int | None
    source: bytes | None
    entries: int


class Taken(Enum):
    """What became of a message."""

    STATE = auto()  # taken: a new state, the first one heard, or the first after a loss
    REPETITION = auto()  # taken: the state that is known
    MISFIT = auto()  # of the right publisher, with another configuration than is expected
    NOT = auto()  # not taken


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one message.

    Attributes:
        counter: counter of the link that it adds to; empty for none.
        reason: why it was not taken, one sentence.
        missed: repetitions that did not come.
        lost: states that did not come: values that nobody will ever see.
        restarted: the publisher has begun anew.
        followed: the state before this one is known, so what is equal has not changed.
    """

    taken: Taken
    counter: str = ""
    reason: str = ""
    missed: int = 0
    lost: int = 0
    restarted: bool = False
    followed: bool = False


class Stream:
    """State of one subscription.

    Attributes:
        alive: messages that fit come in time (LGOS.St).
        misfit: the last message of the publisher did not fit, or said itself that it needs commissioning (NdsCom).
        simulated: the messages taken are simulated ones.
        state, sequence: stNum and sqNum last taken; -1 before the first.
        revision: confRev last received; -1 before the first.
        deadline: when it is lost unless a message comes.
    """

    def __init__(self, expected: Expected, *, simulation: bool, tolerance: float) -> None:
        self.expected = expected
        self.alive = False
        self.misfit = False
        self.simulated = False
        self.state = self.sequence = self.revision = -1
        self.deadline = 0.0
        self._simulation = simulation
        self._tolerance = tolerance
        self._source = b""
        self._behind = (-1, -1)
        self._agreeing = 0

    def judge(self, frame: Frame, message: Message, now: float) -> Judgement:
        """Take a message of this control block, or say why not."""
        if reason := self._foreign(frame):
            return Judgement(Taken.NOT, "foreign_frames", reason)
        if message.simulated and not self._simulation:
            return Judgement(Taken.NOT, "simulated_frames", "simulated messages come and are not taken")
        if not message.simulated and self.simulated and self.alive:
            return Judgement(Taken.NOT, "replaced_frames", "simulated messages are taken in place of the real ones")
        switched = message.simulated != self.simulated
        if self.alive and not switched and frame.source != self._source:
            reason = f"messages also come from {_mac(frame.source)}, the publisher is {_mac(self._source)}"
            return Judgement(Taken.NOT, "foreign_frames", reason)
        reason = self._misfits(message)
        if reason and switched and self.alive:
            return Judgement(Taken.NOT, "misfit_frames", reason)
        self.revision = message.revision
        if reason:
            self.misfit, self.alive = True, False
            return Judgement(Taken.MISFIT, "misfit_frames", reason)
        found = self._order(message, fresh=switched or self.state < 0)
        if found.taken is Taken.NOT:
            return found
        self.alive, self.misfit, self.simulated = True, False, message.simulated
        self.state, self.sequence, self._source = message.state, message.sequence, frame.source
        self.deadline = now + min(message.live, LONGEST_LIVE_S) + self._tolerance
        self._agreeing = 0
        return found

    def expire(self, now: float) -> bool:
        """Whether it has just been lost: the time allowed to live is over."""
        if not self.alive or now < self.deadline:
            return False
        self.alive = False
        return True

    def _foreign(self, frame: Frame) -> str:
        wanted = self.expected
        if frame.destination != wanted.destination:
            return f"messages go to {_mac(frame.destination)}, expected is {_mac(wanted.destination)}"
        if frame.app_id != wanted.app_id:
            return f"messages have APPID 0x{frame.app_id:04X}, expected is 0x{wanted.app_id:04X}"
        if wanted.vlan is not None and frame.vlan not in (0, wanted.vlan):
            return f"messages come in VLAN {frame.vlan}, expected is {wanted.vlan}"
        if wanted.source is not None and frame.source != wanted.source:
            return f"messages come from {_mac(frame.source)}, the publisher is {_mac(wanted.source)}"
        return ""

    def _misfits(self, message: Message) -> str:
        wanted = self.expected
        if message.needs_commissioning:
            return "the publisher says that it needs commissioning"
        rows: Iterator[tuple[str, object, object]] = iter(
            (
                ("ConfRev", message.revision, wanted.revision),
                ("DatSet", message.data_set, wanted.data_set),
                ("GoID", message.go_id, wanted.go_id),
                ("number of members", message.entries, wanted.entries),
            )
        )
        return next((f"{what} is {has}, expected {of}" for what, has, of in rows if of is not None and has != of), "")

    def _order(self, message: Message, *, fresh: bool) -> Judgement:
        """Where the message stands behind the last one."""
        if fresh:
            return Judgement(Taken.STATE)
        if message.state == self.state:
            return self._repetition(message)
        lost = _ahead(self.state, message.state) - 1
        if message.state > self.state or (self.state == _MOST and message.state <= 1):
            return Judgement(Taken.STATE, lost=lost, missed=message.sequence, followed=True)
        if not self.alive or (message.state <= 1 and message.sequence <= 1):
            return Judgement(Taken.STATE, restarted=True)
        return self._disordered(message, f"stNum {message.state} after {self.state}")

    def _repetition(self, message: Message) -> Judgement:
        sequence = message.sequence
        ahead = _ahead(self.sequence, sequence)
        if (self.sequence == _MOST and sequence <= 1) or sequence > self.sequence:
            taken = Taken.REPETITION if self.alive else Taken.STATE
            return Judgement(taken, missed=ahead - 1, followed=True)
        if not self.alive:
            # The publisher has begun anew and come to the same state number.
            return Judgement(Taken.STATE, restarted=True)
        if sequence == self.sequence:
            self._agreeing = 0
            return Judgement(Taken.NOT, "duplicate_frames")
        if self.state == 1 and sequence <= 1:
            return Judgement(Taken.STATE, restarted=True)
        return self._disordered(message, f"sqNum {sequence} after {self.sequence}")

    def _disordered(self, message: Message, reason: str) -> Judgement:
        """A late copy of an old message, unless several go on from each other: then the beginning anew was missed."""
        place = message.state, message.sequence
        if not self._agreeing or place < self._behind:
            self._agreeing = 1
        elif place > self._behind:
            self._agreeing += 1
        self._behind = place
        if self._agreeing >= _AGREEING:
            return Judgement(Taken.STATE, restarted=True)
        return Judgement(Taken.NOT, "disordered_frames", reason)


def _ahead(before: int, after: int) -> int:
    """How many steps a counter has gone; it goes from its largest value to 1, with some to 0."""
    return max(1, after) if before == _MOST and after <= 1 else after - before


def _mac(octets: bytes) -> str:
    return octets.hex("-").upper()
