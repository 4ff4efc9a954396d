"""`twin-gateway inject`: faults and other troubles for a simulated field, one command each."""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from twin_gateway.injecting import DEFAULT_PORT, InjectingError, inject

app = typer.Typer(
    help="Put faults and other troubles into the simulated field (the demo, or `simulate feeder --control PORT`).",
    no_args_is_help=True,
)


class FaultKind(StrEnum):
    """Which phases a fault joins."""

    THREE_PHASE = "three-phase"
    PHASE_PHASE = "phase-phase"
    PHASE_EARTH = "phase-earth"


class Stuck(StrEnum):
    """What a stuck switch does with a command."""

    STILL = "still"
    REFUSE = "refuse"
    FREE = "free"


class Shows(StrEnum):
    """What a lying indicator shows."""

    ON = "on"
    OFF = "off"
    NORMAL = "normal"


_Port = Annotated[int, typer.Option("--port", help="Control port of the field.")]
_Device = Annotated[str, typer.Argument(help="Name of a device in the mapping, as rtu-rmu06.")]
_port = DEFAULT_PORT


@app.callback()
def _root(port: _Port = DEFAULT_PORT) -> None:
    """Carries the options that come before a command."""
    global _port  # noqa: PLW0603 - typer hands options to the callback, not to the commands
    _port = port


def _send(do: str, **order: Any) -> None:
    try:
        answer = asyncio.run(inject({"do": do, **order}, port=_port))
    except InjectingError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(answer, indent=2) if do == "status" else " ".join(map(str, answer.values())) or "done")


@app.command()
def fault(
    line: Annotated[str, typer.Argument(help="A line, as L08, or the address of other medium-voltage equipment.")],
    kind: Annotated[FaultKind, typer.Option(help="Which phases it joins.")] = FaultKind.THREE_PHASE,
    temporary: Annotated[bool, typer.Option("--temporary", help="It goes away once it has no voltage.")] = False,
) -> None:
    """A fault; protection, recloser and indicators do the rest."""
    _send("fault", line=line, kind=kind.value, temporary=temporary)


@app.command()
def clear(line: Annotated[str, typer.Argument(help="One fault; all unless given.")] = "") -> None:
    """Repair a fault, or all."""
    _send("clear", line=line)


@app.command()
def move(
    switch: Annotated[str, typer.Argument(help="Address of a switch, or its end: RMU06/MV1/C05/QB1.")],
    position: Annotated[str, typer.Argument(help="open or closed.")],
) -> None:
    """Work a switch by hand, at the place itself."""
    _send("move", switch=switch, position=position)


@app.command()
def stick(
    switch: Annotated[str, typer.Argument(help="Address of a switch, or its end: RMU06/MV1/C05/QB1.")],
    how: Annotated[Stuck, typer.Option(help="Confirm and stay still, refuse, or free it again.")] = Stuck.STILL,
) -> None:
    """Let a switch not move; a breaker that is stuck does not trip either."""
    _send("stick", switch=switch, how=how.value)


@app.command()
def lose(device: _Device) -> None:
    """Take a device off the network."""
    _send("lose", device=device)


@app.command()
def restore(device: _Device) -> None:
    """Bring a device back on the network."""
    _send("restore", device=device)


@app.command(context_settings={"ignore_unknown_options": True})
def clock(
    device: _Device,
    offset: Annotated[float, typer.Argument(help="Seconds that its clock is ahead; 0 rights it.")],
    unsynchronised: Annotated[bool, typer.Option("--unsynchronised", help="It says so (61850).")] = False,
) -> None:
    """Set a device's clock wrong."""
    _send("clock", device=device, offset=offset, synchronised=not unsynchronised)


@app.command()
def lie(
    indicator: Annotated[str, typer.Argument(help="Fault passage indicator, or its bay: RMU06/MV1/C05.")],
    shows: Annotated[Shows, typer.Argument(help="What it shows whatever happens; normal ends it.")],
) -> None:
    """Let a fault passage indicator lie."""
    _send("lie", indicator=indicator, shows=shows.value)


@app.command()
def bypass(
    meter: Annotated[str, typer.Argument(help="Address of a meter, or its site: SP140004.")],
    share: Annotated[float, typer.Argument(min=0.0, max=1.0, help="Share of the load that flows past it.")],
) -> None:
    """Let a share of the load flow past a meter."""
    _send("bypass", meter=meter, share=share)


@app.command(context_settings={"ignore_unknown_options": True})
def value(
    address: Annotated[str, typer.Argument(help="Address of a point, or its end.")],
    told: Annotated[str, typer.Argument(metavar="VALUE", help="A number, true, false or text; normal ends it.")],
    quality: Annotated[str, typer.Option(help="good, invalid, questionable, old, substituted, …")] = "",
) -> None:
    """Let a device tell a value whatever the field says."""
    order: dict[str, Any] = {"address": address, "quality": quality}
    if told != "normal":
        order["value"] = _typed(told)
    _send("value", **order)


def _typed(text: str) -> bool | float | str:
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


@app.command()
def island(
    generator: Annotated[str, typer.Argument(help="Address of a generator of the grid.")],
    off: Annotated[bool, typer.Option("--off", help="It disconnects again, as it should.")] = False,
) -> None:
    """Let a generator keep its part of the grid alive when the source is lost."""
    _send("island", generator=generator, on=not off)


@app.command()
def reset() -> None:
    """Everything as at the start: no faults, no lies, every switch in its normal position."""
    _send("reset")


@app.command()
def status() -> None:
    """What has been injected, and how the field stands."""
    _send("status")
