"""All twin functions of a gateway, made in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from twin_gateway.commands.desk import SentCommand
from twin_gateway.functions.contract import TwinContext, TwinFunction
from twin_gateway.functions.flisr.function import make_flisr
from twin_gateway.functions.host import Hosted
from twin_gateway.functions.injection import make_injection
from twin_gateway.functions.intervals import make_intervals
from twin_gateway.functions.losses import make_losses
from twin_gateway.functions.lv_topology import make_lv_topology
from twin_gateway.functions.powerflow import make_powerflow
from twin_gateway.functions.process_alarms import make_process_alarms
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.section import TwinSection
from twin_gateway.functions.supervision import make_supervision
from twin_gateway.functions.supervision_devices import SupervisedLink
from twin_gateway.functions.switchgear import make_switchgear
from twin_gateway.functions.topology import Topology, make_topology


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What twin functions need of the gateway beside the context.

    Attributes:
        links, protocols: see `Supervision`.
        gateway: place of the gateway itself.
        authority: URI of the grid authority.
        commands: (commands sent, commands that failed) since the start.
        tags: the safety tags that stand at an address, in words.
        last_sent: the last command to a data object that left the gateway.
    """

    links: Sequence[SupervisedLink]
    protocols: Mapping[str, str]
    gateway: str
    authority: str
    commands: Callable[[], tuple[int, int]]
    tags: Callable[[str], Sequence[str]]
    last_sent: Callable[[str], SentCommand | None]


def make_functions(context: TwinContext, section: TwinSection, around: Surroundings) -> list[Hosted]:
    """The functions that the grid model and the configuration call for.

    Raises:
        NameplateError: the file of nameplates has errors.
    """
    grid = context.grid
    functions: list[TwinFunction] = []
    results: list[ResultPoints] = []

    def own() -> TwinContext:
        """The context of the next function, with result points of its own."""
        results.append(ResultPoints(context.table))
        return replace(context, results=results[-1])

    topology: Topology | None = None
    if grid.equipment:
        # The alarms of the process tell of positions that stay intermediate.
        topology = make_topology(own(), section.topology.model_copy(update={"position_alarms": False}))
        functions.append(topology)
        assume_normal = section.topology.without_point == "normal"
        functions.append(make_powerflow(own(), section.powerflow, assume_normal=assume_normal))
    if grid.feeders:
        functions.append(make_flisr(own(), section.flisr, links={link.name: link for link in around.links}))
    if grid.meters:
        functions.append(make_intervals(own(), section.intervals))
        functions.append(make_losses(own(), section.losses))
        functions.append(
            make_lv_topology(own(), section.lv_topology.model_copy(update={"authority": around.authority}))
        )
    supervision = make_supervision(
        own(),
        section.supervision,
        around.links,
        around.protocols,
        gateway=around.gateway,
        commands=around.commands,
    )
    functions.append(supervision)
    functions.append(make_process_alarms(own(), section.process, around.last_sent, mark=supervision.mark_of_place))
    functions.append(
        make_switchgear(
            own(),
            section.switchgear,
            mark=supervision.mark_of_place,
            topology=(lambda: topology.live) if topology is not None else None,
            tags=around.tags,
        )
    )
    if section.injection.control:
        functions.append(make_injection(own(), section.injection))
    # Now that all results stand in the table: what is looked up there once is not looked up on the event loop.
    for function in functions:
        if isinstance(function, _Prepares):
            function.prepare()
    return [Hosted(*pair) for pair in zip(functions, results, strict=True)]


@runtime_checkable
class _Prepares(Protocol):
    """A function that has something to look up before the gateway starts."""

    def prepare(self) -> None:
        """Look it up, in a table that has the points of all functions; called once, before `run`."""
