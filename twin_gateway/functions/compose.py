"""All twin functions of a gateway, made in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from twin_gateway.config import TwinSection
from twin_gateway.functions.contract import TwinContext, TwinFunction
from twin_gateway.functions.injection import make_injection
from twin_gateway.functions.intervals import make_intervals
from twin_gateway.functions.lv_topology import make_lv_topology
from twin_gateway.functions.supervision import make_supervision
from twin_gateway.functions.supervision_devices import SupervisedLink
from twin_gateway.functions.topology import make_topology


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What twin functions need of the gateway beside the context.

    Attributes:
        links, protocols: see `Supervision`.
        gateway: place of the gateway itself.
        commands: (commands sent, commands that failed) since the start.
    """

    links: Sequence[SupervisedLink]
    protocols: Mapping[str, str]
    gateway: str
    commands: Callable[[], tuple[int, int]]


def make_functions(context: TwinContext, section: TwinSection, around: Surroundings) -> list[TwinFunction]:
    """The functions that the grid model and the configuration call for."""
    grid = context.grid
    functions: list[TwinFunction] = []
    if grid.equipment:
        functions.append(make_topology(context, section.topology))
    if grid.feeders:
        from twin_gateway.functions.flisr.function import make_flisr

        functions.append(make_flisr(context, section.flisr))
    if grid.meters:
        functions.append(make_intervals(context, section.intervals))
        functions.append(make_lv_topology(context, section.lv_topology))
    functions.append(
        make_supervision(
            context,
            section.supervision,
            around.links,
            around.protocols,
            gateway=around.gateway,
            commands=around.commands,
        )
    )
    if section.injection.control:
        functions.append(make_injection(context, section.injection))
    return functions
