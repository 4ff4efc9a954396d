"""The command line's part for what came and no point takes: the list, and mapping lines for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twin_gateway.text_files import replace_text

if TYPE_CHECKING:
    from twin_gateway.engineering.proposal import LeftOut, Proposal


def unmapped(
    link: Annotated[str | None, typer.Argument(help="Name of a device; all of them if not given.")] = None,
    config: Annotated[Path, typer.Option("--config", help="The gateway's configuration file.")] = Path("gateway.yaml"),
    into: Annotated[
        Path | None, typer.Option(help="Put the lines of its devices into this mapping file; 'apply' makes them count.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """List what devices send or offer and no point takes, with mapping lines for it.

    What is printed is a mapping file: the list as comments, then a device section with a line for each datum. Places
    that nobody can know are guessed and marked as such. The running gateway is asked; nothing is changed but FILE.
    """
    from twin_gateway.config import ConfigError, load_config
    from twin_gateway.control import ControlError, ask
    from twin_gateway.engineering.proposal import propose
    from twin_gateway.mapping.check import check

    try:
        settings = load_config(config)
        listed: list[dict[str, Any]] = ask(settings.data_directory, "unmapped", link=link)
    except (ConfigError, ControlError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    mapping, problems = check(settings.mappings, secrets_required=False)
    if mapping is None:
        for problem in problems:
            typer.echo(str(problem), err=True)
        typer.echo("error: the mapping files have errors: correct them first, then lines can be proposed", err=True)
    elif into is not None and into.resolve() not in {path.resolve() for path in mapping.files}:
        typer.echo(f"error: {into} is none of the mapping files of {config}: 'apply' would not see it", err=True)
        raise typer.Exit(1)
    proposal = propose(mapping, listed, into) if mapping is not None else None
    written = _write(proposal, into) if into is not None and proposal is not None else None
    if as_json:
        typer.echo(json.dumps(_document(listed, proposal, written), indent=2, ensure_ascii=False))
    elif written is None:
        _print(listed, proposal)
    else:
        lines = f"{written} new line{'s' if written != 1 else ''} in {into}"
        typer.echo(f"{lines}; 'twin-gateway apply' makes them count" if written else f"no new line for {into}")
        _print_left_out(proposal.left_out if proposal is not None else ())
    raise typer.Exit(1 if mapping is None else 0)


def _write(proposal: Proposal, into: Path) -> int:
    """Number of lines put into the file."""
    from twin_gateway.engineering.proposal import put_into

    mine = next((each for each in proposal.files if each.path.resolve() == into.resolve()), None)
    if mine is None:
        return 0
    text, problems = put_into(mine)
    if text is None:
        for problem in problems:
            typer.echo(str(problem), err=True)
        typer.echo(f"error: {into} stays as it is", err=True)
        raise typer.Exit(1)
    try:
        replace_text(into, text)
    except OSError as error:
        typer.echo(f"error: {into} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    return mine.draft.point_lines


def _print(listed: Sequence[Mapping[str, Any]], proposal: Proposal | None) -> None:
    for each in listed:
        if each["not_asked"]:
            typer.echo(f"# {each['link']} has not been asked, this is the last look: {each['not_asked']}")
    if not any(each["strays"] or each["not_asked"] for each in listed):
        typer.echo("# nothing is unmapped")
    for each in listed:
        left, dropped = each["left_out"], each["dropped"]
        more = f", {left} more are not listed" if left else ""
        more += f", {dropped} had to make room" if dropped else ""
        typer.echo(f"# {each['link']} ({each['protocol']}): {len(each['strays'])} unmapped{more}")
        for stray in each["strays"]:
            typer.echo(f"#   {_row(stray)}")
    if proposal is None:
        return
    for file in proposal.files:
        typer.echo("")
        typer.echo(file.text, nl=False)
    _print_left_out(proposal.left_out)


def _row(stray: Mapping[str, Any]) -> str:
    """One line that a terminal may show, whatever the device sends."""
    from twin_gateway.engineering.flow import one_line
    from twin_gateway.engineering.proposal import where

    said = [stray["reason"], stray["about"]] if stray["about"] else [stray["reason"]]
    if stray["value"]:
        said.append(f"last value {stray['value']} {stray['unit']}".rstrip())
    if stray["count"]:
        said.append(f"{stray['count']} times" if stray["count"] > 1 else "once")
    if stray["last"]:
        said.append(f"{stray['first']} to {stray['last']}" if stray["first"] else f"last {stray['last']}")
    return one_line(f"{where(stray)}: {', '.join(said)}")


def _print_left_out(left_out: Sequence[LeftOut]) -> None:
    for each in left_out:
        hint = f"; {each.hint}" if each.hint else ""
        typer.echo(f"# no line for {each.what} of {each.link}: {each.why}{hint}")


def _document(listed: Sequence[Mapping[str, Any]], proposal: Proposal | None, written: int | None) -> dict[str, Any]:
    files = proposal.files if proposal is not None else []
    left_out = proposal.left_out if proposal is not None else []
    return {
        "links": list(listed),
        "proposals": [{"file": str(each.path), "points": each.draft.point_lines, "text": each.text} for each in files],
        "without_line": [
            {"link": each.link, "what": each.what, "why": each.why, "hint": each.hint} for each in left_out
        ],
        "written": written,
    }
