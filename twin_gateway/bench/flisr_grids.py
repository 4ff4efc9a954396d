"""Grids for figures of FLISR: feeders of ring-main units, tiled to any size."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    FaultIndicator,
    Feeder,
    Grid,
    LineData,
    LoadData,
    SourceData,
    SwitchRating,
)


@dataclass(frozen=True, slots=True)
class Cable:
    """A line between two buses.

    Attributes:
        number: names it `Lnn`.
        start, end: numbers of the buses.
        r, x: ohm.
        i_max: A; None unlimited.
        open: the switch at its second end is normally open.
    """

    number: int
    start: int
    end: int
    r: float
    x: float
    i_max: float | None = None
    open: bool = False


@dataclass(frozen=True, slots=True)
class Consumer:
    """W, var and customers at a bus."""

    p: float
    q: float
    customers: int = 0


def bus(k: int, place: str = "dso1/north") -> str:
    """Busbar of ring-main unit k."""
    return f"{place}/RMU{k:02}/MV1/_/CN1"


def line(n: int, place: str = "dso1/north") -> str:
    """Line n."""
    return f"{place}/L{n:02}/MV1/_/WB1"


def switch(k: int, n: int, place: str = "dso1/north") -> str:
    """Load-break switch at bus k of line n."""
    return f"{place}/RMU{k:02}/MV1/C{n:02}/QB1"


def head(n: int, place: str = "dso1/north") -> str:
    """Breaker at the source of the feeder that begins with line n."""
    return f"{place}/PS01/MV1/F{n:02}/QA1"


def add_feeders(
    grid: Grid,
    cables: Iterable[Cable],
    consumers: Mapping[int, Consumer],
    *,
    place: str = "dso1/north",
    nominal: float = 12660.0,
    source: int = 1,
    pickup: float | None = None,
) -> None:
    """Add feeders with one source and a switch at both ends of every line.

    Those at the source are breakers, the others load-break switches.

    Args:
        grid: added to.
        cables: lines and ties.
        consumers: by bus.
        place: levels 1 and 2 of the addresses.
        nominal: V.
        source: bus of the source.
        pickup: A, of the protection at each feeder's head.
    """
    cables = list(cables)
    buses = sorted({end for cable in cables for end in (cable.start, cable.end)})
    grid.add(ConnectivityNode(bus(k, place), nominal) for k in buses)
    grid.add([Equipment(f"{place}/PS01/MV1/_/SRC1", CimClass.SOURCE, (bus(source, place),), SourceData(1.0))])
    for cable in cables:
        add_cable(grid, cable, (bus(cable.start, place), bus(cable.end, place)), (place, place), nominal)
        if source in {cable.start, cable.end}:
            breaker = head(cable.number, place)
            feeder = breaker.rsplit("/", 1)[0]
            grid.feeders[feeder] = Feeder(feeder, breaker, pickup=pickup)
    for k, consumer in consumers.items():
        data = LoadData(consumer.p, consumer.q, consumer.customers)
        grid.add([Equipment(f"{place}/RMU{k:02}/MV1/T01/LD1", CimClass.LOAD, (bus(k, place),), data)])


def add_cable(
    grid: Grid, cable: Cable, buses: tuple[str, str], places: tuple[str, str], nominal: float, *, source: int = 1
) -> None:
    """Add a line between two busbars, with its switches and an indicator at its first end."""
    site = places[0]
    ends = tuple(f"{site}/L{cable.number:02}/MV1/_/CN{i}" for i in (1, 2))
    grid.add(ConnectivityNode(end, nominal) for end in ends)
    data = LineData(cable.r, cable.x, i_max=cable.i_max, length=1.0)
    grid.add([Equipment(line(cable.number, site), CimClass.LINE, (ends[0], ends[1]), data)])
    for i, k in enumerate((cable.start, cable.end)):
        fed = k == source
        address = head(cable.number, places[i]) if fed else switch(k, cable.number, places[i])
        rating = SwitchRating(
            normal_open=cable.open and i == 1,
            position=f"{address}/{'XCBR1' if fed else 'XSWI1'}/Pos",
            command=f"{address}/CSWI1/Pos",
        )
        cim_class = CimClass.BREAKER if fed else CimClass.LOAD_BREAK_SWITCH
        grid.add([Equipment(address, cim_class, (buses[0], ends[0]) if i == 0 else (ends[1], buses[1]), rating)])
        if i == 0 and not fed:
            point = f"{places[0]}/RMU{k:02}/MV1/C{cable.number:02}/_/SFPI1/FltInd"
            grid.indicators[point] = FaultIndicator(point, address, 1)


def random_feeders(seed: int, buses: int = 33) -> tuple[list[Cable], dict[int, Consumer]]:
    """Two or three feeders from one busbar (bus 1) with laterals and five ties of their own, much like a town's."""
    dice = random.Random(seed)
    cables: list[Cable] = []
    consumers: dict[int, Consumer] = {}
    feeder_of = {1: 0}
    tails: dict[int, int] = {}
    for k in range(2, buses + 1):
        feeder = k % 3 if k > 4 else k - 2
        if k <= 4:
            start = 1
        else:
            inside = [other for other in range(2, k) if feeder_of[other] == feeder]
            start = tails[feeder] if dice.random() < 0.8 else dice.choice(inside)
        feeder_of[k] = tails[feeder] = 0
        feeder_of[k], tails[feeder] = feeder, k
        length = dice.uniform(0.3, 1.2)
        cables.append(Cable(len(cables) + 1, start, k, 0.32 * length, 0.12 * length, 300.0 if start == 1 else 250.0))
        p = dice.choice((60e3, 90e3, 120e3, 200e3))
        consumers[k] = Consumer(p, 0.4 * p, dice.randrange(5, 60))
    for _ in range(5):
        a, b = dice.sample(range(5, buses + 1), 2)
        cables.append(Cable(len(cables) + 1, a, b, 0.3, 0.12, 250.0, open=True))
    return cables, consumers


def tiled(
    cables: list[Cable],
    consumers: Mapping[int, Consumer],
    copies: int,
    *,
    scale: float = 0.6,
    ties: int = 2,
    seed: int = 1,
) -> Grid:
    """Many copies of some feeders, each with its own source, joined by ties at random buses.

    Args:
        cables: of one copy.
        consumers: of one copy, by bus.
        copies: number of them.
        scale: factor on the loads.
        ties: from each copy to others.
        seed: of the choice of ties.
    """
    dice = random.Random(seed)
    grid = Grid()
    scaled = {k: Consumer(item.p * scale, item.q * scale, item.customers) for k, item in consumers.items()}
    places = [f"dso1/a{i:03}" for i in range(copies)]
    for place in places:
        add_feeders(grid, cables, scaled, place=place)
    buses = sorted(consumers)
    number = max(cable.number for cable in cables)
    for i, place in enumerate(places):
        for extra in range(ties):
            # neighbours in a row, and now and then a farther one
            j = (i + 1 + (dice.randrange(copies - 1) if extra else 0)) % copies
            if j == i:
                continue
            a, b = dice.choice(buses), dice.choice(buses)
            tie = Cable(number + 1 + i * ties + extra, a, b, 0.5, 0.3, 300.0, open=True)
            add_cable(grid, tie, (bus(a, place), bus(b, places[j])), (place, places[j]), 12660.0)
    return grid
