"""A gateway at work in this process, with a folder of mapping files that a test edits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from peers.gateway_config import gateway_config
from peers.waiting import patient
from typer.testing import CliRunner

from address_space.ports import AuditRecord
from twin_gateway.changed import Asker, Changed
from twin_gateway.checked_apart import Checked, Files, in_pieces, put_together
from twin_gateway.cli import app
from twin_gateway.control import ask
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check
from twin_gateway.revisions import keep
from twin_gateway.watching import Watch

FILE = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-{name}:
    protocol: iec104
    host: 127.0.0.1
    port: 1
    common_address: 7
    at: {{MV1/{bay}: {{points: {{MMXU1/TotW: {{ioa: {ioa}, type: M_ME_TF_1, unit: kW}}}}}}}}
"""
ME = Asker("anna")
QUICK = 0.15
"""How long edited files must be still for most tests."""
UNHURRIED = 0.8
"""The same where the test itself does something before they have been still for so long, however slow the machine."""


def station(name: str = "a", bay: str = "F01", ioa: int = 20) -> str:
    return FILE.format(name=name, bay=bay, ioa=ioa)


class MappingBed:
    """A gateway at work whose only device never answers, and its folder of mapping files."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "mappings"
        self.files.mkdir()
        self.path = self.files / "station.yaml"
        self.path.write_text(station())
        self.config = gateway_config(folder, self.files, http=None, history={"enabled": False}, watch="off")
        self.gateway = self._made()
        self.watches: list[asyncio.Task[None]] = []

    def _made(self) -> Gateway:
        mapping, _ = check(self.config.mappings)
        assert mapping is not None
        running = keep(self.config.data_directory, mapping)
        gateway = Gateway(self.config, mapping, {}, revision=running)
        gateway.control.offer(running.handlers)
        return gateway

    async def restart(self) -> None:
        await self.stop()
        self.gateway = self._made()
        await self.gateway.start()

    async def watch(self, *, apply: bool = True, settle: float = QUICK) -> None:
        """Follow the files; has looked once when this returns."""
        watch = Watch(self.gateway.changes, apply=apply, every=0.05, settle=settle)
        looked = asyncio.Event()
        before = watch._look

        async def look() -> Any:
            seen = await before()
            looked.set()
            return seen

        watch._look = look  # type: ignore[method-assign]
        self.watches.append(asyncio.create_task(watch.run()))
        await looked.wait()

    async def stop(self) -> None:
        for each in self.watches:
            each.cancel()
        await asyncio.gather(*self.watches, return_exceptions=True)
        self.watches.clear()
        await self.gateway.stop()

    def has(self, address: str) -> bool:
        return self.gateway.table.find(f"dso1/north/PS01/MV1/{address}/_/MMXU1/TotW") >= 0

    def alarm(self) -> str:
        """What the alarm says; empty when there is none."""
        found = [each for each in self.gateway.conditions.at("dso1/_sys/gw1/_/_/mapping") if each.code == "G01"]
        return found[0].text if found and found[0].active else ""

    async def apply(self) -> Changed:
        return await self.gateway.changes.apply_files((), ME)

    async def ask(self, what: str, **more: Any) -> Any:
        return await asyncio.to_thread(ask, self.config.data_directory, what, **more)

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Exit code of a command of the command line, and what it printed."""
        configuration = self.files.parent / "gateway.yaml"
        configuration.write_text(
            "gateway: gw1\ngrid: dso1\nauthority: https://example.org\nmappings: [mappings]\ndata_directory: data\n"
        )
        done = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--config", str(configuration)])
        return done.exit_code, done.output

    async def records(self) -> list[AuditRecord]:
        """Of changes of the mapping, the oldest first."""
        return [each for each in reversed(await self.gateway.audit.records()) if each.kind.startswith("mapping.")]

    async def recorded(self, count: int) -> list[AuditRecord]:
        """The records, when there are so many."""
        async with patient(15):
            while len(found := await self.records()) < count:
                await asyncio.sleep(0.02)
        return found

    def kept(self) -> list[tuple[str, str]]:
        running = self.gateway.changes.revision
        assert running is not None
        return [(each.reason, each.user) for each in running.store.all()]


async def at_once(files: Files) -> Checked:
    """The check, without a process of its own for these small files."""
    return put_together(in_pieces(files))


_OWN: dict[Path, bytes] = {}
"""Key and certificate of the first gateway, for the others: they are dear to make."""


async def working(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MappingBed]:
    """A bed that works until the test ends."""
    monkeypatch.setattr("twin_gateway.change_desk.check_apart", at_once)
    made = MappingBed(folder)
    pki = made.config.data_directory / "pki"
    for path, content in _OWN.items():
        (pki / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (pki / path).write_bytes(content)
        (pki / path).chmod(0o600)
    await made.gateway.start()
    _OWN.update({path.relative_to(pki): path.read_bytes() for path in (pki / "own").rglob("*") if path.is_file()})
    yield made
    await made.stop()
