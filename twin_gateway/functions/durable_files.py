"""SQLite files that cannot be used: put aside, so that a new one can be begun and nothing is lost."""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:  # the history's process needs only the renaming
    from twin_gateway.functions.alarms import Alarms

KeptT_co = TypeVar("KeptT_co", covariant=True)


class Store(Protocol[KeptT_co]):
    """A file of a function; `open` gives what is kept in it."""

    @property
    def path(self) -> Path:
        """Of the file."""

    async def open(self) -> KeptT_co:
        """Open it; sqlite3.DatabaseError when it is damaged."""

    async def close(self) -> None:
        """Close it; it can be opened again."""


_COMPANIONS = ("", "-wal", "-shm", ".wal")


def set_aside(path: Path, mark: str) -> Path:
    """Rename a file and its journals to `<stem>-<mark>[-<number>]<suffix>`, a name that is free; returns the new path.

    Raises:
        OSError: it cannot be renamed.
    """
    for number in count(1):
        target = path.with_name(f"{path.stem}-{mark}{f'-{number}' if number > 1 else ''}{path.suffix}")
        if not target.exists():
            break
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(target.with_name(target.name + companion))
    return target


async def opened(store: Store[KeptT_co], alarms: Alarms, place: str, what: str) -> KeptT_co:
    """What a store has kept; a damaged file is put aside, told as G02 at a place, and begun anew.

    Raises:
        OSError, sqlite3.Error: it cannot be opened or written, for other reasons than damage.
    """
    try:
        return await store.open()
    except sqlite3.OperationalError:
        await store.close()
        raise
    except sqlite3.DatabaseError as error:
        await store.close()
        kept = set_aside(store.path, "damaged")
        text = f"{what} begin anew: {store.path.name} is damaged ({error}); kept as {kept.name}"
        alarms.event("G02", place, text, 600)
        return await store.open()
