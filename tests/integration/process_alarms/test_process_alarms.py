"""Alarms of protection and switching through table, journal and events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from peers.twin.bench import Bench, points

from address_space import clock
from address_space.quality import Quality
from twin_gateway.functions.process_alarms import ProcessAlarms, ProcessSettings
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Grid,
    LineData,
    Measurement,
    Quantity,
    SourceData,
    SwitchRating,
)

BAY = "dso1/north/PS01/MV1/F01"
IED, OTHER = f"{BAY}/IED1", "dso1/north/PS01/MV1/F02/IED1"
POS = f"{BAY}/QA1/XCBR1/Pos"
POINTS = (
    POS,
    f"{BAY}/QA1/XCBR1/Loc",
    f"{BAY}/QA1/XCBR1/Dsc",
    *(
        f"{BAY}/IED1/{name}"
        for name in ("PTRC1/Tr", "PTOC1/Str", "PTOC1/Op", "RREC1/AutoRecSt", "RBRF1/OpEx", "PSDE1/Str")
    ),
    *(f"{BAY}/IED1/{name}" for name in ("PTUV1/Op", "PTOV1/Op", "PTTR1/AlmThm")),
    f"{BAY}/_/MSQI1/ImbNgV",
    *(f"{IED}/{name}" for name in ("PTRC1/Op", *(f"PTRC1/Tr/phs{phase}" for phase in "ABC"))),
    *(f"{IED}/PTOC1/FltA/phs{phase}" for phase in "ABC"),
    f"{OTHER}/PTRC1/Tr",
    f"{BAY}/QA1/SCBR1/SwA",
    "dso1/north/RMU06/MV1/C05/_/SFPI1/FltInd",
)


CURRENTS = tuple(f"{BAY}/_/MMXU1/A/phs{phase}" for phase in "ABC")
VOLTAGES = tuple(f"{BAY}/_/MMXU1/PhV/phs{phase}" for phase in "ABC")
MEASURED = (*CURRENTS, *VOLTAGES)
PHASE_VOLTS = 12_660.0 / 3.0**0.5


def limited_grid() -> Grid:
    """A feeder head whose line carries 300 A, 360 A in an emergency, measured at the breaker."""
    grid = Grid()
    bus, near, far = (f"dso1/north/{name}/CN1" for name in ("PS01/MV1/_", "L01/MV1/_", "RMU02/MV1/_"))
    grid.add(ConnectivityNode(node, 12_660.0) for node in (bus, near, far))
    grid.add(
        [
            Equipment("dso1/north/PS01/MV1/_/SRC1", CimClass.SOURCE, (bus,), SourceData()),
            Equipment("dso1/north/PS01/MV1/_/BB1", CimClass.BUSBAR, (bus,)),
            Equipment(f"{BAY}/QA1", CimClass.BREAKER, (bus, near), SwitchRating(i_max=630.0, position=POS)),
            Equipment(
                "dso1/north/L01/MV1/_/WB1",
                CimClass.LINE,
                (near, far),
                LineData(0.1, 0.1, i_max=300.0, i_emergency=360.0),
            ),
        ]
    )
    for quantity, addresses in ((Quantity.I, CURRENTS), (Quantity.V, VOLTAGES)):
        for address in addresses:
            grid.measurements[address] = Measurement(address, quantity, f"{BAY}/QA1", phase=address[-1])
    return grid


@dataclass
class Sent:
    time: int
    value: int | float | bool | None


class Rig:
    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder, points("ied", (*POINTS, *MEASURED)), limited_grid())
        self.sent: dict[str, Sent] = {}
        self.function = ProcessAlarms(
            self.bench.context, ProcessSettings(), self.sent.get, monotonic=lambda: self.bench.time
        )
        self.bench.write(dict.fromkeys(POINTS, 0) | {POS: 2, f"{BAY}/IED1/RREC1/AutoRecSt": 1})
        self.function.tick()
        self.bench.journal.skip()

    def write(self, values: dict[str, float], seconds: float = 0.0, quality: int = 0) -> None:
        self.bench.write(values, quality)
        for chunk in self.bench.journal.take():
            self.function.take(chunk)
        self.go(seconds)

    def go(self, seconds: float) -> None:
        self.bench.advance(seconds)
        self.bench.alarms.tick()
        self.function.tick()

    def measure(self, values: dict[str, float], seconds: float = 0.0, quality: int = 0) -> None:
        """Measured values, and the seconds after them one by one."""
        self.write(values, quality=quality)
        for _ in range(int(seconds) + 1):
            self.go(1.0)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize(
    ("code", "point", "value", "severity", "delay"),
    [
        ("P01", f"{BAY}/IED1/PTRC1/Tr", 1, 900, 0.3),
        ("P01", f"{BAY}/IED1/PTOC1/Op", 1, 900, 0.3),
        ("P01", f"{BAY}/IED1/PTRC1/Tr/phsB", 1, 900, 0.3),
        ("P03", f"{BAY}/IED1/RREC1/AutoRecSt", 10, 850, 0.0),
        ("P04", f"{BAY}/IED1/RBRF1/OpEx", 1, 950, 0.0),
        ("P05", "dso1/north/RMU06/MV1/C05/_/SFPI1/FltInd", 1, 800, 0.0),
        ("P06", f"{BAY}/IED1/PSDE1/Str", 1, 800, 6.0),
        ("P07", f"{BAY}/IED1/PTUV1/Op", 1, 750, 0.0),
        ("P07", f"{BAY}/_/MSQI1/ImbNgV", 6.0, 750, 11.0),
        ("P08", f"{BAY}/IED1/PTOV1/Op", 1, 700, 0.0),
        ("P08", f"{BAY}/IED1/PTTR1/AlmThm", 1, 500, 0.0),
        ("S02", f"{BAY}/QA1/XCBR1/Dsc", 1, 750, 0.0),
        ("S02", POS, 0, 750, 11.0),
        ("S04", f"{BAY}/QA1/XCBR1/Loc", 1, 400, 0.0),
    ],
)
def test_conditions_are_raised_and_cleared(
    rig: Rig, code: str, point: str, value: float, severity: int, delay: float
) -> None:
    before = rig.bench.value(point)
    rig.write({point: value})
    if delay:
        assert not rig.bench.codes()
        rig.go(delay)
    assert rig.bench.codes() == {(code, point)}
    rig.write({point: float(before)})
    assert not rig.bench.codes()
    told = [(event.state, event.severity) for event in rig.bench.told() if event.code == code]
    assert told == [("active", severity), ("inactive", severity)]


def test_reclosing_that_helped_is_an_event(rig: Rig) -> None:
    rig.write({f"{BAY}/IED1/RREC1/AutoRecSt": 2})
    rig.write({f"{BAY}/IED1/RREC1/AutoRecSt": 3})
    assert [(event.code, event.state, event.severity) for event in rig.bench.told()] == [("P03", "event", 500)]


def test_a_start_without_a_trip_is_an_event_and_one_with_a_trip_is_not(rig: Rig) -> None:
    start = f"{BAY}/IED1/PTOC1/Str"
    rig.write({start: 1}, 0.5)
    rig.write({start: 0})
    rig.go(2.5)
    assert [event.code for event in rig.bench.told()] == ["P02"]
    rig.write({start: 1}, 0.5)
    rig.write({f"{BAY}/IED1/PTRC1/Tr": 1})
    rig.write({start: 0})
    rig.go(2.5)
    assert [event.code for event in rig.bench.told()] == ["P01"]


def test_a_trip_that_arrives_after_the_end_of_its_start_is_the_trip_of_that_start(rig: Rig) -> None:
    start = f"{BAY}/IED1/PTOC1/Str"
    rig.write({start: 1})
    rig.write({start: 0}, 1.0)
    rig.write({f"{BAY}/IED1/PTRC1/Tr": 1})
    rig.go(2.5)
    assert [event.code for event in rig.bench.told()] == ["P01"]


def test_an_alarm_has_the_time_of_the_device_and_its_end_the_value_that_ended_it(rig: Rig) -> None:
    trip = f"{BAY}/IED1/PTRC1/Tr"
    times = []
    for value, seconds in ((1, 0.7), (0, 0.2)):
        rig.bench.advance(1.0)
        times.append(rig.bench.wall - seconds)
        rig.bench.write({trip: value}, 0, times[-1])
        for chunk in rig.bench.journal.take():
            rig.function.take(chunk)
        rig.go(0.3)
    begun, over = rig.bench.told()
    assert [clock.to_unix(event.source_time) for event in (begun, over)] == pytest.approx(times, abs=1e-3)
    assert (begun.time_quality, begun.value) == (None, 1.0)
    assert (over.state, over.value) == ("inactive", 0.0)


def test_all_signs_of_a_trip_are_one_alarm_with_phases_current_and_the_time_of_the_first(rig: Rig) -> None:
    first = rig.bench.wall
    rig.write({f"{IED}/PTOC1/Op": 1})
    rig.bench.advance(0.1)
    rig.write({f"{IED}/{name}": 1 for name in ("PTRC1/Op", "PTRC1/Tr", "PTRC1/Tr/phsA", "PTRC1/Tr/phsC")})
    rig.write({f"{IED}/PTOC1/FltA/phsA": 2100.0, f"{IED}/PTOC1/FltA/phsC": 2164.0}, 0.3)
    assert rig.bench.codes() == {("P01", f"{IED}/PTRC1/Tr")}
    signs = ("PTOC1/Op", "PTRC1/Op", "PTRC1/Tr", "PTRC1/Tr/phsA", "PTRC1/Tr/phsC")
    for name in signs:
        assert rig.bench.codes() == {("P01", f"{IED}/PTRC1/Tr")}
        rig.bench.advance(0.1)
        rig.write({f"{IED}/{name}": 0})
    rig.go(3.0)
    begun, over = rig.bench.told()
    assert (begun.state, begun.text) == ("active", "Protection trip, phases AC, 2164 A")
    assert begun.details == (("phases", "AC"), ("current", "2164.0"))
    assert clock.to_unix(begun.source_time) == pytest.approx(first, abs=1e-3)
    assert (over.code, over.state) == ("P01", "inactive")
    assert clock.to_unix(over.source_time) == pytest.approx(first + 0.9, abs=1e-3)


def test_a_current_from_before_the_trip_is_not_its_current_and_a_late_one_completes_the_alarm(rig: Rig) -> None:
    switched = f"{BAY}/QA1/SCBR1/SwA"
    rig.write({switched: 900.0}, 5.0)
    rig.write({f"{IED}/PTRC1/Tr": 1}, 0.3)
    (alarm,) = rig.bench.alarms.active()
    assert alarm.text == "Protection trip"
    rig.write({switched: 1800.0}, 0.3)
    assert alarm.text == "Protection trip, 1800 A"
    assert [event.state for event in rig.bench.told()] == ["active"]


def test_a_trip_after_a_reclosing_is_another_one_and_a_short_one_is_told_too(rig: Rig) -> None:
    trip = f"{IED}/PTRC1/Tr"
    rig.write({trip: 1, f"{IED}/PTRC1/Op": 1}, 0.05)
    rig.write({trip: 0}, 0.3)
    rig.write({trip: 1}, 0.3)
    rig.write({trip: 0, f"{IED}/PTRC1/Op": 0}, 5.0)
    rig.write({trip: 1}, 0.05)
    rig.write({trip: 0}, 0.3)
    told = [event.state for event in rig.bench.told() if event.code == "P01"]
    assert told == ["active", "inactive"] * 3


def test_trips_of_two_bays_are_two_alarms(rig: Rig) -> None:
    rig.write({f"{IED}/PTRC1/Tr": 1, f"{OTHER}/PTRC1/Tr": 1}, 0.3)
    assert rig.bench.codes() == {("P01", f"{IED}/PTRC1/Tr"), ("P01", f"{OTHER}/PTRC1/Tr")}


def test_a_movement_without_a_reason_is_told_until_it_is_undone(rig: Rig) -> None:
    rig.write({POS: 1})
    assert not rig.bench.codes()
    rig.go(2.5)
    assert rig.bench.codes() == {("S01", POS)}
    rig.write({POS: 2})
    rig.go(2.5)
    assert not rig.bench.codes()


@pytest.mark.parametrize("value", [1, False])
def test_a_commanded_movement_is_expected(rig: Rig, value: int | bool) -> None:
    rig.sent[f"{BAY}/QA1/CSWI1/Pos"] = Sent(clock.now(), value)
    rig.write({POS: 1})
    rig.go(2.5)
    assert not rig.bench.codes()


def test_a_command_for_the_other_position_or_long_ago_is_no_reason(rig: Rig) -> None:
    rig.sent[f"{BAY}/QA1/CSWI1/Pos"] = Sent(clock.now(), 2)
    rig.write({POS: 1})
    rig.go(2.5)
    assert rig.bench.codes() == {("S01", POS)}
    rig.sent[f"{BAY}/QA1/CSWI1/Pos"] = Sent(clock.now() - 61 * clock.TICKS_PER_SECOND, 1)
    rig.write({POS: 2})
    rig.go(2.5)
    rig.write({POS: 1})
    rig.go(2.5)
    assert rig.bench.codes() == {("S01", POS)}


def test_an_opening_by_a_trip_that_is_told_after_it_and_its_reclosing_are_expected(rig: Rig) -> None:
    rig.write({POS: 1})
    rig.write({f"{BAY}/IED1/PTRC1/Tr": 1}, 2.5)
    assert rig.bench.codes() == {("P01", f"{BAY}/IED1/PTRC1/Tr")}
    rig.write({f"{BAY}/IED1/PTRC1/Tr": 0}, 20.0)
    rig.write({f"{BAY}/IED1/RREC1/AutoRecSt": 8, POS: 2})
    rig.go(2.5)
    assert not rig.bench.codes()


def test_local_control_is_a_reason(rig: Rig) -> None:
    rig.write({f"{BAY}/QA1/XCBR1/Loc": 1})
    rig.write({POS: 1})
    rig.go(2.5)
    assert rig.bench.codes() == {("S04", f"{BAY}/QA1/XCBR1/Loc")}


def test_an_intermediate_position_between_is_no_movement_of_its_own(rig: Rig) -> None:
    rig.write({POS: 0})
    rig.write({POS: 2})
    rig.go(2.5)
    assert not rig.bench.codes()


def test_alarms_of_test_values_are_marked(rig: Rig) -> None:
    rig.write({f"{BAY}/IED1/PTRC1/Tr": 1}, 0.3, quality=int(Quality.TEST))
    assert [alarm.marked for alarm in rig.bench.alarms.active()] == ["test"]


def test_an_overload_of_the_line_is_one_alarm_for_its_phases_and_louder_beyond_the_emergency_rating(rig: Rig) -> None:
    rig.measure({CURRENTS[0]: 290.0, CURRENTS[1]: 310.0, CURRENTS[2]: 320.0}, 8.0)
    assert not rig.bench.codes()
    rig.measure({}, 3.0)
    assert rig.bench.codes() == {("P08", f"{BAY}/_/MMXU1/A")}
    rig.measure({CURRENTS[2]: 365.0}, 1.0)
    rig.measure(dict.fromkeys(CURRENTS, 295.0), 1.0)  # not far enough below
    assert rig.bench.codes()
    rig.measure(dict.fromkeys(CURRENTS, 285.0), 1.0)
    told = [(event.state, event.severity, event.text) for event in rig.bench.told()]
    assert told == [
        ("active", 600, "Current 320 A, 107 % of the rating, phase C"),
        ("active", 700, "Current 365 A, 122 % of the rating, phase C"),
        ("active", 600, "Current 295 A, 98 % of the rating, phase B"),
        ("inactive", 600, "Current 295 A, 98 % of the rating, phase B (over)"),
    ]


@pytest.mark.parametrize(("share", "text"), [(0.89, "low: 89.0 %"), (1.12, "high: 112.0 %")])
def test_a_voltage_outside_its_band_is_told_and_one_inside_is_not(rig: Rig, share: float, text: str) -> None:
    rig.measure(dict.fromkeys(VOLTAGES, 1.02 * PHASE_VOLTS), 12.0)
    assert not rig.bench.codes()
    rig.measure({VOLTAGES[1]: share * PHASE_VOLTS}, 12.0)
    assert rig.bench.codes() == {("P08", f"{BAY}/_/MMXU1/PhV")}
    rig.measure({VOLTAGES[1]: 1.01 * PHASE_VOLTS}, 1.0)
    begun, over = rig.bench.told()
    assert (begun.severity, begun.text) == (600, f"Voltage too {text} of nominal, phase B")
    assert over.state == "inactive"


def test_no_voltage_at_all_and_values_that_cannot_be_used_are_not_out_of_limits(rig: Rig) -> None:
    rig.measure(dict.fromkeys(VOLTAGES, 0.0), 12.0)
    rig.measure(dict.fromkeys(CURRENTS, 500.0), 12.0, quality=int(Quality.INVALID))
    assert not rig.bench.codes()
    rig.measure(dict.fromkeys(CURRENTS, 310.0), 12.0)
    rig.measure(dict.fromkeys(CURRENTS, 100.0), 3.0, quality=int(Quality.INVALID))
    assert rig.bench.codes() == {("P08", f"{BAY}/_/MMXU1/A")}
