"""The history of a folder for reading only: of a gateway that is stopped, or the closed days of one that runs."""

from __future__ import annotations

import logging

import duckdb

from address_space import clock
from twin_gateway.history.database import HistoryPausedError, first_line, make_tables
from twin_gateway.history.segments import Segment
from twin_gateway.history.store import HistoryStore

log = logging.getLogger(__name__)


class OfflineStore(HistoryStore):
    """A store that writes nothing.

    Attributes:
        closed_only: another process has the database; only files of days that are over are read.
    """

    closed_only = False

    def open(self, run: str = "", begun: int = 0) -> None:
        """Open the folder for reading.

        Raises:
            HistoryPausedError: there is none.
        """
        if not self.folder.is_dir():
            raise HistoryPausedError(f"there is no {self.folder}")
        try:
            database = duckdb.connect(str(self.path), read_only=True, config={"threads": 1})
        except duckdb.IOException:
            self.closed_only = True
            database = duckdb.connect(config={"threads": 1})
            make_tables(database)
        self._database = database
        try:
            self._load("", clock.now())
        except (duckdb.Error, OSError) as error:
            self._drop_connection()
            raise HistoryPausedError(first_line(error)) from error

        if self.closed_only:
            self.gaps = ()  # those of the running process are its own

    def close(self) -> None:
        """Close what was opened."""
        self._drop_connection()

    def put_aside(self, segment: Segment, why: str) -> None:
        """A damaged file stays where it is; told."""
        log.warning("left out: %s", why)

    def forget_table(self, database: duckdb.DuckDBPyConnection, segment: Segment) -> None:
        """A table that is a file as well is left to the gateway."""
