"""What people decide on findings of low-voltage topology: accepted or rejected, audited before it takes effect."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from address_space import clock
from address_space.events import Event
from address_space.ports import AuditRecord, Caller, MethodResult, Right
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.lv_topology_store import FindingError, Reference, StoredFinding, TopologyStore
from twin_gateway.grid.model import Meter
from twin_gateway.twin.lv_topology.finding import State

log = logging.getLogger(__name__)


class Decisions:
    """The methods `Accept` and `Reject`.

    Args:
        context: for the right to decide, audit and events.
        store: of the findings.
        meter: a meter with its references as accepted so far.
        decided: told of a finding, its new state, and its references when they were accepted (revision 0: unchanged).
        in_thread: does something with the store.
    """

    def __init__(
        self,
        context: TwinContext,
        store: TopologyStore,
        *,
        meter: Callable[[str], Meter | None],
        decided: Callable[[StoredFinding, State, Reference | None], None],
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._context, self._store = context, store
        self._meter, self._decided, self._in_thread = meter, decided, in_thread

    async def accept(self, finding_id: str, caller: Caller) -> MethodResult:
        """The references of a meter become what a finding says."""
        item, refusal = await self._open_finding(finding_id, caller)
        if item is None:
            return MethodResult(refusal.status, (0, refusal.text), refusal.text)
        finding = item.finding
        if finding.state in {State.UNKNOWN, State.CONFIRMED} or not finding.transformer:
            text = f"Finding {item.id} is {finding.state}: there is nothing to accept"
            return MethodResult(StatusCode.BadInvalidState, (0, text), text)
        meter = self._meter(finding.meter)
        if meter is None:
            text = f"{finding.meter} is no longer in the grid model"
            return MethodResult(StatusCode.BadInvalidState, (0, text), text)
        was = (meter.transformer, meter.phases)
        text = f"FedBy {was[0]} -> {finding.transformer}, Phases {was[1]} -> {finding.phases}"
        if not await self._audited("topology.accept", item, caller, text):
            text = "The audit journal cannot be written: nothing was changed"
            return MethodResult(StatusCode.BadResourceUnavailable, (0, text), text)
        revision = await self._in_thread(lambda: self._store.confirm(item, was, clock.now(), caller.user))
        accepted = Reference(finding.transformer, finding.phases, revision)
        if revision:
            self._context.events.append(
                Event("reference", text, 200, finding.meter, actor=caller.user, details=(("finding", item.id),))
            )
        self._decided(item, State.CONFIRMED, accepted)
        return MethodResult(StatusCode.Good, (revision, text), text)

    async def reject(self, finding_id: str, reason: str, caller: Caller) -> MethodResult:
        """The record of a meter stays, and the finding is not brought forward again."""
        if not reason.strip():
            text = "A rejection needs a reason"
            return MethodResult(StatusCode.BadInvalidArgument, (text,), text)
        item, refusal = await self._open_finding(finding_id, caller)
        if item is None:
            return MethodResult(refusal.status, (refusal.text,), refusal.text)
        if item.finding.state not in {State.DIFFERS, State.REJECTED}:
            text = f"Finding {item.id} is {item.finding.state}: only one that differs can be rejected"
            return MethodResult(StatusCode.BadInvalidState, (text,), text)
        if not await self._audited("topology.reject", item, caller, reason[:500]):
            text = "The audit journal cannot be written: nothing was changed"
            return MethodResult(StatusCode.BadResourceUnavailable, (text,), text)
        await self._in_thread(lambda: self._store.reject(item, clock.now(), caller.user, reason[:500]))
        self._decided(item, State.REJECTED, None)
        text = f"Finding {item.id} is rejected; the record stays"
        return MethodResult(StatusCode.Good, (text,), text)

    async def _open_finding(self, finding_id: str, caller: Caller) -> tuple[StoredFinding | None, MethodResult]:
        """The finding, or why there is none that the caller may decide on."""
        try:
            item = await self._in_thread(lambda: self._store.finding(finding_id))
        except FindingError as error:
            return None, MethodResult(StatusCode.BadNoMatch, (), str(error))
        if not self._context.policy.permits(caller, Right.CONFIGURE, item.finding.meter):
            text = f"Finding {item.id} is about a meter that needs the right to configure it"
            return None, MethodResult(StatusCode.BadUserAccessDenied, (), text)
        return item, MethodResult(StatusCode.Good)

    async def _audited(self, kind: str, item: StoredFinding, caller: Caller, text: str) -> bool:
        record = AuditRecord(
            clock.now(),
            kind,
            caller.user,
            caller.client,
            item.finding.meter,
            text=text,
            details={"finding": item.id, "confidence": round(item.finding.confidence, 4)},
        )
        try:
            await self._context.audit.append(record)
        except (OSError, sqlite3.Error) as error:
            log.error("%s of %s is refused, the audit journal cannot be written: %s", kind, item.id, error)
            return False
        return True
