"""The device section of a mapping file: secrets by reference, then the driver's own model, each fault in its place."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from twin_gateway.drivers.contract import DeviceConfig, ProtocolSpec
from twin_gateway.mapping.field_error import kind_of
from twin_gateway.mapping.problem import did_you_mean, nearest
from twin_gateway.mapping.read import BROKEN, Map, Seq, Source
from twin_gateway.mapping.schema_text import field_texts, nested_models

MAPPING_KEYS: Final = ("protocol", "place", "at", "use", "with", "points", "all")
"""Keys of a device section that belong to the mapping, not to the driver."""
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MAX_SECRET = 65_536
_STAND_IN = "0" * 32
_PATHS: Final = frozenset(
    f"{section}{name}"
    for section, names in (
        ("", ("scl",)),
        ("tls.", ("ca", "certificate", "key", "crl")),
        ("curve_keys.", ("signing", "meter_signing", "agreement", "meter_agreement")),
    )
    for name in names
)
"""Fields that name files: relative to the mapping file, whatever directory the gateway runs in."""

Location = tuple[int | str, ...]


class DeviceReader:
    """Reads the device sections of one file.

    Args:
        source: the file; problems go there.
        environ: where `${NAME}` is looked up.
        secrets_required: a missing secret is an error; otherwise a warning, and a stand-in takes its place.
    """

    def __init__(self, source: Source, environ: Mapping[str, str], *, secrets_required: bool) -> None:
        self.source = source
        self.environ = environ
        self.secrets_required = secrets_required
        self.stand_ins: set[Location] = set()
        self.files: dict[str, Path] = {}
        """Of the device last read: the files that it names, by field."""

    def config(self, name: str, section: Map, spec: ProtocolSpec) -> DeviceConfig | None:
        """The validated configuration of a device, None when something is wrong with it (and reported)."""
        self.stand_ins.clear()
        self.files.clear()
        before = self.source.errors
        data = {
            key: self._resolve(value, section.marks[2 * i + 1], (key,), spec.secret_fields)
            for i, (key, value) in enumerate(section.items())
            if key not in MAPPING_KEYS and value is not BROKEN
        }
        refused = {key for key, value in section.items() if value is BROKEN}
        secrets_good = self.source.errors == before
        config = self._validate(name, section, spec, data, refused)
        if config is None or refused or not secrets_good:
            return None
        found = list(spec.check_device(config))
        for field, message in found:
            at, _ = _place(section, tuple(field.split(".")))
            self.source.report(at, "TG605", f"{field}: {message}")
        return None if found else config

    def _resolve(self, value: Any, at: int, path: Location, secrets: frozenset[str]) -> Any:
        """A value with its references filled in; plain dictionaries and lists for the driver's model."""
        if isinstance(value, Map):
            return {
                key: self._resolve(item, value.marks[2 * i + 1], (*path, key), secrets)
                for i, (key, item) in enumerate(value.items())
                if item is not BROKEN
            }
        if isinstance(value, Seq):
            return [
                self._resolve(item, value.marks[i], (*path, i), secrets)
                for i, item in enumerate(value)
                if item is not BROKEN
            ]
        if _is_secret(path, secrets):
            return self._secret(value, at, path)
        if type(value) is str and ".".join(map(str, path)) in _PATHS:
            return self._path(value, at, path)
        if type(value) is str and "${" in value:
            return _REFERENCE.sub(lambda match: self._variable(match[1], at, path), value)
        return value

    def _path(self, text: str, at: int, path: Location) -> str:
        where = self._beside(text)
        if not where.is_file():
            self.source.report(at, "TG607", f"{path[-1]}: no file '{text}' beside this one")
        self.files[".".join(map(str, path))] = where
        return str(where)

    def _beside(self, text: str) -> Path:
        """A file that the mapping file names; a kept copy may have left it where it was."""
        where = self.source.path.parent / text
        other = self.source.beside
        return where if other is None or where.exists() else other / text

    def _secret(self, value: Any, at: int, path: Location) -> Any:
        field = path[-1]
        if value is None:
            return None
        if type(value) is str and (match := _REFERENCE.fullmatch(value)) is not None:
            return self._variable(match[1], at, path)
        if type(value) is str and value.startswith("file:"):
            return self._file(value.removeprefix("file:"), at, path)
        # The value itself never goes into a message.
        hint = "write ${NAME} for an environment variable, or file:PATH"
        self.source.report(at, "TG603", f"{field}: a secret may not stand in the file", hint)
        self.stand_ins.add(path)
        return _STAND_IN

    def _variable(self, name: str, at: int, path: Location) -> str:
        value = self.environ.get(name)
        if value:
            return value
        return self._missing(f"the environment variable {name} is {'empty' if value == '' else 'not set'}", at, path)

    def _file(self, text: str, at: int, path: Location) -> str:
        where = self._beside(text)
        try:
            status = where.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_SECRET:
                return self._missing(f"the secret file {text} is not a small ordinary file", at, path)
            value = where.read_text("utf-8").strip()
        except (OSError, ValueError):
            return self._missing(f"the secret file {text} cannot be read", at, path)
        return value or self._missing(f"the secret file {text} is empty", at, path)

    def _missing(self, message: str, at: int, path: Location) -> str:
        self.stand_ins.add(path)
        (self.source.report if self.secrets_required else self.source.warn)(at, "TG604", message)
        return _STAND_IN

    def _validate(
        self, name: str, section: Map, spec: ProtocolSpec, data: dict[str, Any], refused: set[str]
    ) -> DeviceConfig | None:
        """Run the driver's model and report what displeases it."""
        try:
            return spec.config.model_validate(data)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=True)
        # A default that follows from a field with a fault is no fault of its own.
        errors = [item for item in errors if item["type"] != "default_factory_not_called"]
        faults = [item for item in errors if item["loc"][:1] == () or item["loc"][0] not in refused]
        real = [item for item in faults if not any(item["loc"][: len(p)] == p for p in self.stand_ins)]
        known = [*_fields_at(spec.config, ()), *MAPPING_KEYS]
        meant = {nearest(str(item["loc"][0]), known) for item in real if item["type"] == "extra_forbidden"}
        real = [item for item in real if item["type"] != "missing" or item["loc"][0] not in meant]
        seen: set[tuple[int, str]] = set()
        for item in real:
            at, code, message, hint = _explain(item, name, section, spec)
            if (at, code) not in seen:
                seen.add((at, code))
                self.source.report(at, code, message, hint)
        if real or refused or not self.stand_ins:
            return None
        # Only stand-ins for missing secrets displeased the model: good enough to check the points with.
        return _without_stand_ins(spec, data)


def _without_stand_ins(spec: ProtocolSpec, data: dict[str, Any]) -> DeviceConfig:
    kept = dict(data)
    for key in data:
        trial = {k: v for k, v in kept.items() if k != key}
        try:
            return spec.config.model_validate(trial)
        except ValidationError:
            continue
    return spec.config.model_construct(**kept)


def _is_secret(path: Location, secrets: frozenset[str]) -> bool:
    names = [str(step) for step in path]
    return any(".".join(names[:end]) in secrets for end in range(1, len(names) + 1)) or names[-1] in secrets


def _place(section: Map, loc: Sequence[int | str]) -> tuple[int, list[int | str]]:
    """Offset of the value at a location, as deep as the file goes, and the steps that exist there."""
    at, here, steps = section.start, section, list[int | str]()
    current: Any = here
    for step in loc:
        if isinstance(current, Map) and str(step) in current:
            at = current.value_at(str(step))
            current = current[str(step)]
        elif isinstance(current, Seq) and isinstance(step, int) and step < len(current):
            at = current.marks[step]
            current = current[step]
        else:
            # pydantic puts tags of unions into its locations; the file does not know them.
            continue
        steps.append(step)
    return at, steps


_KINDS: Final = {
    "int": "a whole number expected",
    "float": "a number expected",
    "bool": "true or false expected",
    "string": "text expected",
    "list": "a list expected",
    "tuple": "a list expected",
    "dict": "a mapping of fields expected",
    "model": "a mapping of fields expected",
}
"""By the beginning of pydantic's name for the fault."""
_RANGES = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of", "finite_number"}


def _explain(item: ErrorDetails, name: str, section: Map, spec: ProtocolSpec) -> tuple[int, str, str, str]:
    """Offset, code, message and hint for one fault that the model found."""
    loc, kind = item["loc"], item["type"]
    at, steps = _place(section, loc)
    field = ".".join(map(str, steps))
    if kind == "extra_forbidden":
        holder: Any = section
        for step in steps[:-1]:
            holder = holder[step]
        at = holder.key_at(str(loc[-1])) if isinstance(holder, Map) else at
        known = (*_fields_at(spec.config, loc[:-1]), *(MAPPING_KEYS if len(loc) == 1 else ()))
        what = (
            f"no field '{loc[-1]}' for {spec.name} devices" if len(loc) == 1 else f"no field '{loc[-1]}' in '{loc[-2]}'"
        )
        return at, "TG201", what, did_you_mean(str(loc[-1]), known)
    if kind == "missing":
        holder_name = ".".join(map(str, steps)) or name
        return at, "TG202", f"'{loc[-1]}' is missing in '{holder_name}'", ""
    secret = _is_secret(loc, spec.secret_fields) if loc else False
    given = "the secret" if secret else kind_of(_as_read(section, steps, item["input"]))
    context = item.get("ctx", {})
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", ""))
        choices = re.findall(r"'([^']*)'", expected) or [expected]
        hint = did_you_mean(str(item["input"]), choices) if not secret else ""
        return at, "TG204", f"{field}: {given} is not one of {', '.join(choices)}", hint
    if kind in _RANGES:
        return at, "TG206", f"{field}: {_lower(item['msg']).replace('input should', 'must')}, not {given}", ""
    if kind.startswith("string_") and kind != "string_type":
        what = "does not have the right form"
        if kind != "string_pattern_mismatch":
            what += f" ({_lower(item['msg']).replace('string should', 'it must')})"
        return at, "TG207", f"{field}: {given} {what}", _text_of(spec.config, steps)
    if kind.endswith(("_type", "_parsing", "_from_float")):
        expected = next((words for start, words in _KINDS.items() if kind.startswith(start)), _lower(item["msg"]))
        return at, "TG203", f"{field}: {expected}, not {given}", ""
    if kind == "value_error":
        cause = context.get("error")
        message = str(cause) if cause is not None and not secret else _lower(item["msg"])
        return (at, "TG605", f"{field}: {message}" if field else message, "")
    return at, "TG605", f"{field}: {_lower(item['msg'])}", ""


def _as_read(section: Map, steps: Sequence[int | str], fallback: Any) -> Any:
    current: Any = section
    for step in steps:
        current = current[step] if isinstance(current, Seq) and isinstance(step, int) else current[str(step)]
    return current if steps else fallback


def _fields_at(model: type[DeviceConfig], loc: Location) -> list[str]:
    """Field names of a model, or of the model that stands at a location inside it, for hints."""
    current: Any = model
    for step in loc:
        info = getattr(current, "model_fields", {}).get(str(step))
        if info is None:
            return []
        inner = [t for t in (info.annotation, *getattr(info.annotation, "__args__", ())) if hasattr(t, "model_fields")]
        if not inner:
            return []
        current = inner[0]
    return [info.alias or name for name, info in getattr(current, "model_fields", {}).items()]


def _text_of(model: type[DeviceConfig], steps: Sequence[int | str]) -> str:
    """What the docstring of a model, or of one inside it, says of the field at the end of a location."""
    named = [str(step) for step in steps if isinstance(step, str)]
    if not named:
        return ""
    if len(named) == 1:
        return field_texts(model).get(named[0], "").rstrip(".")
    inner = nested_models(model).values()
    found = [text for part in inner if (text := field_texts(part).get(named[-1])) is not None]
    return found[0].rstrip(".") if len(found) == 1 else ""


def _lower(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
