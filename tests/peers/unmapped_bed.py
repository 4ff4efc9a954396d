"""A gateway with a mapping file, and the command `twin-gateway unmapped` that asks it over its control socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.config import GatewayConfig, load_config
from twin_gateway.drivers.link import Backoff
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check

CONFIG = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [station.yaml]
data_directory: data
opcua: {port: 0}
http: {port: 0}
history: {enabled: false}
"""


class Bed:
    """A running gateway and its files."""

    def __init__(self, folder: Path, config: GatewayConfig, gateway: Gateway) -> None:
        self.folder, self.config, self.gateway = folder, config, gateway
        self.mapping = folder / "station.yaml"
        self._events = gateway.events.cursor("unmapped")
        self._told: list[str] = []

    def link(self, name: str) -> Any:
        return next(link for link in self.gateway.plant.links if link.name == name)

    def told(self) -> list[str]:
        """Texts of the events of code `unmapped` until now."""
        self._told += [event.text for event in self._events.take() if event.code == "unmapped"]
        return self._told

    def value(self, address: str) -> Any:
        table = self.gateway.table
        row = table.find(address)
        return None if row < 0 else table.value(row)

    def good(self, address: str) -> bool:
        table = self.gateway.table
        row = table.find(address)
        return row >= 0 and int(table.status[row]) == 0

    async def unmapped(self, *arguments: object) -> str:
        """What the command prints; it must succeed."""
        said = ["unmapped", *map(str, arguments), "--config", str(self.folder / "gateway.yaml")]
        result = await asyncio.to_thread(CliRunner().invoke, app, said)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    async def apply(self) -> None:
        """Change to the mapping file as it is now."""
        mapping, problems = check([self.mapping])
        assert mapping is not None, [str(problem) for problem in problems]
        await self.gateway.apply(mapping)


@asynccontextmanager
async def bed(folder: Path, mapping: str, more: str = "") -> AsyncIterator[Bed]:
    """A gateway with this mapping, started.

    Args:
        folder: for its files.
        mapping: text of `station.yaml`.
        more: further lines of the configuration.
    """
    (folder / "gateway.yaml").write_text(CONFIG + more)
    (folder / "station.yaml").write_text(mapping)
    config = load_config(folder / "gateway.yaml")
    found, problems = check(config.mappings)
    assert found is not None, [str(problem) for problem in problems]
    gateway = Gateway(config, found, {}, backoff=Backoff(0.1, 0.5, 0.1))
    made = Bed(folder, config, gateway)
    await gateway.start()
    try:
        yield made
    finally:
        await gateway.stop()
