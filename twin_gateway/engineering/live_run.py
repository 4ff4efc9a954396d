"""The command `check --live`: which devices, read by whom, told how; its exit code."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from twin_gateway.config import ConfigError, GatewayConfig, load_config
from twin_gateway.control import ControlError
from twin_gateway.data_lock import DirectoryInUseError, locked
from twin_gateway.engineering.live_check import (
    devices_of_gateway,
    expected_of,
    read_by_itself,
    read_through_gateway,
)
from twin_gateway.engineering.live_surprises import Expected, Surprise, surprises
from twin_gateway.engineering.live_text import document, show
from twin_gateway.mapping.check import as_configured, check
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.problem import did_you_mean

SURPRISES = 2
"""Exit code when something is odd; 0 is none, 1 an error."""
_WIDTH = 160


def run_live(paths: Sequence[Path], config: Path, device: str | None, seconds: float, *, as_json: bool = False) -> int:
    """Read every point of the mapped devices once and print what was found; the exit code.

    Args:
        paths: mapping files and folders; those of the configuration if none.
        config: the gateway's configuration file: its data directory says whether a gateway runs.
        device: this one only.
        seconds: time limit for each device.
        as_json: print JSON for machines.
    """
    try:
        settings = load_config(config)
        mapping = _mapping(settings, paths)
        names = _names(mapping, device)
        how, devices, expected = _read(settings, mapping, names, seconds)
    except (ConfigError, ControlError, DirectoryInUseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line's own output
        return 1
    known = {each["device"] for each in devices}
    odd = [
        Surprise(name, "", "not there", "the running gateway has no such device: `twin-gateway apply` adds it")
        for name in names
        if name not in known
    ]
    odd += surprises(devices, expected)
    if as_json:
        sys.stdout.write(json.dumps(document(how, devices, odd), indent=2, ensure_ascii=False) + "\n")
    else:
        console = Console(highlight=False)
        show(how, devices, odd, console if console.is_terminal else Console(highlight=False, width=_WIDTH))
    return SURPRISES if odd else 0


def _mapping(settings: GatewayConfig, paths: Sequence[Path]) -> Mapping:
    mapping, problems = check(as_configured(paths) if paths else settings.mappings)
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 - the command line's own output
    if mapping is None:
        raise ConfigError("the mapping files have errors: no device is asked before they are right")
    return mapping


def _names(mapping: Mapping, device: str | None) -> list[str]:
    names = [each.name for each in mapping.devices]
    if device is None:
        return names
    if device not in names:
        hint = did_you_mean(device, names)
        raise ConfigError(f"the mapping files have no device {device!r}" + (f"; {hint}" if hint else ""))
    return [device]


def _read(
    settings: GatewayConfig, mapping: Mapping, names: Sequence[str], seconds: float
) -> tuple[str, list[dict[str, Any]], Expected | None]:
    """(read by whom, the readings, what to compare them with where a gateway read)."""
    with _progress() as progress:
        task = progress.add_task("reading", total=len(names), what="")

        def done(name: str, state: str) -> None:
            progress.update(task, advance=1, what=f"{name} {state}")

        try:
            running = devices_of_gateway(settings)
        except ControlError as nobody:
            try:
                with locked(settings.data_directory), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    chosen = [each for each in mapping.devices if each.name in set(names)]
                    work = read_by_itself(settings, mapping, chosen, seconds, done)
                    return "connections of its own (no gateway runs)", runner.run(work), None
            except DirectoryInUseError as error:
                raise ControlError(f"{nobody}; {error}") from error
        known = set(running)
        found = read_through_gateway(settings, [name for name in names if name in known], seconds, done)
        return f"the running gateway {settings.gateway}", found, expected_of(mapping)


def _progress() -> Progress:
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}"),
    )
    console = Console(stderr=True, highlight=False)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
