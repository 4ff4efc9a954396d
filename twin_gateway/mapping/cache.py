"""Results of mapping files kept on the disk, so that files which have not changed are not read through again.

A result is found by what it came from: the octets of the file, those of the files with templates when it may use one,
and the program itself. It is kept only for files without an error, as JSON and packed columns: reading it runs nothing.
The folder must be ours alone (0700), each file begins with the SHA-256 of its content; what is not so is left alone and
the mapping file read instead. No secret gets in: of a device its section is kept as it is written, with references.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import address_space
import twin_gateway
from address_space.whole_files import write_whole
from twin_gateway.drivers.contract import DeviceConfig, ProtocolSpec
from twin_gateway.drivers.registry import OWN_PROTOCOLS, protocol
from twin_gateway.mapping.device import DeviceReader
from twin_gateway.mapping.model import Former, Retired, WholeModel
from twin_gateway.mapping.one_file import Around, FileDevice, FileResult, Report, moved_until
from twin_gateway.mapping.packed import Packed
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import MAX_PROBLEMS, Map, Seq, Source, file_sha256
from twin_gateway.mapping.seen import Seen

_MAGIC: Final = b"TGRESULT1\n"
_DIGEST: Final = 32
_SUFFIX: Final = ".result"
_MOST_FILE: Final = 256 * 1024 * 1024
_MOST: Final = 1024 * 1024 * 1024
"""Octets of all results together; the least recently used go first."""
_ABANDONED_S: Final = 3600.0
"""Age of a file that nobody is writing any more: whoever began it was ended."""
_MATTERS: Final = ("__init__.py", "children.py", "durations.py", "mapping/**/*", "drivers/**/*")
_READERS: Final = ("open61850", "pydantic", "pyyaml")
"""Packages of others that have a say in what a mapping file comes to."""
_TOLD_ANEW: Final = "TG604"
"""A missing secret is looked for each time."""
_KEPT_WARNING: Final = "TG609"


class ResultCache:
    """The kept results in one folder, for one check.

    Args:
        folder: made when it is not there. What is not ours alone is not used: `usable` is False then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.usable = False
        self._common = b""
        self._templates = b""
        self._keeps = False
        self._digests: dict[Path, str] = {}

    def begin(self, around: Around) -> None:
        """Look at the folder, and at what all files of the check have in common."""
        self.usable = _is_ours(self.folder)
        sources = around.sources.values()
        # An unknown template is only told when all are known: what came of it without is no answer for another time.
        self._keeps = around.templates.complete and not any(source.errors for source in sources)
        self._common = program_digest()
        self._templates = sha256("".join(source.digest for source in sources).encode()).digest()

    def load(self, seen: Seen, around: Around) -> FileResult | None:
        """What a file came to before; None when that is not known, or something that it depends on has changed."""
        if not self.usable or not seen.digest:
            return None
        path = self.folder / self._name(seen)
        try:
            data = _read(path)
            head, bodies = _parted(data)
            result = self._result(head, bodies, seen, around)
        except FileNotFoundError:
            return None
        except (OSError, LookupError, TypeError, ValueError):
            # Damaged, or of somebody else: the mapping file itself is there, and the result is written anew.
            return None
        if result is not None:
            with suppress(OSError):
                os.utime(path)
        return result

    def keep(self, seen: Seen, result: FileResult) -> None:
        """Keep what a file has come to, when that holds for the file alone."""
        if self.usable and self._keeps and _holds_alone(seen, result):
            document, bodies = _document(result)
            payload = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
            content = len(payload).to_bytes(8, "little") + payload + b"".join(bodies)
            with suppress(OSError):
                # Without room there is no cache; the check goes on. What a crash leaves of it is seen when it is read.
                write_whole(self.folder / self._name(seen), _MAGIC + sha256(content).digest() + content, durable=False)

    def tidy(self) -> None:
        """Take away the least recently used results when all are too many, and what was never written to its end."""
        if not self.usable:
            return
        found: list[tuple[float, int, Path]] = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                with suppress(FileNotFoundError):  # another check tidies too
                    status = path.lstat()
                    if path.suffix == _SUFFIX:
                        found.append((status.st_mtime, status.st_size, path))
                    elif _SUFFIX in path.name and status.st_mtime < time.time() - _ABANDONED_S:
                        path.unlink()
            total = 0
            for _, size, path in sorted(found, reverse=True):
                total += size
                if total > _MOST:
                    path.unlink(missing_ok=True)

    def _name(self, seen: Seen) -> str:
        parts = (self._common, seen.digest.encode(), self._templates if seen.uses else b"")
        return sha256(b"\0".join(parts)).hexdigest() + _SUFFIX

    def _result(self, head: dict[str, Any], bodies: memoryview, seen: Seen, around: Around) -> FileResult | None:
        path, name = seen.task.path, str(seen.task.path)
        source = _LateSource(name, path, beside=seen.task.beside)
        reader = DeviceReader(source, around.environ, secrets_required=around.secrets_required)
        result = FileResult(seen.digest, readable=True, distinct=head["distinct"])
        at = 0
        for item in head["devices"]:
            device = self._device(item, name, reader)
            if device is None or source.errors:
                return None
            end = at + item["body"]
            aliases = [(alias, address) for alias, address in item["aliases"]]
            device.packed = Packed(
                bytes(bodies[at:end]), item["count"], item["containers"], aliases, item["targets"], name
            )
            at = end
            result.devices.append(device)
        if at != len(bodies):
            raise ValueError("more columns than devices")
        for line, col, message, hint in head["warnings"]:
            source.add(Problem(name, line, col, _KEPT_WARNING, message, hint, "warning"))
        if source.warnings > MAX_PROBLEMS:
            return None
        result.reports, result.warnings = [Report(name, None, problem) for problem in source.problems], source.warnings
        result.names = head["names"]
        result.place_aliases = [(alias, place) for alias, place in head["place_aliases"]]
        result.former_places = [_former(item, name) for item in head["former_places"]]
        result.former = {key: [_former(item, name) for item in items] for key, items in head["former"].items()}
        result.retired = {
            address: Retired(address, date.fromisoformat(day), reason, successor, name, line, col)
            for address, day, reason, successor, line, col in head["retired"]
        }
        result.used, result.groups, result.points = head["used"], head["groups"], head["points"]
        if not around.templates.by_name.keys() >= set(result.used):
            return None
        return result

    def _device(self, item: dict[str, Any], file: str, reader: DeviceReader) -> FileDevice | None:
        """A device with its section resolved again: secrets, and the files that it names, may be others now."""
        spec = protocol(item["protocol"])
        section = _from_plain(item["section"])
        config = reader.config(item["name"], section, spec) if isinstance(section, Map) else None
        if config is None or config_digest(config, spec, reader.files) != item["config"]:
            return None
        files = {field: self._digest(path) for field, path in reader.files.items()}
        if files != item["files"]:
            return None
        whole = [WholeModel(place, logical, file, line, col) for place, logical, line, col in item["whole"]]
        line, col = item["line"], item["col"]
        return FileDevice(item["name"], spec.name, config, item["place"], line, col, True, files, whole, section)

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = file_sha256(path)
        return self._digests[path]


@dataclass(slots=True)
class _LateSource(Source):
    """A file whose text is only read when somebody asks for a place in it."""

    def where(self, offset: int) -> tuple[int, int]:
        """As of `Source`."""
        if not self.text:
            with suppress(OSError, ValueError):
                self.text = self.path.read_text("utf-8").removeprefix("\ufeff")
        return Source.where(self, offset)


def _holds_alone(seen: Seen, result: FileResult) -> bool:
    """Whether what a file has come to holds for its content, and any time that it is looked for."""
    own = str(seen.task.path)
    return (
        seen.digest == result.digest
        and result.readable
        and not result.asked
        and not result.given_up
        and not moved_until(result)
        # A name can be written so that the first look does not see it.
        and (seen.uses or not result.used)
        # Beyond the limit warnings are only counted.
        and result.warnings <= MAX_PROBLEMS
        and all(report.file == own and _is_kept(report.problem) for report in result.reports)
        and all(device.sound and _is_own(device) for device in result.devices)
    )


def _is_kept(problem: Problem) -> bool:
    return problem.severity == "warning" and problem.code in (_TOLD_ANEW, _KEPT_WARNING)


def _is_own(device: FileDevice) -> bool:
    """Whether its protocol is one of ours (`program_digest` says nothing of others), and its SCL file that digested."""
    scl = getattr(device.config, "scl", None)
    return device.protocol in OWN_PROTOCOLS and (scl is None or file_sha256(Path(scl)) == device.files.get("scl"))


# ---- what is kept, as JSON


def _document(result: FileResult) -> tuple[dict[str, Any], list[bytes]]:
    bodies, devices = [], []
    for device in result.devices:
        packed = device.packed
        if packed is None:
            raise ValueError(f"the points of {device.name} are not packed")
        bodies.append(packed.body)
        spec = protocol(device.protocol)
        devices.append(
            {
                "name": device.name,
                "protocol": device.protocol,
                "place": device.place,
                "line": device.line,
                "col": device.col,
                "files": device.files,
                "config": config_digest(device.config, spec, device.files),
                "section": _as_plain(device.section),
                "whole": [(item.place, item.logical_device, item.line, item.col) for item in device.whole],
                "count": packed.count,
                "containers": packed.containers,
                "aliases": packed.aliases,
                "targets": packed.targets,
                "body": len(packed.body),
            }
        )
    warnings = [report.problem for report in result.reports if report.problem.code == _KEPT_WARNING]
    document = {
        "devices": devices,
        "distinct": result.distinct,
        "names": result.names,
        "warnings": [(item.line, item.col, item.message, item.hint) for item in warnings],
        "place_aliases": result.place_aliases,
        "former_places": [_plain_former(item) for item in result.former_places],
        "former": {name: [_plain_former(item) for item in items] for name, items in result.former.items()},
        "retired": [
            (item.address, item.date.isoformat(), item.reason, item.successor, item.line, item.col)
            for item in result.retired.values()
        ],
        "used": result.used,
        "groups": result.groups,
        "points": result.points,
    }
    return document, bodies


def _plain_former(item: Former) -> tuple[str, str, int, int]:
    return item.was, item.address, item.line, item.col


def _former(item: Sequence[Any], file: str) -> Former:
    was, address, line, col = item
    return Former(was, address, None, file, line, col)


def _as_plain(value: Any) -> Any:
    """A value as read, with its places."""
    if isinstance(value, Map):
        return {"at": value.start, "marks": value.marks, "map": [(key, _as_plain(item)) for key, item in value.items()]}
    if isinstance(value, Seq):
        return {"at": value.start, "marks": value.marks, "list": [_as_plain(item) for item in value]}
    return value


def _from_plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    out: Map | Seq
    if "map" in value:
        out = Map((key, _from_plain(item)) for key, item in value["map"])
    else:
        out = Seq(_from_plain(item) for item in value["list"])
    out.start, out.marks = value["at"], value["marks"]
    return out


def config_digest(config: DeviceConfig, spec: ProtocolSpec, files: Any) -> str:
    """SHA-256 (hex) of what a device section comes to, without its secrets and the files that it names."""
    left_out = {*spec.secret_fields, *files}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            inner = {name: f"{path}.{name}" if path else str(name) for name in value}
            return {name: walk(value[name], inner[name]) for name in value if inner[name] not in left_out}
        return value

    text = json.dumps(walk(config.model_dump(mode="json"), ""), sort_keys=True)
    return sha256(text.encode()).hexdigest()


@cache
def program_digest() -> bytes:
    """SHA-256 of what tells this program from another: versions, and the content of the files that matter here."""
    versions = " ".join(f"{name} {_version(name)}" for name in _READERS)
    digest = sha256(f"{twin_gateway.__version__} {sys.version} {versions}".encode())
    for path in program_files():
        data = path.read_bytes()
        digest.update(f"\n{path.name} {len(data)}\n".encode())
        digest.update(data)
    return digest.digest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def program_files() -> list[Path]:
    """The files of this program that say what a mapping file comes to, in order."""
    ours, model = (Path(package.__file__ or "").parent for package in (twin_gateway, address_space))
    found = [path for pattern in _MATTERS for path in ours.glob(pattern)] + list(model.glob("*"))
    return sorted(path for path in found if path.suffix != ".pyc" and path.is_file())


# ---- files


def own_folder() -> Path | None:
    """Where the command line keeps results of its user: below `XDG_CACHE_HOME`, or `~/.cache`; None without a home."""
    try:
        given = os.environ.get("XDG_CACHE_HOME", "")
        folder = Path(given) if given.startswith("/") else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "twin-gateway" / "mappings"


def _is_ours(folder: Path) -> bool:
    """Whether the folder, made when it is not there, is a directory that only our own user can reach into."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _read(path: Path) -> bytes:
    """The content of a file of our own.

    Raises:
        OSError: it cannot be read; ValueError: it is not ours, or not an ordinary file, or too large.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ValueError(f"{path} is not an ordinary file of our own")
        if status.st_size > _MOST_FILE:
            raise ValueError(f"{path} is too large")
        return file.read()


def _parted(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """Head and columns.

    Raises:
        ValueError: the content is not what was written.
    """
    start = len(_MAGIC) + _DIGEST
    content = memoryview(data)[start:]
    if data[: len(_MAGIC)] != _MAGIC or sha256(content).digest() != data[len(_MAGIC) : start]:
        raise ValueError("damaged")
    size = int.from_bytes(content[:8], "little")
    head: dict[str, Any] = json.loads(bytes(content[8 : 8 + size]))
    return head, content[8 + size :]
