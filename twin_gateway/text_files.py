"""Text files that people keep: written whole or not at all, with the rights and the owner that they have."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; it is on disk when this returns. A link stays one.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    target = path.resolve()
    beside = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with beside.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            like = target.stat()
            with suppress(PermissionError):  # only root may give files away
                os.chown(beside, like.st_uid, like.st_gid)
            beside.chmod(like.st_mode & 0o777)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
