"""The command line's part for those who write mapping files: one form for all, and what becomes of a datum."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from twin_gateway.mapping.problem import Problem


def fmt(
    paths: Annotated[list[Path], typer.Argument(help="Mapping files, and folders of them.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 when a file has another form.")
    ] = False,
) -> None:
    """Bring mapping files into one form: keys in a stable order, comments kept, the meaning unchanged.

    A file that cannot be read, or holds a form that is not laid out, is left as it is and told; exit code 1 then.
    """
    from twin_gateway.engineering.tidy import NotTidiedError, tidy_file
    from twin_gateway.mapping.check import find_files

    problems: list[Problem] = []
    files = find_files(paths, problems)
    changed = 0
    for path in files:
        try:
            before, after = tidy_file(path)
            if before != after:
                changed += 1
                if not check:
                    _replace(path, after)
                typer.echo(f"{'would change' if check else 'changed'} {path}")
        except NotTidiedError as error:
            problems += error.problems
        except OSError as error:
            problems.append(Problem(str(path), 1, 1, "TG101", f"cannot be written: {error.strerror or error}"))
    for problem in problems:
        typer.echo(str(problem), err=True)
    typer.echo(f"{len(files)} file{'s' * (len(files) != 1)}, {changed} {'to change' if check else 'changed'}")
    if problems or (check and changed):
        raise typer.Exit(1)


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the rights that it has; where it is a link, what it leads to."""
    target = path.resolve()
    mode = target.stat().st_mode & 0o7777
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
