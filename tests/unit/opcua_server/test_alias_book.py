"""The address book: aliases, case, near misses, patterns, bindings, tombstones."""

from __future__ import annotations

import pytest
from peers.opcua.rig import BAY, CONTROL, POSITION, POWER, address_book, grid, point

from address_space.alias import AddressBook, AliasError, Binding, Filter, Tombstone

MRID = "mrid:6f0c3c5e-0d0a-4f2a-9a53-1f0b8a1f2c33"


@pytest.fixture
def book() -> AddressBook:
    return address_book(grid())


def test_an_exact_address_is_resolved_to_all_its_forms(book: AddressBook) -> None:
    found = book.resolve(POSITION)
    assert (found.address, found.kind) == (POSITION, "data")
    assert found.node_id == f"nsu=https://example.org;s={POSITION}"
    assert found.topic == f"twin/v/{POSITION}"
    assert found.uri == f"https://example.org/uta/{POSITION}"
    assert found.bindings == (Binding("104", "ps01-rtu", "ps01-rtu/1/4001"),)
    assert found.aliases == (MRID, "104:ps01-rtu/1/4001")


def test_containers_are_resolved_too(book: AddressBook) -> None:
    assert (book.resolve(BAY).address, book.resolve(BAY).kind, book.resolve(BAY).bindings) == (BAY, "bay", ())


@pytest.mark.parametrize("alias", [MRID, MRID.upper().replace("MRID", "mrid"), "104:ps01-rtu/1/4001"])
def test_an_alias_names_its_address(book: AddressBook, alias: str) -> None:
    assert book.resolve(alias).address == POSITION


@pytest.mark.parametrize("alias", ["104:ps01-rtu/1/9", "104:x", "xyz:1", "mrid:", ":", "104:" + "1" * 5000])
def test_an_unknown_alias_is_no_match(book: AddressBook, alias: str) -> None:
    assert not book.resolve(alias).found


def test_one_alias_names_one_address_only(book: AddressBook) -> None:
    book.add_alias(MRID, POSITION)
    with pytest.raises(AliasError, match="already names"):
        book.add_alias(MRID, POWER)
    with pytest.raises(AliasError, match="scheme:value"):
        book.add_alias("no scheme", POWER)


def test_a_case_folded_address_is_found_when_it_is_the_only_one(book: AddressBook) -> None:
    assert book.resolve(POSITION.lower()).address == POSITION
    assert book.resolve(POWER.upper()).address == POWER


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (POSITION.replace("XCBR1", "XCBR2"), POSITION),
        (POSITION.replace("F05", "F50"), POSITION),
        (POSITION + "s", POSITION),
        (POSITION.replace("north", "nroth"), POSITION),
        (POWER.replace("/_/", "/"), POWER),
        (f"{BAY}/_/MMXU1/Xyzabc", f"{BAY}/_/MMXU1"),
    ],
)
def test_a_near_miss_names_the_nearest(book: AddressBook, text: str, meant: str) -> None:
    found = book.resolve(text)
    assert not found.found
    assert found.nearest[0] == meant
    assert len(found.nearest) <= 5


def test_a_near_miss_among_thousands_of_siblings_names_the_nearest_ones() -> None:
    table = grid()
    table.add(point(f"dso1/west/S{number:05d}/MV1/F01/QA1/XCBR1/Pos", link="") for number in range(2000))
    nearest = AddressBook(table).resolve("dso1/west/S0123x/MV1/F01/QA1/XCBR1/Pos").nearest
    assert nearest == tuple(f"dso1/west/S0123{digit}/MV1/F01/QA1/XCBR1/Pos" for digit in range(5))


def test_a_retired_address_leads_to_its_successor(book: AddressBook) -> None:
    old = POSITION.replace("F05", "F04")
    book.retire(Tombstone(old, 1, "moved", POSITION))
    for text in (old, f"was:{old}"):
        found = book.resolve(text)
        assert found.address == POSITION
        assert found.tombstone is not None
        assert found.tombstone.reason == "moved"
    book.retire(Tombstone("dso1/gone", 1, "removed"))
    gone = book.resolve("dso1/gone")
    assert (gone.found, gone.tombstone and gone.tombstone.reason) == (False, "removed")


def test_a_book_that_becomes_another_has_its_aliases_and_keeps_its_own_tombstones(book: AddressBook) -> None:
    old = POSITION.replace("F05", "F04")
    book.retire(Tombstone(old, 1, "moved", POSITION))
    other = AddressBook(book.table)
    other.inherit(book)
    book.adopt(other)
    assert not book.resolve(MRID).found
    assert book.resolve(f"was:{old}").address == POSITION


def test_further_bindings_stand_beside_the_one_read(book: AddressBook) -> None:
    command = Binding("104", "ps01-rtu", "ps01-rtu/1/6001", "command")
    book.add_binding(f"{CONTROL}/Pos", command)
    book.add_binding(f"{CONTROL}/Pos", command)
    assert [each.role for each in book.bindings(f"{CONTROL}/Pos")] == ["read", "command"]


def test_reverse_lookup_by_binding_and_by_alias(book: AddressBook) -> None:
    assert book.reverse_lookup("ps01-rtu", 4001) == book.reverse_lookup("104:ps01-rtu/1/4001") == (POSITION,)
    assert book.reverse_lookup("ps02", "LD0/XCBR1.Pos") == ("dso1/south/PS~2EA~2F7/MV1/F01/QA1/XCBR1/Pos",)
    assert book.reverse_lookup("ps01-rtu", 1) == ()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("dso1/+/+/+/+/+/XCBR1/Pos", {POSITION, "dso1/south/PS~2EA~2F7/MV1/F01/QA1/XCBR1/Pos"}),
        (f"{BAY}/_/MMXU1/TotW", {POWER}),
        (f"{BAY}/+/MMXU1/TotW", {POWER}),
        (f"{BAY}/QA1/MMXU1/TotW", set()),
        ("dso1/+", {"dso1/north", "dso1/south"}),
        ("+", {"dso1"}),
        (f"{BAY}/_/MMXU1/#", {f"{BAY}/_/MMXU1", POWER, f"{BAY}/_/MMXU1/A", f"{BAY}/_/MMXU1/A/phsB"}),
        ("dso2/#", set()),
    ],
)
def test_patterns(book: AddressBook, pattern: str, expected: set[str]) -> None:
    assert set(book.lookup(pattern)) == expected


def test_filters_leave_points_only(book: AddressBook) -> None:
    assert set(book.lookup("#", Filter.parse("class=CSWI"))) == {f"{CONTROL}/Pos", f"{CONTROL}/Loc"}
    assert book.lookup("#", Filter.parse("cdc=CMV")) == (f"{BAY}/_/MMXU1/A/phsB",)
    assert book.lookup("#", Filter.parse("quality=uncertain")) == (f"{BAY}/_/MMTR1/DmdWh",)
    assert set(book.lookup("#", Filter.parse("cdc=DPC, quality=bad"))) == {
        "dso1/south/PS~2EA~2F7/MV1/F01/QA1/XCBR1/Pos"
    }
    assert len(book.lookup("#", limit=4)) == 4


@pytest.mark.parametrize("text", ["name=x", "quality=fair", "cdc=", "cdc=NOPE", "x"])
def test_a_wrong_filter_is_refused(text: str) -> None:
    with pytest.raises(AliasError):
        Filter.parse(text)


@pytest.mark.parametrize("pattern", ["", "a//b", "a/#/b", "a+", "x" * 2000])
def test_a_wrong_pattern_is_refused(book: AddressBook, pattern: str) -> None:
    with pytest.raises(AliasError):
        book.lookup(pattern)
