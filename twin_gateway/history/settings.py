"""Settings of the history: the `history` section of the gateway's configuration file."""

from __future__ import annotations

import re
from fnmatch import translate
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class HistorySettings(BaseModel):
    """What is kept, where and for how long.

    Attributes:
        enabled: whether anything is kept.
        folder: where; `history` in the data directory unless given.
        retention_days: days (by arrival, UTC) that are kept.
        max_size_mb: of the folder, MiB; the oldest segments go first.
        reserve_mb: space that is left free on the disk, MiB; with less of it nothing is written.
        include, exclude: address patterns as in a shell (`*` also stands for `/`); a point is kept when one of
            `include` and none of `exclude` matches.
        timestamps: keep samples of which only the source time or the raw quality is another one.
        interval: seconds between two commits; what a crash of the machine may lose.
        batch: samples that are committed without waiting for the interval.
        segment_rows: samples after which a day goes on in another file.
        memory_mb: memory limit of DuckDB, MiB; the process has some 100 MiB more.
        query_seconds: after which a reading query is given up.
        readers: queries that run at the same time.
        nice: how far the process gives way to the service.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    folder: Path | None = None
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 31
    max_size_mb: Annotated[int, Field(ge=4, le=1 << 30)] = 10_240
    reserve_mb: Annotated[int, Field(ge=0, le=1 << 30)] = 256
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    timestamps: bool = False
    interval: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    batch: Annotated[int, Field(ge=1_000, le=1_000_000)] = 200_000
    segment_rows: Annotated[int, Field(ge=10_000, le=1_000_000_000)] = 50_000_000
    memory_mb: Annotated[int, Field(ge=128, le=65_536)] = 512
    query_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    readers: Annotated[int, Field(ge=1, le=16)] = 2
    nice: Annotated[int, Field(ge=0, le=19)] = 5

    def below(self, folder: Path) -> HistorySettings:
        """The same with a relative folder made one below another."""
        return self if self.folder is None else self.model_copy(update={"folder": folder / self.folder})


class Selection:
    """Which addresses are kept, by the patterns of the settings."""

    def __init__(self, settings: HistorySettings) -> None:
        self._include = _either(settings.include)
        self._exclude = _either(settings.exclude)
        self._enabled = settings.enabled

    def __contains__(self, address: object) -> bool:
        if not self._enabled or not isinstance(address, str):
            return False
        included = self._include is not None and self._include.match(address) is not None
        return included and (self._exclude is None or self._exclude.match(address) is None)


def _either(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    if "*" in patterns:
        patterns = ("*",)
    return re.compile("|".join(translate(pattern) for pattern in patterns)) if patterns else None
