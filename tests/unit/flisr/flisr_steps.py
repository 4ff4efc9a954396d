"""What the tests of the FLISR state machine look at."""

from __future__ import annotations

from unit.flisr.flisr_world import Play

from twin_gateway.twin.flisr.states import State

ALL = ["block-reclose F1", "open A", "open B", "close H1", "close T"]


def states(play: Play) -> list[State]:
    return [state for state, _, _ in play.sequence.stamps]


def codes(play: Play) -> list[str]:
    return [tell.code for tell in play.told if tell.code != "F01"]


def executing(play: Play) -> Play:
    """A confirmed plan whose first opening is done."""
    play.run(20)
    play.take(play.sequence.confirm("p1", "hash-T", play.now, play.world)[1])
    return play.run(30, lambda: "open B" in play.sent)
