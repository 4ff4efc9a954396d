"""Mutated mapping files end in problems or in a mapping, never in an exception.

`TWIN_FUZZ_FILES` says how many are tried; what fails is shown with its text.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from mutated_files import mutated

from twin_gateway.engineering.tidy import NotTidiedError, tidy
from twin_gateway.mapping.check import check

HERE = Path(__file__).parent
MAPPINGS = HERE.parents[2] / "mappings"
FILES = int(os.environ.get("TWIN_FUZZ_FILES", "500"))
BATCHES = 10
SEEDS = [
    path.read_bytes()
    for path in [
        *sorted((MAPPINGS / "templates").glob("*.yaml")),
        *sorted((HERE / "golden").glob("[3-9]*.yaml")),
    ]
    if path.stat().st_size < 4000
]
PIECES = (
    *("{", "}", "[", "]", ":", ": ", "- ", ",", '"', "'", "#", "|", ">", "&a", "*a", "!x ", "\t", "\n", "\r", "---\n"),
    *(
        "null",
        "true",
        "~",
        "0",
        "-1",
        "1e999",
        ".nan",
        "0x7f",
        "9" * 40,
        "1..9",
        "{1..3}",
        "{ioa+1}",
        "${X}",
        "file:/",
        "_",
    ),
    *("\x00", "\u2028", "\ufeff", "é", "\U0001f600", "a/b/c", "//", "iec104", "goose", "dlms", "coap", "QA1/XCBR1/Pos"),
)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_mutated_file_is_checked_and_laid_out_without_an_exception(batch: int, tmp_path: Path) -> None:
    path = tmp_path / "station.yaml"
    for number in range(batch, FILES, BATCHES):
        data = mutated(random.Random(number), SEEDS, PIECES)
        path.write_bytes(data)
        try:
            mapping, problems = check([path], environ={})
            told = [str(problem) for problem in problems]
        except Exception as error:
            pytest.fail(f"file {number}: {error!r}\n{data!r}")
        assert mapping is not None or told
        assert all(str(path) in line and "\n" not in line for line in told), told
        try:
            text = data.decode("utf-8")
            again = tidy(text)
        except (UnicodeDecodeError, NotTidiedError):
            continue
        except Exception as error:
            pytest.fail(f"fmt of file {number}: {error!r}\n{data!r}")
        assert tidy(again) == again, text
