"""The 33-bus feeder as a picture: where the fault is, what has been switched, what is fed and from where."""

from __future__ import annotations

from twin_gateway.grid.model import Grid

_ROWS = {1: (0, 1), 19: (-1, 2), 23: (1, 3), 26: (2, 6)}
"""First bus of each row: its height, and the bus it hangs on."""
_STEP, _LEFT, _MIDDLE = 56, 40, 110
_STYLE = """\
  <style>
    text {font: 11px sans-serif; fill: #333; text-anchor: middle}
    .live {stroke: #2a7d2a; stroke-width: 3; fill: none}
    .back {stroke: #1f6fd0; stroke-width: 3; fill: none}
    .dead {stroke: #999; stroke-width: 3; fill: none}
    .fault {stroke: #d02020; stroke-width: 5; fill: none}
    .tie {stroke-dasharray: 6 5}
    .open {fill: #fff; stroke: #d02020; stroke-width: 2}
    .idle {fill: #fff; stroke: #999; stroke-width: 1.5}
  </style>"""


def _places() -> dict[int, tuple[float, float]]:
    found: dict[int, tuple[float, float]] = {}
    heads = [*_ROWS, 34]
    last = {1: 18, 19: 22, 23: 25, 26: 33}
    for first in heads[:-1]:
        height, hangs = _ROWS[first]
        column = 0 if first == 1 else hangs
        for bus in range(first, last[first] + 1):
            found[bus] = (_LEFT + _STEP * (column + bus - first), _MIDDLE + 70 * height)
    return found


def _bus(node: str) -> int:
    site = node.split("/")[2]
    return 1 if site.startswith("PS") else int(site[3:])


def _live(lines: dict[int, tuple[int, int]], passing: set[int]) -> set[int]:
    seen, stack = {1}, [1]
    while stack:
        here = stack.pop()
        for number in passing:
            if here in lines[number]:
                other = sum(lines[number]) - here
                if other not in seen:
                    seen.add(other)
                    stack.append(other)
    return seen


def picture(grid: Grid, closed: set[str], fault: str) -> str:
    """An SVG.

    Args:
        grid: the demo's.
        closed: addresses of the switches that are closed.
        fault: site of the faulted line (`L08`).
    """
    places, ends = _places(), dict[int, list[tuple[int, str, bool]]]()
    for item, rating in grid.switches():
        sites = {node.split("/")[2]: node for node in item.nodes}
        line = next((int(site[1:]) for site in sites if site.startswith("L")), None)
        if line is not None and len(sites) == 2:
            bus = next(_bus(node) for site, node in sites.items() if not site.startswith("L"))
            ends.setdefault(line, []).append((bus, item.address, rating.normal_open))
    lines = {number: (found[0][0], found[1][0]) for number, found in ends.items()}
    passing = {number for number, found in ends.items() if all(address in closed for _, address, _ in found)}
    faulted = int(fault[1:])
    normal = {number for number, found in ends.items() if not any(open_ for _, _, open_ in found)}
    lost = set(places) - _live(lines, normal - {faulted})
    live = _live(lines, passing)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT * 2 + _STEP * 17} 330">', _STYLE]
    switches: list[str] = []
    for number, (start, end) in sorted(lines.items()):
        tie, fed = number not in normal, number in passing and start in live
        kind = "fault" if number == faulted else "dead" if not fed else "back" if {start, end} & lost else "live"
        (x1, y1), (x2, y2) = places[start], places[end]
        bend = f"Q {(x1 + x2) / 2:g} {min(y1, y2) - 46 if y1 == y2 else (y1 + y2) / 2:g} " if tie else ""
        out.append(f'  <path class="{kind}{" tie" if tie else ""}" d="M {x1:g} {y1:g} {bend or "L "}{x2:g} {y2:g}"/>')
        for bus, address, normally_open in ends[number]:
            if address not in closed:
                (xa, ya), (xb, yb) = places[bus], places[start + end - bus]
                if tie:
                    (xb, yb) = ((x1 + x2) / 2, min(y1, y2) - 46 if y1 == y2 else (y1 + y2) / 2)
                share = 18 / max(((xb - xa) ** 2 + (yb - ya) ** 2) ** 0.5, 18)
                x, y = xa + share * (xb - xa), ya + share * (yb - ya)
                style = "idle" if normally_open else "open"
                switches.append(f'  <rect class="{style}" x="{x - 5:g}" y="{y - 5:g}" width="10" height="10"/>')
        if number == faulted:
            switches.append(f'  <text x="{(x1 + x2) / 2:g}" y="{y1 - 12:g}" style="fill: #d02020">fault {fault}</text>')
    out += switches
    for bus, (x, y) in places.items():
        colour = "#999" if bus not in live else "#1f6fd0" if bus in lost else "#2a7d2a"
        out.append(
            f'  <circle cx="{x:g}" cy="{y:g}" r="5" fill="{colour}"/><text x="{x:g}" y="{y + 18:g}">{bus}</text>'
        )
    legend = (
        "green: fed as before · blue: restored over ties (dashed) · red: fault and opened switches (squares) · grey: "
        "dead or normally open"
    )
    out += [f'  <text x="{_LEFT + _STEP * 8.5:g}" y="318">{legend}</text>', "</svg>"]
    return "\n".join(out) + "\n"
