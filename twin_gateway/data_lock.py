"""One process at a time works on a data directory: two would command the same devices and spoil each other's files."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

FILE = "lock"


class DirectoryInUseError(Exception):
    """Another process works on the data directory."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a data directory for this process, and make it where it is missing.

    The system takes the lock away from a process that ends, however it ends; the file stays and says nothing then.

    Raises:
        DirectoryInUseError: another process has it; says which.
        OSError: it cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).strip() or "unknown"
            raise DirectoryInUseError(
                f"{folder} is in use by another gateway (process {holder}); stop that one, or give this one a "
                "data_directory of its own"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
