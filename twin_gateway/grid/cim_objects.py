"""CIM RDF/XML as a stream of objects: each with its class, its line and its properties; nothing is expanded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import MAX_PROBLEMS

MAX_BYTES: Final = 2 * 1024**3
MAX_OBJECTS: Final = 5_000_000
MAX_DEPTH: Final = 16
MAX_TEXT: Final = 65_536
MAX_PROPERTIES: Final = 1_000
_CHUNK: Final = 1 << 18
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


@dataclass(slots=True)
class CimObject:
    """One object.

    Attributes:
        id: identity without `urn:uuid:`, `#` and `_`; lower case where it is a UUID.
        kind: class without its namespace (`ACLineSegment`).
        file, line: where it is.
        values: property (`Conductor.length`) -> text, identity of another object, or enumeration literal
            (`PhaseCode.A`); of a property that occurs several times the last one.
    """

    id: str
    kind: str
    file: str
    line: int
    values: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """IdentifiedObject.name; empty when it has none."""
        return self.values.get("IdentifiedObject.name", "").strip()


class CimFormatError(ValueError):
    """The file cannot be read; `code` and `line` are those of the problem."""

    def __init__(self, code: str, line: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.line = line


@dataclass(slots=True)
class CimObjects:
    """The objects of all files read.

    Attributes:
        objects: by identity; only of the classes wanted.
        counts: number of objects of every class, wanted or not.
        problems: what is wrong, at most `MAX_PROBLEMS`.
    """

    wanted: Container[str]
    objects: dict[str, CimObject] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def read(self, path: Path, *, max_bytes: int = MAX_BYTES, max_objects: int = MAX_OBJECTS) -> bool:
        """Read one file; False when it could not be read to its end, with the reason in `problems`."""
        try:
            if path.stat().st_size > max_bytes:
                raise CimFormatError("TG723", 0, f"larger than {max_bytes / 1048576:g} MiB")
            with path.open("rb") as stream:
                _Stream(self, str(path), max_objects).parse(stream)
        except CimFormatError as error:
            self.report(str(path), error.line, error.code, str(error))
            return False
        except OSError as error:
            self.report(str(path), 0, "TG101", f"cannot be read: {error.strerror or error}")
            return False
        return True

    def report(self, file: str, line: int, code: str, message: str, *, warning: bool = False) -> None:
        """Note a problem; those beyond the limit are left out, which the last one says."""
        if len(self.problems) > MAX_PROBLEMS:
            return
        if len(self.problems) == MAX_PROBLEMS:
            code, line, warning = "TG112", 1, False
            message = "so many problems that the rest is left out"
        severity = "warning" if warning else "error"
        self.problems.append(Problem(file, line, 1 if line else 0, code, message, severity=severity))  # type: ignore[arg-type]  # one of the two words


class _Stream:
    """One pass over one file with expat."""

    def __init__(self, out: CimObjects, file: str, max_objects: int) -> None:
        self.out = out
        self.file = file
        self.max_objects = max_objects
        self.depth = 0
        self.item: CimObject | None = None
        self.property = ""
        self.resource = ""
        self.text: list[str] = []
        self.length = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.data
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.EntityDeclHandler = self.doctype

    def fail(self, code: str, message: str) -> CimFormatError:
        return CimFormatError(code, self.parser.CurrentLineNumber, message)

    def parse(self, stream: Any) -> None:
        try:
            while chunk := stream.read(_CHUNK):
                self.parser.Parse(chunk, False)
            self.parser.Parse(b"", True)
        except expat.ExpatError as error:
            what = expat.errors.messages.get(error.code, str(error))
            raise CimFormatError("TG721", error.lineno, f"not XML: {what}") from error
        except (ValueError, LookupError) as error:  # an encoding that Python does not know
            if isinstance(error, CimFormatError):
                raise
            raise self.fail("TG721", f"not XML: {error}") from error

    def doctype(self, *_: object) -> None:
        raise self.fail("TG722", "a document type declaration or entity, which CIM files do not need")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        space, _, name = tag.rpartition(" ")
        if self.depth == 1:
            if space != _RDF or name != "RDF":
                raise self.fail("TG724", f"the file begins with <{name}>, not with <rdf:RDF>")
        elif self.depth == 2:
            self.open(name, attributes)
        elif self.depth == 3:
            self.property = name
            self.resource = attributes.get(f"{_RDF} resource", "")
            self.text.clear()
            self.length = 0
        elif self.depth > MAX_DEPTH:
            raise self.fail("TG723", f"nested deeper than {MAX_DEPTH} levels")

    def open(self, kind: str, attributes: dict[str, str]) -> None:
        out = self.out
        out.counts[kind] += 1
        if out.counts.total() > self.max_objects:
            raise self.fail("TG723", f"more than {self.max_objects} objects")
        identity = attributes.get(f"{_RDF} about") or attributes.get(f"{_RDF} ID")
        self.item = None
        if kind not in out.wanted:
            return
        line = self.parser.CurrentLineNumber
        if identity is None:
            out.report(self.file, line, "TG724", f"{kind} has neither rdf:about nor rdf:ID")
            return
        identity = reference(identity)
        known = out.objects.get(identity)
        if known is not None and known.kind != kind:
            out.report(self.file, line, "TG725", f"{identity} is a {kind} here, a {known.kind} in line {known.line}")
            return
        # The same object in a second file adds to the first (profiles are kept in files of their own).
        self.item = known or CimObject(identity, kind, self.file, line)
        out.objects[identity] = self.item

    def data(self, text: str) -> None:
        if self.depth != 3 or self.item is None:
            return
        self.length += len(text)
        if self.length > MAX_TEXT:
            raise self.fail("TG723", f"a property with more than {MAX_TEXT} characters")
        self.text.append(text)

    def end(self, _tag: str) -> None:
        if self.depth == 3 and self.item is not None:
            if len(self.item.values) >= MAX_PROPERTIES:
                raise self.fail("TG723", f"an object with more than {MAX_PROPERTIES} properties")
            self.item.values[self.property] = reference(self.resource) if self.resource else "".join(self.text).strip()
        self.depth -= 1


def reference(text: str) -> str:
    """Identity or enumeration literal of an RDF reference: what follows the last `#`, without marks."""
    name = text.removeprefix("urn:uuid:").rpartition("#")[2].removeprefix("_")
    return name.lower() if _UUID.match(name) else name
