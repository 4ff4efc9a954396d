"""Who was without supply and for how long, zone by zone, and what it makes of the reliability indices (IEEE 1366)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from twin_gateway.twin.flisr.indices import Indices, Interruption, indices

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Customers of one zone without supply.

    Attributes:
        customers: how many.
        minutes: for how long.
        load: W of their pre-fault load.
        saved: minutes that they would have waited longer for the end of the repair.
    """

    customers: int
    minutes: float
    load: float
    saved: float = 0.0


@dataclass(frozen=True, slots=True)
class Reliability:
    """Indices of a year, and the customer minutes saved."""

    indices: Indices
    saved: float


def reliability(outages: Iterable[Outage], served: int, sustained: float) -> Reliability:
    """Indices of the outages of a year among `served` customers; `sustained` in minutes."""
    outages = list(outages)
    told = [Interruption(outage.customers, outage.minutes, outage.load) for outage in outages]
    saved = sum(outage.customers * outage.saved for outage in outages)
    return Reliability(indices(told, max(1, served), threshold=sustained), saved)


@dataclass(slots=True)
class SupplyLog:
    """What one event costs, zone by zone; fed with the supplied zones as they change.

    Attributes:
        customers, load: of each zone that has lost supply.
        lost, back: when, s; a zone in `lost` and not in `back` is without supply.
    """

    customers: dict[int, int] = field(default_factory=dict)
    load: dict[int, float] = field(default_factory=dict)
    lost: dict[int, float] = field(default_factory=dict)
    back: dict[int, float] = field(default_factory=dict)

    def begin(self, zones: Mapping[int, tuple[int, float]], time: float) -> None:
        """Zones (customers, W) that were supplied before and are not now."""
        for zone, (customers, load) in zones.items():
            if zone not in self.lost:
                self.customers[zone], self.load[zone], self.lost[zone] = customers, load, time

    def update(self, supplied: set[int], time: float) -> bool:
        """Take the zones that are supplied now; whether anything has changed. A zone lost again goes on counting."""
        changed = False
        for zone in self.lost:
            if zone in supplied and zone not in self.back:
                self.back[zone] = time
                changed = True
            elif zone not in supplied and zone in self.back:
                del self.back[zone]
                changed = True
        return changed

    @property
    def out(self) -> int:
        """Customers without supply."""
        return sum(self.customers[zone] for zone in self.lost if zone not in self.back)

    @property
    def restored(self) -> int:
        """Customers that have supply again."""
        return sum(self.customers[zone] for zone in self.back)

    def outages(self, end: float) -> list[Outage]:
        """Outages until `end`; who has no supply then is counted until then."""
        found = []
        for zone, lost in self.lost.items():
            back = self.back.get(zone, end)
            saved = max(0.0, end - back) / MINUTE
            found.append(Outage(self.customers[zone], max(0.0, back - lost) / MINUTE, self.load[zone], saved))
        return found
