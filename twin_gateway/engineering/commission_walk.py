"""The walk through the points of a place in the terminal: one after the other is shown, and what people say is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import typer

from twin_gateway.commands.tags import one_line
from twin_gateway.commissioning.reading import value_text
from twin_gateway.commissioning.record import Result, State, Trial
from twin_gateway.control import ENDED, ControlError
from twin_gateway.engineering.commission_client import Client

_RESULTS: Final = {"c": Result.CONFIRMED, "f": Result.FAILED, "s": Result.SKIPPED}
_HELP: Final = """\
  c [NOTE]   confirm: this is the right value of the right thing
  f NOTE     fail: it is not, and why
  s [NOTE]   skip: it stays open
  r          read again
  t VALUE    test the command with this value (double points: 1 off, 2 on)
  q          leave; what was said is kept, the same command goes on from here"""
_SHOWN: Final = 5
_AT_ONCE: Final = 4
"""Devices that are asked at a time."""
_DOUBLE: Final = {0: "intermediate", 1: "off", 2: "on", 3: "bad state"}


def refresh(client: Client) -> None:
    """Have every value of the place's devices delivered anew."""
    names = client.begun["devices"]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="refresh") as pool:
        for name, answer in zip(names, pool.map(lambda name: client.ask("refresh", device=name), names), strict=True):
            typer.echo(f"  {name}: {answer['text']}")


def accept_good(client: Client, fresh: float) -> None:
    """Confirm all points with good and fresh values, and say what is left."""
    accepted, left = 0, list[Sequence[str]]()
    start: int | None = 0
    while start is not None:
        page = client.ask("bulk", offset=start, fresh=fresh)
        accepted += page["accepted"]
        left += page["left"]
        start = page["next"]
    typer.echo(f"{accepted} points confirmed together (bulk), {len(left)} left")
    for address, why in left[:_SHOWN]:
        typer.echo(f"  {address}: {why}")
    if len(left) > _SHOWN:
        typer.echo(f"  and {len(left) - _SHOWN} more")


def walk(client: Client) -> None:
    """Show what is open, one point after the other.

    Raises:
        typer.Abort: the person leaves before the end.
        ControlError: the gateway is gone, or the session.
    """
    points = client.points()
    todo = [each for each in points if _is_open(each)]
    done = len(points) - len(todo)
    if done:
        typer.echo(f"{done} of {len(points)} points are done already")
    if todo:
        typer.echo(f"{len(todo)} to look at; ? says what can be answered")
    for number, each in enumerate(todo, done + 1):
        _one(client, each["address"], f"[{number}/{len(points)}]")


def _is_open(point: Mapping[str, Any]) -> bool:
    return point["state"] != State.COMMISSIONED and not point["ready"]


def _one(client: Client, address: str, count: str) -> None:
    shown = _show(client, address, count)
    while True:
        said = typer.prompt("c/f/s/r/t/q", prompt_suffix="> ", default="", show_default=False).strip()
        verb, _, rest = said.partition(" ")
        rest = rest.strip()
        if verb == "q":
            raise typer.Abort
        try:
            if verb == "r":
                if shown["reading"]["device"]:
                    client.ask("refresh", device=shown["reading"]["device"])
                shown = _show(client, address, count)
            elif verb == "t":
                _test(client, shown, rest)
            elif verb == "f" and not rest:
                typer.echo("  say what is wrong: f NOTE")
            elif verb in _RESULTS:
                answer = client.ask("record", address=address, result=_RESULTS[verb], note=rest)
                typer.echo(f"  {_RESULTS[verb]}; {answer['state']}{_because(answer['why'])}")
                return
            else:
                typer.echo(_HELP)
        except ControlError as error:
            typer.echo(f"  not done: {error}")
            if any(text in str(error) for text in ("session has ended", "no gateway runs", ENDED)):
                raise


def _show(client: Client, address: str, count: str) -> dict[str, Any]:
    shown: dict[str, Any] = client.ask("show", address=address)
    reading = shown["reading"]
    name = f"  ({reading['name']})" if reading["name"] else ""
    typer.echo(f"\n{count} {address}{name}")
    value = f"{value_text(reading['value'])} {reading['unit']}".strip() + _meaning(reading)
    typer.echo(f"  value    {value}   {reading['type']}, {reading['status']}{_raw(reading)}")
    if reading["received"]:
        own = reading["time"] or "none of the device's own"
        odd = f" ({reading['time_quality']})" if reading["time_quality"] not in {"", "rx"} else ""
        typer.echo(f"  time     {own}{odd}; came {_ago(shown['age_s'])}")
    typer.echo(f"  from     {shown['binding'] or 'no device: command only'}; {shown['link']}")
    if reading["error"]:
        typer.echo(f"  error    {one_line(reading['error'])}")
    command = shown["command"]
    if command is not None:
        typer.echo(f"  command  {command['binding']}, {command['model']}; {command['why']}")
        if command["tested"]:
            typer.echo(f"           {command['tested']}")
        by = command["approved_by"]
        typer.echo(f"           binding {f'approved by {by}' if by else 'not approved by an engineer yet'}")
    typer.echo(f"  state    {shown['state']}{_because(shown['why'])}")
    return shown


def _test(client: Client, shown: Mapping[str, Any], text: str) -> None:
    address, command = shown["reading"]["address"], shown["command"]
    if command is None:
        typer.echo("  it is not commanded")
        return
    value = _number(text)
    if value is None:
        typer.echo("  say with which value: t VALUE, a number, or true or false")
        return
    if command["way"] == Trial.OPERATED:
        typer.echo("  A device in test mode may still move its outputs, unless they are blocked or taken apart.")
        if not typer.confirm(f"  Send the test command {text} to {address}?", default=False):
            return
    answer = client.ask("test", address=address, value=value)
    typer.echo(f"  {answer['tested']}: {answer['text']}")


def _number(text: str) -> bool | int | float | None:
    if text in {"true", "false"}:
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _meaning(reading: Mapping[str, Any]) -> str:
    word = _DOUBLE.get(reading["value"]) if reading["type"] in {"DPC", "DPS"} else None
    return f" ({word})" if word else ""


def _raw(reading: Mapping[str, Any]) -> str:
    return f" ({reading['quality']})" if reading["quality"] not in {"", "good"} else ""


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return f"{seconds:.1f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def _because(why: str) -> str:
    return f": {why}" if why else ""
