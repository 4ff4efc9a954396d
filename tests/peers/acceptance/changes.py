"""Six edits of mapping files on the running demo, and what node-opcua and mosquitto_sub see of each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from peers.acceptance.changing import RMU_PORT, ChangingDemo, Ran
from peers.waiting import wait_until

RMU: Final = "dso1/north/RMU34"
BATTERY: Final = f"{RMU}/LV1/_/RTU1/ZBAT1/Vol"
FORMER, MOVED = f"{RMU}/MV1/C01", f"{RMU}/MV1/C34"
SWITCH: Final = "QB1/XSWI1/Pos"
BAY_POINTS: Final = (SWITCH, *(f"_/MMXU1/A/phs{phase}" for phase in "ABC"))
WIND: Final = "dso1/north/PS01/LV1/_/S1/MMET1/HorWdSpd"
MAPPING_ALARM: Final = "dso1/_sys/gw1/_/_/mapping"
ADDED, DELETED = 1, 2
"""Verbs of model changes (Part 3)."""
_VERBS: Final = {1: "NodeAdded", 2: "NodeDeleted", 4: "ReferenceAdded", 8: "ReferenceDeleted"}
_LONGEST: Final = 110

_RMU = f"""\
mapping: 1
grid: dso1
place: north/RMU34
devices:
  rtu-rmu34:
    protocol: iec104
    host: 127.0.0.1
    port: {RMU_PORT}
    common_address: 34
    at:
      MV1/C01:
        points:
          QB1/XSWI1/Pos: {{ioa: 100, type: M_DP_TB_1}}
          "MMXU1/A/phs{{A,B,C}}": {{ioa: 112..114, type: M_ME_TF_1, unit: A, deadband: 0.1 A}}
      LV1/_/RTU1:
        points:
          ZBAT1/Vol: {{ioa: 900, type: M_ME_NB_1, unit: V}}
          GGIO1/Ind1: {{ioa: 901, type: M_SP_TB_1, display_name: Cabinet door open}}
"""
_WIND_LINE = "          MMET1/HorWdSpd:  {path: /senml, name: wind, unit: m/s, deadband: 0.1 m/s, stale_after: 1 min}\n"
_TOMBSTONE = f"""
retired:
  {WIND}: {{date: 2026-11-23, reason: anemometer broken and not replaced}}
"""


@dataclass(slots=True)
class Scene:
    """One edit and what came of it; times are seconds since the story began.

    Attributes:
        name, about: a heading, and what the engineer wants.
        began: when the file was edited.
        edit: a unified diff of the files.
        ran: the commands.
        applying, applied: when the change began and was there.
        opcua, mqtt: (time, line) of what the clients saw of it.
    """

    name: str
    about: str
    began: float
    edit: str = ""
    ran: list[Ran] = field(default_factory=list)
    applying: float = 0.0
    applied: float = 0.0
    opcua: list[tuple[float, str]] = field(default_factory=list)
    mqtt: list[tuple[float, str]] = field(default_factory=list)


class Story:
    """Plays the edits, one after the other.

    Args:
        demo: that runs.
        planned: names of the scenes in which the plan is asked for; all unless given.

    Attributes:
        scenes: those that have been played.
    """

    def __init__(self, demo: ChangingDemo, planned: Sequence[str] | None = None) -> None:
        self.demo, self.client, self._planned = demo, demo.client, planned
        self.scenes: list[Scene] = []
        self._from = {"changes": 0, "told": 0, "messages": 0}
        self._stood: dict[str, str] = {}
        self._kept: set[str] = set()
        demo.difference()

    def play(self) -> None:
        """All six."""
        self.add_a_device()
        self.change_a_scale()
        self.move_a_bay()
        self.remove_a_point()
        self.break_a_file()
        self.roll_back()

    def add_a_device(self) -> None:
        """A ring-main unit comes."""
        scene = self._begin("Add a device", "A ring-main unit has been built; its RTU gets a file of its own.")
        self.demo.edit("rmu34.yaml", ("", _RMU))
        self._apply(scene)
        self._until(lambda: self.model_changed(ADDED, RMU), "the model change")
        self.client.watch([BATTERY, *(f"{FORMER}/{point}" for point in BAY_POINTS)], closely=True)
        self._until(lambda: self.status(BATTERY) == "Good", "values of the new device")
        self._until(lambda: self.topic(BATTERY), "its topic")
        self._end(scene, RMU)

    def change_a_scale(self) -> None:
        """272 V were tenths."""
        scene = self._begin("Change a scale", "272 V at a battery of 24 V? The RTU sends tenths of a volt.")
        self.demo.edit("rmu34.yaml", ("type: M_ME_NB_1, unit: V}", "type: M_ME_NB_1, unit: V, scale: 0.1}"))
        self._apply(scene)
        self._until(lambda: abs(self.client.now[BATTERY]["value"] - 27.2) < 1e-6, "the new value")
        self._until(lambda: self.meaning_changed(BATTERY), "the semantic change")
        self._until(lambda: abs(self.topic(BATTERY)["v"] - 27.2) < 1e-6, "its topic")
        self._end(scene, RMU)

    def move_a_bay(self) -> None:
        """The cubicle is another one than was thought."""
        scene = self._begin(
            "Move a bay", "The cubicle is C34 in the plan of the grid, not C01; `was:` leads on from there."
        )
        self.demo.edit("rmu34.yaml", ("      MV1/C01:\n", f"      MV1/C34:\n        was: {FORMER}\n"))
        self._apply(scene)
        self._until(lambda: self.status(f"{FORMER}/{SWITCH}") == "BadNodeIdUnknown", "the end of the old items")
        self._until(lambda: self.model_changed(DELETED, FORMER), "the model change")
        for name in (f"{FORMER}/{SWITCH}", f"was:{FORMER}/{SWITCH}"):
            self._note(scene, f"Resolve({name}) = {self.resolve(name)}")
        self.client.watch([f"{MOVED}/{point}" for point in BAY_POINTS], closely=True)
        self._until(lambda: self.status(f"{MOVED}/{SWITCH}") == "Good", "values at the new address")
        self._until(lambda: self.cleared(f"{FORMER}/{SWITCH}"), "the old topic is cleared")
        self._until(lambda: self.topic(f"{MOVED}/{SWITCH}"), "the new topic")
        self._end(scene, RMU)

    def remove_a_point(self) -> None:
        """A sensor loses its anemometer."""
        about = "The anemometer of the weather station is broken and will not be replaced: a tombstone says so."
        scene = self._begin("Remove a point", about)
        self.demo.edit("sensors.yaml", (_WIND_LINE, ""), ("", _TOMBSTONE))
        self._apply(scene)
        self._until(lambda: self.status(WIND) == "BadNodeIdUnknown", "the end of the item")
        self._until(lambda: self.model_changed(DELETED, WIND), "the model change")
        self._until(lambda: self.cleared(WIND), "its topic is cleared")
        self._end(scene, WIND)

    def break_a_file(self) -> None:
        """A slip of the hand."""
        about = "A unit that does not exist, and a deadband that is right but comes with it: neither is taken."
        scene = self._begin("Break a file", about)
        slip = ("unit: V, scale", "unit: Volt, scale")
        self.demo.edit("rmu34.yaml", ("unit: A, deadband: 0.1 A", "unit: A, deadband: 5 A"), slip)
        self._apply(scene)
        self._until(lambda: self.alarmed("have 1 error"), "the alarm")
        self._end(scene, RMU, MAPPING_ALARM)

    def roll_back(self) -> None:
        """All files as they were before the point was removed."""
        scene = self._begin("Roll back", "The anemometer will be repaired after all: back to the files before it went.")
        scene.ran.append(self.demo.command("revisions"))
        scene.applying = self.demo.now()
        scene.ran.append(self.demo.command("rollback", "--restore", "--force"))
        scene.applied = self.demo.now()
        scene.edit = self.demo.difference()
        if self._planned is None or scene.name in self._planned:
            scene.ran.append(self.demo.command("plan", "--running"))
        self._until(lambda: self.model_changed(ADDED, WIND), "the model change")
        self.client.watch([WIND], closely=True)
        self._until(lambda: self.status(WIND) == "Good", "the value is back")
        self._until(lambda: self.topic(WIND), "its topic")
        self._until(lambda: self.alarmed("are valid"), "the end of the alarm")
        self._end(scene, WIND, MAPPING_ALARM)

    # ---- what clients know -----------------------------------------------------------------------------------------

    def status(self, address: str) -> str:
        """The newest status that node-opcua was told in an item."""
        return str(self.client.now.get(address, {"status": ""})["status"])

    def topic(self, address: str) -> Any:
        """What is retained in the topic of a point; None when it was cleared."""
        return self.demo.subscriber.of("v").get(address)

    def cleared(self, address: str) -> bool:
        """Whether the retained topics of a point have been cleared, value and description."""
        last = self.demo.subscriber.last
        return all(f"twin/{kind}/{address}" in last and last[f"twin/{kind}/{address}"] is None for kind in "vm")

    def resolve(self, name: str) -> str:
        """The address that a name leads on to."""
        found = self.client.command("#Grid", "Resolve", ("String", name))
        return str(found["outputs"][0]) if found["status"] == "Good" else f"{found['status']} {found['outputs']}"

    def model_changed(self, verb: int, head: str) -> bool:
        """Whether a model change of this scene tells of a node at, above or below an address."""
        nodes = [each for told in self._told() for each in told["nodes"] or ()]
        return any(int(each["verb"]) & verb and _related(_address(each["affected"]), head) for each in nodes)

    def meaning_changed(self, address: str) -> bool:
        """Whether a semantic change of this scene names a point."""
        changes = [each for told in self._told() for each in told["meanings"] or ()]
        return any(_address(each["affected"]) == address for each in changes)

    def alarmed(self, words: str) -> bool:
        """Whether an event of the mapping files has these words, for both clients."""
        own = [_text(told) for told in self._told() if MAPPING_ALARM in str(told["source"])]
        messages = self.demo.subscriber.all[self._from["messages"] :]
        return any(words in text for text in own) and any(
            words in json.dumps(payload) for topic, payload in messages if MAPPING_ALARM in topic
        )

    def _told(self) -> list[dict[str, Any]]:
        return self.client.told[self._from["told"] :]

    # ---- what a scene is made of -----------------------------------------------------------------------------------

    def _begin(self, name: str, about: str) -> Scene:
        time.sleep(0.2)
        scene = Scene(name, about, self.demo.now())
        self._from["changes"], self._from["told"] = len(self.client.changes), len(self.client.told)
        self._from["messages"] = len(self.demo.subscriber.at)
        self._stood = {address: each["status"] for address, each in list(self.client.now.items())}
        self._kept = {topic for topic, payload in list(self.demo.subscriber.last.items()) if payload is not None}
        self.scenes.append(scene)
        return scene

    def _apply(self, scene: Scene) -> None:
        scene.edit = self.demo.difference()
        if self._planned is None or scene.name in self._planned:
            scene.ran.append(self.demo.command("plan", "--running"))
        scene.applying = self.demo.now()
        scene.ran.append(self.demo.command("apply"))
        scene.applied = self.demo.now()

    def _until(self, condition: Callable[[], Any], what: str) -> None:
        wait_until(condition, 10, lambda: f"{what}: {self.scenes[-1].ran}")

    def _note(self, scene: Scene, line: str) -> None:
        scene.opcua.append((self.demo.now(), line))

    def _end(self, scene: Scene, *heads: str) -> None:
        """Keep what both clients saw of these places."""
        began, told_of, wandering = self.demo.began, set[str](), (WIND, f"{FORMER}/_/", f"{MOVED}/_/")

        def new(at: float, key: str) -> bool:
            if at - began < scene.applying or key in told_of:
                return False
            told_of.add(key)
            return True

        for each in self.client.changes[self._from["changes"] :]:
            # That a value goes on wandering is no news; its first one is, and any other status.
            if each["address"].startswith(wandering) and each["status"] == self._stood.get(each["address"]):
                continue
            if each["address"].startswith(heads) and new(each["at"], f"{each['address']} {each['status']}"):
                value = "" if each["value"] is None else f" = {_short(each['value'])}"
                scene.opcua.append((each["at"] - began, f"{each['address']}{value} {each['status']}"))
        for told in self._told():
            if line := _line(told, heads):
                scene.opcua.append((told["at"] - began, self.demo.neutral(line)))
        subscriber, start = self.demo.subscriber, self._from["messages"]
        for at, (topic, payload) in zip(subscriber.at[start:], subscriber.all[start:], strict=False):
            address = topic.split("/", 2)[2]
            if not any(head in topic for head in heads) or "/tw" in topic:  # results of the twin are another story
                continue
            if payload is not None and topic in self._kept and (topic[5] == "g" or address.startswith(wandering)):
                continue
            if new(at, f"{topic} {payload is None}"):
                text = "(cleared)" if payload is None else self.demo.neutral(json.dumps(payload, ensure_ascii=False))
                scene.mqtt.append((at - began, f"{topic} {text if topic[5] == 'e' else _cut(text)}"))
        scene.opcua.sort()
        # What was cleared stands before what is new.
        scene.mqtt.sort(key=lambda seen: (round(seen[0]), "(cleared)" not in seen[1], seen))


def _address(node_id: str) -> str:
    return str(node_id).partition(";s=")[2]


def _related(address: str, head: str) -> bool:
    return bool(address) and (f"{address}/".startswith(f"{head}/") or f"{head}/".startswith(f"{address}/"))


def _text(told: dict[str, Any]) -> str:
    text = told["text"]
    return str(text["text"] if isinstance(text, dict) else text)


def _line(told: dict[str, Any], heads: tuple[str, ...]) -> str:
    parts = []
    for each in told["nodes"] or ():
        if any(_related(_address(each["affected"]), head) for head in heads):
            verbs = [name for bit, name in _VERBS.items() if int(each["verb"]) & bit]
            parts.append(f"{'+'.join(verbs)} {_address(each['affected'])}")
    if parts:
        return f"GeneralModelChangeEvent: {', '.join(parts)}"
    parts = [_address(each["affected"]) for each in told["meanings"] or ()]
    if parts and any(part.startswith(heads) for part in parts):
        return f"SemanticChangeEvent: {', '.join(parts)}"
    if str(told["source"]).startswith(heads):
        return f"event of {told['source']}: {_text(told)}"
    return ""


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
