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

from address_space.whole_files import sync_directory, write_whole
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


class EditedError(RevisionError):
    """A file is no longer what was checked."""


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
class KeptFile:
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

    def before(self, running: str) -> Revision:
        """The latest revision with another hash than that of the running one.

        Raises:
            RevisionError: there is none.
        """
        for revision in reversed(self.all()):
            if revision.hash != running:
                return revision
        raise RevisionError("no other revision than the running one is kept")

    def stage(self, mapping: Mapping) -> str:
        """Copy the files of a mapping that is to run; its hash. `record` says later that it does.

        Raises:
            EditedError: a file has been edited since it was checked.
            RevisionError: it cannot be kept.
        """
        files = files_of(mapping)
        name = _hash_of(files)
        try:
            if not (self.folder / name / _MANIFEST).exists():
                self._copy(name, files)
        except OSError as error:
            raise RevisionError(f"{self.folder}: the mapping files cannot be kept: {error}") from error
        return name

    def record(
        self,
        mapping: Mapping,
        *,
        reason: str,
        user: str = "",
        now: datetime | None = None,
        again: Revision | None = None,
    ) -> Revision:
        """Keep what the gateway runs with from now on.

        Args:
            mapping: as `check` gave it.
            reason: `start`, `apply` or `rollback`.
            user: who did it; the user of this process unless given.
            now: instead of the clock.
            again: the kept revision whose copies the mapping was read from; its files are those of the revision.

        Raises:
            RevisionError: it cannot be kept: no room, or a file has been edited since it was checked.
        """
        at = now or datetime.now(UTC)
        try:
            files = files_of(mapping) if again is None else self.files(again)
            name = _hash_of(files)
            document = self._index()
            last = document["revisions"][-1] if document["revisions"] else None
            if last is not None and last["hash"] == name and (self.folder / name / _MANIFEST).exists():
                self._note_former(document, mapping, at)
                return Revision(**last)
            if not (self.folder / name / _MANIFEST).exists():
                self._copy(name, files)
            git = (
                again.git if again is not None else git_revision([Path(file.origin) for file in files if file.mapping])
            )
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
        self,
        revision: Revision,
        *,
        environ: Environ[str, str] | None = None,
        secrets_required: bool = True,
        cache: Path | None = None,
    ) -> tuple[Mapping | None, list[Problem]]:
        """Check the copies of a revision, as `mapping.check.check` does with files.

        Raises:
            RevisionError: a copy is missing or no longer what it was.
        """
        beside = self.copies(revision)
        return check(list(beside), environ=environ, secrets_required=secrets_required, beside=beside, cache=cache)

    def copies(self, revision: Revision) -> dict[Path, Path]:
        """The kept mapping files of a revision -> the folder of the original, as `check` takes them.

        Raises:
            RevisionError: a copy is missing or no longer what it was.
        """
        folder, files = self.folder / revision.hash, self.files(revision)
        for file in files:
            if digest_of(folder / file.path) != file.digest:
                raise RevisionError(f"{folder / file.path} is not what was kept: it has been edited or damaged")
        return {folder / file.path: Path(file.origin).parent for file in files if file.mapping}

    def contents(self, revision: Revision) -> Iterator[tuple[Path, Path]]:
        """(copy, original) of every file of a revision.

        Raises:
            RevisionError: the revision cannot be read.
        """
        for file in self.files(revision):
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
        _write_json(self.folder / _INDEX, document)

    def files(self, revision: Revision) -> list[KeptFile]:
        """Every file of a revision, the mapping files first.

        Raises:
            RevisionError: the revision cannot be read.
        """
        path = self.folder / revision.hash / _MANIFEST
        try:
            return [KeptFile(**entry) for entry in json.loads(path.read_text("utf-8"))["files"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RevisionError(f"the files of revision {revision.hash} cannot be read: {error}") from error

    def _copy(self, name: str, files: Sequence[KeptFile]) -> None:
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
                if digest_of(copy) != file.digest:
                    raise EditedError(f"{file.origin} has been edited since it was checked")
                _sync(copy)
            _write_json(making / _MANIFEST, {"files": [asdict(file) for file in files]})
            for folder in {making, *(path.parent for path in making.rglob("*"))}:
                sync_directory(folder)
            shutil.rmtree(target, ignore_errors=True)
            making.rename(target)
            sync_directory(self.folder)
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
        hash: of the mapping that runs, also when it could not be kept; empty when it was not read from files.
        fresh: the gateway has started with other files than those that it ran with before.
        former: the hash of those; empty when there are none.
    """

    def __init__(
        self,
        store: RevisionStore,
        revision: Revision | None,
        fault: str = "",
        *,
        known: str = "",
        fresh: bool = False,
        former: str = "",
    ) -> None:
        self.store = store
        self.revision = revision
        self.fault = fault
        self.hash = revision.hash if revision is not None else known
        self.fresh = fresh
        self.former = former

    def follow(self, revision: Revision | None, known: str, fault: str = "") -> None:
        """Another mapping runs now, whose hash is known; without a revision the fault says why it is not kept."""
        self.revision, self.hash, self.fault = revision, known, fault

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
        before = store.all()[-1:]
        revision = store.record(mapping, reason="start")
        former = before[0].hash if before else ""
        running = RunningRevision(store, revision, fresh=[revision] != before, former=former)
        forget_former(mapping, over(mapping, store.former_since(), datetime.now(UTC).date()))
    except RevisionError as error:
        log.warning("the mapping files are not kept: %s", error)
        return RunningRevision(store, None, str(error), known=hash_of(mapping), fresh=True)
    return running


def files_of(mapping: Mapping) -> list[KeptFile]:
    """The files of a mapping in the order in which they were checked, below the folder that holds them all.

    Raises:
        RevisionError: it was not read from files.
    """
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
    files = [KeptFile(str(normal[path].relative_to(top)), str(path), digest, True) for path, digest in digests.items()]
    return files + [
        KeptFile(str(normal[path].relative_to(top)), str(path), digest, False)
        for path, digest in named.items()
        if path not in digests
    ]


def hash_of(mapping: Mapping) -> str:
    """The hash that the revision of a mapping has; empty when it was not read from files."""
    return _hash_of(files_of(mapping)) if mapping.files else ""


def _hash_of(files: Sequence[KeptFile]) -> str:
    text = json.dumps(sorted((file.path, file.digest) for file in files))
    return sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file.

    Raises:
        RevisionError: it cannot be read.
    """
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RevisionError(f"{path} cannot be read: {error.strerror}") from error


def _write_json(path: Path, document: dict[str, Any]) -> None:
    write_whole(path, json.dumps(document, indent=1).encode())


def _sync(path: Path) -> None:
    """Let the content of a file be on the disk; its name is another matter."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def git_revision(files: Sequence[Path]) -> str:
    """Revision of the repository that the files lie in; empty without git or a repository of our own."""
    if not files or shutil.which("git") is None:
        return ""
    # Nothing that a repository's configuration names is started, and nobody's work in it is locked out.
    options = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    git = ["git", *options, "-C", str(files[0].absolute().parent)]
    try:
        head = _output([*git, "rev-parse", "--verify", "HEAD"]).strip()
        changed = _output([*git, "status", "--porcelain", "--", *(str(file.absolute()) for file in files)]).strip()
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
