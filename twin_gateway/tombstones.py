"""The tombstones of mapping files in the address book: a retired address says when, why, and what took its place."""

from __future__ import annotations

from datetime import UTC, datetime, time

from address_space import clock
from address_space.alias import AddressBook, Tombstone
from twin_gateway.mapping.model import Mapping


def add_tombstones(book: AddressBook, mapping: Mapping) -> None:
    """Tell the address book of every retired address of a mapping; its day begins at midnight UTC."""
    for item in mapping.retired.values():
        at = clock.from_datetime(datetime.combine(item.date, time(), UTC))
        book.retire(Tombstone(item.address, at, item.reason, item.successor))
