"""Writing the kept files of a revision back over the originals; nothing is lost that nobody has a copy of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from address_space.whole_files import sync_directory, sync_file
from twin_gateway.mapping.check import find_files
from twin_gateway.revisions import EditedError, KeptFile, Revision, RevisionError, RevisionStore, digest_of

ASIDE: Final = "before-rollback"
_TOLD: Final = 5


@dataclass(frozen=True, slots=True)
class Restoring:
    """What is to be done.

    Attributes:
        written: (kept copy, original) of each file that differs.
        surplus: mapping files in the folders of the configuration that are not of the revision.
        edited: those of both whose content is of no kept revision; they are put aside, never lost.
    """

    written: tuple[tuple[Path, Path], ...]
    surplus: tuple[Path, ...]
    edited: tuple[Path, ...]


def plan_restoring(store: RevisionStore, wanted: Revision, paths: Sequence[Path]) -> Restoring:
    """What it takes to make the files of the configuration those of a revision.

    Args:
        store: of the gateway.
        wanted: whose files are to be written.
        paths: mapping files and folders of the configuration.

    Raises:
        RevisionError: a revision cannot be read, or is damaged.
    """
    store.copies(wanted)
    folder, files = store.folder / wanted.hash, store.files(wanted)
    ran = {file.digest for revision in store.all() for file in store.files(revision)}
    written, edited = [], []
    for file in files:
        origin = Path(file.origin)
        present = _present(origin)
        if present != file.digest:
            written.append((folder / file.path, origin))
            if present and present not in ran:
                edited.append(origin)
    own = {Path(file.origin).absolute() for file in files}
    surplus = tuple(path for path in find_files(paths, []) if path.absolute() not in own and path.exists())
    edited += [path for path in surplus if _present(path) not in ran]
    _same_place(files, paths)
    return Restoring(tuple(written), surplus, tuple(edited))


def _same_place(files: Sequence[KeptFile], paths: Sequence[Path]) -> None:
    """Raises RevisionError when files of the revision are not among those that the configuration names."""
    named = [path.absolute() for path in paths]
    for file in files:
        origin = Path(file.origin).absolute()
        if file.mapping and not any(origin == path or path in origin.parents for path in named):
            raise RevisionError(
                f"{origin} is a file of that revision, but not of the configuration: it has been applied from "
                "elsewhere; copy what you want by hand"
            )


def refuse_edited(plan: Restoring) -> None:
    """Raise EditedError when files have been edited since the gateway took them last."""
    if plan.edited:
        names = ", ".join(map(str, plan.edited[:_TOLD])) + " and more" * (len(plan.edited) > _TOLD)
        raise EditedError(
            f"edited since the gateway took them last: {names}; apply them, or say --force: they are put aside then"
        )


def restore(plan: Restoring) -> Iterator[str]:
    """Write the files; what stands in the way is put aside as `<name>.before-rollback`.

    Everything is on the disk beside the originals before the first of them is touched.

    Yields:
        A sentence on each file, once it is done.

    Raises:
        OSError: a file cannot be written; nothing has been done but what was told.
    """
    making: list[tuple[Path, Path, Path]] = []
    try:
        for copy, origin in plan.written:
            target = origin.resolve()  # a link stays one
            target.parent.mkdir(parents=True, exist_ok=True)
            making.append((target.with_name(f".{target.name}.new"), target, origin))
            _write(copy, making[-1][0], target)
        for path in plan.surplus:
            yield f"{path} is not of that revision: it is {_put_aside(path).name} now"
        for made, target, origin in making:
            kept = f", the edited one is {_put_aside(target).name} now" if origin in plan.edited else ""
            made.replace(target)
            sync_directory(target.parent)
            yield f"{origin} is as it was{kept}"
    finally:
        for made, _, _ in making:
            made.unlink(missing_ok=True)


def _write(copy: Path, making: Path, target: Path) -> None:
    """The content of a copy, with the rights and the owner of the file in whose place it is to come."""
    shutil.copyfile(copy, making)
    like = target if target.exists() else target.parent
    status = like.stat()
    making.chmod(status.st_mode & (0o777 if like == target else 0o666))
    with suppress(PermissionError):  # only root may give files away
        os.chown(making, status.st_uid, status.st_gid)
    sync_file(making)


def _put_aside(path: Path) -> Path:
    for number in count(1):
        aside = path.with_name(f"{path.name}.{ASIDE}{f'-{number}' if number > 1 else ''}")
        if not aside.exists():
            break
    path.rename(aside)
    return aside


def _present(path: Path) -> str:
    """The digest of a file; empty when there is none."""
    try:
        return digest_of(path) if path.exists() else ""
    except RevisionError:
        return "unreadable"
