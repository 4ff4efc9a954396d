"""The interval store keeps what it is given, over restarts, with revisions."""

import numpy as np
import pytest

from twin_gateway.functions.interval_store import IntervalReader, IntervalStore, IntervalStoreError

A, B = "d/n/S1/LV1/_/M1/MMTR1/DmdWh", "d/n/S2/LV1/_/M1/MMTR1/DmdWh"


def write(store, addresses, numbers, values, **more):
    count = len(numbers)
    return store.write(
        store.ids(addresses), np.array(numbers), np.array(values, float), np.zeros(count, np.uint32), **more
    )


def test_values_come_back_as_a_matrix_with_validity_also_after_a_restart(tmp_path):
    store = IntervalStore(tmp_path / "i.sqlite")
    write(store, [A, A, B], [95, 96, 97], [1.0, 2.0, 3.0])
    store.close()
    IntervalStore(tmp_path / "i.sqlite").close()
    matrix = IntervalReader(tmp_path / "i.sqlite").read([B, A, "d/unknown"], 95 * 900, 97 * 900)
    assert matrix.values.tolist() == [[0, 1, 0], [0, 2, 0], [3, 0, 0]]
    assert matrix.valid.tolist() == [[False, True, False], [False, True, False], [True, False, False]]
    assert matrix.ends.tolist() == [95 * 900, 96 * 900, 97 * 900]


def test_a_duplicate_is_ignored_and_counted_and_another_value_is_the_next_revision(tmp_path):
    store = IntervalStore(tmp_path / "i.sqlite")
    assert write(store, [A], [10], [1.0]) == 1
    assert write(store, [A], [10], [1.0]) == 0
    assert write(store, [A], [10], [1.5]) == 1
    assert write(store, [A], [10], [9.0], replace=False) == 0
    assert (store.counters.duplicates, store.counters.revised, store.counters.ignored) == (1, 1, 1)
    matrix = IntervalReader(tmp_path / "i.sqlite").read([A], 9000, 9000)
    assert (matrix.values[0, 0], matrix.revision[0, 0]) == (1.5, 2)


def test_of_a_pair_twice_in_one_write_the_last_counts(tmp_path):
    store = IntervalStore(tmp_path / "i.sqlite")
    write(store, [A, A], [10, 10], [1.0, 2.0])
    assert IntervalReader(tmp_path / "i.sqlite").read([A], 9000, 9000).values[0, 0] == 2.0


def test_a_reader_learns_which_intervals_were_touched(tmp_path):
    store = IntervalStore(tmp_path / "i.sqlite")
    reader = IntervalReader(tmp_path / "i.sqlite")
    write(store, [A], [10], [1.0])
    ends, sequence = reader.touched_since(0)
    assert ends == [9000.0]
    write(store, [A], [10], [1.0])
    assert reader.touched_since(sequence) == ([], sequence)
    write(store, [A, B], [10, 500], [2.0, 1.0])
    assert reader.touched_since(sequence)[0] == [9000.0, 450_000.0]


def test_what_is_older_than_the_retention_is_deleted_but_not_the_position_that_still_holds(tmp_path):
    store = IntervalStore(tmp_path / "i.sqlite", retention=86_400.0)
    write(store, [A, A], [0, 960], [1.0, 2.0])
    store.put_positions([(100.0, "d/QB1", 2), (200.0, "d/QB1", 1)])
    assert store.trim(now=960 * 900.0 + 90_000.0) == 1
    reader = IntervalReader(tmp_path / "i.sqlite")
    assert not reader.read([A], 0, 0).valid.any()
    assert reader.positions(800_000.0, 900_000.0) == [(800_000.0, "d/QB1", 1)]


def test_addresses_are_those_that_have_had_values(tmp_path):
    store = IntervalStore(tmp_path / "i.sqlite")
    store.ids([A, B])
    write(store, [B], [10], [1.0])
    assert IntervalReader(tmp_path / "i.sqlite").addresses() == [B]


def test_positions_over_an_interval(tmp_path):
    store = IntervalStore(tmp_path / "i.sqlite")
    store.put_positions([(100.0, "d/QB1", 2), (1000.0, "d/QB1", 1), (1200.0, "d/QB2", 2), (5000.0, "d/QB1", 2)])
    reader = IntervalReader(tmp_path / "i.sqlite")
    assert sorted(reader.positions(900.0, 1800.0)) == [
        (900.0, "d/QB1", 2), (900.0, "d/QB2", 2), (1000.0, "d/QB1", 1), (1200.0, "d/QB2", 2),
    ]  # fmt: skip


def test_a_file_of_another_interval_length_is_refused(tmp_path):
    IntervalStore(tmp_path / "i.sqlite").close()
    with pytest.raises(IntervalStoreError, match="900 s"):
        IntervalStore(tmp_path / "i.sqlite", length=1800.0)
    with pytest.raises(IntervalStoreError, match="whole number"):
        IntervalStore(tmp_path / "j.sqlite", length=7001.0)
