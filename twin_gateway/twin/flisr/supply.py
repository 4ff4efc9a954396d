"""Who feeds a zone in given positions, looked up as far as asked."""

from __future__ import annotations

from twin_gateway.twin.flisr.zones import CLOSED, Network, Positions


class Supply:
    """Answers about one set of positions; a switch of unknown position joins nothing here."""

    def __init__(self, network: Network, positions: Positions) -> None:
        """Take the positions; they must not change while this is used."""
        self._network, self._positions = network, positions
        self._heads = {number: address for address, number in network.heads.items()}

    def _ways(self, zone: int) -> tuple[dict[int, int], int]:
        """Zones joined to one, each with the switch towards it, up to the first source; that source's zone or -1."""
        network, via, queue = self._network, {zone: -1}, [zone]
        for here in queue:
            if network.zones[here].source:
                return via, here
            for number in network.switches_at[here]:
                beyond = network.switches[number].other(here)
                if self._positions[number] == CLOSED and beyond not in via:
                    via[beyond] = number
                    queue.append(beyond)
        return via, -1

    def live(self, zone: int) -> bool:
        """A source feeds it."""
        return self._ways(zone)[1] >= 0

    def joined(self, zone: int) -> set[int]:
        """It and the zones joined to it; of a live part those on the way to its source."""
        return set(self._ways(zone)[0])

    def source(self, zone: int) -> int:
        """Zone of the source that feeds it, the nearest one; -1 for none."""
        return self._ways(zone)[1]

    def path(self, zone: int) -> list[int]:
        """Switches from a zone to its source."""
        via, here = self._ways(zone)
        found = []
        while here >= 0 and via[here] >= 0:
            found.append(via[here])
            here = self._network.switches[via[here]].other(here)
        return found[::-1]

    def feeder(self, zone: int) -> str:
        """The feeder that the zone is on; empty where no declared head lies on its way."""
        return next((self._heads[number] for number in self.path(zone) if number in self._heads), "")
