"""Which live devices an import asks, and with what settings: hosts, URIs, sections of mapping files, `--set`."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, PointDraft, Value
from twin_gateway.engineering.emit import emit
from twin_gateway.engineering.live_import import LiveImportError, Target, name_of
from twin_gateway.engineering.mode import Mode
from twin_gateway.mapping.check import check
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import BROKEN, Map, core_value, read_file

MOST_DEVICES: Final = 1000
"""Devices asked by one command."""
_METER_PORT: Final = 4059
_SENSOR_PORTS: Final = (5683, 5684)
_PROBE_POINT: Final = {
    "dlms": PointDraft("MMTR1/TotWh", {"obis": "1-0:1.8.0"}),
    "coap": PointDraft("GGIO1/AnIn1", {"path": "/x"}),
}
"""A device without points does not pass the check, which the settings are put to."""
_NOT_SETTINGS: Final = frozenset({"protocol", "place", "at", "use", "with", "points", "all", "aliases", "was"})
_FILES: Final = frozenset({"ca", "certificate", "crl", "signing", "meter_signing", "agreement", "meter_agreement"})
"""Fields below a device that name files; `key` does so under `tls`."""
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:/\[\]\s]+)(?::(\d{1,5}))?")


def settings_of(said: Sequence[str]) -> dict[str, Value]:
    """The device section out of `name=value` and `keys.encryption=${NAME}` texts.

    Raises:
        LiveImportError: a text without a name or value, or two that exclude each other.
    """
    fields: dict[str, Value] = {}
    for text in said:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", name):
            # Not shown: it may be a secret that lost its name.
            raise LiveImportError("a --set without NAME=VALUE", "as in --set security=hls-gmac")
        *above, last = name.split(".")
        inner = fields
        for step in above:
            below = inner.setdefault(step, {})
            if not isinstance(below, dict):
                raise LiveImportError(f"--set {step} is both a value and a section")
            inner = below
        inner[last] = _value(value)
    return fields


def _value(text: str) -> Value:
    """As in a mapping file; digits that begin with 0 are no number that anybody means."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    value = core_value(text)
    return text if isinstance(value, int) and not isinstance(value, bool) and str(value) != text else value


def devices_of_file(path: Path, protocol: str) -> tuple[str, list[Target]]:
    """Grid and devices of one protocol in a mapping file, in its order; points are not looked at.

    Raises:
        LiveImportError: the file cannot be read, or has no device of that protocol.
    """
    source = read_file(path)
    if source.root is None:
        first = source.problems[0]
        raise LiveImportError(f"{first.file}:{first.line}: {first.message}", first.hint)
    sections = source.root.get("devices")
    found = []
    for name, body in sections.items() if isinstance(sections, Map) else ():
        if not isinstance(body, Map) or body.get("protocol") != protocol:
            continue
        fields = {key: _plain(value) for key, value in body.items() if key not in _NOT_SETTINGS}
        place = body.get("place", source.root.get("place", ""))
        keys = list(body["at"]) if isinstance(body.get("at"), Map) else []
        said = f"{path}: {name}"
        found.append(Target(name, said, fields, str(place or ""), keys[0] if len(keys) == 1 else "", path))
    if not found:
        raise LiveImportError(f"{path}: no device of protocol {protocol}", "name another file")
    grid = source.root.get("grid", "")
    return (grid if isinstance(grid, str) else ""), found


def host_of(text: str) -> tuple[str, int | None]:
    """Host and port of `HOST`, `HOST:PORT` and `[ADDRESS]:PORT`.

    Raises:
        LiveImportError: it is none.
    """
    match = _HOST.fullmatch(text)
    if match is None or (match[2] is not None and not 0 < int(match[2]) <= 0xFFFF):
        hint = "as in 10.9.3.2, meter7.example:4059 or [2001:db8::7]:4059; or a mapping file that is there"
        raise LiveImportError(f"'{text}' is no host and port", hint)
    return match[1].strip("[]"), int(match[2]) if match[2] else None


def _plain(value: Any) -> Value:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if value is BROKEN else value


def rebased(fields: Mapping[str, Value], old: Path, new: Path, above: str = "") -> dict[str, Value]:
    """A device section whose relative file names are those seen from another folder."""
    if old.resolve() == new.resolve():
        return dict(fields)

    def moved(name: str) -> str:
        return name if Path(name).is_absolute() else os.path.relpath((old / name).resolve(), new.resolve())

    out: dict[str, Value] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            out[name] = rebased(value, old, new, name)
        elif isinstance(value, str) and value.startswith("file:"):
            out[name] = f"file:{moved(value.removeprefix('file:'))}"
        elif isinstance(value, str) and (name in _FILES or (name == "key" and above == "tls")):
            out[name] = moved(value)
        else:
            out[name] = value
    return out


def configure(targets: Sequence[Target], protocol: str, grid: str, folder: Path) -> None:
    """Validate the sections and fill in their secrets.

    Args:
        targets: their `config` is set.
        protocol: of all of them.
        grid: level 1 of the addresses.
        folder: relative file names count from here.

    Raises:
        LiveImportError: what a section says is wrong, or a secret is missing.
    """
    if len(targets) > MOST_DEVICES:
        raise LiveImportError(f"{len(targets)} devices at once, at most {MOST_DEVICES} are taken", "name fewer")
    draft = FileDraft(grid, "a/s")
    for i, target in enumerate(targets):
        device = DeviceDraft(target.name, protocol, target.fields)
        device.at = [PlaceDraft(f"_/_/E{i}", [_PROBE_POINT[protocol]])]
        draft.devices.append(device)
    with tempfile.TemporaryDirectory() as place:
        trial = Path(place) / "devices.yaml"
        trial.write_text(emit(draft), "utf-8")
        mapping, problems = check([trial], beside={trial: folder})
    wrong = [problem for problem in problems if problem.severity == "error"]
    if mapping is None:
        first = wrong[0]
        rows = trial_rows(draft, first)
        raise LiveImportError(f"{rows}{first.message}", first.hint or first.todo)
    configs = {device.name: device.config for device in mapping.devices}
    for target in targets:
        target.config = configs[target.name]


def trial_rows(draft: FileDraft, problem: Problem) -> str:
    """Which device a problem of the trial file is about."""
    rows = emit(draft).split("\n")[: problem.line]
    names = {device.name for device in draft.devices}
    for row in reversed(rows):
        name = row.strip().rstrip(":").strip('"')
        if row.startswith("  ") and not row.startswith("   ") and name in names:
            return f"{name}: "
    return ""


@dataclass(slots=True)
class Asked:
    """What a command line asks for.

    Attributes:
        targets: devices with their sections validated.
        grid: level 1 of the addresses.
        into: where the mapping file goes; that of `merge` is the one file named, where nothing else is said.
        stem: name of the mapping file where `into` is a folder.
    """

    targets: list[Target]
    grid: str
    into: Path | None
    stem: str


def gather_targets(
    said: Sequence[str],
    protocol: str,
    settings: Sequence[str],
    *,
    only: Sequence[str] = (),
    grid: str = "",
    place: str = "",
    into: Path | None = None,
    mode: Mode = Mode.CREATE,
) -> Asked:
    """Devices of hosts, URIs and mapping files, validated, with their secrets.

    Args:
        said: `HOST[:PORT]`, URIs (CoAP), mapping files.
        protocol: `dlms` or `coap`.
        settings: fields over those of every device, `NAME=VALUE`.
        only: names of devices of mapping files; all unless given.
        grid: of the command line.
        place: likewise.
        into: folder or file that will be written.
        mode: what happens to a file that is there.

    Raises:
        LiveImportError: whatever is wrong with any of that.
    """
    over = settings_of(settings)
    targets: list[Target] = []
    files: list[Path] = []
    for text in said:
        path = Path(text)
        if "://" not in text and (path.suffix in {".yaml", ".yml"} or path.is_file()):
            found_grid, found = devices_of_file(path, protocol)
            files.append(path)
            grid = grid or found_grid
            targets += [target for target in found if not only or target.name in only]
        else:
            targets += _HOSTS[protocol](text)
    if only and not files:
        raise LiveImportError("--device is for mapping files", "name the file that has the device")
    missing = sorted(set(only) - {target.name for target in targets if target.file is not None})
    if missing:
        where = ", ".join(map(str, files))
        raise LiveImportError(f"{where}: no {protocol} device {', '.join(missing)}", "name devices of these files")
    if into is None and mode is Mode.MERGE and len(files) == 1:
        into = files[0]
    if into is None and mode is Mode.MERGE:
        raise LiveImportError("--mode merge without a file", "name it with --into")
    if not grid:
        raise LiveImportError("the grid is not known", "name level 1 of the addresses with --grid")
    refuse_doubles(targets)
    for target in targets:
        if not target.place and not place:
            raise LiveImportError(f"{target.said}: its place is not known", "name area and site with --place")
        if not target.place and not re.fullmatch(r"[^/]+/[^/]+", place):
            raise LiveImportError(f"--place '{place}' is no area and site", "as in north/PS01 or north/{name}")
    folder = into if into is not None and into.is_dir() else into.parent if into is not None else Path()
    for target in targets:
        base = target.file.parent if target.file is not None else Path()
        above = rebased(over, Path(), folder)
        target.fields = {**rebased(target.fields, base, folder), **above}
    configure(targets, protocol, grid, folder)
    stem = files[0].stem if len(files) == 1 and len(said) == 1 else targets[0].name if len(targets) == 1 else protocol
    return Asked(targets, grid, into, stem)


def refuse_doubles(targets: Iterable[Target]) -> None:
    """Raises LiveImportError where two devices have one name."""
    double = next((name for name, count in Counter(target.name for target in targets).items() if count > 1), "")
    if double:
        raise LiveImportError(f"two devices are called {double}", "each needs a name of its own")


def _meters_at(text: str) -> list[Target]:
    """Of `HOST:PORT/1..10` ten meters behind one concentrator."""
    where, slash, devices = text.partition("/")
    host, port = host_of(where)
    fields: dict[str, Value] = {"host": host, **({"port": port} if port else {})}
    named = _named("meter", host, port, _METER_PORT)
    if not slash:
        return [Target(named, text, fields)]
    match = re.fullmatch(r"(\d{1,5})(?:\.\.(\d{1,5}))?", devices)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not 0 < first <= last <= 0xFFFF or last - first >= MOST_DEVICES:
        raise LiveImportError(f"'{text}': '{devices}' are no logical devices", "as in 10.9.3.2:4059/1..10")
    return [
        Target(f"{named}-{number}", f"{where}/{number}", {**fields, "logical_device": number})
        for number in range(first, last + 1)
    ]


def _sensors_at(text: str) -> list[Target]:
    if "://" in text:
        host, port = host_of(text.partition("://")[2].partition("/")[0])
        return [Target(_named("coap", host, port, *_SENSOR_PORTS), text, {"uri": text.rstrip("/")})]
    host, port = host_of(text)
    named = f"[{host}]" if ":" in host else host
    uri = f"coap://{named}{f':{port}' if port else ''}"
    return [Target(_named("coap", host, port, *_SENSOR_PORTS), text, {"uri": uri})]


def _named(prefix: str, host: str, port: int | None, *usual: int) -> str:
    """`meter-10-9-3-2`, with the port where it is not the usual one: it may be what tells devices apart."""
    return name_of(prefix, host if port is None or port in usual else f"{host}-{port}")


_HOSTS: Final = {"dlms": _meters_at, "coap": _sensors_at}
