"""Where each meter hangs, as points at its place: `<meter>/twTOPO1/FedBy` and `Phs`, uncertain until accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from address_space.quality import Quality
from twin_gateway.functions.lv_topology_store import Reference
from twin_gateway.functions.results import ResultPoints, Value
from twin_gateway.grid.model import Meter
from twin_gateway.twin.lv_topology.records import same_phases

POINTS = ("FedBy", "Phs")
"""Address of the transformer, and letters of the phases."""
_PIECE = 50


def function_of(place: str) -> str:
    """The twTOPO1 object of a place."""
    return f"{place}{'/_' * (5 - place.count('/'))}/twTOPO1"


class ReferencePoints:
    """Adds the points and writes them.

    A reference is Good when a person has accepted just that, and uncertain as long as it is only what the records say;
    what is not on record is bad.

    Args:
        results: where they go.
        meters: addresses.
        meter: a meter with its references as accepted so far.
    """

    def __init__(
        self, results: ResultPoints, meters: Mapping[str, Meter], meter: Callable[[str], Meter | None]
    ) -> None:
        self._results = results
        self._meters = tuple(meters)
        self._meter = meter
        results.add(f"{function_of(address)}/{name}" for address in self._meters for name in POINTS)

    def write_all(self, accepted: Mapping[str, Reference]) -> Iterator[int]:
        """Publish the references of all meters, in parts.

        Args:
            accepted: what a person has accepted last, by meter.
        """
        for at in range(0, len(self._meters), _PIECE):
            good: dict[str, Value] = {}
            doubtful: dict[str, Value] = {}
            for address in self._meters[at : at + _PIECE]:
                values, sure = self._of(address, accepted.get(address))
                (good if sure else doubtful).update(values)
            self._write(good, doubtful)
            yield len(good) + len(doubtful)

    def write(self, address: str, accepted: Reference | None) -> None:
        """Publish the references of one meter."""
        values, sure = self._of(address, accepted)
        self._write(values if sure else {}, {} if sure else values)

    def _write(self, good: Mapping[str, Value], doubtful: Mapping[str, Value]) -> None:
        if good:
            self._results.write(good)
        if doubtful:
            self._results.write(doubtful, int(Quality.QUESTIONABLE))

    def _of(self, address: str, accepted: Reference | None) -> tuple[dict[str, Value], bool]:
        """Values by point, and whether a person has accepted them."""
        meter, owner = self._meter(address), function_of(address)
        if meter is None:
            return dict.fromkeys((f"{owner}/{name}" for name in POINTS), None), False
        sure = (
            accepted is not None and accepted.fed_by == meter.transformer and same_phases(accepted.phases, meter.phases)
        )
        return {f"{owner}/FedBy": meter.transformer or None, f"{owner}/Phs": meter.phases or None}, sure
