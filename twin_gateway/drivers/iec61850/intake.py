"""Reports as they come: replay and live, what came before, sequence and losses, samples to the table, entries taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from address_space import clock
from address_space.point import Batch
from twin_gateway.drivers.contract import Link

from .blocks import BlockState, Enabled
from .delivered import Delivered, DeliveredEntries
from .entries import Entry, EntryStore
from .errors import MmsProtocolError
from .layout import Columns, joined
from .plan import Plan
from .report import (
    REASON_GENERAL_INTERROGATION,
    REASON_INTEGRITY,
    Report,
    ReportDecoder,
    UnknownReport,
)
from .sequence import Numbering

_ONLY_STATE = REASON_INTEGRITY | REASON_GENERAL_INTERROGATION
_FLOOR_HOLDS = 10.0
_TOLD_AGAIN = 5.0
"""Seconds between two events of losses of one block; the counters count each."""

Tell = Callable[[str, str, str], bool]
"""Tells an event once: code, text, address; False when that was done before."""


@dataclass(slots=True)
class Running:
    """A block that delivers.

    Attributes:
        known: it was ours before, so that what it lost was ours.
        takes_over: another instance of the block delivered later, so that this one need not have lost what was ours.
        overlap: TimeOfEntry of the last entry that any instance delivered.
        last: loop time of its last report.
        replaying: entries come from its buffer; nothing is live before the interrogation is answered.
        replayed: set when the last entry that it had queued has come.
        queued: EntryID of that entry, empty when it is not known.
        interrogated: GI has been asked for.
        floor: TimeOfEntry of the answer; older entries were buffered, if they come before `floor_until` (loop time):
            later the device's clock may simply have been set back.
        began: a report has come since it was enabled.
        waits: it may have something to replay.
        told: loop time of the last event of a loss.
        repairing: it is interrogated because of a loss.
        restore: DatSet that it had before it was given one of ours; None when it was not.
    """

    state: BlockState
    plan: Plan
    how: Enabled = field(default_factory=Enabled)
    known: bool = False
    takes_over: bool = False
    overlap: int = 0
    last: float = 0.0
    replaying: bool = False
    replayed: asyncio.Event = field(default_factory=asyncio.Event)
    queued: bytes = b""
    interrogated: bool = False
    floor: int = 0
    floor_until: float = 0.0
    numbering: Numbering = field(default_factory=Numbering)
    began: bool = False
    waits: bool = False
    told: float = -_TOLD_AGAIN
    repairing: bool = False
    restore: str | None = None


class Intake:
    """What the reports of one association bring.

    Attributes:
        running: the blocks that deliver, by their names; whoever enables and gives back blocks keeps it.
    """

    def __init__(
        self,
        *,
        link: Link,
        decoder: ReportDecoder,
        entries: EntryStore,
        delivered: dict[str, DeliveredEntries],
        tell: Tell,
        repair: Callable[[Running], None],
        renew: Callable[[str], None],
    ) -> None:
        """Take nothing yet.

        Args:
            link: where samples go.
            decoder: of reports.
            entries: EntryIDs, those of earlier associations too.
            delivered: what has been delivered of each buffered block (by its name without number), likewise.
            tell: see `Tell`.
            repair: has a block that lost reports delivered anew.
            renew: ends the association for a reason, so that the next one begins with reading the model.
        """
        self.running: dict[str, Running] = {}
        self._link = link
        self._decoder = decoder
        self._entries = entries
        self._delivered = delivered
        self._tell = tell
        self._repair = repair
        self._renew = renew
        self._loop = asyncio.get_running_loop()
        self._columns: list[Columns] = []
        self._late_columns = False
        self._newest: dict[str, tuple[BlockState, bytes, int]] = {}

    def on_report(self, buffer: bytes, start: int, stop: int) -> None:
        """Take a report (called by the association)."""
        try:
            report = self._decoder.decode(buffer, start, stop)
        except UnknownReport:
            self._link.count("reports_unknown")
            return
        except MmsProtocolError as error:
            self._link.count("report_errors")
            # no two need be unreadable for the same reason: the event says it once, the last error says why
            self._tell("D03", "the device sends reports that cannot be read", "")
            self._link.error(f"a report that cannot be read: {error}")
            return
        running = self.running.get(str(report.key))
        if running is not None:
            self._take(running, report)

    def _take(self, running: Running, report: Report) -> None:
        running.last = self._loop.time()
        if report.revision is not None and not self._fits(running, report, report.revision):
            return
        block = running.state.block
        self._link.count("reports")
        late = self._late(running, report)
        again = self._again(running, report)
        if report.overflow:
            self._overflow(running, covered=again or 0 < report.entry_time <= running.overlap)
        running.began = True
        if again:
            self._link.count("reports_again")
        elif late and report.reasons and not report.reasons & ~_ONLY_STATE:
            # an old integrity scan or interrogation tells of no event: there is nothing to keep
            self._link.count("old_scans")
        else:
            if late != self._late_columns:
                self._publish_columns()
                self._late_columns = late
            self._columns.append(report.columns)
        if report.entry_id is not None and block.buffered and not report.more:
            self._newest[block.name] = running.state, report.entry_id, report.entry_time
            if report.entry_id == running.queued:
                running.replayed.set()
        if report.sequence is not None:
            self._check_sequence(running, report)

    def _fits(self, running: Running, report: Report, revision: int) -> bool:
        """Whether a report is of the data set as it was read.

        A device whose blocks say another revision than their reports, also after everything has been read anew, is
        taken at its data set; only what it had buffered under an earlier one cannot be read any more.
        """
        now, name = running.state.revision, running.state.block.name
        if revision == now:
            return True
        text = f"{name}: configuration revision {revision} instead of {now}"
        if running.replaying and revision < now and not report.reasons & REASON_GENERAL_INTERROGATION:
            self.lost(running, f"{text}, the entry was of another data set", "buffer_losses")
            return False
        if not self._tell("D03", text, ""):
            return True
        self._renew(f"{text}; the model is read anew")
        return False

    def _late(self, running: Running, report: Report) -> bool:
        if not running.replaying:
            return bool(report.entry_time) and running.last < running.floor_until and report.entry_time < running.floor
        if running.interrogated and report.reasons & REASON_GENERAL_INTERROGATION:
            running.replaying = bool(report.more)
            running.floor, running.floor_until = report.entry_time, running.last + _FLOOR_HOLDS
            return False
        return True

    def _again(self, running: Running, report: Report) -> bool:
        """Whether an entry of the buffer has been delivered before; from now on it has."""
        block = running.state.block
        if report.entry_id is None or not block.buffered:
            return False
        entry = Delivered(block.name, report.entry_id, report.entry_time, report.digest)
        ring = self._delivered.get(block.base)
        if ring is None:
            ring = self._delivered[block.base] = DeliveredEntries()
        again = running.replaying and report.reasons & ~_ONLY_STATE != 0 and ring.knows(entry)
        ring.add(entry)
        return again

    def _overflow(self, running: Running, *, covered: bool) -> None:
        # an instance that takes over has lost nothing of ours when its buffer begins with what has been delivered
        ours = not covered if running.takes_over else running.known and not running.how.lost
        if running.began or ours:
            name = running.state.block.name
            self.lost(running, f"{name}: the buffer of the device has overflowed, entries were lost", "buffer_losses")
        else:
            # what a block lost before it was ours was not ours; what it does not know any more has been told already
            self._link.count("overflows_before")

    def _check_sequence(self, running: Running, report: Report) -> None:
        missing = running.numbering.missing(report.sequence or 0, report.segment, more=report.more)
        if not missing:
            return
        name = running.state.block.name
        text = f"{name}: {missing} report(s) missing before number {report.sequence}"
        self.lost(running, text, "report_losses", missing)
        self._repair(running)

    def lost(self, running: Running, text: str, counter: str, by: int = 1) -> None:
        """Count lost data, and tell it unless that was done a moment ago."""
        self._link.count(counter, by)
        if self._loop.time() - running.told < _TOLD_AGAIN:
            return
        running.told = self._loop.time()
        self._link.event("D08", text, severity=650)
        self._link.error(text)

    def on_read(self) -> None:
        """Publish what the reports that were read at once have brought (called by the association)."""
        self._publish_columns()
        for name, (state, entry_id, entry_time) in self._newest.items():
            self._entries.put(name, Entry(entry_id, state.data_set, state.revision, clock.now(), entry_time))
        self._newest.clear()

    def _publish_columns(self) -> None:
        columns, self._columns = self._columns, []
        if columns:
            self.publish(columns[0] if len(columns) == 1 else joined(columns), late=self._late_columns)

    def publish(self, columns: Columns, *, late: bool = False) -> None:
        """Samples of a report or a reading to the table."""
        if columns.errors:
            self._link.count("value_errors", columns.errors)
        if len(columns.rows) or columns.texts:
            self._link.publish(Batch(columns.rows, columns.values, columns.quality, columns.times, late, columns.texts))
