"""Points that are retired or changed while the table is in use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from address_space import columns, units
from address_space.address import AddressError
from address_space.catalogue import ValueType, VariableKind
from address_space.editing import SEMANTICS_CHANGED
from address_space.edits import EditKind
from address_space.point import Batch, Point, PointProfile, TextSample
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable

PLACE = "dso1/north/PS01/MV1/F05/_"
VOLT = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG, unit=units.unit("V"))
NAMES = ("PhV/phsA", "PhV/phsB", "PhV/phsC")


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def filled() -> PointTable:
    table = PointTable()
    table.add([Point(f"{PLACE}/MMXU1/{name}", VOLT, "rtu", number) for number, name in enumerate(NAMES)])
    table.ingest(Batch.of([0, 1, 2], [230.0, 231.0, 232.0]))
    return table


def test_a_retired_point_says_once_that_its_node_is_unknown_and_is_found_no_more() -> None:
    table = filled()
    cursor, edits = table.journal.cursor("test"), table.edits.cursor("test")
    assert table.retire(rows(1)) == 1
    assert table.retire(rows(1)) == 0
    (chunk,) = cursor.take()
    assert chunk.rows.tolist() == [1]
    assert chunk.status.tolist() == [StatusCode.BadNodeIdUnknown]
    assert table.find(f"{PLACE}/MMXU1/PhV/phsB") == -1
    assert table.address(1) == f"{PLACE}/MMXU1/PhV/phsB"
    assert table.rows_of_link("rtu").tolist() == [0, 2]
    (edit,) = edits.take()
    assert (edit.kind, edit.rows.tolist()) == (EditKind.RETIRED, [1])
    names = [table.tree.name(child) for child in table.tree.children(table.tree.find(f"{PLACE}/MMXU1/PhV"))]
    assert names == ["phsA", "phsC"]


def test_an_address_comes_back_in_a_row_of_its_own() -> None:
    table = filled()
    table.retire(rows(0, 1, 2))
    assert table.tree.find("dso1") == -1
    assert table.tree.roots() == []
    (row,) = table.add([Point(f"{PLACE}/MMXU1/PhV/phsB", VOLT, "rtu", 9)])
    assert row == 3
    assert table.find(f"{PLACE}/MMXU1/PhV/phsB") == 3
    assert table.value(3) is None
    assert table.is_point(rows(0, 1, 2, 3)).tolist() == [False, False, False, True]
    assert table.address(1) == table.address(3)
    with pytest.raises(AddressError, match="exists twice"):
        table.add([Point(f"{PLACE}/MMXU1/PhV/phsB", VOLT)])


def test_places_that_somebody_put_there_stay_without_points() -> None:
    table = filled()
    table.tree.add_container("dso1/north/PS01")
    table.retire(rows(0, 1, 2))
    assert table.tree.find("dso1/north/PS01") >= 0
    assert table.tree.find("dso1/north/PS01/MV1") == -1


def test_a_point_with_points_below_it_becomes_a_container_and_may_be_a_point_again() -> None:
    table = PointTable()
    current = replace(VOLT, unit=units.unit("A"))
    table.add([Point(f"{PLACE}/MMXU1/A/phsA/ang", VOLT), Point(f"{PLACE}/MMXU1/A/phsA", current)])
    table.retire(rows(1))
    node = table.tree.find(f"{PLACE}/MMXU1/A/phsA")
    assert node >= 0
    assert table.tree.row[node] == -1
    assert table.find(f"{PLACE}/MMXU1/A/phsA/ang") == 0
    (row,) = table.add([Point(f"{PLACE}/MMXU1/A/phsA", current)])
    assert table.find(f"{PLACE}/MMXU1/A/phsA") == row == 2


def test_retired_points_neither_grow_old_nor_lose_their_link_nor_take_on_a_quality() -> None:
    table = PointTable()
    table.add([Point(f"{PLACE}/MMXU1/Hz", replace(VOLT, stale_after=1.0), "rtu")])
    table.ingest(Batch.of([0], [50.0]))
    table.retire(rows(0))
    cursor = table.journal.cursor("test")
    table.link_lost("rtu")
    table.sweep(now=1 << 62)
    assert table.impose(rows(0), int(Quality.TEST)) == 0
    assert cursor.take() == []
    assert table.status[0] == StatusCode.BadNodeIdUnknown


def test_many_comings_and_goings_keep_find_and_children_true() -> None:
    table, random = PointTable(), np.random.default_rng(7)
    addresses = [f"{PLACE}/MMXU{inst}/PhV/phs{phase}" for inst in range(1, 9) for phase in "ABC"]
    live: dict[str, int] = {}
    for _ in range(60):
        some = random.choice(addresses, 5, replace=False).tolist()
        new = [address for address in some if address not in live]
        live.update(zip(new, table.add([Point(address, VOLT) for address in new]), strict=True))
        gone = random.choice(sorted(live), min(3, len(live)), replace=False).tolist()
        table.retire(rows(*(live.pop(address) for address in gone)))
        assert {address: table.find(address) for address in addresses if table.find(address) >= 0} == live
        assert table.tree.find_many(addresses).tolist() == [table.tree.find(address) for address in addresses]
        for inst in range(1, 9):
            node = table.tree.find(f"{PLACE}/MMXU{inst}/PhV")
            there = {table.tree.address(child) for child in table.tree.children(node)} if node >= 0 else set()
            assert there == {address for address in live if f"/MMXU{inst}/" in address}


def change(table: PointTable, row: int, **fields: object) -> None:
    link, source = table.binding(row)
    profile = replace(table.profile(row), **fields)
    table.change(rows(row), [Point(table.address(row), profile, link, source)])


def test_another_scale_scales_the_present_value_and_keeps_its_time() -> None:
    table = filled()
    before, cursor = table.sample(0), table.journal.cursor("test")
    change(table, 0, gain=2.0, bias=1.0)
    assert table.value(0) == 461.0
    assert table.sample(0).source_time == before.source_time
    (chunk,) = cursor.take()
    assert (chunk.rows.tolist(), chunk.status.tolist()) == ([0], [0])
    table.ingest(Batch.of([0, 1], [10.0, 10.0]))
    assert (table.value(0), table.value(1)) == (21.0, 10.0)
    change(table, 0, gain=1.0, bias=0.0)
    assert table.value(0) == 10.0


def test_another_unit_or_range_is_told_with_the_bit_semantics_changed() -> None:
    table = filled()
    cursor = table.journal.cursor("test")
    change(table, 0, unit=units.unit("kV"), gain=0.001)
    change(table, 1, low=0.0, high=400.0)
    first, second = cursor.take()
    assert first.status.tolist() == second.status.tolist() == [SEMANTICS_CHANGED]
    assert table.value(0) == pytest.approx(0.23)
    assert table.status[:2].tolist() == [0, 0]


def test_a_deadband_a_name_or_a_limit_of_age_is_noticed_by_nobody() -> None:
    table = filled()
    cursor = table.journal.cursor("test")
    change(table, 0, deadband=5.0, stale_after=60.0)
    assert cursor.take() == []
    table.ingest(Batch.of([0], [231.0]))
    assert table.counters.in_deadband == 1
    link, source = table.binding(0)
    table.change(rows(0), [Point(table.address(0), table.profile(0), link, source, "Voltage")])
    assert (table.display_name(0), cursor.take()) == ("Voltage", [])


def test_the_value_of_a_former_binding_is_old_data_until_the_new_one_delivers() -> None:
    table = filled()
    table.change(rows(0), [Point(table.address(0), VOLT, "rtu", 77)])
    assert table.status[0] >> 30 == 1
    assert table.rows_bound_to("rtu", 77) == [0]
    assert table.rows_bound_to("rtu", 0) == []
    table.ingest(Batch.of([0], [229.0]))
    assert (table.status[0], table.value(0)) == (0, 229.0)


def test_a_turned_switch_turns_its_present_position() -> None:
    table = PointTable()
    switch = PointProfile("DPS", ValueType.INT32, VariableKind.MULTI_STATE, "DoublePoint")
    table.add([Point(f"{PLACE}/XCBR1/Pos", switch)])
    table.ingest(Batch.of([0], [2.0]))
    change(table, 0, invert=True)
    assert table.value(0) == 1


def test_a_point_cannot_become_another_type_or_address() -> None:
    table = filled()
    with pytest.raises(ValueError, match="another point"):
        table.change(rows(0), [Point(table.address(1), VOLT)])
    with pytest.raises(ValueError, match="another point"):
        table.change(rows(0), [Point(table.address(0), replace(VOLT, value_type=ValueType.INT32))])
    with pytest.raises(ValueError, match="nowhere cannot be changed in row 2"):
        table.change(rows(1, 2), [Point(table.address(1), VOLT), Point(f"{PLACE}/nowhere", VOLT)])
    assert table.edition == 0


def test_of_points_that_change_together_only_those_with_another_meaning_are_to_be_read_again() -> None:
    table = filled()
    cursor = table.journal.cursor("test")
    unit = replace(VOLT, unit=units.unit("kV"))
    wanted = [replace(VOLT, deadband=1.0), unit, replace(VOLT, deadband=2.0)]
    table.change(rows(0, 1, 2), [Point(table.address(row), each, "rtu", row) for row, each in enumerate(wanted)])
    assert [table.profile(row) for row in range(3)] == wanted
    told = [(row, int(status)) for chunk in cursor.take() for row, status in zip(chunk.rows, chunk.status, strict=True)]
    assert [(row, status & SEMANTICS_CHANGED) for row, status in told] == [(1, SEMANTICS_CHANGED)]


def test_a_retired_text_is_forgotten() -> None:
    table = PointTable()
    text = PointProfile("VSS", ValueType.STRING, VariableKind.DATA)
    table.add([Point(f"{PLACE}/GGIO1/StrSt", text, display_name="State")])
    table.ingest(Batch.of([], [], texts=[TextSample(0, "x" * 1000)]))
    table.retire(rows(0))
    assert (table.value(0), table.display_name(0)) == (None, "")


def test_an_exchange_that_cannot_be_changes_nothing() -> None:
    table, coming = filled(), f"{PLACE}/MMXU1/Hz"
    trial = table.trial()
    trial.exchange(rows(1), [coming])
    with pytest.raises(ValueError, match="63 bits"):
        table.exchange(rows(1), [Point(coming, VOLT, "rtu", -1)], trial)
    assert (table.edition, table.retired, table.find(coming)) == (0, 0, -1)
    table.add([Point(coming, VOLT)])  # somebody else was faster than who had tried it
    with pytest.raises(AddressError, match="exists twice"):
        table.exchange(rows(1), [Point(coming, VOLT, "rtu", 9)], trial)
    assert (table.edition, table.retired, table.find(coming), len(table)) == (0, 0, 3, 4)
    assert table.find(f"{PLACE}/MMXU1/PhV/phsB") == 1
    assert table.exchange(rows(1, 3), [Point(coming, VOLT, "rtu", 9)], trial) == range(4, 5)
    assert (table.retired, table.find(coming), table.address(4)) == (2, 4, coming)


def test_what_profiles_say_of_scales_is_put_together_once_for_many_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(columns.Scaling):
        def __init__(self, profiles: list[PointProfile]) -> None:
            made.append(len(profiles))
            super().__init__(profiles)

    monkeypatch.setattr(columns, "Scaling", Counted)
    table = PointTable()
    names = [f"{PLACE}/GGIO1/AnIn{number}" for number in range(1, 101)]
    first = [replace(VOLT, gain=float(number)) for number in range(1, 101)]
    table.add([Point(name, profile, "rtu", 0) for name, profile in zip(names, first, strict=True)])
    table.ingest(Batch.of(list(range(100)), [1.0] * 100))
    assert [table.value(row) for row in (0, 41, 99)] == [1.0, 42.0, 100.0]
    second = [replace(VOLT, gain=float(number) / 2) for number in range(1, 101)]
    table.change(
        np.arange(100, dtype=np.int32),
        [Point(name, profile, "rtu", 0) for name, profile in zip(names, second, strict=True)],
    )
    assert [table.value(row) for row in (0, 41, 99)] == [0.5, 21.0, 50.0]
    assert made == [0, 100, 150]
