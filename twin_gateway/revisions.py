"""The mapping files that the gateway has run with: whole copies in `<data>/mappings/<hash>`, and an index of when.

A revision is what makes a mapping: its files and the SCL files that they name. Certificates, keys and secrets are not
copied; a copy is checked with those that lie beside the originals. The last 20 revisions are kept.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Environ
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from twin_gateway.control import ControlError, Handler, user_name
from twin_gateway.mapping.check import check
from twin_gateway.mapping.former import FORMER_DAYS
from twin_gateway.mapping.life import forget_former
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.problem import Problem

log = logging.getLogger(__name__)

FOLDER: Final = "mappings"
"""Name of the store in the data directory."""
KEPT: Final = 20
_INDEX: Final = "index.json"
_MANIFEST: Final = "manifest.json"
_HASH_DIGITS: Final = 16
_GIT_S: Final = 5.0
_COPIED: Final = ("scl",)
"""Fields of devices whose files belong to a revision."""


class RevisionError(Exception):
    """A revision cannot be kept, found or read; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One mapping that the gateway has run with.

    Attributes:
        hash: of the names and contents of its files; also the name of the folder with the copies.
        time: since when it ran, ISO 8601 in UTC.
        user: who started or applied it.
        reason: `start`, `apply` or `rollback`.
        git: revision of the files' repository, `-dirty` behind it when they differ from it; empty without one.
        devices, points: how many.
    """

    hash: str
    time: str
    user: str
    reason: str
    git: str
    devices: int
    points: int


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a revision: its place in the copy, where it came from, its SHA-256, and whether it is a mapping."""

    path: str
    origin: str
    digest: str
    mapping: bool


class RevisionStore:
    """The revisions of one gateway.

    Args:
        data_directory: of the gateway; the store makes its folder there when the first revision is kept.
    """

    def __init__(self, data_directory: Path) -> None:
        self.folder = data_directory / FOLDER

    def all(self) -> list[Revision]:
        """Every revision that is kept, the oldest first. Starting again with the same files makes no new one.

        Raises:
            RevisionError: the index cannot be read.
        """
        return [Revision(**entry) for entry in self._index()["revisions"]]

    def find(self, text: str) -> Revision:
        """The latest revision whose hash begins so.

        Raises:
            RevisionError: there is none, or two different ones.
        """
        found = {item.hash: item for item in self.all() if text and item.hash.startswith(text)}
        if len(found) != 1:
            known = ", ".join(dict.fromkeys(item.hash for item in reversed(self.all()))) or "none"
            what = "no revision" if not found else "more than one revision"
            raise RevisionError(f"{what} begins with '{text}'; kept are {known}")
        return next(iter(found.values()))

    def record(self, mapping: Mapping, *, reason: str, user: str = "", now: datetime | None = None) -> Revision:
        """Keep what the gateway runs with from now on.

        Args:
            mapping: as `check` gave it.
            reason: `start`, `apply` or `rollback`.
            user: who did it; the user of this process unless given.
            now: instead of the clock.

        Raises:
            RevisionError: it cannot be kept: no room, or a file has been edited since it was checked.
        """
        at = now or datetime.now(UTC)
        try:
            files = _files_of(mapping)
            name = _hash_of(files)
            document = self._index()
            last = document["revisions"][-1] if document["revisions"] else None
            if last is not None and last["hash"] == name and (self.folder / name / _MANIFEST).exists():
                self._note_former(document, mapping, at)
                return Revision(**last)
            if not (self.folder / name / _MANIFEST).exists():
                self._copy(name, files)
            git = _git_revision([Path(file.origin) for file in files if file.mapping])
            revision = Revision(
                name,
                at.astimezone(UTC).isoformat(timespec="seconds"),
                user or user_name(os.getuid()),
                reason,
                git,
                len(mapping.devices),
                mapping.point_count,
            )
            document["revisions"] = [*document["revisions"], asdict(revision)][-KEPT:]
            self._note_former(document, mapping, at)
            self._tidy({entry["hash"] for entry in document["revisions"]})
        except OSError as error:
            raise RevisionError(f"{self.folder}: the mapping files cannot be kept: {error}") from error
        return revision

    def check(
        self, revision: Revision, *, environ: Environ[str, str] | None = None, secrets_required: bool = True
    ) -> tuple[Mapping | None, list[Problem]]:
        """Check the copies of a revision, as `mapping.check.check` does with files.

        Raises:
            RevisionError: a copy is missing or no longer what it was.
        """
        folder, files = self.folder / revision.hash, self._manifest(revision)
        for file in files:
            if _digest(folder / file.path) != file.digest:
                raise RevisionError(f"{folder / file.path} is not what was kept: it has been edited or damaged")
        beside = {folder / file.path: Path(file.origin).parent for file in files if file.mapping}
        return check(list(beside), environ=environ, secrets_required=secrets_required, beside=beside)

    def contents(self, revision: Revision) -> Iterator[tuple[Path, Path]]:
        """(copy, original) of every file of a revision.

        Raises:
            RevisionError: the revision cannot be read.
        """
        for file in self._manifest(revision):
            yield self.folder / revision.hash / file.path, Path(file.origin)

    def former_since(self) -> dict[str, date]:
        """Since when each `was:` has been in the files that the gateway ran with.

        Raises:
            RevisionError: the index cannot be read.
        """
        return {was: date.fromisoformat(day) for was, day in self._index()["former"].items()}

    # ---- files -------------------------------------------------------------------------------------------------------

    def _index(self) -> dict[str, Any]:
        path = self.folder / _INDEX
        try:
            document = json.loads(path.read_text("utf-8"))
            found: dict[str, Any] = {"revisions": list(document["revisions"]), "former": dict(document["former"])}
            for entry in found["revisions"]:
                Revision(**entry)
            for day in found["former"].values():
                date.fromisoformat(day)
        except FileNotFoundError:
            return {"revisions": [], "former": {}}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RevisionError(f"{path} cannot be read ({error}); move it away to begin a new one") from error
        return found

    def _note_former(self, document: dict[str, Any], mapping: Mapping, at: datetime) -> None:
        """Write the index, with the day of every `was:` that is new in it; those no longer in the files go."""
        today, known = at.astimezone(UTC).date().isoformat(), document["former"]
        document["former"] = {item.was: known.get(item.was, today) for item in mapping.former}
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_whole(self.folder / _INDEX, json.dumps(document, indent=1))

    def _manifest(self, revision: Revision) -> list[_File]:
        path = self.folder / revision.hash / _MANIFEST
        try:
            return [_File(**entry) for entry in json.loads(path.read_text("utf-8"))["files"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RevisionError(f"the files of revision {revision.hash} cannot be read: {error}") from error

    def _copy(self, name: str, files: Sequence[_File]) -> None:
        """Make the folder of a revision: everything in it is on the disk before it gets its name."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        target, making = self.folder / name, self.folder / f".new-{name}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        try:
            for file in files:
                copy = making / file.path
                copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                shutil.copyfile(file.origin, copy)
                if _digest(copy) != file.digest:
                    raise RevisionError(f"{file.origin} has been edited since it was checked")
                _sync(copy)
            _write_whole(making / _MANIFEST, json.dumps({"files": [asdict(file) for file in files]}, indent=1))
            for folder in {making, *(path.parent for path in making.rglob("*"))}:
                _sync(folder)
            shutil.rmtree(target, ignore_errors=True)
            making.rename(target)
            _sync(self.folder)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise

    def _tidy(self, wanted: set[str]) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)


class RunningRevision:
    """Which revision the gateway runs, told on its control socket.

    Attributes:
        revision: the present one; None when it could not be kept, for the reason that `fault` says.
    """

    def __init__(self, store: RevisionStore, revision: Revision | None, fault: str = "") -> None:
        self.store = store
        self.revision = revision
        self.fault = fault

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked: `mapping`, the fields of the present revision."""
        return {"mapping": self._tell}

    async def _tell(self, _asked: Environ[str, Any]) -> dict[str, Any]:
        if self.revision is None:
            raise ControlError(f"the mapping files it runs with have not been kept: {self.fault}")
        return asdict(self.revision)


def keep(data_directory: Path, mapping: Mapping) -> RunningRevision:
    """Keep the mapping that a gateway starts with, and let former addresses go whose 400 days are over.

    A gateway whose store cannot be written runs all the same; that is logged, and told to whoever asks for it.
    """
    store = RevisionStore(data_directory)
    try:
        running = RunningRevision(store, store.record(mapping, reason="start"))
        forget_former(mapping, over(mapping, store.former_since(), datetime.now(UTC).date()))
    except RevisionError as error:
        log.warning("the mapping files are not kept: %s", error)
        return RunningRevision(store, None, str(error))
    return running


def _files_of(mapping: Mapping) -> list[_File]:
    """The files of a mapping in the order in which they were checked, below the folder that holds them all."""
    digests = {path.absolute(): digest for path, digest in mapping.files.items()}
    named: dict[Path, str] = {}
    for device in mapping.devices:
        for name in _COPIED:
            path = getattr(device.config, name, None)
            if path is not None and name in device.files:
                named.setdefault(Path(path).absolute(), device.files[name])
    if not digests:
        raise RevisionError("this mapping was not read from files")
    normal = {path: Path(os.path.normpath(path)) for path in (*digests, *named)}
    top = Path(os.path.commonpath([path.parent for path in normal.values()]))
    files = [_File(str(normal[path].relative_to(top)), str(path), digest, True) for path, digest in digests.items()]
    return files + [
        _File(str(normal[path].relative_to(top)), str(path), digest, False)
        for path, digest in named.items()
        if path not in digests
    ]


def _hash_of(files: Sequence[_File]) -> str:
    text = json.dumps(sorted((file.path, file.digest) for file in files))
    return sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def _digest(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RevisionError(f"{path} cannot be read: {error.strerror}") from error


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old or the new content, never a part."""
    making = path.with_name(f"{path.name}.new")
    with making.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _git_revision(files: Sequence[Path]) -> str:
    """Revision of the repository that the files lie in; empty without git or a repository of our own."""
    if not files or shutil.which("git") is None:
        return ""
    # Nothing that a repository's configuration names is started.
    git = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", str(files[0].parent)]
    try:
        head = _output([*git, "rev-parse", "--verify", "HEAD"]).strip()
        changed = _output([*git, "status", "--porcelain", "--", *(str(file) for file in files)]).strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head}-dirty" if head and changed else head


def _output(command: Sequence[str]) -> str:
    return subprocess.run(  # noqa: S603 - a fixed command, and paths that the configuration names
        command, capture_output=True, text=True, check=True, timeout=_GIT_S, env={**os.environ, "LC_ALL": "C"}
    ).stdout


def over(mapping: Mapping, since: Environ[str, date], today: date) -> list[str]:
    """Former addresses without a day of their own that have led on for 400 days: they lead nowhere from now on."""
    return [
        item.was
        for item in mapping.former
        if item.until is None and (today - since.get(item.was, today)).days > FORMER_DAYS
    ]
