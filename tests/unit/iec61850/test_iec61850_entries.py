"""EntryIDs on disk."""

import pytest

from twin_gateway.drivers.iec61850.entries import Entry, EntryStore

A, B, C = (Entry(bytes((n,) * 8), "LD/LLN0$ds", 1) for n in range(3))


def test_entry_is_on_disk_one_save_after_it_was_taken(tmp_path):
    path = tmp_path / "entries.json"
    store = EntryStore(path)
    store.put("b", A)
    store.save()
    assert EntryStore(path).get("b") is None  # what follows the table may not have kept it yet
    store.put("b", B)
    store.save()
    assert EntryStore(path).get("b") == A
    store.put("b", C)
    store.save(final=True)
    assert EntryStore(path).get("b") == C


def test_forgotten_entry_is_gone(tmp_path):
    path = tmp_path / "entries.json"
    store = EntryStore(path)
    store.put("b", A)
    store.save(final=True)
    store.forget("b")
    store.save(final=True)
    assert EntryStore(path).get("b") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"b": 1}', '{"b": ["zz", "x", 1]}', '{"b": []}', "\xff"])
def test_damaged_file_is_as_good_as_none(tmp_path, text):
    path = tmp_path / "entries.json"
    path.write_bytes(text.encode("latin-1"))
    assert EntryStore(path).get("b") is None


def test_file_that_cannot_be_written_is_told(tmp_path):
    store = EntryStore(tmp_path / "missing" / "entries.json")
    store.put("b", A)
    with pytest.raises(OSError, match="missing"):
        store.save(final=True)
