"""What imports from live devices share: which devices are asked and with what settings, a link for once, the file."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from address_space.address import escape
from address_space.point import Batch
from twin_gateway.config import ConfigError, load_config
from twin_gateway.data_lock import DirectoryInUseError, locked
from twin_gateway.drivers.capture import Flow
from twin_gateway.drivers.contract import DeviceConfig
from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, PointDraft, Value, sort
from twin_gateway.engineering.emit import emit
from twin_gateway.engineering.merge import checked, merge
from twin_gateway.engineering.mode import Mode
from twin_gateway.engineering.repeat import make_templates
from twin_gateway.mapping.check import check, find_files
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import BROKEN, Map, core_value, read_file

MOST_DEVICES: Final = 1000
"""Devices asked by one command."""
_MOST_LISTED: Final = 200
"""Values without a point that one file lists; of more it is told how many."""
_MOST_NAMED: Final = 4
_METER_PORT: Final = 4059
_SENSOR_PORTS: Final = (5683, 5684)
_PROBE_POINT: Final = {
    "dlms": PointDraft("MMTR1/TotWh", {"obis": "1-0:1.8.0"}),
    "coap": PointDraft("GGIO1/AnIn1", {"path": "/x"}),
}
_NOT_SETTINGS: Final = frozenset({"protocol", "place", "at", "use", "with", "points", "all", "aliases", "was"})
_FILES: Final = frozenset({"ca", "certificate", "crl", "signing", "meter_signing", "agreement", "meter_agreement"})
"""Fields below a device that name files; `key` does so under `tls`."""
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:/\[\]\s]+)(?::(\d{1,5}))?")


class LiveImportError(Exception):
    """A device cannot be asked; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(slots=True)
class Target:
    """One device to ask.

    Attributes:
        name: its section's name in the mapping file.
        said: how messages call it.
        fields: device section as it will be written: secrets by reference only.
        config: the section validated, secrets filled in; set by `configure`.
        place: area and site; empty when the command line says it.
        at: at-key for its points; empty when the command line says it.
        file: mapping file that it comes from.
    """

    name: str
    said: str
    fields: dict[str, Value]
    place: str = ""
    at: str = ""
    file: Path | None = None
    config: DeviceConfig | None = None


@dataclass(slots=True)
class OnceLink:
    """What a driver's parts get as their link when a device is asked once; nothing is kept but the last error."""

    name: str
    data_directory: Path
    last_error: str = ""
    counters: dict[str, int] = field(default_factory=dict)

    def up(self) -> None:
        """See contract.Link."""

    def publish(self, batch: Batch) -> None:
        """See contract.Link."""

    def event(
        self,
        code: str,
        text: str,
        *,
        severity: int = 400,
        address: str = "",
        source_time: int = 0,
        time_quality: str | None = None,
    ) -> None:
        """See contract.Link."""

    def count(self, counter: str, by: int = 1) -> None:
        """See contract.Link."""
        self.counters[counter] = self.counters.get(counter, 0) + by

    def kept_until(self) -> int:
        """See contract.Link."""
        return 0

    def error(self, text: str, address: str = "") -> None:
        """See contract.Link."""
        self.last_error = text

    def connected(self, flow: Flow) -> None:
        """See contract.Link."""

    def traffic(self, sent: bool, octets: bytes) -> None:
        """See contract.Link."""


# --- which devices ----------------------------------------------------------------------------------------------------


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


def devices_of_file(path: Path, protocol: str, only: Sequence[str]) -> tuple[str, list[Target]]:
    """Grid and devices of one protocol in a mapping file, in its order; points are not looked at.

    Raises:
        LiveImportError: the file cannot be read, or has no such device.
    """
    source = read_file(path)
    if source.root is None:
        first = source.problems[0]
        raise LiveImportError(f"{first.file}:{first.line}: {first.message}", first.hint)
    sections = source.root.get("devices")
    found = []
    for name, body in sections.items() if isinstance(sections, Map) else ():
        if not isinstance(body, Map) or body.get("protocol") != protocol or (only and name not in only):
            continue
        fields = {key: _plain(value) for key, value in body.items() if key not in _NOT_SETTINGS}
        place = body.get("place", source.root.get("place", ""))
        keys = list(body["at"]) if isinstance(body.get("at"), Map) else []
        said = f"{path}: {name}"
        found.append(Target(name, said, fields, str(place or ""), keys[0] if len(keys) == 1 else "", path))
    missing = sorted(set(only) - {target.name for target in found})
    if missing or not found:
        what = f"no {protocol} device {', '.join(missing)}" if missing else f"no device of protocol {protocol}"
        raise LiveImportError(f"{path}: {what}", "name a device of the file, or another file")
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


def name_of(prefix: str, text: str) -> str:
    """A name for a device: `meter-10-9-3-2`; a level of addresses has no dots."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_") or "1"
    return (f"{prefix}-{plain}" if prefix else plain)[:48].rstrip("-")


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


@contextlib.contextmanager
def kept(config: Path | None) -> Iterator[Path]:
    """The folder of what devices' keys have been used for: the gateway's while it does not run, else a new one.

    Raises:
        LiveImportError: the configuration cannot be read, or its gateway runs.
    """
    if config is None:
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
        return
    try:
        folder = load_config(config).data_directory
    except ConfigError as error:
        raise LiveImportError(str(error)) from error
    try:
        with locked(folder):
            yield folder / "links"
    except DirectoryInUseError as error:
        hint = "stop it first, or leave --config out where no device needs it"
        raise LiveImportError(
            f"the gateway of {config} runs, and numbers of its keys are not used twice", hint
        ) from error


def place_of(pattern: str, names: Mapping[str, str]) -> str:
    """A place or at-key with `{name}`, `{host}`, `{serial}` filled in, each as one level.

    Raises:
        LiveImportError: a name in braces that there is none for.
    """

    def filled(match: re.Match[str]) -> str:
        value = names.get(match[1], "")
        if not value:
            known = ", ".join(f"{{{name}}}" for name, text in sorted(names.items()) if text)
            raise LiveImportError(f"'{pattern}': the device has no {{{match[1]}}}", f"there are {known}")
        return escape(value)

    return re.sub(r"\{(\w*)\}", filled, pattern)


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
            found_grid, found = devices_of_file(path, protocol, only)
            files.append(path)
            grid = grid or found_grid
            targets += found
        else:
            targets += _HOSTS[protocol](text)
    if only and not files:
        raise LiveImportError("--device is for mapping files", "name the file that has the device")
    if into is None and mode is Mode.MERGE and len(files) == 1:
        into = files[0]
    if into is None and mode is Mode.MERGE:
        raise LiveImportError("--mode merge without a file", "name it with --into")
    if not grid:
        raise LiveImportError("the grid is not known", "name level 1 of the addresses with --grid")
    _refuse_doubles(targets)
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


def _refuse_doubles(targets: Sequence[Target]) -> None:
    names = [target.name for target in targets]
    double = next((name for name in names if names.count(name) > 1), "")
    if double:
        raise LiveImportError(f"two devices are called {double}", "name each of them once")


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


# --- the file ---------------------------------------------------------------------------------------------------------


def listed(unplaced: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Comment lines of what has no point, once for all devices that have the same of it.

    Args:
        unplaced: name of each device, with its lines.
    """
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, lines in unplaced:
        alike[tuple(lines)].append(name)
    rows: list[str] = []
    for lines, names in alike.items():
        if not lines:
            continue
        said = ", ".join(names[:_MOST_NAMED]) + (f" and {len(names) - _MOST_NAMED} more" if names[_MOST_NAMED:] else "")
        rows += ["", f"Without a point, {said}:"]
        room = max(_MOST_LISTED - len(rows), 0)
        rows += [f"- {line}" for line in lines[:room]]
        if lines[room:]:
            rows.append(f"- and {len(lines) - room} more")
    return rows


@dataclass(slots=True)
class Written:
    """What became of an import.

    Attributes:
        target: the mapping file; None for standard output.
        text: what is to be written; None when there is an error.
        points: point lines found.
        added: addresses that a merge added; None where nothing was merged.
        problems: of the check and the merge.
    """

    target: Path | None
    text: str | None = None
    points: int = 0
    added: list[str] | None = None
    problems: list[Problem] = field(default_factory=list)


def target_of(into: Path | None, stem: str, suffix: str = ".yaml") -> Path | None:
    """The file to write: `into` itself where it is named like one, else a file in that folder.

    Raises:
        LiveImportError: there is no such folder.
    """
    if into is None:
        return None
    named = into.suffix == suffix and not into.is_dir()
    folder = into.parent if named else into
    if not folder.is_dir():
        raise LiveImportError(f"there is no folder {folder}", "make it first")
    return into if named else into / f"{stem}{suffix}"


def secret_of(reference: str, what: str) -> str:
    """The secret behind `${NAME}` or `file:PATH`.

    Raises:
        LiveImportError: it is no reference, or there is nothing behind it.
    """
    if match := re.fullmatch(r"\$\{(\w+)\}", reference):
        value = os.environ.get(match[1], "")
        if not value:
            raise LiveImportError(f"{what}: the environment variable {match[1]} is not set", "set it where this runs")
        return value
    if not reference.startswith("file:"):
        raise LiveImportError(f"{what} is no reference", "write '${NAME}' for an environment variable, or file:PATH")
    try:
        value = Path(reference.removeprefix("file:")).read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise LiveImportError(f"{what}: the file of the secret cannot be read") from error
    if not value:
        raise LiveImportError(f"{what}: the file of the secret is empty")
    return value


def refuse_existing(target: Path | None, mode: Mode) -> None:
    """Say at once, before a device is asked, that nothing could be written.

    Raises:
        LiveImportError: the file is there and the mode leaves it alone.
    """
    if target is not None and target.exists() and mode is Mode.CREATE:
        hint = "--mode merge puts in what is new, --mode overwrite writes it anew"
        raise LiveImportError(f"{target} is there already", hint)


def settle(draft: FileDraft, target: Path | None, mode: Mode, *, templates: bool) -> Written:
    """The text of the mapping file, sorted; what is to be written has passed the check. Nothing is written yet."""
    sort(draft)
    out = Written(target, points=draft.point_lines)
    folder = target.parent if target is not None else Path()
    for above in ("", "../"):
        if (folder / f"{above}mapping.schema.json").is_file():
            draft.schema = f"{above}mapping.schema.json"
            break
    others = _others(folder, target) if target is not None else []
    if target is not None and target.exists() and mode is Mode.MERGE:
        merged = merge(target, draft)
        out.text, out.added = merged.text, merged.added
        out.problems += merged.problems
    else:
        if templates:
            make_templates(draft, _templates_of(others))
        out.text = emit(draft)
    if out.text is not None:
        where = target if target is not None else folder / "import.yaml"
        _, problems = checked(where, out.text)
        if others and not any(problem.severity == "error" for problem in problems):
            problems += _against(others, where, out.text)
        out.problems += problems
        if any(problem.severity == "error" for problem in problems):
            out.text = None
    return out


def _others(folder: Path, target: Path) -> list[Path]:
    """The mapping files that will stand beside the one that is written."""
    return [path for path in find_files([folder], []) if path.resolve() != target.resolve()]


def _templates_of(files: Iterable[Path]) -> list[str]:
    """Names that templates of other files have; a name is given once."""
    names: list[str] = []
    for path in files:
        root = read_file(path).root
        templates = root.get("templates") if root is not None else None
        names += templates if isinstance(templates, Map) else ()
    return names


def _against(others: Sequence[Path], target: Path, text: str) -> list[Problem]:
    """Errors that the new text has only together with the other files: names and addresses that are taken."""
    trial = target.with_name(f".{target.name}.import")
    try:
        trial.write_text(text, "utf-8")
        _, problems = check([*others, trial], secrets_required=False)
    except OSError as error:
        return [Problem(str(target), 0, 0, "TG101", f"cannot be written: {error.strerror or error}")]
    finally:
        trial.unlink(missing_ok=True)
    said = [problem for problem in problems if problem.severity == "error"]
    mine = [replace(problem, file=str(target)) for problem in said if problem.file == str(trial)]
    # Where the trial is read first, what it has twice is told of the other file.
    more = [problem for problem in said if str(trial) in problem.hint]
    return mine + [replace(problem, hint=problem.hint.replace(str(trial), str(target))) for problem in more]
