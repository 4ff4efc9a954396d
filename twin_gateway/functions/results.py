"""Result points: what a twin function computes, as points of the table like any other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from address_space import clock, units
from address_space.address import parse
from address_space.catalogue import ValueType, classify
from address_space.point import Batch, PointProfile, TextSample
from address_space.quality import Quality
from address_space.table import PointTable

_FUNCTION_AT = 6
Value = bool | int | float | str | None

_UNITS: Mapping[str, Mapping[str, str]] = {
    "LOSS": {
        **dict.fromkeys(
            ("LosWh", "TecWh", "NtlWh", "UncWh", "InWh", "OutWh", "CnsWh", "DerWh", "UnmWh", "SusWh"), "Wh"
        ),
        **dict.fromkeys(("LosPct", "UncPct", "EstPct", "Cmpl"), "%"),
    },
    "FLSR": {
        **dict.fromkeys(("FltPost", "VMin", "SAIFI", "MAIFI", "ASAI"), "1"),
        **dict.fromkeys(("DeadW", "RestW"), "W"),
        **dict.fromkeys(("SAIDI", "CAIDI", "SavMin"), "min"),
        "AMaxPct": "%",
        "ENS": "Wh",
    },
    "HLTH": {
        **dict.fromkeys(("HealthIdx", "Wear", "WearA", "WearB", "WearC", "Mech", "Drive", "Coil", "Gas"), "%"),
        **dict.fromkeys(("PaDsch", "Therm", "Age", "RemLifePct", "OpnDevPct", "ClsDevPct"), "%"),
        "Conf": "1",
        "PresN": "Pa",
        "SumA2s": "A2s",
        "DaysToAlm": "d",
        "TmpExc": "K",
    },
    "FDRV": {"LodPct": "%"},
    "SUPV": {"Avl": "%", "CmdFailPct": "%", "MTBF": "h", "TmOfs": "s"},
    "TOPO": {"Cov": "1", "VMin": "1", "AMaxPct": "%", "LosW": "W"},
}
"""Units of results by class and data object; of others the canonical one of the quantity that the catalogue knows.
Voltages of `VMin` are per unit, sub-scores and the health index go from 0 to 100."""


class ResultPoints:
    """Adds result points and writes their values in batches.

    A value of None is published as a bad sample (invalid), so that nobody takes an old result for a new one.
    """

    def __init__(self, table: PointTable) -> None:
        self._table = table
        self._rows: dict[str, int] = {}
        self._kinds: dict[str, int] = {}

    def add(self, addresses: Iterable[str]) -> None:
        """Add points by address (`…/twLOSS1/LosWh`); class and unit come from the catalogue, known ones are left.

        Raises:
            AddressError, CatalogueError: an address is malformed, or the catalogue does not know it.
        """
        new = [text for text in dict.fromkeys(addresses) if text not in self._rows]
        absent = [text for text, row in zip(new, self._find(new), strict=True) if row < 0]
        # What a result is follows from its function and data object: few kinds, many places (checked by the table).
        kinds = [self._kind(text) for text in absent]
        none = [self._table.link_number("")] * len(absent)
        self._table.add_columns(absent, kinds, none, [self._table.source_number(0)] * len(absent))
        self._rows.update(zip(new, self._find(new), strict=True))

    def _find(self, addresses: Sequence[str]) -> list[int]:
        tree = self._table.tree
        nodes = tree.find_many(addresses)
        return [int(tree.row[node]) if node >= 0 else -1 for node in nodes.tolist()]

    def _kind(self, address: str) -> int:
        """Number of the profile of a point."""
        kind = address.split("/", _FUNCTION_AT)[-1]
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = self._table.profile_number(_profile(address))
        return found

    def write(self, values: Mapping[str, Value], quality: int = 0, source_time: int = 0) -> None:
        """Publish values of points that have been added.

        Args:
            values: by address.
            quality: quality word of all (`quality.worst` of what they were computed from, or 0 for good).
            source_time: FILETIME ticks of the newest input; 0 for now.
        """
        ticks = source_time or clock.now()
        rows: list[int] = []
        numbers: list[float] = []
        words: list[int] = []
        texts: list[TextSample] = []
        for address, value in values.items():
            row = self._rows[address]
            word = quality if value is not None else int(Quality.INVALID)
            if self._table.value_type[row] == ValueType.STRING:
                texts.append(TextSample(row, "" if value is None else str(value), word, ticks))
                continue
            rows.append(row)
            numbers.append(0.0 if value is None else float(value))
            words.append(word)
        self._table.ingest(Batch.of(rows, numbers, words, ticks, texts=texts))

    def remove(self, addresses: Iterable[str]) -> None:
        """Retire points that were added here."""
        rows = [self._rows.pop(address) for address in addresses if address in self._rows]
        self._table.retire(np.array(rows, np.int32))

    def invalidate(self) -> None:
        """Make every result bad: nobody computes them any more."""
        self.write(dict.fromkeys(self._rows))

    def __contains__(self, address: str) -> bool:
        return address in self._rows


def _profile(text: str) -> PointProfile:
    address = parse(text)
    found = classify(address)
    symbol = ""
    if address.function is not None:
        symbol = _UNITS.get(address.function.ln_class, {}).get(address.path[0], "")
    if symbol:
        return PointProfile.of(found, units.unit(symbol))
    return PointProfile.of(found, units.canonical(found.quantity) if found.quantity is not None else None)
