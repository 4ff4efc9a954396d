"""Audit of security: each thing told is one audit event to subscribers and one record of the audit journal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from address_space import clock
from address_space.opcua.auditing import AuditEvent, tell
from address_space.ports import AuditRecord
from address_space.quality import StatusCode

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

OPEN_CHANNEL: Final = 2060
SESSION: Final = 2069
CREATE_SESSION: Final = 2071
ACTIVATE_SESSION: Final = 2075
CANCEL: Final = 2078
CERTIFICATE_DATA_MISMATCH: Final = 2082
CERTIFICATE_EXPIRED: Final = 2085
CERTIFICATE_INVALID: Final = 2086
CERTIFICATE_UNTRUSTED: Final = 2087
CERTIFICATE_REVOKED: Final = 2088
CERTIFICATE_MISMATCH: Final = 2089
URL_MISMATCH: Final = 2748
TRUST_LIST_UPDATED: Final = 12561
CERTIFICATE_UPDATED: Final = 12620

MOST_WAITING: Final = 1_000
MOST_AT_ONCE: Final = 500
PER_SECOND: Final = 20.0
"""Refusals of peers that are recorded: so many at once, and so many each second; the journal cannot be filled."""
_LONGEST, _LOST_AFTER_S = 1_000, 1.0
_REFUSED_SEVERITY, _DONE_SEVERITY = 700, 200
_log = logging.getLogger(__name__)


class SecurityAudit:
    """Writes what the security services do and refuse.

    What an unauthenticated peer can cause is written beside the service (`note`), at most `MOST_WAITING` records wait;
    what is more, or comes faster than `PER_SECOND`, is counted and recorded as one `audit.lost`. What a service answers
    for is written before (`record`).

    Attributes:
        lost: records that were not written because too many waited.
    """

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        self._waiting: deque[AuditRecord] = deque()
        self._writing = self._counting = False
        self._lost_told = 0
        self._room, self._room_at = float(MOST_AT_ONCE), time.monotonic()
        self.lost = 0

    def note(self, event: AuditEvent, kind: str, details: Mapping[str, Any] | None = None) -> None:
        """Tell the event now, write the record soon."""
        self._tell(event)
        if self._server.ports.audit is None:
            return
        if len(self._waiting) >= MOST_WAITING or not self._has_room():
            self.lost += 1
            self._begin(_LOST_AFTER_S)
            return
        self._waiting.append(_record(event, kind, details))
        self._begin()

    def _begin(self, after: float = 0.0) -> None:
        """Write what waits; what was lost is told once for a while, also when nothing else comes."""
        if self._writing or (after and self._counting):
            return
        if after:
            self._counting = True
            self._server.keep(self._count_lost(after))
        else:
            self._writing = True
            self._server.keep(self._write())

    async def _count_lost(self, after: float) -> None:
        await asyncio.sleep(after)
        self._counting = False
        self._begin()

    def _has_room(self) -> bool:
        now = time.monotonic()
        self._room = min(MOST_AT_ONCE, self._room + (now - self._room_at) * PER_SECOND)
        self._room_at = now
        if self._room < 1:
            return False
        self._room -= 1
        return True

    async def record(self, event: AuditEvent, kind: str, details: Mapping[str, Any] | None = None) -> None:
        """Tell the event and write the record; on disk when it returns.

        Raises:
            Exception: of the audit journal, when it cannot be written.
        """
        self._tell(event)
        audit = self._server.ports.audit
        if audit is not None:
            await audit.append(_record(event, kind, details))

    def _tell(self, event: AuditEvent) -> None:
        tell(self._server, event)

    async def _write(self) -> None:
        audit = self._server.ports.audit
        try:
            while audit is not None and (self._waiting or self.lost > self._lost_told):
                if self._waiting:
                    await audit.append(self._waiting.popleft())
                    continue
                lost, self._lost_told = self.lost - self._lost_told, self.lost
                text = f"{lost} records of refused peers were not written, too many at once"
                await audit.append(AuditRecord(clock.now(), "audit.lost", "", "", text=text, details={"count": lost}))
        except Exception:  # what was refused stays refused; the journal's trouble is told in the log
            _log.exception("the audit journal cannot be written")
        finally:
            self._writing = False


def severity(status: int) -> int:
    """Severity of an audit event by its outcome."""
    return _REFUSED_SEVERITY if status & 0x8000_0000 else _DONE_SEVERITY


def _record(event: AuditEvent, kind: str, details: Mapping[str, Any] | None) -> AuditRecord:
    return AuditRecord(
        clock.now(),
        kind,
        event.user[:128],
        event.client,
        event.source,
        status=event.status or int(StatusCode.Good),
        text=event.text[:_LONGEST],
        details={"event": event.event_type, **(details or {})},
        audit_entry=event.audit_entry,
    )
