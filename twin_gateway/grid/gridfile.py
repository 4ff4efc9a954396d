"""One grid file and the frame around its entries: header, completed addresses, fields with their positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from address_space import catalogue
from address_space.address import AddressError, Kind, parse
from address_space.catalogue import CatalogueError
from twin_gateway.grid.fields import Reader
from twin_gateway.grid.fields import text as text_value
from twin_gateway.mapping.field_error import FieldError, kind_of
from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.mapping.read import BROKEN, Map, Source

VERSION: Final = 1
BEGINS: Final = "a grid file begins with 'grid_model: 1'"
SECTIONS: Final = ("types", "nodes", "equipment", "indicators", "measurements", "meters", "feeders")
_TOP: Final = ("grid_model", "grid", "place", "voltages", *SECTIONS)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

Field = tuple[Any, Source, int]
"""A value as read, the file and the offset where it is written."""


class GridFile:
    """One file: knows what goes before its addresses, and reports at positions.

    Attributes:
        prefix: grid and place, which go before every address that does not begin with the grid itself.
        usable: the header could be read.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.root = source.root if source.root is not None else Map()
        self.grid = ""
        self.prefix = ""
        self.usable = source.root is not None and self._header()

    def _header(self) -> bool:
        root, report = self.root, self.source.report
        for i, key in enumerate(root):
            if key not in _TOP:
                report(root.marks[2 * i], "TG201", f"unknown key '{key}'", did_you_mean(key, _TOP) or ", ".join(_TOP))
        if "grid_model" not in root:
            report(root.start, "TG202", "the key 'grid_model' is missing", BEGINS)
        elif root["grid_model"] != VERSION or type(root["grid_model"]) is not int:
            report(root.value_at("grid_model"), "TG205", "the version of the grid format is 1", BEGINS)
            return False
        if "grid" not in root:
            report(root.start, "TG202", "the key 'grid' is missing", "level 1 of every address, as in 'grid: dso1'")
            return False
        try:
            self.grid = text_value(root["grid"])
            place = root.get("place")
            parts = (self.grid,) if place is None else (self.grid, text_value(place))
            self.prefix = "/".join(parts)
            parse(f"{self.prefix}/x")  # also where the place ends in '_'
        except FieldError as error:
            report(root.value_at("place" if self.grid else "grid"), error.code, str(error), error.hint)
            return False
        except AddressError as error:
            report(root.value_at("place" if "place" in root else "grid"), "TG401", str(error))
            return False
        return True

    def section(self, name: str) -> Iterator[tuple[str, int, Any, int]]:
        """Entries of a section: key, its offset, value, its offset."""
        if not self.usable:
            return
        value = self.root.get(name)
        if value is None or value is BROKEN:
            return
        if not isinstance(value, Map):
            hint = f"{name}: {{key: {{…}}}}"
            self.source.report(self.root.value_at(name), "TG203", f"a mapping expected, not {kind_of(value)}", hint)
            return
        for i, (key, item) in enumerate(value.items()):
            if item is not BROKEN:
                yield key, value.marks[2 * i], item, value.marks[2 * i + 1]

    def entries(self, name: str) -> Iterator[tuple[str, int, Map]]:
        """Entries of a section that are mappings of fields; others are reported."""
        for key, at, item, item_at in self.section(name):
            if isinstance(item, Map):
                yield key, at, item
            else:
                self.source.report(item_at, "TG203", f"a mapping of fields expected, not {kind_of(item)}")

    def complete(self, text: Any) -> str:
        """The whole address of a text as written.

        Raises:
            FieldError: when it is no text.
        """
        name = text_value(text)
        return name if name == self.grid or name.startswith(f"{self.grid}/") else f"{self.prefix}/{name}"

    def place(self, text: Any, *kinds: Kind) -> str:
        """The whole address of a place of one of some kinds (equipment unless given).

        Raises:
            FieldError: when it is malformed or of another kind.
        """
        kinds = kinds or (Kind.EQUIPMENT,)
        address = self.complete(text)
        try:
            kind = parse(address).kind
        except AddressError as error:
            raise FieldError("TG401", f"'{text}': {error}") from error
        if kind not in kinds:
            wanted = " or ".join(kinds)
            hint = "site/voltage level/bay/equipment, with _ for a level that does not apply"
            raise FieldError("TG402", f"'{address}' is the address of a {kind}, not of {wanted}", hint)
        return address

    def point(self, text: Any) -> str:
        """The whole address of a data object that the catalogue knows.

        Raises:
            FieldError: when it is malformed, no data object, or not in the catalogue.
        """
        address = self.complete(text)
        try:
            parsed = parse(address)
            if parsed.kind not in (Kind.DATA, Kind.ATTRIBUTE):
                raise FieldError("TG404", f"'{address}' is no data object", "as in PS01/MV1/F01/QA1/XCBR1/Pos")
            catalogue.classify(parsed)
        except AddressError as error:
            raise FieldError("TG401", f"'{text}': {error}") from error
        except CatalogueError as error:
            raise FieldError("TG405", f"'{address}': {error}") from error
        return address

    @contextmanager
    def at(self, offset: int, source: Source | None = None) -> Iterator[None]:
        """Report a `FieldError` at an offset."""
        try:
            yield
        except FieldError as error:
            (source or self.source).report(offset, error.code, str(error), error.hint)

    def fields(self, entry: Map, known: Mapping[str, object] | tuple[str, ...], what: str) -> dict[str, Field]:
        """The fields of an entry with their positions; unknown ones are reported and left out, null is as absent."""
        found: dict[str, Field] = {}
        for i, (name, value) in enumerate(entry.items()):
            if name not in known:
                hint = did_you_mean(name, known) or ", ".join(known)
                self.source.report(entry.marks[2 * i], "TG201", f"{what} has no field '{name}'", hint)
            elif value is not BROKEN:
                found[name] = value, self.source, entry.marks[2 * i + 1]
        return found

    def read(self, fields: Mapping[str, Field], readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any] | None:
        """Values of fields by their readers; null is left out. None when one cannot be read (it is reported)."""
        values: dict[str, Any] = {}
        good = True
        for name, (value, source, offset) in fields.items():
            if value is None or name not in readers:
                continue
            try:
                values[name] = readers[name](value)
            except FieldError as error:
                source.report(offset, error.code, str(error), error.hint)
                good = False
        return values if good else None


def mrid(value: Any) -> str:
    """A CIM master id: a UUID in lower case, or any other text as it stands."""
    found = text_value(value)
    return found.lower() if _UUID.match(found.lower()) else found


__all__ = ["BEGINS", "SECTIONS", "VERSION", "Field", "GridFile", "Reader", "mrid"]
