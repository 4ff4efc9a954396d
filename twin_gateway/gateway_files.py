"""Opening a gateway's files: what is damaged is put aside and begun anew, where that is safe."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

from address_space import clock
from address_space.ports import AuditRecord
from twin_gateway import system_points
from twin_gateway.alarms.machine import Finding
from twin_gateway.commands.tags import TagStore
from twin_gateway.sqlite import is_damaged, opened

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

log = logging.getLogger(__name__)


async def open_files(gateway: Gateway) -> None:
    """What is damaged is put aside and begun anew; but without the safety tags no switch is commanded.

    The audit journal is not put aside: it holds the outcomes of earlier requests, and nothing operates twice.

    Raises:
        sqlite3.Error: the audit journal is damaged, or a file cannot be opened at all.
        OSError: the data directory cannot be written.
    """
    damaged: list[str] = []
    try:
        await gateway.audit.open()
    except sqlite3.Error as error:
        if not is_damaged(error):
            raise
        text = f"{gateway.audit.path.name} is damaged ({error}); restore it, or move it away yourself"
        raise sqlite3.DatabaseError(text) from error
    await opened(gateway.conditions, "Alarms", damaged.append)
    await opened(gateway.commissioning.store, "Records of commissioning", damaged.append)
    if damaged:
        part = system_points.part_place(gateway.place, "files")
        gateway.conditions.raise_(part, "G02", Finding("; ".join(damaged), 800))
        gateway.conditions.clear(part, "G02")  # it waits for somebody to acknowledge it
    if gateway.tags is not None:
        damaged += await _open_tags(gateway, gateway.tags)
    for text in damaged:
        log.error("%s", text)
        await gateway.audit.append(AuditRecord(clock.now(), "file.damaged", "", "", gateway.place, text=text))


async def _open_tags(gateway: Gateway, tags: TagStore) -> list[str]:
    part = system_points.part_place(gateway.place, "tags")
    try:
        await tags.open()
    except (sqlite3.Error, ValueError) as error:
        await tags.close()
        if isinstance(error, sqlite3.Error) and not is_damaged(error):
            raise
        text = f"Safety tags cannot be read, no switch is commanded: tags.sqlite ({error})"
        gateway.conditions.raise_(part, "G02", Finding(text, 800))
        return [text]
    gateway.conditions.clear(part, "G02", "Safety tags are known")
    return []
