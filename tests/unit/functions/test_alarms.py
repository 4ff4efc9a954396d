"""Active conditions: one event when they become alarms, one when they end; delays, marks, severities."""

from __future__ import annotations

from address_space.events import Event, EventJournal
from twin_gateway.functions.alarms import Alarms

PLACE = "dso1/north/PS01/MV1/F01/QA1"


class Bench:
    def __init__(self) -> None:
        journal = EventJournal()
        self.now = 100.0
        self.cursor = journal.cursor("test")
        self.alarms = Alarms(journal, monotonic=lambda: self.now)

    def told(self) -> list[tuple[str, str, int]]:
        return [(event.code, event.state, event.severity) for event in self.cursor.take()]

    def events(self) -> list[Event]:
        return self.cursor.take()


def test_a_condition_is_told_once_while_it_holds_and_once_when_it_ends() -> None:
    bench = Bench()
    for _ in range(3):
        bench.alarms.raise_("C04", PLACE, "Gas is low", 650)
    assert bench.told() == [("C04", "active", 650)]
    assert bench.alarms.holds("C04", PLACE)
    bench.alarms.clear("C04", PLACE)
    bench.alarms.clear("C04", PLACE)
    assert bench.told() == [("C04", "inactive", 650)]
    assert not bench.alarms.holds("C04", PLACE)


def test_a_condition_shorter_than_its_delay_is_never_told() -> None:
    bench = Bench()
    bench.alarms.raise_("S02", PLACE, "Intermediate", 750, delay=10)
    bench.now += 9
    bench.alarms.tick()
    bench.alarms.clear("S02", PLACE)
    assert bench.told() == []


def test_a_condition_becomes_an_alarm_when_its_delay_is_over() -> None:
    bench = Bench()
    bench.alarms.set(True, "S02", PLACE, "Intermediate", 750, delay=10)
    bench.now += 10
    bench.alarms.tick()
    assert bench.told() == [("S02", "active", 750)]
    bench.alarms.set(False, "S02", PLACE, "Intermediate", 750)
    assert bench.told() == [("S02", "inactive", 750)]


def test_a_worse_severity_is_told_again() -> None:
    bench = Bench()
    bench.alarms.raise_("C04", PLACE, "Stage 1", 650)
    bench.alarms.raise_("C04", PLACE, "Blocked", 900)
    assert bench.told() == [("C04", "active", 650), ("C04", "active", 900)]


def test_a_suppressed_condition_holds_and_is_told_as_suppressed_not_as_an_alarm() -> None:
    bench = Bench()
    bench.alarms.raise_("D01", PLACE, "Down", 700, marked="suppressed")
    assert bench.told() == [("D01", "suppressed", 700)]
    assert [alarm.marked for alarm in bench.alarms.active(PLACE)] == ["suppressed"]


def test_a_test_mark_and_the_correlation_go_into_the_event() -> None:
    bench = Bench()
    bench.alarms.raise_("C01", PLACE, "Worn", 700, marked="test", correlation="fault 7", value=101.0)
    (event,) = bench.events()
    assert (event.details, event.correlation, event.value) == ((("marked", "test"),), "fault 7", 101.0)


def test_active_alarms_are_found_below_a_place() -> None:
    bench = Bench()
    bench.alarms.raise_("C01", PLACE, "Worn", 700)
    bench.alarms.raise_("C01", "dso1/north/PS011/MV1", "Worn", 700)
    assert [alarm.address for alarm in bench.alarms.active("dso1/north/PS01")] == [PLACE]
    assert len(list(bench.alarms.active())) == 2
