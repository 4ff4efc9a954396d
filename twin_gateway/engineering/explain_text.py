"""An explanation as text for people, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from twin_gateway.engineering.explain import Binding, Explanation


def show(found: Explanation, console: Console | None = None) -> None:
    """Print an explanation; a terminal folds long lines, a file or pipe gets them whole."""
    console = console or Console(highlight=False)
    rows = [("", escape(found.address)), *((locale or "name", escape(name)) for locale, name in found.names.items())]
    rows += [("type", f"{found.cdc}, {found.type}{f' in {found.unit}' if found.unit else ''}")]
    for binding in found.bindings:
        rows += _binding(binding)
    if found.alarm is not None:
        rows += [("alarm", _fields(found.alarm))]
    rows += [
        ("history", found.history),
        ("NodeId", escape(found.node_id)),
        ("browse", escape("/".join(found.browse_path))),
        ("topic", escape(found.topic)),
        ("URI", escape(found.uri)),
        *(("alias", escape(alias)) for alias in found.aliases),
    ]
    if not console.is_terminal:
        for name, text in rows:
            console.print(f"{name:12} {text}".rstrip(), soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True, min_width=12)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    console.print(table)


def _binding(binding: Binding) -> Iterator[tuple[str, str]]:
    yield binding.role, escape(f"{binding.alias} ({binding.protocol} device {binding.device})")
    for line in binding.written:
        yield "", escape(f"{line.file}:{line.line}") + (f" template {escape(line.template)}" if line.template else "")
    for step in binding.steps:
        yield f"  {step.what}", escape(step.how)
    yield "  time", escape(binding.time)
    yield "  quality", escape(binding.quality)
    if binding.control is not None:
        yield "  control", _fields(binding.control)


def _fields(fields: dict[str, Any]) -> str:
    return escape(", ".join(f"{name} {value}" for name, value in fields.items()))
