"""One fault event as it is worked on: its sequence, what the grid was before, who is without supply."""

from __future__ import annotations

from dataclasses import dataclass, field

from address_space.ports import Caller
from twin_gateway.functions.flisr.engine import Snapshot
from twin_gateway.functions.flisr.interruptions import SupplyLog
from twin_gateway.functions.flisr.view import FeederView
from twin_gateway.twin.flisr.sequence import Sequence
from twin_gateway.twin.flisr.states import State

Mark = tuple[State, str, int, bool]
"""State, plan, mode of an event, and whether its location is known: the journal is written when one changes."""


@dataclass(slots=True)
class Case:
    """One event.

    Attributes:
        authority: on whose word commands leave: who confirmed, or who made the feeder automatic.
        saved: what is on disk.
    """

    sequence: Sequence
    snapshot: Snapshot
    view: FeederView
    authority: Caller
    interruption: SupplyLog = field(default_factory=SupplyLog)
    saved: Mark | None = None

    def mark(self) -> Mark:
        """As it is now."""
        sequence = self.sequence
        plan = sequence.offer.id if sequence.offer else ""
        return sequence.state, plan, int(sequence.mode), sequence.location is not None
