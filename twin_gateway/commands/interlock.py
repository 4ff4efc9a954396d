"""The gate `twin-interlock`: the grid model's word on a switching command, and its override by two persons."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from address_space import clock
from address_space.ports import AccessPolicy, AuditLog, AuditRecord, Caller, Command, Right, Verb
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.commands.tags import TagKind, TagStore, one_line
from twin_gateway.commands.value import AUTOMATIC, OPEN, command_value
from twin_gateway.grid.model import Grid, Position, Quantity
from twin_gateway.twin.interlock import SwitchingChecks, SwitchingState, Violation


class SwitchPositions(Protocol):
    """What the interlock needs of the live topology."""

    def positions(self) -> Mapping[str, Position]:
        """Position of every switch by its address; not Good is unknown."""
        ...


class TablePositions:
    """Positions straight from the point table; a switch that nobody tells about is in its normal position."""

    def __init__(self, table: PointTable, grid: Grid) -> None:
        self._table = table
        self._points = {item.address: rating.position for item, rating in grid.switches()}
        self._normal = grid.normal_positions()

    def positions(self) -> Mapping[str, Position]:
        """Position of every switch."""
        return {switch: self._position(switch, point) for switch, point in self._points.items()}

    def _position(self, switch: str, point: str) -> Position:
        if not point:
            return self._normal[switch]
        row = self._table.find(point)
        if row < 0 or int(self._table.status[row]) not in (StatusCode.Good, StatusCode.GoodLocalOverride):
            return Position.UNKNOWN
        value = self._table.value(row)
        return Position(int(value)) if isinstance(value, int | float) and value in (1, 2) else Position.UNKNOWN


@dataclass(frozen=True, slots=True)
class Approval:
    """An engineer's word that one command may pass the twin interlock.

    Attributes:
        opening: the movement that is meant.
        violation: the rule that stood against it when the word was given; another one is not overridden with it.
        until: monotonic time until which it stands.
    """

    user: str
    reason: str
    opening: bool
    violation: Violation
    until: float


class TwinInterlock:
    """Looks at each switching command before the device does; in addition to the device's own interlocking.

    Args:
        faulted: addresses of equipment or nodes in zones known as faulted -> why.
        allow_parallel: switches that may close a loop or tie two sources.
        approval_time: seconds for which an engineer's approval of an override stands.
    """

    def __init__(
        self,
        table: PointTable,
        grid: Grid,
        tags: TagStore,
        *,
        policy: AccessPolicy,
        audit: AuditLog,
        topology: SwitchPositions | None = None,
        faulted: Callable[[], Mapping[str, str]] = dict,
        allow_parallel: Iterable[str] = (),
        approval_time: float = 120.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._grid = grid
        self._tags = tags
        self._policy = policy
        self._audit = audit
        self._topology = topology or TablePositions(table, grid)
        self.faulted = faulted
        self.transfers: Callable[[], frozenset[str]] = frozenset
        """Switches that an automatic function may close into a loop of one source, for the moment of a transfer."""
        self._allow_parallel = frozenset(allow_parallel)
        self._approval_time = approval_time
        self._now = monotonic
        self._checks = SwitchingChecks(grid)
        self._switches = {rating.command: item.address for item, rating in grid.switches() if rating.command}
        self._currents: dict[str, list[str]] = {}
        for measurement in grid.measurements.values():
            if measurement.quantity is Quantity.I:
                self._currents.setdefault(measurement.equipment, []).append(measurement.point)
        self._approvals: dict[str, Approval] = {}

    def switch_of(self, address: str) -> str:
        """The switch of the grid model that a data object commands; empty for none.

        Further position objects at the equipment of a switch (`XCBR1/Pos` beside `CSWI1/Pos`) move it as well.
        """
        switch = self._switches.get(address)
        if switch is not None:
            return switch
        equipment, _, name = address.rpartition("/")
        equipment = equipment.rpartition("/")[0]
        item = self._grid.equipment.get(equipment)
        return equipment if name == "Pos" and item is not None and item.is_switch else ""

    def violation(self, command: Command, *, opening: bool) -> Violation | None:
        """The rule that a command would break; None for what the grid model does not know."""
        switch = self.switch_of(command.address)
        if not switch:
            return None
        state = self.state(switch)
        if command.origin_category == AUTOMATIC:
            state.allow_loop = self.transfers()
        return self._checks.check(switch, opening=opening, state=state)

    def state(self, switch: str = "") -> SwitchingState:
        """The present state of the grid as the checks want it, with the current of one switch."""
        tagged: dict[str, str] = {}
        earthed: dict[str, str] = {}
        for tag in self._tags:
            group = earthed if tag.kind is TagKind.EARTH else tagged
            for address in self._covered(tag.address):
                item = self._grid.equipment.get(address)
                # A tag on a switch forbids the switch itself (gate `tag`); an earth there earths its zones as well.
                if item is None or not item.is_switch or tag.kind is TagKind.EARTH:
                    group.setdefault(address, f"{tag.kind} tag of {tag.user}")
        return SwitchingState(
            self._topology.positions(),
            tagged,
            earthed,
            self.faulted(),
            self._allow_parallel,
            currents=self._measured(switch),
        )

    def _covered(self, place: str) -> list[str]:
        if place in self._grid.equipment or place in self._grid.nodes:
            return [place]
        below = f"{place}/"
        return [each for group in (self._grid.nodes, self._grid.equipment) for each in group if each.startswith(below)]

    def _measured(self, switch: str) -> dict[str, float]:
        rows = [self._table.find(point) for point in self._currents.get(switch, ())]
        if not rows or any(row < 0 or int(self._table.status[row]) != StatusCode.Good for row in rows):
            return {}
        values = [self._table.value(row) for row in rows]
        known = [abs(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
        return {switch: max(known)} if len(known) == len(rows) else {}

    # ---- override -------------------------------------------------------------------------------------------------

    async def approve(self, address: str, value: object, reason: str, caller: Caller) -> tuple[int, str]:
        """An engineer's approval of one command by somebody else; (StatusCode, text). Audited before it stands."""
        if not self._policy.permits(caller, Right.CONFIGURE, address):
            return StatusCode.BadUserAccessDenied, f"Only an engineer approves an override at {address}"
        reason = one_line(reason)
        if not self.switch_of(address) or not reason:
            return StatusCode.BadInvalidArgument, "A command of a switch of the grid and a reason are needed"
        try:
            position = command_value("DPC", value)
        except ValueError as error:
            return StatusCode.BadInvalidArgument, str(error)
        if position is None:
            return StatusCode.BadInvalidArgument, "A value is needed"
        opening = position == OPEN
        violation = self.violation(Command(Verb.OPERATE, address, position, clock.now()), opening=opening)
        if violation is None:
            return StatusCode.BadInvalidState, "There is nothing to override: the twin interlock does not forbid it now"
        if not violation.overridable:
            return StatusCode.BadInvalidState, f"This is never overridden: {violation.text}"
        record = AuditRecord(
            clock.now(),
            "override.approved",
            caller.user,
            caller.client,
            address,
            text=reason,
            details={"opening": opening, "violation": violation.text, "roles": sorted(caller.roles)},
        )
        await self._audit.append(record)
        until = self._now() + self._approval_time
        self._approvals[address] = Approval(caller.user, reason, opening, violation, until)
        text = f"Another person may override the twin interlock of {address} once: {violation.text}"
        return StatusCode.Good, text

    def approval(
        self, command: Command, caller: Caller, violation: Violation, *, opening: bool, spend: bool
    ) -> Approval | None:
        """The approval that lets a command pass: of another person, for this movement against this rule, with a reason.

        The command needs a reason of its own.
        """
        found = self._approvals.get(command.address)
        if found is None:
            return None
        if self._now() >= found.until:
            del self._approvals[command.address]
            return None
        if found.user == caller.user or found.opening is not opening or not command.reason.strip():
            return None
        if not violation.same(found.violation):
            return None
        if spend:
            del self._approvals[command.address]
        return found
