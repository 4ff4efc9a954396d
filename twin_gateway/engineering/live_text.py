"""What `check --live` found, as a table for a terminal and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from twin_gateway.commissioning.reading import value_text
from twin_gateway.engineering.live_surprises import OFFERED, Surprise

COLUMNS: Final = ("point", "type", "value", "unit", "quality", "device time", "delay", "surprise")


def document(how: str, devices: Sequence[Mapping[str, Any]], odd: Sequence[Surprise]) -> dict[str, Any]:
    """All of it for machines."""
    points = [point for device in devices for point in device["points"]]
    return {
        "read_by": how,
        "devices": list(devices),
        "points": len(points),
        "good": sum(point["good"] and point["answered"] for point in points),
        "surprises": [asdict(each) for each in odd],
    }


def show(how: str, devices: Sequence[Mapping[str, Any]], odd: Sequence[Surprise], console: Console) -> None:
    """Print one table a device, then the surprises, each as a sentence."""
    console.print(f"read by {how}")
    words: dict[str, list[str]] = {}
    for each in odd:
        words.setdefault(each.address, []).append(each.kind)
    for device in devices:
        console.print(_table(device, words))
        more = sum(each["reason"] in OFFERED for each in device["strays"])
        if more:
            console.print(
                f"{escape(device['device'])} offers {more} more that {'are' if more > 1 else 'is'} not mapped"
            )
    for each in odd:
        console.print(f"[bold]{each.kind}[/]: {escape(each.address or each.device)}: {escape(each.text)}")
    points = [point for device in devices for point in device["points"]]
    good = sum(point["good"] and point["answered"] for point in points)
    silent = sum(device["state"] != "up" for device in devices)
    links = f"{len(devices)} device{'s' * (len(devices) != 1)}" + (f", {silent} not connected" if silent else "")
    console.print(f"{links}; {good} of {len(points)} points answered with good quality; {_count(odd)}")


def _table(device: Mapping[str, Any], words: Mapping[str, list[str]]) -> Table:
    title = f"{device['device']} ({device['protocol']}): {device['state']}, {device['seconds']:.1f} s"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in {"value", "delay"} else "left", overflow="fold")
    for point in device["points"]:
        table.add_row(*(escape(text) for text in _cells(point)), escape(", ".join(words.get(point["address"], ()))))
    return table


def _cells(point: Mapping[str, Any]) -> tuple[str, ...]:
    delay = point["delay_s"]
    time = point["time"] or ("" if point["value"] is None else "(of arrival)")
    return (
        point["address"],
        point["type"],
        value_text(point["value"]),
        point["unit"],
        point["status"],
        time + (f" {point['time_quality']}" if point["time_quality"] not in {"", "rx"} else ""),
        "" if delay is None else f"{delay:.3f} s" if abs(delay) < 1000 else f"{delay / 3600:.1f} h",
    )


def _count(odd: Sequence[Surprise]) -> str:
    return f"{len(odd)} surprise{'s' * (len(odd) != 1)}" if odd else "no surprises"
