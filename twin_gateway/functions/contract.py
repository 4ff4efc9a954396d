"""The contract of a twin function: what it gets, what it offers, what it owes.

Obligations:

* Results are points (`ResultPoints`) with the worst quality and the newest time of what they were computed from.
* Methods answer with a status and as many outputs as their spec says, also when they refuse.
* Nothing blocks the event loop for more than 20 ms: what takes longer runs in the `Worker`.
* It never commands a device but through the command desk, and it changes no record without a person's word.
* `run` goes on until it is cancelled; a computation that fails is reported as an event and does not end it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from address_space.events import EventJournal
from address_space.ports import AccessPolicy, AuditLog, Caller, CommandDesk, MethodResult, MethodSpec
from address_space.table import PointTable
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.worker import Worker
from twin_gateway.grid.model import Grid


@dataclass(slots=True)
class TwinContext:
    """What twin functions share.

    Attributes:
        table: the point table; read values with `find`, `sample`, or its columns, and follow changes by a cursor.
        grid: the grid model; empty when the configuration names none.
        place: address of the area that the gateway serves (`dso1/north`), where its overall results stand.
        data_directory: for durable state, private to the service.
    """

    table: PointTable
    events: EventJournal
    alarms: Alarms
    results: ResultPoints
    worker: Worker
    grid: Grid
    place: str
    desk: CommandDesk
    policy: AccessPolicy
    audit: AuditLog
    data_directory: Path


class TwinFunction(Protocol):
    """One twin function. Made before the gateway starts: its constructor adds its result points, and no more."""

    @property
    def name(self) -> str:
        """Short name: `flisr`, `losses`."""
        ...

    def specs(self) -> Sequence[MethodSpec]:
        """Methods, each with the address of the object that has it."""
        ...

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Run one of the methods; arguments have been checked against the spec."""
        ...

    async def run(self) -> None:
        """Compute until cancelled."""
        ...


@runtime_checkable
class FollowsPoints(Protocol):
    """A function that takes up points that come while it runs. The others look for their points when they start."""

    def misses(self, address: str) -> bool:
        """Whether a point at this address is one that it would look for when it starts only."""
        ...
