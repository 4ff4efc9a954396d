"""Reading one YAML file (1.2 core rules) with the position of every key and value, from the parser's event stream.

No node tree and no mark objects are kept: a position is one integer (the offset in the text), and line and column are
worked out only when somebody asks. Plain `off`, `no` and `12:30` are text, `010` is ten.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

import yaml
from yaml import events

from twin_gateway.mapping.problem import Problem

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_DEPTH: Final = 24
MAX_VALUES: Final = 4_000_000
MAX_PROBLEMS: Final = 1000
_MAX_KEY: Final = 512
_CACHED_SCALARS: Final = 20_000

_INT = re.compile(r"[-+]?[0-9]{1,300}\Z")
_OCT = re.compile(r"0o[0-7]{1,100}\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,100}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,300}|[0-9]{1,300}(\.[0-9]{0,300})?)([eE][-+]?[0-9]{1,5})?\Z")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z")
_NAN = frozenset((".nan", ".NaN", ".NAN"))
_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Broken:
    """Stands for a value that was refused while reading, so that nobody complains about it a second time."""

    __slots__ = ()

    def __reduce__(self) -> str:
        """There is one of it, in every process."""
        return "BROKEN"


BROKEN: Final = Broken()


class Map(dict[str, Any]):
    """A YAML mapping that knows where it is: `marks[2 * i]` is the offset of key i, `marks[2 * i + 1]` of its value."""

    __slots__ = ("marks", "start")
    marks: list[int]
    start: int

    def key_at(self, key: str) -> int:
        """Offset of a key, of the whole mapping when it has no such key."""
        for i, own in enumerate(self):
            if own == key:
                return self.marks[2 * i]
        return self.start

    def value_at(self, key: str) -> int:
        """Offset of the value of a key, of the whole mapping when it has no such key."""
        for i, own in enumerate(self):
            if own == key:
                return self.marks[2 * i + 1]
        return self.start


class Seq(list[Any]):
    """A YAML list that knows where it is: `marks[i]` is the offset of item i."""

    __slots__ = ("marks", "start")
    marks: list[int]
    start: int


class TooManyProblemsError(Exception):
    """One file has so many errors that going on would help nobody, and hints for each cost time."""


@dataclass(slots=True)
class Source:
    """One file as read: its name as the user gave it, its text, its content, and what is wrong with it so far.

    `root` is None when the content could not be read at all; then `problems` says why. `given_up`: there were so many
    errors that the rest was not looked at. `begins` is the hint for a file without content. `digest`: SHA-256 of the
    octets read. `beside`: where files that it names are also looked for, when it is a copy that is kept elsewhere.
    `reported`: what `report` has added, by offset and code.
    """

    name: str
    path: Path
    text: str = ""
    root: Map | None = None
    problems: list[Problem] = field(default_factory=list)
    errors: int = 0
    warnings: int = 0
    given_up: bool = False
    begins: str = "a mapping file begins with 'mapping: 1'"
    digest: str = ""
    beside: Path | None = None
    reported: dict[tuple[int, str], Problem] = field(default_factory=dict)
    _silenced: frozenset[str] = frozenset()
    _lines: list[int] | None = None

    def where(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of an offset in the text."""
        if self._lines is None:
            self._lines = [0, *(m.end() for m in _BREAK.finditer(self.text))]
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def plain_text(self, offset: int, value: object) -> str:
        """How a plain scalar was written (`010`, `1.50`) where its meaning as a number is not wanted."""
        end = re.compile(r"[^\s,\]}#]*").match(self.text, offset)
        return end.group() if end and end.group() else str(value)

    def report(self, offset: int, code: str, message: str, hint: str = "") -> None:
        """Add an error at an offset of the text; only the first of one code at one place counts.

        A line with braces or a template used many times would otherwise say the same many times.
        """
        if (offset, code) in self.reported or code in self._silenced:
            return
        line, col = self.where(offset)
        problem = self.reported[offset, code] = Problem(self.name, line, col, code, message, hint)
        self.add(problem)

    @contextmanager
    def without(self, *codes: str) -> Iterator[None]:
        """Leave errors of some codes out, where they could only follow from what has been reported already."""
        before, self._silenced = self._silenced, self._silenced.union(codes)
        try:
            yield
        finally:
            self._silenced = before

    def warn(self, offset: int, code: str, message: str, hint: str = "") -> None:
        """Add a warning at an offset of the text."""
        line, col = self.where(offset)
        self.add(Problem(self.name, line, col, code, message, hint, "warning"))

    def add(self, problem: Problem) -> None:
        """Add a problem; warnings beyond the limit are only counted.

        Raises:
            TooManyProblemsError: for an error beyond the limit; whoever goes through the file then leaves it alone.
        """
        if problem.severity == "warning":
            self.warnings += 1
            if self.warnings > MAX_PROBLEMS:
                return
        else:
            if self.errors >= MAX_PROBLEMS:
                self.given_up = True
                raise TooManyProblemsError(self.name)
            self.errors += 1
        self.problems.append(problem)


def read_file(path: Path, name: str | None = None, *, max_bytes: int = MAX_BYTES, begins: str = "") -> Source:
    """Read one file. Never raises for what is in it: a file that cannot be read has `root` None and a problem.

    The size is looked at before a byte is read, and no more than `max_bytes` + 1 are ever held.
    """
    source = Source(name if name is not None else str(path), path)
    source.begins = begins or source.begins

    def fail(code: str, message: str, hint: str = "", line: int = 1, col: int = 1) -> Source:
        source.add(Problem(source.name, line, col, code, message, hint))
        return source

    try:
        if path.is_dir():
            return fail("TG101", "this is a directory, not a file")
        if not path.is_file():
            return fail("TG101", "no such file" if not path.exists() else "not an ordinary file")
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1) if path.stat().st_size <= max_bytes else b"\n" * (max_bytes + 1)
    except (OSError, ValueError) as error:
        return fail("TG101", f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(data) > max_bytes:
        return fail(
            "TG102", f"larger than {max_bytes / 1048576:g} MiB", "one file a station; say repeated points in a template"
        )
    return read_bytes(data, source)


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of an ordinary file; empty when it is none or cannot be read: who needs it says so by name."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def read_bytes(data: bytes, source: Source) -> Source:
    """Read the content of a file into its source: encoding, then YAML."""
    source.digest = sha256(data).hexdigest()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        source.add(Problem(source.name, 1, 1, "TG103", "the file is UTF-16", "save it as UTF-8"))
        return source
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        source.add(Problem(source.name, line, 1, "TG103", "the file is binary, not text"))
        return source
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        col = len(data[start : error.start].decode("utf-8", "replace")) + 1
        source.add(
            Problem(
                source.name,
                line,
                col,
                "TG103",
                f"not UTF-8 (octet 0x{data[error.start]:02X})",
                "save the file as UTF-8",
            )
        )
        return source
    return read_text(text, source)


def read_text(text: str, source: Source) -> Source:
    """Read text into its source. A byte order mark at the front is skipped."""
    source.text = text.removeprefix("\ufeff")
    reader = _Reader(source)
    try:
        root = reader.document()
    except _TooMuchError as error:
        source.report(error.offset, "TG109", str(error))
        return source
    except TooManyProblemsError:
        return source
    except yaml.YAMLError as error:
        _report_syntax(source, error)
        return source
    if root is None:
        source.report(0, "TG104", "the file holds nothing", source.begins)
    elif isinstance(root, Map):
        source.root = root
    elif root is not BROKEN:
        source.report(0, "TG203", "the file is not a mapping of keys to values", source.begins)
    return source


class _TooMuchError(Exception):
    """Nesting or number of values beyond the limit."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class _Reader:
    """Turns the event stream of one text into `Map`, `Seq` and scalars."""

    def __init__(self, source: Source) -> None:
        self.source = source
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(source.text)
        self.next: Callable[[], Any] = loader.get_event
        self.scalars: dict[str, Any] = dict(_WORDS)
        self.keys: dict[str, str] = {}
        self.left = MAX_VALUES

    def document(self) -> object:
        """The content of the only document, None when there is none."""
        self.next()  # StreamStart
        if type(self.next()) is events.StreamEndEvent:
            return None
        first = self.next()
        root = self.node(first, 0)
        self.next()  # DocumentEnd
        more = self.next()
        if type(more) is not events.StreamEndEvent:
            self.source.report(more.start_mark.index, "TG111", "a second document begins here", "one file a station")
        return root

    def node(self, event: Any, depth: int) -> object:
        """The value that begins with an event."""
        kind = type(event)
        if kind is events.ScalarEvent:
            return self.scalar(event)
        at = event.start_mark.index
        if kind is events.AliasEvent:
            self.source.report(
                at, "TG107", f"alias '*{_short(event.anchor)}'", "aliases are not supported; use a template"
            )
            return BROKEN
        if event.anchor is not None:
            self.source.report(
                at, "TG107", f"anchor '&{_short(event.anchor)}'", "anchors are not supported; use a template"
            )
        if event.tag is not None:
            self.source.report(at, "TG108", f"tag '{_tag(event.tag)}'", "values need no tags")
        if depth >= MAX_DEPTH:
            raise _TooMuchError(f"nested deeper than {MAX_DEPTH} levels", at)
        return self.mapping(at, depth + 1) if kind is events.MappingStartEvent else self.sequence(at, depth + 1)

    def mapping(self, at: int, depth: int) -> Map:
        """The mapping whose start event was just taken. The time goes into this loop: nothing is looked up twice."""
        out = Map()
        out.start = at
        marks: list[int] = []
        out.marks = marks
        note = marks.append
        following, scalars, keys = self.next, self.scalars, self.keys
        scalar_event = events.ScalarEvent
        while True:
            event = following()
            if type(event) is scalar_event:
                text = event.value
                key = keys.get(text)
                if key is None or event.anchor is not None or not event.implicit[0]:
                    key = self.key(event)
            elif type(event) is events.MappingEndEvent:
                break
            else:
                self.source.report(
                    event.start_mark.index, "TG110", "a key must be plain text", "quote a key that holds { } or [ ]"
                )
                self.node(event, depth)
                key = None
            key_at = event.start_mark.index
            event = following()
            value: object
            if type(event) is scalar_event:
                if event.implicit[0] and event.anchor is None:
                    text = event.value
                    value = scalars.get(text, scalars)
                    if value is scalars:
                        value = self.plain(text)
                else:
                    value = self.scalar(event)
            else:
                value = self.node(event, depth)
            if key is None:
                continue
            if key in out:
                line, _ = self.source.where(out.key_at(key))
                self.source.report(key_at, "TG106", f"'{_short(key)}' is defined twice", f"first in line {line}")
                continue
            out[key] = value
            note(key_at)
            note(event.start_mark.index)
        self.left -= len(marks)
        if self.left < 0:
            raise _TooMuchError(f"more than {MAX_VALUES} values", at)
        return out

    def sequence(self, at: int, depth: int) -> Seq:
        """The list whose start event was just taken."""
        out = Seq()
        out.start = at
        out.marks = []
        while type(event := self.next()) is not events.SequenceEndEvent:
            out.append(self.node(event, depth))
            out.marks.append(event.start_mark.index)
            self.left -= 1
            if self.left < 0:
                raise _TooMuchError(f"more than {MAX_VALUES} values", at)
        return out

    def key(self, event: Any) -> str | None:
        """A key as text (also `12` and `null`), None when it is refused. Seen keys are kept once."""
        text: str = event.value
        at = event.start_mark.index
        if event.anchor is not None or event.tag is not None:
            self.scalar(event)
        if text == "<<" and event.implicit[0]:
            self.source.report(at, "TG107", "merge key '<<'", "merge keys are not supported; use a template")
            return None
        if len(text) > _MAX_KEY or "\n" in text:
            self.source.report(at, "TG110", f"a key is one line of at most {_MAX_KEY} characters")
            return None
        if len(self.keys) < _CACHED_SCALARS:
            self.keys[text] = text
        return text

    def scalar(self, event: Any) -> object:
        """The value of a scalar with everything that can be wrong with it."""
        at = event.start_mark.index
        if event.anchor is not None:
            self.source.report(
                at, "TG107", f"anchor '&{_short(event.anchor)}'", "anchors are not supported; use a template"
            )
        if event.tag is not None:
            self.source.report(at, "TG108", f"tag '{_tag(event.tag)}'", "values need no tags")
            return BROKEN
        return self.plain(event.value) if event.implicit[0] else event.value

    def plain(self, text: str) -> object:
        """The YAML 1.2 core meaning of a plain scalar."""
        if text.isdecimal() and text.isascii() and len(text) < 16:
            return int(text)
        cached = self.scalars.get(text, self)
        if cached is not self:
            return cached
        value = core_value(text)
        if len(self.scalars) < _CACHED_SCALARS and type(value) is str:
            self.scalars[text] = value
        return value


def core_value(text: str) -> bool | int | float | str | None:
    """What a plain scalar means under the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if _INT.match(text):
            return int(text)
        if _FLOAT.match(text):
            return float(text)
        if _HEX.match(text):
            return int(text[2:], 16)
        if _OCT.match(text):
            return int(text[2:], 8)
        if _INFINITE.match(text):
            return float(text.replace(".", "", 1))
        if text in _NAN:
            return float("nan")
    return text


def _report_syntax(source: Source, error: yaml.YAMLError) -> None:
    """One problem for text that is not YAML, with a hint for the usual slips."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark or error.context_mark) is not None:
        offset = min(mark.index, len(source.text))
        what = error.problem or error.context or "cannot be read"
        around = source.text[offset : offset + 1]
        line_start = source.text.rfind("\n", 0, offset) + 1
        line = source.text[line_start : offset + 80].split("\n", 1)[0]
        hint = ""
        if "\t" in line[: offset - line_start + 1] and not line[: offset - line_start].strip():
            hint = "indent with spaces, not with tabs"
        elif around in ("%", "@", "`"):
            hint = f"a value that begins with {around} must be quoted"
        elif "flow" in (error.context or "") and ("{" in line[1:] or "[" in line[1:]):
            hint = "inside { } a value with braces, brackets or a comma must be quoted"
        source.report(offset, "TG105", f"not YAML: {what}", hint)
        return
    if isinstance(error, yaml.reader.ReaderError):
        bad = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", source.text)
        code = f" U+{ord(bad.group()):04X}" if bad else ""
        source.report(
            bad.start() if bad else 0, "TG105", f"not YAML: the control character{code} is not allowed", "delete it"
        )
        return
    source.report(0, "TG105", f"not YAML: {error}")


def _tag(tag: str) -> str:
    return _short(tag.replace("tag:yaml.org,2002:", "!!"))


def _short(text: object) -> str:
    """Text for a message: one line, at most 60 characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= 60 else line[:57] + "..."
