"""Watching mapping files at work: what has been edited is checked and, where that is wanted, applied.

The files are looked at again and again (time, size, inode, owner), also those that came into a folder or left it.
Editors and version control write in several steps, so files count only when they have been still for a moment, and not
while git writes its working tree or rsync a further file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twin_gateway.changed import Asker, ChangeError
from twin_gateway.checked_apart import how_many
from twin_gateway.control import user_name
from twin_gateway.mapping.check import find_files
from twin_gateway.mapping.problem import Problem
from twin_gateway.revisions import EditedError, RevisionError, digest_of, files_of

if TYPE_CHECKING:
    from twin_gateway.change_desk import ChangeDesk

log = logging.getLogger(__name__)

SETTLE_S: Final = 1.0
"""How long files must have been still."""
GIT_S: Final = 60.0
"""How long git is waited for, and a file of rsync that does not grow; what they left behind is older."""
AGAIN_S: Final = 30.0
"""After so long files are checked again that lack what lies elsewhere: an SCL file, a secret."""
_LACKING: Final = frozenset({"TG604", "TG607"})
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".scd", ".cid", ".icd", ".iid", ".ssd", ".sed", ".xml"})

_COMING: Final = re.compile(r"\..+\.(?:ya?ml|scd|cid|icd|iid|ssd|sed|xml)\.[A-Za-z0-9]{6}", re.IGNORECASE)
"""How rsync calls a file that it is writing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells that a file is another one: time of its content (ns), size, inode; and the number of its owner."""

    time: int
    size: int
    inode: int
    owner: int


Seen = Mapping[Path, Mark]


def look(paths: Sequence[Path], named: Iterable[Path] = ()) -> Seen:
    """The marks of files, of those in folders, and of further ones that are named; what is missing has none."""
    found = dict.fromkeys(named)
    for path in paths:
        if path.is_dir():
            # A folder below may go while we look: what is left out then is seen, or missed, by the next look.
            found |= dict.fromkeys(
                Path(folder, name)
                for folder, _, names in os.walk(path)
                for name in names
                if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")
            )
        else:
            found[path] = None
    seen = {}
    for path in found:
        try:
            status = path.stat()
        except OSError:
            continue
        seen[path] = Mark(status.st_mtime_ns, status.st_size, status.st_ino, status.st_uid)
    return seen


def git_writes(paths: Sequence[Path]) -> bool:
    """Whether git is writing a working tree in which some of the files or folders lie: it holds its index then."""
    for top in {above for path in paths for above in (path.absolute(), *path.absolute().parents)}:
        try:
            lock = top / ".git" / "index.lock"
            if (top / ".git").is_file():  # a further working tree, or a submodule, says where its index is
                said = (top / ".git").read_text("utf-8").removeprefix("gitdir:").strip()
                lock = top / said / "index.lock"
            if time.time() - lock.stat().st_mtime < GIT_S:
                return True
        except (OSError, ValueError):
            continue
    return False


def rsync_writes(paths: Sequence[Path]) -> bool:
    """Whether rsync is writing a file into one of the folders: it has a hidden name until it is whole."""
    for folder, name in ((folder, name) for path in paths for folder, _, names in os.walk(path) for name in names):
        try:
            if _COMING.fullmatch(name) and time.time() - Path(folder, name).stat().st_mtime < GIT_S:
                return True
        except OSError:
            continue  # it has its name now
    return False


def owner_of(before: Seen, after: Seen) -> str:
    """The user to whom all changed files belong; our own when files have gone, or belong to several."""
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    owners = {after[path].owner if path in after else -1 for path in changed}
    number = owners.pop() if len(owners) == 1 else -1
    return user_name(number if number >= 0 else os.getuid())


class Watch:
    """Follows the mapping files of the configuration.

    Args:
        desk: checks and applies them.
        apply: whether valid files are applied; else they are only checked.
        every: seconds from look to look.
        settle: how long files must have been still, s.
    """

    def __init__(self, desk: ChangeDesk, *, apply: bool, every: float, settle: float = SETTLE_S) -> None:
        self._desk = desk
        self._apply = apply
        self._every = every
        self._settle = settle
        self._named: tuple[Path, ...] = ()
        self._known: Seen = {}
        self._accepted = 0
        self._again = float("inf")

    async def run(self) -> None:
        """Look again and again; never returns. Files that are not those that run are taken up at once."""
        self._desk.before_change = self.as_they_are
        if await asyncio.to_thread(self._are_those_that_run):
            (await self.as_they_are())(())
        while True:
            seen = await self._look()
            if seen == self._known and time.monotonic() < self._again:
                await asyncio.sleep(self._every)
                continue
            seen = await self._still(seen)
            before, self._known = self._known, seen
            if seen == before and time.monotonic() < self._again:
                continue  # an apply or a rollback came between: nothing is to become of these files
            try:
                await self._take(owner_of(before, seen))
            except EditedError as error:
                log.info("%s; they are read again", error)
                self._known = {}
            except ChangeError as error:
                log.error("the changed mapping files are not applied: %s", error)

    async def as_they_are(self) -> Callable[[Sequence[Problem]], None]:
        """Look at the files; calling what this gives accepts them: nothing becomes of them until they are edited.

        It takes the problems of the files, so that those that lack something elsewhere are checked again.
        """
        seen = await self._look()

        def accept(problems: Sequence[Problem]) -> None:
            self._known = seen
            self._accepted += 1
            self._look_again(problems)

        return accept

    async def _look(self) -> Seen:
        return await asyncio.to_thread(look, self._desk.paths, self._named)

    async def _still(self, seen: Seen) -> Seen:
        """The marks when nothing has changed any more for a moment, nor git or rsync is about to change more."""
        while True:
            await asyncio.sleep(self._settle)
            writes = await asyncio.to_thread(lambda: git_writes(self._desk.paths) or rsync_writes(self._desk.paths))
            now = await self._look()
            if now == seen and not writes:
                return now
            seen = now

    async def _take(self, user: str) -> None:
        if self._apply:
            accepted = self._accepted
            changed = await self._desk.apply_files(
                (), Asker(user, "watch"), still_wanted=lambda: accepted == self._accepted
            )
            problems, errors = changed.problems, changed.errors
            if changed.applied is not None:
                log.info("the changed mapping files run now, revision %s", self._desk.hash())
        else:
            checked = await self._desk.look_at_files()
            problems, errors = checked.problems, checked.errors
            if checked.sound and checked.revision != self._desk.hash():
                log.info("the changed mapping files are valid; `twin-gateway apply` changes the gateway to them")
        if errors:
            log.error(
                "the changed mapping files have %s, nothing has changed; the first: %s", how_many(errors), problems[0]
            )
        self._look_again(problems)
        await asyncio.to_thread(self._note_named)

    def _look_again(self, problems: Sequence[Problem]) -> None:
        lacking = any(problem.code in _LACKING for problem in problems)
        self._again = time.monotonic() + AGAIN_S if lacking else float("inf")

    def _note_named(self) -> None:
        """Which files the mapping names that need not lie in the watched folders."""
        try:
            self._named = tuple(Path(file.origin) for file in files_of(self._desk.mapping) if not file.mapping)
        except RevisionError:
            self._named = ()

    def _are_those_that_run(self) -> bool:
        """Whether the files are those that the gateway has started with: they may have been edited meanwhile."""
        self._note_named()
        try:
            kept = files_of(self._desk.mapping)
            if {path.absolute() for path in find_files(self._desk.paths, [])} != {
                path.absolute() for path in self._desk.mapping.files
            }:
                return False
            return all(digest_of(Path(file.origin)) == file.digest for file in kept)
        except (RevisionError, OSError):
            return False
