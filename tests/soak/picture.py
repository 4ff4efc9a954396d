"""The picture of a soak: how long changes of each device were under way, and when which fault struck.

python -m soak.picture FOLDER > docs/soak.svg      (in tests/, after a run with TWIN_SOAK_FOLDER)
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from soak.ledger import GOT, SENT, read

_LEFT, _WIDTH, _TOP, _PANEL, _GAP = 90, 1000, 24, 92, 20
_BINS = 500
_LOW_MS, _HIGH_MS = 5.0, 60_000.0
_DECADES = {10: "10 ms", 100: "0.1 s", 1_000: "1 s", 10_000: "10 s"}
_COLOURS = {
    "kill": "#d02020", "gateway killed": "#d02020", "freeze": "#1f6fd0", "gateway frozen": "#1f6fd0",
    "broker frozen": "#1f6fd0", "half-open": "#8a4fbf", "delay": "#c98a00", "loss": "#c98a00", "cut": "#c98a00",
    "clock ahead": "#2a7d2a", "clock back": "#2a7d2a", "gateway clock": "#2a7d2a", "disk full": "#666",
    "broker gone": "#d02020",
}  # fmt: skip
_NAMES = {"iec104": "IEC 104", "iec61850": "IEC 61850", "coap": "CoAP", "dlms": "DLMS push"}
_STYLE = """\
  <style>
    text {font: 11px sans-serif; fill: #333}
    .middle {stroke: #222; stroke-width: 1.2; fill: none}
    .worst {fill: #9db8d9; stroke: none}
    .grid {stroke: #ddd}
  </style>"""

Array = npt.NDArray[np.float64]


def _height(ms: Array) -> Array:
    share = np.log(np.clip(ms, _LOW_MS, _HIGH_MS) / _LOW_MS) / np.log(_HIGH_MS / _LOW_MS)
    return np.asarray(_PANEL * (1 - share))


def _lags(folder: Path, name: str, first: int) -> tuple[Array, Array]:
    """(time of arrival, how long it had been under way) of every live value of a device, ms."""
    sent = read(folder / f"{name}.ledger", SENT)
    sent = sent[sent["kind"] == 0]
    keys = sent["point"].astype(np.int64) << 32 | sent["number"]
    order = np.argsort(keys)
    keys, true = keys[order], sent["true"][order].astype(np.float64)
    files = sorted(folder.glob("opcua-*.got"), key=lambda path: int(path.stem.partition("-")[2]))
    got = np.concatenate([read(path, GOT) for path in files])
    points = int(sent["point"].max()) + 1
    got = got[(got["point"] >= first) & (got["point"] < first + points) & (got["status"] == 0) & (got["value"] >= 1)]
    wanted = (got["point"].astype(np.int64) - first) << 32 | got["value"].astype(np.int64)
    place = np.searchsorted(keys, wanted)
    return got["received"], got["received"] - true[place]


def picture(folder: Path) -> str:
    """An SVG of the run in a folder."""
    firsts = {}
    for name, bay in (("iec104", "F01"), ("iec61850", "F02"), ("coap", "F03"), ("dlms", "F04")):
        nodes = json.loads((folder / "nodes.json").read_text())
        firsts[name] = next(n for n, node in enumerate(nodes) if f"/{bay}/" in node)
    faults = [line.split(" ms  ") for line in (folder / "faults.txt").read_text().splitlines()]
    spans = [(*map(float, times.split()), what) for times, what in faults]
    begin, end = spans[0][0] - 10_000, spans[-1][0] + spans[-1][1] + 20_000
    scale = _WIDTH / (end - begin)
    height = _TOP + len(firsts) * (_PANEL + _GAP) + 60
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}">', _STYLE]
    edges = np.linspace(begin, end, _BINS + 1)
    for row, (name, first) in enumerate(firsts.items()):
        top = _TOP + row * (_PANEL + _GAP)
        for began, lasted, what in spans:
            kind, _, of = what.rpartition(" ")
            if of in {name, "everything", "disk", "broker"}:
                x, width = _LEFT + (began - begin) * scale, max(1.5, lasted * scale)
                colour = _COLOURS[kind]
                rest = f'y="{top}" width="{width:.1f}" height="{_PANEL}" fill="{colour}" opacity="0.3"'
                out.append(f'  <rect x="{x:.1f}" {rest}><title>{what}</title></rect>')
        for value, label in _DECADES.items():
            y = top + float(_height(np.array(float(value))))
            out.append(f'  <path class="grid" d="M {_LEFT} {y:.1f} h {_WIDTH}"/>')
            out.append(f'  <text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        received, lag = _lags(folder, name, first)
        order = np.argsort(received)
        received, lag = received[order], lag[order]
        cuts = np.searchsorted(received, edges)
        bins = [lag[a:b] for a, b in itertools.pairwise(cuts)]
        xs = _LEFT + (edges[:-1] - begin) * scale
        worst, middle = [], []
        for x, some in zip(xs, bins, strict=True):
            if len(some):
                high, median = _height(np.array([some.max(), np.median(some)]))
                worst.append(f"M{x:.0f} {top + median:.0f}V{top + high:.0f}h2V{top + median:.0f}Z")
                middle.append(f"M{x:.0f} {top + median:.0f}h2")
        out.append(f'  <path class="worst" d="{"".join(worst)}"/>')
        out.append(f'  <path class="middle" d="{"".join(middle)}"/>')
        out.append(f'  <text x="{_LEFT + 4}" y="{top - 5}">{_NAMES[name]}</text>')
    bottom = height - 40
    minutes = (end - begin) / 60_000
    step = 1 if minutes <= 10 else 10
    for minute in range(0, int(minutes) + 1, step):
        x = _LEFT + minute * 60_000 * scale
        out.append(f'  <text x="{x:.0f}" y="{bottom - 10}" text-anchor="middle">{minute} min</text>')
    x = float(_LEFT)
    legend = {}
    for kind, colour in _COLOURS.items():
        legend.setdefault(colour, []).append(kind)
    for colour, kinds in legend.items():
        label = ", ".join(kinds)
        out.append(f'  <rect x="{x:.0f}" y="{bottom + 8}" width="10" height="10" fill="{colour}" opacity="0.5"/>')
        out.append(f'  <text x="{x + 14:.0f}" y="{bottom + 17}">{label}</text>')
        x += 30 + 5.6 * len(label)
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(picture(Path(sys.argv[1])))
