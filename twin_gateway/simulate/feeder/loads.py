"""What loads draw over the day: shapes, appetite and sun. Pure; randomness comes from a generator that is given."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import CimClass, Equipment, GeneratorData, Grid, LoadData

_SHAPES = ((0.35, 0.50, 19.5), (0.20, 0.65, 14.0), (0.15, 0.70, 11.0), (0.60, 0.25, 6.0))
"""House, shop, school, pump: share that is always drawn, share that swings with the hour, hour of the peak."""
_MEMORY_S = 90.0
_RESTLESS = 0.04

Floats = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


def sun(hour: float) -> float:
    """Output of a photovoltaic plant over a clear day, 0 to 1."""
    return max(0.0, math.sin((hour - 6.0) * math.pi / 12.0))


@dataclass(slots=True)
class _Member:
    """One load or generator and its rows."""

    address: str
    node: str
    phases: str


class Loads:
    """All consumers and generators of a grid.

    Args:
        grid: the grid model.
        noise: source of randomness.
        still: every load draws its nominal power and every generator gives nothing, always.

    Attributes:
        members: address, node and phases of each, in the order of the rows.
        power: W + j var that each would take by phase (rows by A, B, C), negative when given.
        factor: 0 for those that are disconnected, 1 for all others.
    """

    def __init__(self, grid: Grid, noise: np.random.Generator, *, still: bool = False) -> None:
        self._noise, self._still = noise, still
        items = [item for item in grid.of(CimClass.LOAD, CimClass.GENERATOR) if _nominal(item) is not None]
        self.members = [_Member(item.address, item.nodes[0], item.phases) for item in items]
        self.rows = {member.address: row for row, member in enumerate(self.members)}
        self._nominal: Complex = np.array([_by_phase(item) for item in items], complex).reshape(-1, 3)
        self._solar = np.array([item.cim_class is CimClass.GENERATOR for item in items], bool)
        shapes = np.array([_SHAPES[row % len(_SHAPES)] for row in range(len(items))]).reshape(-1, 3)
        self._base, self._swing, self._peak = shapes.T
        self._unrest = np.zeros((len(items), 3))
        self.factor = np.ones(len(items))
        self.power = np.where(self._solar[:, None], 0.0, self._nominal) if still else self._nominal.copy()

    def step(self, seconds: float, hour: float) -> None:
        """Go on for some time at an hour of the day (0 to 24)."""
        if self._still:
            return
        fade = math.exp(-seconds / _MEMORY_S)
        fresh = self._noise.normal(0.0, _RESTLESS, self._unrest.shape)
        self._unrest = self._unrest * fade + fresh * math.sqrt(1.0 - fade * fade)
        day = self._base + self._swing * 0.5 * (1.0 + np.cos((hour - self._peak) * math.pi / 12.0))
        day = np.where(self._solar, sun(hour), day)
        self.power = self._nominal * day[:, None] * np.maximum(1.0 + self._unrest, 0.1)


def _nominal(item: Equipment) -> complex | None:
    match item.data:
        case LoadData(p=p, q=q):
            return complex(p, q)
        case GeneratorData(p=p, q=q):
            return -complex(p, q)
    return None


def _by_phase(item: Equipment) -> list[complex]:
    """Nominal power by phase A, B, C."""
    letters = [letter for letter in item.phases if letter in "ABC"]
    data = item.data
    if isinstance(data, LoadData) and data.p_phases and not data.delta and len(data.p_phases) == len(letters):
        parts = [complex(p, q) for p, q in zip(data.p_phases, data.q_phases or (0.0,) * len(letters), strict=True)]
    else:
        parts = [(_nominal(item) or 0j) / max(len(letters), 1)] * len(letters)
    shares = dict(zip(letters, parts, strict=True))
    return [shares.get(letter, 0j) for letter in "ABC"]
