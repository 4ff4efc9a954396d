"""Air, frequency and the warmth of lines and transformers. Pure; heat is faster than in life, so that it is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from twin_gateway.grid.model import CimClass, Grid, LineData, TransformerData
from twin_gateway.simulate.feeder.circuit import State
from twin_gateway.simulate.feeder.low_voltage import Area

_HEAT_S = 150.0
_NORMAL_A = 300.0
_JOINT_S, _JOINT_A, _JOINT_K, _JOINT_EXPONENT = 600.0, 300.0, 25.0, 1.6
"""A joint warms up and cools down within minutes; so much warmer than the air at so much current."""


class Weather:
    """The surroundings of the grid.

    Attributes:
        air: degC; `damp` relative humidity in percent, `gust` wind in m/s, `frequency` Hz.
        heat: degC of lines and transformers, by address of the equipment.
        load: share of its rating that a transformer carries, by address.
        joints: degC of the joints at the equipment of a bay, by its address.
    """

    def __init__(self, grid: Grid, noise: np.random.Generator, *, still: bool = False) -> None:
        self._grid, self._noise = grid, 0.0 if still else 1.0
        self._random = noise
        self.air, self.damp, self.gust, self.frequency = 12.0, 58.0, 3.0, 50.0
        self.heat = {item.address: 20.0 for item in grid.of(CimClass.LINE, CimClass.TRANSFORMER)}
        self.load: dict[str, float] = {}
        self.joints: dict[str, float] = {}

    def watch_joint(self, address: str, state: State) -> None:
        """Follow the joints at an equipment, from the warmth that its present current makes in the long run."""
        self.joints.setdefault(address, self._joint_aim(address, state))

    def step(self, seconds: float, hour: float, state: State, areas: Sequence[Area]) -> None:
        """Go on for some time at an hour of the day."""
        root, noise = math.sqrt(min(seconds, 60.0)) * self._noise, self._random
        pull = 1.0 - math.exp(-0.05 * seconds)
        self.frequency += (50.0 - self.frequency) * pull + noise.normal(0.0, 0.004) * root
        self.gust = abs(self.gust + (3.5 - self.gust) * pull + noise.normal(0.0, 0.25) * root)
        self.damp = min(99.0, max(20.0, self.damp + (58.0 - self.damp) * pull / 5.0 + noise.normal(0.0, 0.2) * root))
        self.air = 12.0 + 6.0 * math.cos((hour - 15.0) * math.pi / 12.0) + 0.1 * self.gust
        fade = math.exp(-seconds / _HEAT_S)
        for address in self.heat:
            aim = self._aim(address, state)
            self.heat[address] = aim + (self.heat[address] - aim) * fade
        for area in areas:
            data = area.transformer.data
            if isinstance(data, TransformerData):
                used = abs(area.power) / data.s
                self.load[area.transformer.address] = used
                aim = self.air + (8.0 if area.power else 0.0) + 45.0 * used**1.6
                before = self.heat[area.transformer.address]
                self.heat[area.transformer.address] = aim + (before - aim) * fade

        slow = math.exp(-seconds / _JOINT_S)
        for address, before in self.joints.items():
            aim = self._joint_aim(address, state)
            self.joints[address] = aim + (before - aim) * slow

    def _joint_aim(self, address: str, state: State) -> float:
        # Load current alone: a fault is over before the metal is warm.
        amperes = max(map(abs, state.current.get(address, (0j, 0j))))
        return self.air + _JOINT_K * float((amperes / _JOINT_A) ** _JOINT_EXPONENT)

    def _aim(self, address: str, state: State) -> float:
        data = self._grid.equipment[address].data
        if not isinstance(data, LineData):
            return self.heat[address]
        amperes = max(map(abs, state.current.get(address, (0j, 0j))))
        return 10.0 + 40.0 * (amperes / (data.i_max or _NORMAL_A)) ** 2
