"""Suspicions of abnormal loss that stand at present: points, conditions, and how they outlive a restart (spec 4.6).

Each has its place in the address space below the meter or region that it is about, and names nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.losses_methods import iso
from twin_gateway.functions.losses_results import LossResults
from twin_gateway.functions.results import Value
from twin_gateway.twin.losses.detection import Suspicion
from twin_gateway.twin.losses.regions import PLACE_LEVELS, padded

POINTS = ("SusScr", "SusWh", "SusKnd", "SusT")
"""Score (0 to 1), Wh a day in question, methods that found it, evidence window (`begin/end`, ISO 8601)."""
_SEVERITY = 450
_PIECE = 400
"""Points written in one go: a turn of the event loop stays short."""


def object_of(address: str) -> str:
    """Function that tells the suspicion of an address: a meter, a measured point, or a region's function."""
    if address.rsplit("/", 1)[-1].startswith("twLOSS"):
        return address
    return f"{padded('/'.join(address.split('/')[:PLACE_LEVELS]))}/twLOSS1"


class StandingSuspicions:
    """What is suspected at present.

    Args:
        context: for points, conditions and events.
        addresses: of everything that may be suspected: meters and regions.
        results: where they are kept.
    """

    def __init__(self, context: TwinContext, addresses: Iterable[str], results: LossResults) -> None:
        self._context = context
        self._results = results
        self._objects = {object_of(address) for address in addresses}
        self._standing: dict[str, list[Suspicion]] = {}
        self._silent = set(self._objects)
        context.results.add(f"{key}/{name}" for key in self._objects for name in POINTS)

    @property
    def all(self) -> list[Suspicion]:
        """Every one, the largest energy first."""
        return sorted((s for some in self._standing.values() for s in some), key=lambda s: -s.kwh_per_day)

    async def restore(self) -> None:
        """Those of before a restart stand again."""
        kept = await asyncio.to_thread(self._results.suspicions)
        if kept is not None:
            await self._show(_grouped(kept))

    async def replace(self, found: Sequence[Suspicion], judged: Collection[str], known: Collection[str]) -> None:
        """What a search has found. Those that it has not found again are over.

        Those of regions whose data did not allow a judgement stay as they are, with the window of their evidence.

        Args:
            found: by the search.
            judged: regions that the search could judge.
            known: all regions there are.
        """
        fresh = _grouped(found)
        for key, before in self._standing.items():
            new = {(item.method, item.region) for item in fresh.get(key, [])}
            kept = [
                s for s in before if s.region not in judged and s.region in known and (s.method, s.region) not in new
            ]
            if kept:
                fresh.setdefault(key, []).extend(kept)
        await self._show(fresh)
        await asyncio.to_thread(self._results.put_suspicions, self.all)

    async def _show(self, now: Mapping[str, list[Suspicion]]) -> None:
        alarms, before = self._context.alarms, self._standing
        self._standing = dict(now)
        values: dict[str, Value] = {}
        for key, some in now.items():
            some.sort(key=lambda item: -item.score)
            known = {(item.method, item.region) for item in before.get(key, [])}
            best = max(some, key=lambda item: item.kwh_per_day)
            alarms.raise_("L02", best.address, best.text(), _SEVERITY, value=best.kwh_per_day, details=_details(best))
            for item in some:
                if item is not best and (item.method, item.region) not in known:
                    alarms.event(
                        "L02", item.address, item.text(), _SEVERITY, value=item.kwh_per_day, details=_details(item)
                    )
            values |= {
                f"{key}/SusScr": some[0].score,
                f"{key}/SusWh": best.kwh_per_day * 1000.0,
                f"{key}/SusKnd": ",".join(dict.fromkeys(str(item.method) for item in some)),
                f"{key}/SusT": f"{iso(min(s.start for s in some))}/{iso(max(s.end for s in some))}",
            }
        for key in before.keys() - now.keys():
            for address in {item.address for item in before[key]}:
                alarms.clear("L02", address)
        # Once there has been a search, what is not suspected says so.
        for key in (self._silent | before.keys()) - now.keys():
            values |= {f"{key}/SusScr": 0.0, f"{key}/SusWh": 0.0, f"{key}/SusKnd": "", f"{key}/SusT": ""}
        self._silent = set()
        known_points = [(address, value) for address, value in values.items() if address in self._context.results]
        for at in range(0, len(known_points), _PIECE):
            self._context.results.write(dict(known_points[at : at + _PIECE]))
            await asyncio.sleep(0)


def _grouped(items: Iterable[Suspicion]) -> dict[str, list[Suspicion]]:
    found: dict[str, list[Suspicion]] = {}
    for item in items:
        found.setdefault(object_of(item.address), []).append(item)
    return found


def _details(item: Suspicion) -> tuple[tuple[str, str], ...]:
    return ("method", str(item.method)), ("region", item.region), ("score", f"{item.score:.3f}")
