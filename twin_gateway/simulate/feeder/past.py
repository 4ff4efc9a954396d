"""The day before the start, in quarter hours, so that load profiles have rows from the beginning. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twin_gateway.grid.model import Grid
from twin_gateway.simulate.feeder.field import Field
from twin_gateway.simulate.feeder.field_settings import FieldSettings
from twin_gateway.simulate.feeder.points import readers

_PERIOD_S = 900.0
_ROWS = 97


class Past:
    """A field that has already lived for a day.

    Args:
        grid: the grid model.
        settings: of the field.
        now: Unix seconds of the start.

    Attributes:
        field: as it is now.
    """

    def __init__(self, grid: Grid, settings: FieldSettings, now: float) -> None:
        newest = now - now % _PERIOD_S
        self.field = Field(grid, settings, newest - _ROWS * _PERIOD_S)
        names = [f"{meter}/{point}" for meter in grid.meters for point in _POINTS]
        known: dict[str, Callable[[], float]] = readers(self.field, names)
        self._rows: dict[str, list[float]] = {name: [] for name in known}
        for row in range(_ROWS if grid.meters else 0):
            self.field.advance(newest - (_ROWS - 1 - row) * _PERIOD_S)
            self.field.live(_PERIOD_S)
            for name, reader in known.items():
                self._rows[name].append(float(reader()))
        self.field.advance(now)
        self.field.live(max(now - newest, 0.001))
        for switch in self.field.moved_at:
            self.field.moved_at[switch] = now

    def history(self, address: str) -> Sequence[float] | None:
        """Values of a point at the ends of the past quarter hours, oldest first; None when not known."""
        return self._rows.get(address) or None


_POINTS = (
    *(f"MMTR1/{name}" for name in ("DmdWh", "SupWh", "DmdVArh", "SupVArh")),
    *(f"MMXU1/{name}/phs{phase}" for name in ("PhV", "A") for phase in "ABC"),
)
