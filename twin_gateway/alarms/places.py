"""Conditions by place: what stands at and below an address is found without a look at the others."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator


class PlaceIndex:
    """Ids of conditions by the address of their source, addresses in order.

    A new address is moved into its place in an array of pointers: some microseconds with 100 000 of them.
    """

    def __init__(self) -> None:
        self._addresses: list[str] = []
        self._ids: dict[str, list[str]] = {}

    def add(self, address: str, identifier: str) -> None:
        """Add an id that is not in it."""
        ids = self._ids.get(address)
        if ids is None:
            self._ids[address] = [identifier]
            insort(self._addresses, address)
        else:
            ids.append(identifier)

    def add_all(self, items: Iterable[tuple[str, str]]) -> None:
        """Add many (address, id) at once."""
        for address, identifier in items:
            self._ids.setdefault(address, []).append(identifier)
        self._addresses = sorted(self._ids)

    def remove(self, address: str, identifier: str) -> None:
        """Take an id out that is in it."""
        ids = self._ids[address]
        ids.remove(identifier)
        if not ids:
            del self._ids[address]
            del self._addresses[bisect_left(self._addresses, address)]

    def at(self, address: str) -> Iterable[str]:
        """Ids at an address."""
        return self._ids.get(address, ())

    def below(self, prefix: str) -> Iterator[str]:
        """Ids at and below an address."""
        yield from self._ids.get(prefix, ())
        # All that begin with `prefix/` stand together, before `prefix0` (the character after the slash).
        start, end = bisect_left(self._addresses, f"{prefix}/"), bisect_left(self._addresses, f"{prefix}0")
        for address in self._addresses[start:end]:
            yield from self._ids[address]
