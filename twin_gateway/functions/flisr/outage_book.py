"""Who was without supply, event by event and feeder by feeder, and the reliability indices of the last year."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twin_gateway.functions.flisr.case import Case
from twin_gateway.functions.flisr.interruptions import Outage, Reliability, reliability
from twin_gateway.functions.flisr.observe import GridEye
from twin_gateway.functions.flisr.regions import Regions
from twin_gateway.grid.model import LoadData


class OutageBook:
    """Outages of the events that are over, and the customers of each zone.

    Args:
        sustained: s, above which an interruption is no momentary one.
    """

    def __init__(self, eye: GridEye, regions: Regions, sustained: float) -> None:
        self._eye = eye
        self._regions = regions
        self._sustained = sustained
        self._past: dict[str, list[Outage]] = {feeder: [] for feeder in regions.feeders}
        self._weights = self._customers()

    def restore(self, interruptions: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Take what is on disk: (feeder, body) of each event; feeders that are gone do not count."""
        for outages in self._past.values():
            outages.clear()
        for feeder, body in interruptions:
            if feeder in self._past:
                self._past[feeder] += [Outage(*row) for row in body["outages"]]

    def begin(self, case: Case) -> None:
        """Who was supplied before the fault and is not now."""
        network, before = self._eye.network, case.snapshot.positions
        was = self._eye.fed(self._regions.closed(before))
        lost: dict[int, tuple[int, float]] = {}
        for number in was - self._eye.supplied():
            estimates = [case.snapshot.loads.get(load) for load in network.zones[number].loads]
            load = float(sum(each.p + each.der for each in estimates if each is not None))
            lost[number] = (self._weights[number], load)
        case.interruption.begin(lost, case.snapshot.time)

    def end(self, case: Case, now: float) -> list[Outage]:
        """An event is over: what it cost."""
        outages = case.interruption.outages(now)
        self._past[case.sequence.trigger.feeder] += outages
        return outages

    def of_feeder(self, feeder: str, case: Case | None, now: float) -> tuple[list[Outage], Reliability]:
        """Outages of a feeder, its present event included, and the indices among its customers."""
        outages = [*self._past[feeder], *(case.interruption.outages(now) if case is not None else ())]
        served = sum(self._weights[zone] for zone in self._regions.area(feeder))
        return outages, self._indices(outages, served)

    def of_area(self, outages: list[Outage]) -> Reliability:
        """Indices of the outages of all feeders among all customers."""
        return self._indices(outages, sum(self._weights.values()))

    def _indices(self, outages: list[Outage], served: int) -> Reliability:
        return reliability(outages, served, self._sustained / 60.0)

    def _customers(self) -> dict[int, int]:
        network = self._eye.network
        found = {}
        for number, zone in enumerate(network.zones):
            data = [network.grid.equipment[load].data for load in zone.loads]
            found[number] = sum(each.customers for each in data if isinstance(each, LoadData))
        return found
