"""The transcript of six edits on the demo: what the engineer typed, and what node-opcua and mosquitto_sub saw.

PYTHONPATH=tests python -m peers.acceptance.transcript docs      # writes docs/changing.md and docs/changing.svg
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from peers.acceptance.changes import Scene, Story
from peers.acceptance.changes_picture import picture
from peers.acceptance.changing import PULSE, ChangingDemo, Ran

_LINES = 12
_INTRODUCTION = """\
# Changing the mapping while everybody watches

Six edits of mapping files on the running demo (`twin-gateway demo --folder …`), with node-opcua subscribed to every
point of the devices and to the events of the server, and mosquitto_sub to everything. The demo keeps its files in
`mappings/` of its folder; `gateway.yaml` beside them is what `plan`, `apply` and `rollback` read.

Written by `PYTHONPATH=tests python -m peers.acceptance.transcript docs`. Times are seconds after `apply`, or
`rollback`, was entered, measured at the clients. `tests/acceptance/test_acceptance_changes.py` plays the same edits and
asserts what they saw.

![The six edits against what the clients saw](changing.svg)

"""
_NOBODY = """\
## What nobody noticed

One more RTU counts by one every 50 ms; nothing of it was edited. An OPC UA item queues every count; a topic holds the
newest, so that several counts may come as one message.

| | |
|---|---|
| points that node-opcua watched | {points} |
| notifications of the counter at node-opcua | {pulses}, from {first} to {last}, none missing |
| messages of the counter at mosquitto_sub | {messages}; longest time without one {silence:.1f} s |
| notification messages of all subscriptions | {numbers}, sequence numbers without a gap |
| sessions closed, subscriptions lost, connections lost | {lost} |
| links that connected | rtu-rmu34, once |
| samples lost in queues (`twin_gateway_lost_changes_total`) | {dropped:.0f} |
"""


def write(folder: Path) -> None:
    """Play the story and write the page and its picture."""
    with tempfile.TemporaryDirectory() as place:
        demo = ChangingDemo(Path(place))
        try:
            demo.start()
            before = demo.metrics()
            story = Story(demo)
            story.play()
            after = demo.metrics()
            page = _INTRODUCTION + "".join(map(_scene, story.scenes)) + _nobody(demo, before, after)
            drawn = picture(demo, story)
        finally:
            demo.stop()
    (folder / "changing.md").write_text(page, "utf-8")
    (folder / "changing.svg").write_text(drawn, "utf-8")


def _scene(scene: Scene) -> str:
    parts = [f"## {scene.name}\n\n{scene.about}\n"]
    edit = f"```diff\n{scene.edit}\n```\n"
    ran = [_block("", _command(each)) for each in scene.ran]
    # What the rollback wrote comes after it.
    parts += [*ran, edit] if scene.name == "Roll back" else [edit, *ran]
    parts.append(_block("node-opcua:", _seen(scene, scene.opcua)))
    parts.append(_block("mosquitto_sub:", _seen(scene, scene.mqtt)))
    return "\n".join(part for part in parts if part) + "\n"


def _command(ran: Ran) -> list[str]:
    lines = [f"$ twin-gateway {' '.join(ran.words)}", *(line.rstrip() for line in ran.output.splitlines())]
    return [*lines, f"(exit code {ran.code})"] if ran.code else lines


def _seen(scene: Scene, lines: Sequence[tuple[float, str]]) -> list[str]:
    shown = [f"{at - scene.applying:5.1f} s  {line}" for at, line in lines[:_LINES]]
    return [*shown, f"         … and {len(lines) - _LINES} more"] if len(lines) > _LINES else shown


def _block(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    text = "\n".join(lines)
    return f"{title}\n\n```\n{text}\n```\n" if title else f"```\n{text}\n```\n"


def _nobody(demo: ChangingDemo, before: dict[str, float], after: dict[str, float]) -> str:
    client, subscriber = demo.client, demo.subscriber
    values = [each["value"] for each in client.changes if each["address"] == PULSE]
    assert values == list(range(values[0], values[0] + len(values))), "the counter lost a notification"
    numbers = [each for subscription in client.messages.values() for each in subscription]
    for each in client.messages.values():
        assert each == list(range(each[0], each[0] + len(each))), "a notification message was lost"
    heard = zip(subscriber.at, subscriber.all, strict=False)
    at = [when for when, (topic, _) in heard if topic == f"twin/v/{PULSE}" and when >= demo.began]
    connected = [name for name in after if 'what="connects"' in name and after[name] != before.get(name)]
    assert connected == ['twin_gateway_link_total{link="rtu-rmu34",what="connects"}'], connected
    return _NOBODY.format(
        points=len({each["address"] for each in client.changes}),
        pulses=len(values),
        first=values[0],
        last=values[-1],
        messages=len(at),
        silence=max(late - early for early, late in pairwise(at)),
        numbers=len(numbers),
        lost=len(client.events),
        dropped=after["twin_gateway_lost_changes_total"],
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
