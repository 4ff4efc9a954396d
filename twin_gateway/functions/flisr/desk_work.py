"""Steps on their way through the command desk: journalled before they leave, never sent twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from address_space import clock
from address_space.ports import Caller, Command, Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.commands.desk import CommandDesk
from twin_gateway.commands.value import AUTOMATIC
from twin_gateway.functions.flisr.journal import FlisrJournal, StepEntry
from twin_gateway.grid.model import SwitchRating
from twin_gateway.twin.flisr.records import Action
from twin_gateway.twin.flisr.states import Answer, Operate
from twin_gateway.twin.flisr.zones import Network

log = logging.getLogger(__name__)
_MODE_OFF, _MODE_ON = 5, 1


@dataclass(frozen=True, slots=True)
class Order:
    """An `Operate` of an event, on somebody's authority.

    Attributes:
        wanted: whether the event still asks for it; looked at last before it leaves, after everything that takes time.
    """

    event: str
    operate: Operate
    authority: Caller
    time: float
    wanted: Callable[[], bool] = lambda: True


class DeskWork:
    """Turns steps into commands."""

    def __init__(self, desk: CommandDesk, journal: FlisrJournal, network: Network) -> None:
        self._desk = desk
        self._journal = journal
        self._grid = network.grid

    async def carry_out(self, order: Order) -> Answer:
        """Journal the step, send it, journal what came of it."""
        step = order.operate.step
        address, value = self._command_of(step.address, step.action)
        if not address:
            return Answer(False, f"{step.address} has no command for {step.action}", "binding")
        entry = StepEntry(
            order.operate.request,
            order.event,
            order.time,
            {
                "n": step.n,
                "stage": str(step.stage),
                "address": step.address,
                "action": str(step.action),
                "reason": step.reason,
                "attempt": order.operate.attempt,
                "by": order.authority.user,
            },
        )
        try:
            await self._journal.put_step(entry)
        except Exception as error:
            log.exception("the journal of FLISR cannot be written; nothing is commanded")
            return Answer(False, f"the journal cannot be written ({error})", "journal")
        outcome = await self.command(
            address, value, order.authority, step.reason, order.operate.request, wanted=order.wanted
        )
        body = {**entry.body, "status": outcome.status, "outcome": outcome.text, "command": outcome.command_id}
        try:
            await self._journal.put_step(replace(entry, body=body))
        except Exception:  # the command has left and is in the audit; the next one will not leave without the journal
            log.exception("the outcome of %s is missing in the journal of FLISR", order.operate.request)
        return _answer(outcome)

    async def command(
        self,
        address: str,
        value: bool | int,
        authority: Caller,
        reason: str,
        request: str,
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Outcome:
        """One command through the desk, selected before where its control model says so; dropped when not `wanted`."""
        if not wanted():
            return Outcome.refused("stop", "The event does not ask for it any more; nothing was sent")
        caller = replace(authority, client=f"flisr for {authority.client}", session=f"flisr:{request}")
        command = Command(
            Verb.OPERATE,
            address,
            value,
            clock.now(),
            reason=f"FLISR: {reason}",
            request_id=request,
            origin_category=AUTOMATIC,
        )
        if self._desk.needs_selection(address):
            selected = await self._desk.select(replace(command, request_id=f"{request}:select"), caller)
            if not selected.good:
                return selected
            if not wanted():
                await self._desk.cancel(replace(command, value=None, request_id=""), caller)
                return Outcome.refused("stop", "The event does not ask for it any more; the selection was given back")
            command = replace(command, issued_at=clock.now())
        return await self._desk.operate(command, caller)

    def controllable(self, address: str) -> bool:
        """Whether the desk takes commands for a data object."""
        return self._desk.controllable(address)

    def _command_of(self, address: str, action: Action) -> tuple[str, bool | int]:
        if action in (Action.OPEN, Action.CLOSE):
            data = self._grid.equipment[address].data
            return (data.command if isinstance(data, SwitchRating) else ""), action is Action.CLOSE
        feeder = self._grid.feeders.get(address)
        if feeder is None:
            feeder = next((each for each in self._grid.feeders.values() if each.head == address), None)
        point = feeder.reclose_block if feeder is not None else ""
        block = action is Action.BLOCK_RECLOSE
        if point.endswith("/Mod"):
            return point, _MODE_OFF if block else _MODE_ON
        return point, block


def _answer(outcome: Outcome) -> Answer:
    unknown = outcome.sent and outcome.status == StatusCode.BadTimeout
    unreachable = outcome.status == StatusCode.BadNoCommunication
    return Answer(outcome.good, outcome.text, outcome.gate, unknown, unreachable)
