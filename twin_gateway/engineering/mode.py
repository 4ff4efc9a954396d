"""What an import does where its mapping file exists already."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """Nothing, what is new is put in, or the file is written anew."""

    CREATE = "create"
    MERGE = "merge"
    OVERWRITE = "overwrite"
