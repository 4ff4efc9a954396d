"""From a draft to the text of a mapping file as people write it: one line a point, aligned, commented, 120 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, PointDraft, TemplateDraft, Value
from twin_gateway.engineering.flow import flow, flow_lines, one_line, scalar
from twin_gateway.engineering.gather import gather

WIDTH: Final = 120
_KEY_ROOM: Final = 30
_STEP: Final = 2


def emit(draft: FileDraft) -> str:
    """The text of a mapping file; reading it gives the draft's points again."""
    lines = [f"# yaml-language-server: $schema={draft.schema}"] if draft.schema else []
    lines += [*comment_lines(draft.header, 0), "mapping: 1"]
    lines.append(f"grid: {scalar(draft.grid)}")
    if draft.place:
        lines.append(f"place: {scalar(draft.place)}")
    if draft.templates:
        lines += ["", "templates:"]
        for i, template in enumerate(draft.templates):
            lines += [""] * (i > 0) + template_lines(template)
    if draft.devices:
        lines += ["", "devices:"]
        for i, device in enumerate(draft.devices):
            lines += [""] * (i > 0) + device_lines(device)
    return "\n".join(lines) + "\n"


def comment_lines(texts: Iterable[str], indent: int) -> list[str]:
    """Comments, each wrapped to the width of the page."""
    out: list[str] = []
    for text in texts:
        rows = textwrap.wrap(one_line(text), WIDTH - indent - _STEP, break_on_hyphens=False) or [""]
        out += [f"{' ' * indent}# {row}".rstrip() for row in rows]
    return out


def template_lines(template: TemplateDraft, indent: int = _STEP) -> list[str]:
    """One template."""
    pad = " " * indent
    lines = comment_lines([template.comment], indent) if template.comment else []
    lines += [f"{pad}{scalar(template.name)}:", f"{pad}  protocol: {template.protocol}"]
    if template.params:
        lines.append(f"{pad}  params: {flow(dict(template.params))}")
    return [*lines, f"{pad}  points:", *point_lines(template.points, indent + 2 * _STEP)]


def device_lines(device: DeviceDraft, indent: int = _STEP) -> list[str]:
    """One device."""
    pad = " " * indent
    inner = f"{pad}  "
    lines = comment_lines([device.comment], indent) if device.comment else []
    lines += [f"{pad}{scalar(device.name)}:", f"{inner}protocol: {device.protocol}"]
    if device.place:
        lines.append(f"{inner}place: {scalar(device.place)}")
    lines += [f"{inner}{scalar(name)}: {flow(value)}" for name, value in device.fields.items()]
    own = [place for place in device.at if not place.key]
    for place in own:
        lines += body_lines(place, indent + _STEP)
    rest = [place for place in device.at if place.key]
    if rest:
        lines.append(f"{inner}at:")
        for place in rest:
            lines += place_lines(place, indent + 2 * _STEP)
    return lines


def place_lines(place: PlaceDraft, indent: int) -> list[str]:
    """One entry of `at`: on one line where it only uses a template or takes a whole model."""
    pad = " " * indent
    key = scalar(place.key)
    if not place.points:
        short = f"{pad}{key}: {flow(_head(place))}"
        comment = f"  # {one_line(place.comment)}" if place.comment else ""
        if len(short) + len(comment) <= WIDTH:
            return [short + comment]
    lines = comment_lines([place.comment], indent) if place.comment else []
    return [*lines, f"{pad}{key}:", *body_lines(place, indent + _STEP)]


def _head(place: PlaceDraft) -> dict[str, Value]:
    head = dict(place.fields)
    if place.use:
        head = {"use": place.use, **({"with": place.arguments} if place.arguments else {}), **head}
    return head


def body_lines(place: PlaceDraft, indent: int) -> list[str]:
    """What stands below an at-key (or in the device itself), one field a line."""
    pad = " " * indent
    lines = [f"{pad}{name}: {flow(value)}" for name, value in _head(place).items()]
    if place.points:
        lines += [f"{pad}points:", *point_lines(place.points, indent + _STEP)]
    return lines


def point_lines(points: Sequence[PointDraft], indent: int, *, joined: bool = True) -> list[str]:
    """Point lines, what they say aligned behind their keys."""
    rows = gather(points) if joined else list(points)
    keys = [f"{scalar(point.key)}:" for point in rows]
    room = max((len(key) for key in keys if len(key) <= _KEY_ROOM), default=0)
    out: list[str] = []
    for key, point in zip(keys, rows, strict=True):
        out += _point(key, point, room, indent)
    return out


def _point(key: str, point: PointDraft, room: int, indent: int) -> list[str]:
    pad = " " * indent
    line = f"{pad}{key:<{room}} {flow(point.fields)}"
    remark = one_line(point.comment)
    above: list[str] = []
    if remark and len(line) + len(remark) + 4 > WIDTH:
        above, remark = comment_lines([remark], indent), ""
    if len(line) > WIDTH:
        return [*above, f"{pad}{key}", *flow_lines(point.fields, indent + _STEP, WIDTH)]
    return [*above, f"{line}  # {remark}" if remark else line]
