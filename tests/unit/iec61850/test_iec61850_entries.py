"""EntryIDs on disk: what is written when, and what survives."""

import json

from twin_gateway.drivers.iec61850.entries import Entry, EntryStore

ONE, TWO, THREE = (Entry(bytes((number,)), "LD0/LLN0$Status", 1, number) for number in (1, 2, 3))


def on_disk(path):
    return EntryStore(path).get("b")


def test_entry_is_written_only_after_what_it_stands_for_is_on_disk(tmp_path):
    path = tmp_path / "e.json"
    store = EntryStore(path)
    store.put("b", ONE)
    assert store.due(100, 50) is None
    assert store.due(110, 100) is None
    assert store.due(120, 101) == {"b": ONE}


def test_entries_that_came_later_wait_for_their_own_turn(tmp_path):
    store = EntryStore(tmp_path / "e.json")
    store.put("b", ONE)
    assert store.due(100, 0) is None
    store.put("b", TWO)
    assert store.due(200, 150) == {"b": ONE}
    assert store.due(300, 201) == {"b": TWO}


def test_a_disk_that_is_far_behind_costs_no_memory_and_writes_nothing_too_early(tmp_path):
    store = EntryStore(tmp_path / "e.json")
    for number in range(1000):
        store.put("b", Entry(number.to_bytes(2, "big"), "s", 1, number))
        assert store.due(number, 0) is None
    assert len(store._waiting) <= 256
    assert store.due(1000, 100)["b"].at < 100
    assert store.due(1001, 1002)["b"].at == 999


def test_written_entries_are_found_again_and_private(tmp_path):
    path = tmp_path / "e.json"
    store = EntryStore(path)
    store.put("b", THREE)
    store.write(store.all())
    assert on_disk(path) == THREE
    assert path.stat().st_mode & 0o777 == 0o600
    assert not path.with_suffix(".new").exists()


def test_nothing_is_written_twice(tmp_path):
    path = tmp_path / "e.json"
    store = EntryStore(path)
    store.put("b", ONE)
    store.write(store.all())
    path.unlink()
    store.write(store.all())
    assert not path.exists()
    assert store.due(5, 10) is None


def test_file_that_cannot_be_read_counts_as_none(tmp_path):
    path = tmp_path / "e.json"
    for text in ("", "{", "[1]", '{"b": [1]}', '{"b": ["zz", "s", 1]}'):
        path.write_text(text)
        assert on_disk(path) is None


def test_file_without_times_of_delivery_is_read(tmp_path):
    path = tmp_path / "e.json"
    path.write_text(json.dumps({"b": ["01", "LD0/LLN0$Status", 1]}))
    assert on_disk(path) == Entry(b"\x01", "LD0/LLN0$Status", 1)
