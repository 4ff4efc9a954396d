"""When an indicator was set: kept from the change, not from the last answer."""

from __future__ import annotations

from dataclasses import replace

from twin_gateway.functions.flisr.passages import Passages
from twin_gateway.twin.flisr.watch import Reading

A = "RMU1/MV1/C1/_/SFPI1/FltInd"


def told(value: bool, received: float, time: float | None = None, *, usable: bool = True) -> Reading:
    made = Reading(value, usable, usable, received if time is None else time, received, clock_good=time is not None)
    return replace(made, comm_lost=not usable)


def test_an_answer_without_time_does_not_make_an_old_passage_new() -> None:
    passages = Passages(60.0)
    passages.change(A, told(False, 100.0))
    passages.change(A, told(True, 200.2, 200.0))
    passages.change(A, told(True, 500.0))
    assert passages.set_at(A) == (200.0, 200.2)


def test_a_passage_that_was_never_stamped_keeps_the_time_of_its_arrival() -> None:
    passages = Passages(60.0)
    passages.change(A, told(False, 100.0))
    passages.change(A, told(True, 200.0))
    passages.change(A, told(True, 500.0))
    assert passages.set_at(A) == (None, 200.0)


def test_one_that_is_set_once_more_has_the_later_time() -> None:
    passages = Passages(60.0)
    passages.change(A, told(True, 200.2, 200.0))
    passages.change(A, told(True, 300.2, 300.0))
    assert passages.set_at(A) == (300.0, 300.2)


def test_a_change_that_arrives_long_after_its_time_goes_by_its_arrival_unless_the_link_was_down() -> None:
    passages = Passages(60.0)
    passages.change(A, told(False, 100.0, 100.0))
    passages.change(A, told(True, 900.0, 300.0))
    assert passages.set_at(A) == (None, 900.0)
    passages.change(A, told(False, 1000.0, 1000.0))
    passages.change(A, told(False, 1880.0, usable=False))
    passages.change(A, told(True, 1900.0, 1300.0))
    assert passages.set_at(A) == (1300.0, 1900.0)


def test_one_that_is_reset_or_never_heard_of_has_no_passage() -> None:
    passages = Passages(60.0)
    assert passages.set_at(A) is None
    passages.change(A, told(True, 200.0, 200.0))
    passages.change(A, told(False, 300.0, 300.0))
    assert passages.set_at(A) is None
