"""The supervision on a bench, driven by hand in virtual time."""

from __future__ import annotations

from collections.abc import Mapping

from peers.twin.bench import Bench, Link

from twin_gateway.functions.supervision import Supervision
from twin_gateway.functions.supervision_settings import SupervisionSettings

GATEWAY = "dso1/_sys/gw1"


class Supervised:
    """A supervision of the links of a bench.

    Args:
        bench: its clock is that of the supervision.
        settings: of the supervision.
        protocols: of the links, by name.
        links: those of the bench unless given.
    """

    def __init__(
        self, bench: Bench, settings: SupervisionSettings, protocols: Mapping[str, str], links: list[Link] | None = None
    ) -> None:
        self.bench = bench
        self.function = Supervision(
            bench.context,
            settings,
            list(bench.links.values()) if links is None else links,
            protocols,
            gateway=GATEWAY,
            monotonic=lambda: bench.time,
            wall=lambda: bench.wall,
        )

    async def go(self, seconds: float = 1.0) -> None:
        """Deliver what was written, let time go by, and look again."""
        for chunk in self.bench.journal.take():
            self.function.take(chunk)
        self.bench.advance(seconds)
        self.bench.alarms.tick()
        await self.function.tick()
