"""The edits against what the clients saw, as a picture: one lane for each item, time from left to right."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from peers.acceptance.changes import BATTERY, FORMER, MOVED, SWITCH, WIND, Story
from peers.acceptance.changing import PULSE, ChangingDemo

_LEFT, _WIDTH, _LANE, _TOP = 210, 760, 34, 64
_GOOD, _BAD, _QUIET = "#2a7f4f", "#c0392b", "#8a8f98"
_LANES = (
    ("counter, node-opcua", PULSE, "opcua"),
    ("counter, mosquitto_sub", PULSE, "mqtt"),
    ("RMU34 battery", BATTERY, "opcua"),
    ("RMU34 C01 switch", f"{FORMER}/{SWITCH}", "opcua"),
    ("RMU34 C34 switch", f"{MOVED}/{SWITCH}", "opcua"),
    ("wind speed", WIND, "opcua"),
)


def picture(demo: ChangingDemo, story: Story) -> str:
    """An SVG; the counter is drawn as messages a second, all others as the time in which the item was good."""
    end = demo.now()

    def x(at: float) -> float:
        return _LEFT + _WIDTH * at / end

    height = _TOP + _LANE * len(_LANES) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, scene in enumerate(story.scenes):
        at, level = x(scene.applied), 16 if number % 2 else 34
        parts.append(f'<line x1="{at:.1f}" y1="{level + 6}" x2="{at:.1f}" y2="{height - 30}" stroke="{_QUIET}"/>')
        parts.append(f'<text x="{at:.1f}" y="{level}" text-anchor="middle">{escape(scene.name)}</text>')
    for lane, (name, address, by) in enumerate(_LANES):
        base = _TOP + _LANE * (lane + 1)
        parts.append(f'<text x="{_LEFT - 10}" y="{base - 8}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<line x1="{_LEFT}" y1="{base}" x2="{_LEFT + _WIDTH}" y2="{base}" stroke="#dddddd"/>')
        parts += _pulses(_times(demo, address, by), end, base) if address == PULSE else _spans(demo, address, end, base)
    for second in range(0, int(end) + 1, 10):
        where = f'x="{x(second):.1f}" y="{height - 12}"'
        parts.append(f'<text {where} text-anchor="middle" fill="{_QUIET}">{second} s</text>')
    return "\n".join([*parts, "</svg>", ""])


def _times(demo: ChangingDemo, address: str, by: str) -> list[float]:
    if by == "opcua":
        return [each["at"] - demo.began for each in demo.client.changes if each["address"] == address]
    subscriber = demo.subscriber
    heard = zip(subscriber.at, subscriber.all, strict=False)
    return [at - demo.began for at, (topic, _) in heard if topic == f"twin/v/{address}"]


def _pulses(times: list[float], end: float, base: float) -> Iterator[str]:
    counts = [0] * (int(end) + 1)
    for at in times:
        if 0 <= at < end:
            counts[int(at)] += 1
    width = _WIDTH / end
    for second, count in enumerate(counts[: int(end)]):
        tall = min(1.0, count / 24) * (_LANE - 8)
        left, top = _LEFT + second * width, base - tall
        yield f'<rect x="{left:.1f}" y="{top:.1f}" width="{width - 0.6:.1f}" height="{tall:.1f}" fill="{_GOOD}"/>'


def _spans(demo: ChangingDemo, address: str, end: float, base: float) -> Iterator[str]:
    """A bar while the item is good, and a mark where it was told to be gone."""
    since: float | None = None
    for each in [change for change in demo.client.changes if change["address"] == address]:
        at = max(0.0, each["at"] - demo.began)
        if each["status"] == "Good":
            since = at if since is None else since
            continue
        if since is not None:
            yield _bar(since, at, end, base)
            since = None
        left = _LEFT + _WIDTH * at / end
        yield f'<circle cx="{left:.1f}" cy="{base - 12}" r="4" fill="{_BAD}"/>'
        yield f'<text x="{left + 8:.1f}" y="{base - 8}" fill="{_BAD}">{escape(each["status"])}</text>'
    if since is not None:
        yield _bar(since, end, end, base)


def _bar(since: float, until: float, end: float, base: float) -> str:
    left, right = (_LEFT + _WIDTH * at / end for at in (since, until))
    return f'<rect x="{left:.1f}" y="{base - 18}" width="{right - left:.1f}" height="12" fill="{_GOOD}"/>'
