"""Values as YAML text on one line, written as plain as the format's reader allows."""

from __future__ import annotations

import re

from twin_gateway.engineering.draft import Value
from twin_gateway.mapping.read import core_value

_PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_/.+=()\[\]:-]*( [A-Za-z0-9_/.+=()-]+)*\Z")
_IN_FLOW = re.compile(r"[\[\],{}]|:\Z|:[\[ ]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def scalar(value: str | int | float | bool | None) -> str:
    """A scalar: plain where that reads back as the same value, else in double quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.15g}" if float(f"{value:.15g}") == value else repr(value)
    if _PLAIN.match(value) and not _IN_FLOW.search(value) and core_value(value) == value:
        return value
    body = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _UNPRINTABLE.sub(_escaped, body) + '"'


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def flow(value: Value) -> str:
    """Any value in flow style: `{ioa: 1000, control: {model: sbo-normal}}`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(name)}: {flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def flow_lines(value: Value, indent: int, width: int) -> list[str]:
    """A value in flow style in as few lines as fit; a mapping is broken between its fields."""
    text = " " * indent + flow(value)
    if len(text) <= width or not isinstance(value, dict) or len(value) < 2:
        return [text]
    lines, row = [], " " * indent + "{"
    parts = [f"{scalar(name)}: {flow(item)}" for name, item in value.items()]
    for i, part in enumerate(parts):
        tail = "}" if i == len(parts) - 1 else ","
        if len(row) + len(part) + len(tail) > width and row.strip(" {"):
            lines.append(row.rstrip())
            row = " " * (indent + 1)
        row += part + tail + " "
    return [*lines, row.rstrip()]


def one_line(text: str) -> str:
    """Any text as a comment may hold it: one line, printable, without runs of blanks."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())
