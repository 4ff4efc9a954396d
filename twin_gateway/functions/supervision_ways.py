"""Ways that links share: a concentrator, a modem, a proxy. When it is silent, it is one outage and not one a device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from address_space.address import escape
from twin_gateway.functions.supervision_devices import SupervisedLink

ENOUGH = 2
"""So many links lost with nothing heard over their way since are one outage."""


@dataclass(slots=True)
class Way:
    """One that at least two links share.

    Attributes:
        name: what people call it: host and port.
        links: addresses of the links over it.
        lost: of those that were up, when they were lost (s); only since anything was last heard over it.
    """

    name: str
    links: Mapping[str, SupervisedLink]
    lost: dict[str, float] = field(default_factory=dict)
    _heard: int = 0

    def follow(self, down: Set[str], before: Set[str], now: float) -> None:
        """Take up what has been heard, then what has been lost since the last time."""
        heard = self._count()
        if heard != self._heard:
            self._heard = heard
            self.lost.clear()
        for address, link in self.links.items():
            if address in down and address not in before and link.counters["connects"]:
                self.lost[address] = now

    def go_on(self, former: Way) -> None:
        """Know what was known when it had other links."""
        self.lost = {address: since for address, since in former.lost.items() if address in self.links}
        self._heard = self._count()

    def _count(self) -> int:
        return sum(link.counters["samples"] + link.counters["connects"] for link in self.links.values())

    def is_down(self, down: Set[str]) -> bool:
        """Nobody answers over it: all are down, or several were lost and nothing was heard of the others since."""
        return len(self.lost) >= ENOUGH or all(address in down for address in self.links)

    @property
    def reason(self) -> str:
        """Why one of its links is down."""
        return next((link.reason for link in self.links.values() if link.reason), "no connection")


class Ways:
    """All of a gateway.

    Args:
        links: all links; those with the same `way` share it.
        gateway: its place; what is shared stands below it.
        hold: how long a lost link waits, when nothing has been heard over its way since, to be known as one of many, s.

    Attributes:
        by_place: what there is.
        place_of: address of a link -> place of its way.
    """

    def __init__(self, links: Iterable[SupervisedLink], gateway: str, *, hold: float) -> None:
        shared: dict[str, dict[str, SupervisedLink]] = {}
        for link in links:
            name = getattr(link, "way", "")
            if name and gateway:
                shared.setdefault(name, {})[link.address] = link
        self.by_place: dict[str, Way] = {
            f"{gateway}/_/_/{escape(name)}": Way(name, behind)
            for name, behind in shared.items()
            if len(behind) >= ENOUGH
        }
        self.place_of = {address: place for place, way in self.by_place.items() for address in way.links}
        self._hold = hold
        self._before: Set[str] = frozenset()

    def go_on(self, former: Ways, down: Set[str]) -> None:
        """Know what was known when there were other links; `down`: what was down."""
        self._before = frozenset(self.place_of.keys() & down)
        for place in self.by_place.keys() & former.by_place.keys():
            self.by_place[place].go_on(former.by_place[place])

    def down(self, down: Set[str], now: float) -> Sequence[str]:
        """Places of those that are down, by the links that are."""
        for way in self.by_place.values():
            way.follow(down, self._before, now)
        self._before = frozenset(address for address in self.place_of if address in down)
        return [place for place, way in self.by_place.items() if way.is_down(down)]

    def held(self, now: float) -> set[str]:
        """Links that may turn out to be the first of many: they are not told yet."""
        return {
            address for way in self.by_place.values() for address, since in way.lost.items() if now - since < self._hold
        }
