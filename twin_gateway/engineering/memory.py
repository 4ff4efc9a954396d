"""What the last import said, kept beside a mapping file: by it a change of the source is told from an edit by hand.

`ps01.yaml` has it in `.import/ps01.yaml.json`. Without that file an import cannot know who changed a value; then what
the mapping file says stays. It holds no secret: device sections name secrets by reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from twin_gateway.engineering.draft import FileDraft
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import Problem
from twin_gateway.text_files import replace_text

FOLDER: Final = ".import"
MAX_BYTES: Final = 256 * 1024**2
BOTH: Final = "it was changed by hand and in the source: take over what is right"
BY_HAND: Final = "change it by hand"
"""What to do where a merge leaves the file's value."""
_VERSION: Final = 1


@dataclass(slots=True)
class Remembered:
    """What was imported of one device.

    Attributes:
        fields: its section, as it was written.
        points: by protocol point what the fields of its line meant, and its address.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    points: dict[str, dict[str, Any]] = field(default_factory=dict)


Memory = dict[str, Remembered]
"""By the name that the import gives a device."""

_MEANINGS: Final[dict[str, Callable[[MappedPoint], Any]]] = {
    "address": lambda point: point.address,
    "control": lambda point: point.control,
    "scale": lambda point: [point.profile.gain, point.profile.bias, point.unit],
    "deadband": lambda point: point.profile.deadband,
    "stale_after": lambda point: point.profile.stale_after,
    "invert": lambda point: point.profile.invert,
    "display_unit": lambda point: point.profile.unit.symbol if point.profile.unit is not None else None,
    "display_name": lambda point: point.names,
    "aliases": lambda point: sorted(point.aliases),
    "share": lambda point: point.share,
    "role": lambda point: point.role,
    "alarm": lambda point: asdict(point.alarm) if point.alarm is not None else None,
}
WRITTEN: Final = {"scale": ("scale", "offset", "unit")}
"""Fields of a line that have one meaning together."""


def meanings(point: MappedPoint) -> dict[str, Any]:
    """What the fields of a point's line mean, whatever template or unit they were written with, as JSON holds it."""
    return {name: plain(take(point)) for name, take in _MEANINGS.items()} | {
        name: plain(value) for name, value in point.fields.items() if name not in _MEANINGS
    }


def fresh(mapping: Mapping, draft: FileDraft) -> Memory:
    """The memory of a file that was written anew; `mapping` is what it says."""
    sections = {device.name: device.fields for device in draft.devices}
    return {
        device.name: Remembered(
            plain(sections[device.name]), {str(point.source): meanings(point) for point in device.points}
        )
        for device in mapping.devices
        if device.name in sections
    }


def memory_path(path: Path) -> Path:
    """Where the memory of a mapping file is kept; of a link, beside what it leads to."""
    real = path.resolve()
    return real.parent / FOLDER / f"{real.name}.json"


def read_memory(path: Path) -> tuple[Memory, list[Problem]]:
    """The memory of a mapping file; empty when there is none, or, with a warning, when it cannot be read."""
    try:
        return {
            name: Remembered(dict(item["fields"]), {key: dict(value) for key, value in item["points"].items()})
            for name, item in read_section(path, "devices").items()
        }, []
    except UNREADABLE as error:
        return {}, [unreadable(path, error)]


UNREADABLE: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a memory may raise."""


def unreadable(path: Path, error: BaseException) -> Problem:
    """The warning that a memory cannot be read."""
    what = f"what was imported last cannot be read ({str(error) or type(error).__name__}): all values stay"
    hint = "take the file out: the next import writes it anew"
    return Problem(str(memory_path(path)), 1, 1, "TG736", what, hint, "warning")


def read_section(path: Path, name: str) -> dict[str, Any]:
    """A part of the memory of a file; empty when there is no memory.

    Raises:
        OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError: it cannot be read.
    """
    kept = memory_path(path)
    if not kept.exists():
        return {}
    if kept.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1024**2} MiB")
    document = json.loads(kept.read_text("utf-8"))
    if document["import"] != _VERSION:
        raise ValueError(f"of version {document['import']}")
    return dict(document[name])


def write_section(path: Path, name: str, section: dict[str, Any]) -> None:
    """Keep the memory of a file, in one step.

    Raises:
        OSError: it cannot be written.
    """
    kept = memory_path(path)
    kept.parent.mkdir(exist_ok=True)
    document = {"import": _VERSION, name: section}
    replace_text(kept, json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def keep(path: Path, memory: Memory) -> list[Problem]:
    """Keep the memory of a mapping file that has just been written; a warning when that fails."""
    return keep_section(path, "devices", {name: asdict(item) for name, item in memory.items()})


def keep_section(path: Path, name: str, section: dict[str, Any]) -> list[Problem]:
    """Keep the memory of a file that has just been written; a warning when that fails."""
    try:
        write_section(path, name, section)
    except OSError as error:
        what = f"what was imported cannot be kept: {error.strerror or error}"
        hint = f"{path} is written; the next import will not know what was changed by hand"
        return [Problem(str(memory_path(path)), 1, 1, "TG736", what, hint, "warning")]
    return []


def plain(value: Any) -> Any:
    """A value as JSON holds it: lists for tuples, texts for what JSON does not know."""
    return json.loads(json.dumps(value, default=str))
