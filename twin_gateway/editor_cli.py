"""The command line's part for those who write mapping files: one form for all, and what becomes of a datum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from twin_gateway.mapping.problem import Problem
from twin_gateway.text_files import replace_text


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
                    replace_text(path, after)
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


def explain(
    text: Annotated[str, typer.Argument(help="An address, or an alias `scheme:value`.")],
    mappings: Annotated[
        list[Path] | None,
        typer.Argument(help="Mapping files, and folders of them; those of the configuration if none."),
    ] = None,
    config: Annotated[Path, typer.Option(help="The gateway's configuration file.")] = Path("gateway.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say where a datum comes from and what becomes of it: every step of its value, and its names.

    With mapping files named, nothing of a configuration is read: NodeId and topic then have example names.
    """
    from twin_gateway.config import ConfigError, load_config
    from twin_gateway.engineering.explain import Explanation, Setting
    from twin_gateway.engineering.explain import explain as look
    from twin_gateway.engineering.explain_text import show
    from twin_gateway.mapping.check import as_configured, check, find_files
    from twin_gateway.mapping.read import read_file

    setting = Setting()
    try:
        if mappings:
            paths = as_configured(mappings)
        else:
            own = load_config(config)
            root = own.mqtt.root if own.mqtt is not None else "twin"
            paths, setting = list(own.mappings), Setting(own.authority, root, own.history)
    except ConfigError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    mapping, problems = check(paths, secrets_required=False)
    if mapping is None:
        for problem in problems:
            typer.echo(str(problem), err=True)
        typer.echo("error: the mapping files have errors: nothing is explained before they are right", err=True)
        raise typer.Exit(1)
    found = look(mapping, {str(path): read_file(path) for path in find_files(paths, [])}, text, setting)
    if not isinstance(found, Explanation):
        near = f"; did you mean {' or '.join(found.nearest)}?" if found.nearest else ""
        what = (
            f"{found.address} is no point of these files ({found.kind})" if found.found else f"{text!r} names nothing"
        )
        typer.echo(f"error: {what}{near}", err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        show(found)
