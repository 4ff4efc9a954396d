"""Writing conditions behind: what has changed goes to disk in batches; what cannot be written stays to be written."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from twin_gateway.alarms import keeping
from twin_gateway.alarms.keeping import Kept
from twin_gateway.sqlite import Database

log = logging.getLogger(__name__)
WRITTEN_AT_ONCE = 500


class WriteBehind:
    """The file of the conditions.

    Args:
        path: of the database; nothing is kept without.
        kept: what is to be written of an id; None when it has been forgotten.
        failed: told once, in words, when writing begins to fail.

    Attributes:
        turn: who writes something at once and then puts it into effect holds this, so that nothing older is written
            after it.
    """

    def __init__(self, path: Path | None, kept: Callable[[str], Kept | None], failed: Callable[[str], None]) -> None:
        self._database = Database(path, keeping.SCHEMA) if path is not None else None
        self._kept, self._failed = kept, failed
        self._changed: dict[str, None] = {}
        self._fails = False
        self.turn = asyncio.Lock()

    async def open(self) -> tuple[list[Kept], list[str]]:
        """Open the file: what is kept, and the ids of broken records.

        Raises:
            OSError, sqlite3.Error: the file cannot be read or written.
        """
        if self._database is None:
            return [], []
        await self._database.open()
        return await self._database.transaction(keeping.read)

    async def close(self) -> None:
        """Write the rest and close the file.

        Raises:
            sqlite3.Error: the rest could not be written.
        """
        if self._database is None or not self._database.is_open:
            return
        await self.flush()
        async with self.turn:
            await self._database.close()
        if self._changed:
            raise sqlite3.OperationalError(f"{len(self._changed)} changes of conditions could not be written")

    def changed(self, identifier: str) -> None:
        """Something of a condition has changed, or it has been forgotten: to be written soon."""
        if self._database is not None:
            self._changed[identifier] = None

    async def at_once(self, kept: Kept) -> None:
        """Write one condition; on disk when this returns. The caller holds `turn`.

        Raises:
            sqlite3.Error: nothing was written.
        """
        if self._database is not None:
            await self._database.transaction(partial(keeping.write, kept=[kept]))

    async def flush(self) -> None:
        """Write what has changed, some hundred at once."""
        database = self._database
        if database is None or not database.is_open:
            return
        while self._changed:
            async with self.turn:
                taken = list(_first(self._changed, WRITTEN_AT_ONCE))
                for identifier in taken:
                    del self._changed[identifier]
                found = {identifier: self._kept(identifier) for identifier in taken}
                kept = [each for each in found.values() if each is not None]
                gone = [identifier for identifier, each in found.items() if each is None]
                try:
                    await database.transaction(partial(keeping.write, kept=kept, dropped=gone))
                except (OSError, sqlite3.Error) as error:
                    self._changed = dict.fromkeys(taken) | self._changed
                    self._owe(error)
                    return
                self._fails = False

    def _owe(self, error: Exception) -> None:
        if not self._fails:
            self._fails = True
            text = f"Conditions cannot be written, {len(self._changed)} changes wait: {error}"
            log.error(text)
            self._failed(text)


def _first(items: dict[str, None], count: int) -> Iterator[str]:
    for number, item in enumerate(items):
        if number >= count:
            return
        yield item
