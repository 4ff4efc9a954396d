"""The AuditEntryId of a client's request in the audit journal."""

from __future__ import annotations

import asyncio
from pathlib import Path

from address_space.ports import AUDIT_ENTRY, AuditRecord
from twin_gateway.audit.journal import AuditJournal


async def test_a_record_keeps_the_audit_entry_id_of_the_request_that_made_it_also_over_a_restart(
    tmp_path: Path,
) -> None:
    async def told(entry: str, journal: AuditJournal) -> None:
        AUDIT_ENTRY.set(entry)
        await journal.append(AuditRecord(1, "login", entry or "nobody", "", details={"token": "username"}))

    journal = AuditJournal(tmp_path / "audit.sqlite")
    await journal.open()
    await asyncio.gather(told("scada-1", journal), told("", journal), told("scada-2", journal))
    await journal.close()
    again = AuditJournal(tmp_path / "audit.sqlite")
    await again.open()
    kept = {(each.user, each.audit_entry) for each in await again.records()}
    assert {frozenset(each.details) for each in await again.records()} == {frozenset({"token"})}
    await again.close()
    assert kept == {("scada-1", "scada-1"), ("nobody", ""), ("scada-2", "scada-2")}
