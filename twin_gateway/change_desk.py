"""The one way by which another mapping comes into a gateway at work: checked, applied, kept, audited; one at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from address_space import clock
from address_space.ports import AuditRecord
from address_space.quality import StatusCode
from twin_gateway.applying import ApplyError
from twin_gateway.change_audit import tell_change
from twin_gateway.changed import Asker, Changed, ChangeError
from twin_gateway.checked_apart import Checked, CheckingError, Files, check_apart, first_problems
from twin_gateway.control import user_name
from twin_gateway.mapping.life import forget_former
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping_alarm import MappingAlarm
from twin_gateway.revisions import (
    EditedError,
    KeptFile,
    Revision,
    RevisionError,
    RunningRevision,
    digest_of,
    files_of,
    git_revision,
    hash_of,
    over,
)

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

log = logging.getLogger(__name__)

Accept = Callable[[Sequence[Problem]], None]
_MOST_FILES: Final = 1000
"""Files that an audit record names one by one; the hash of the revision stands for all."""
_PIECE: Final = 500
_CLOSE_S: Final = 20.0
_CLOSED: Final = "the gateway stops; nothing has changed"
_KINDS: Final = ("devices_added", "devices_removed", "reconnected", "points_added", "points_removed", "points_changed")


class ChangeDesk:
    """Changes the running mapping, by files or by going back to a kept revision.

    Args:
        gateway: which it is.
        revision: which mapping runs, and where revisions are kept; None keeps none.

    Attributes:
        alarm: told what becomes of the files of the configuration.
        before_change: called before files are read on demand, and before a rollback; what it gives is called with the
            problems of the files when that is done. Nothing is to become of files as they were then until they are
            edited.
    """

    def __init__(self, gateway: Gateway, revision: RunningRevision | None) -> None:
        self._of = gateway
        self.revision = revision
        self.alarm = MappingAlarm(gateway.alarms, gateway.place)
        self.before_change: Callable[[], Awaitable[Accept]] | None = None
        self._turn = asyncio.Lock()
        self._checking: asyncio.Task[Checked] | None = None
        self._closed = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """Mapping files and folders of the configuration."""
        return self._of.config.mappings

    @property
    def mapping(self) -> PointMapping:
        """The mapping that runs."""
        return self._of.mapping

    def hash(self) -> str:
        """Of the mapping that runs; empty when it was not read from files."""
        return self.revision.hash if self.revision is not None else ""

    async def begin(self) -> None:
        """Record that the gateway has started, when it did with other files than before."""
        self.alarm.clear()
        if self.revision is not None and self.revision.fresh:
            mapping, known = self._of.mapping, self.revision.revision
            counts = {"devices": len(mapping.devices), "points": mapping.point_count}
            asker = Asker(known.user if known is not None else user_name(os.getuid()), "start")
            await self._record("start", asker, mapping, counts=counts, former=self.revision.former)

    async def close(self) -> None:
        """Take no more changes. One that is being carried out is finished first; one that is checked is given up."""
        self._closed = True
        self._of.applier.close()
        if self._checking is not None:
            self._checking.cancel()
        try:
            async with asyncio.timeout(_CLOSE_S), self._turn:
                pass
        except TimeoutError:
            log.warning("a change of the mapping is not finished after %g s; the gateway stops all the same", _CLOSE_S)

    async def apply_files(
        self, paths: Sequence[Path], asker: Asker, *, still_wanted: Callable[[], bool] | None = None
    ) -> Changed:
        """Change to files as they are now.

        Args:
            paths: files and folders; those of the configuration when empty.
            asker: who wants it.
            still_wanted: asked when the turn has come. With it, nothing is done, nor recorded, when these are the files
                that run.

        Raises:
            ChangeError: they cannot be applied, or could not be checked.
            EditedError: they have been edited meanwhile; nothing has changed.
        """
        async with self._turn:
            self._refuse_closed()
            if still_wanted is not None and not still_wanted():
                return Changed(None)
            alarm = self.alarm if not paths or tuple(paths) == self.paths else None
            accept = await self._looked() if alarm is not None and still_wanted is None else None
            try:
                checked = await self._check(Files(tuple(paths) or self.paths, cache=self._of.config.results))
            except CheckingError as error:
                await self._refused("apply", asker, None, alarm, str(error))
                raise ChangeError(str(error)) from error
            if checked.mapping is None:
                if alarm is not None:
                    alarm.invalid(checked.problems, checked.errors, self.hash())
                text = "; ".join(first_problems(checked.problems, checked.errors))
                text = f"the mapping files have errors: {text}"
                await self._record("apply", asker, None, refused=text, files=checked.files)
                if accept is not None:
                    accept(checked.problems)
                return Changed(None, checked.problems, checked.errors)
            same = still_wanted is not None and checked.revision == self.hash()
            changed = Changed(None) if same else await self._take(checked, checked.mapping, asker, alarm=alarm)
            if alarm is not None:
                alarm.clear()
            if accept is not None:
                accept(checked.problems)
            return changed

    async def look_at_files(self) -> Checked:
        """Check the files of the configuration and let the alarm say what comes of it; nothing is applied.

        Raises:
            ChangeError: they could not be checked.
        """
        async with self._turn:
            self._refuse_closed()
            try:
                checked = await self._check(Files(self.paths, wanted=False, cache=self._of.config.results))
            except CheckingError as error:
                self.alarm.refused(str(error), self.hash())
                raise ChangeError(str(error)) from error
            if checked.sound:
                self.alarm.clear()
            else:
                self.alarm.invalid(checked.problems, checked.errors, self.hash())
            return checked

    async def roll_back(self, wanted: str, asker: Asker) -> tuple[Revision, Changed]:
        """Return to a kept revision.

        Args:
            wanted: how its hash begins; empty for the one before the running one.
            asker: who wants it.

        Returns:
            The revision, and what was done.

        Raises:
            ChangeError: there is none, its copies are damaged, or it cannot be applied.
        """
        async with self._turn:
            self._refuse_closed()
            if self.revision is None:
                raise ChangeError("this gateway keeps no revisions")
            store = self.revision.store
            try:
                found = await asyncio.to_thread(store.find if wanted else store.before, wanted or self.hash())
                if found.hash == self.hash():
                    raise ChangeError(f"revision {found.hash} is the one that runs")
                accept = await self._looked()
                beside = await asyncio.to_thread(store.copies, found)
                kept = await asyncio.to_thread(store.files, found)
                checked = await self._check(Files(tuple(beside), beside, cache=self._of.config.results))
            except (RevisionError, CheckingError) as error:
                await self._record("rollback", asker, None, refused=str(error))
                raise ChangeError(str(error)) from error
            if checked.mapping is None:
                text = "; ".join(first_problems(checked.problems, checked.errors))
                text = f"the kept files of revision {found.hash} cannot be used any more: {text}"
                await self._record("rollback", asker, None, refused=text)
                raise ChangeError(text)
            await asyncio.to_thread(_as_original, checked.mapping, store.folder / found.hash, kept)
            changed = await self._take(checked, checked.mapping, asker, again=found)
            if accept is not None:
                accept(())
            return found, changed

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ChangeError(_CLOSED)

    async def _check(self, files: Files) -> Checked:
        """As `check_apart`; given up when the desk closes."""
        self._checking = asyncio.create_task(check_apart(files))
        try:
            checked = await self._checking
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise ChangeError(_CLOSED) from None
            raise
        finally:
            self._checking = None
        self._refuse_closed()
        return checked

    async def _looked(self) -> Accept | None:
        return await self.before_change() if self.before_change is not None else None

    # ---- one change -----------------------------------------------------------------------------------------------

    async def _take(
        self,
        checked: Checked,
        new: PointMapping,
        asker: Asker,
        *,
        alarm: MappingAlarm | None = None,
        again: Revision | None = None,
    ) -> Changed:
        reason = "apply" if again is None else "rollback"
        old, notes = self._of.mapping, list[str]()
        try:
            if self.revision is not None:
                notes += await self._prepared(self.revision, new, again)
        except EditedError as error:
            await self._record(reason, asker, None, refused=str(error))
            raise
        try:
            applied = await self._of.apply(new)
        except ApplyError as error:
            await self._refused(reason, asker, new, alarm, str(error))
            raise ChangeError(str(error)) from error
        except Exception as error:
            text = f"the mapping could not be applied: {type(error).__name__}: {error}"
            await self._refused(reason, asker, new, alarm, text)
            log.exception("the mapping could not be applied")
            raise ChangeError(text) from error
        former = self.hash()
        if self.revision is not None:
            notes += await self._kept(self.revision, new, reason, asker, again)
        counts = {kind: len(getattr(applied, kind)) for kind in (*_KINDS, "moved")}
        notes += await self._record(reason, asker, new, counts=counts, former=former, again=again)
        points = [device.points for device in old.devices if device.packed is None] if old is not new else []
        del old
        await asyncio.to_thread(_let_go, points)
        return Changed(applied, checked.problems, checked.errors, tuple(notes))

    async def _prepared(self, running: RunningRevision, new: PointMapping, again: Revision | None) -> list[str]:
        """Copy the files before they run, and let former addresses go whose days are over; notes."""

        def prepare() -> None:
            if again is None:
                running.store.stage(new)
            forget_former(new, over(new, running.store.former_since(), datetime.now(UTC).date()))

        try:
            await asyncio.to_thread(prepare)
        except EditedError:
            raise
        except RevisionError as error:
            return [str(error)]
        return []

    async def _kept(
        self, running: RunningRevision, new: PointMapping, reason: str, asker: Asker, again: Revision | None
    ) -> list[str]:
        """Note the revision that runs now; notes."""
        known = again.hash if again is not None else hash_of(new)
        record = partial(running.store.record, new, reason=reason, user=asker.user, again=again)
        try:
            running.follow(await asyncio.to_thread(record), known)
        except RevisionError as error:
            running.follow(None, known, str(error))
            return [f"it runs, but cannot be rolled back to: {error}"]
        return []

    async def _refused(
        self, reason: str, asker: Asker, new: PointMapping | None, alarm: MappingAlarm | None, text: str
    ) -> None:
        if alarm is not None:
            alarm.refused(text, self.hash())
        await self._record(reason, asker, new, refused=text)

    async def _record(
        self,
        reason: str,
        asker: Asker,
        mapping: PointMapping | None,
        *,
        counts: Mapping[str, int] | None = None,
        former: str = "",
        refused: str = "",
        again: Revision | None = None,
        files: Mapping[Path, str] | None = None,
    ) -> list[str]:
        """One line of the audit journal; a note when it cannot be written."""
        details: dict[str, Any] = {"by": asker.by}
        if mapping is not None and mapping.files:
            details |= await asyncio.to_thread(_described, mapping, self.revision, again)
            files = mapping.files
        elif files:
            details |= {"files": {str(path): files[path] for path in [*files][:_MOST_FILES]}, "count": len(files)}
        if counts is not None:
            details["changed"] = dict(counts)
        known = self.revision.revision if self.revision is not None else None
        if refused:
            details["git"] = await asyncio.to_thread(git_revision, [*(files or ())])
        elif known is not None:
            details["git"] = known.git
        if former:
            details["before"] = former
        status = StatusCode.BadConfigurationError if refused else 0
        text = refused or f"the gateway runs with mapping revision {self.hash() or 'unknown'}"
        record = AuditRecord(
            clock.now(), f"mapping.{reason}", asker.user, "", self._of.place, status=status, text=text, details=details
        )
        tell_change(self._of.server, record, former or self.hash(), self.hash())
        try:
            await self._of.audit.append(record)
        except sqlite3.Error as error:
            log.error("a change of the mapping is missing in the audit journal: %s", error)
            return [f"the audit journal cannot be written: {error}"]
        return []


def _described(mapping: PointMapping, running: RunningRevision | None, again: Revision | None) -> dict[str, Any]:
    """The files of a mapping for the audit journal: the hash of the revision, and that of each file."""
    try:
        files = running.store.files(again) if running is not None and again is not None else files_of(mapping)
    except RevisionError:
        files = files_of(mapping)
    revision = again.hash if again is not None else hash_of(mapping)
    return {
        "revision": revision,
        "files": {file.path: file.digest for file in files[:_MOST_FILES]},
        "count": len(files),
    }


def _as_original(mapping: PointMapping, folder: Path, kept: Iterable[KeptFile]) -> None:
    """Devices name the originals of their SCL files where these still are what was kept: copies are tidied away."""
    originals = {folder / file.path: Path(file.origin) for file in kept if not file.mapping}
    for device in mapping.devices:
        path = getattr(device.config, "scl", None)
        origin = originals.get(Path(path).absolute()) if path is not None else None
        if origin is not None and _is(origin, device.files.get("scl", "")):
            device.config = device.config.model_copy(update={"scl": origin})


def _is(path: Path, digest: str) -> bool:
    try:
        return digest_of(path) == digest
    except RevisionError:
        return False


def _let_go(points: list[list[Any]]) -> None:
    """Free the points of a mapping that does not run any more, in pieces: all at once would hold up the event loop."""
    rest = [point for some in points for point in some]
    points.clear()
    while rest:
        del rest[-_PIECE:]
        time.sleep(0.001)
