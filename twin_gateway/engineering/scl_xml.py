"""SCL files as a tree of elements with their lines; entities and document types are refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from twin_gateway.mapping.problem import Problem

NAMESPACE: Final = "http://www.iec.ch/61850/2003/SCL"
MAX_BYTES: Final = 64 * 1024**2
MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 2_000_000
MAX_TEXT: Final = 1 << 20
_CHUNK: Final = 1 << 16


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        name: local name for elements of SCL, `{namespace}name` for others.
        attributes: by local name; those of other namespaces as `{namespace}name`.
        text: character data directly inside, without blanks at its ends.
    """

    name: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def get(self, name: str) -> str:
        """An attribute without blanks around it; empty when it is missing."""
        return self.attributes.get(name, "").strip()

    def all(self, *names: str) -> Iterator[Element]:
        """Children of these names, in order."""
        return (child for child in self.children if child.name in names)

    def first(self, name: str) -> Element | None:
        """The first child of a name."""
        return next(self.all(name), None)

    def walk(self, *names: str) -> Iterator[Element]:
        """Elements of these names at any depth below, but not inside Private."""
        for child in self.children:
            if child.name in names:
                yield child
            if child.name != "Private":
                yield from child.walk(*names)


class SclFormatError(ValueError):
    """The file cannot be read; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read_tree(path: Path, *, max_bytes: int = MAX_BYTES) -> Element:
    """The root element of an SCL file.

    Raises:
        SclFormatError: the file cannot be opened, is no XML or no SCL, holds entities, or is beyond a limit.
    """

    def refuse(code: str, line: int, message: str, hint: str = "") -> SclFormatError:
        return SclFormatError(Problem(str(path), line, 1 if line else 0, code, message, hint))

    reader = _Reader(path)
    try:
        if not path.is_file():
            raise refuse("TG101", 0, "not an ordinary file" if path.exists() else "no such file")
        if path.stat().st_size > max_bytes:
            hint = "export the IEDs of one station, or each IED's CID"
            raise refuse("TG734", 0, f"larger than {max_bytes / 1048576:g} MiB", hint)
        with path.open("rb") as stream:
            return reader.parse(stream)
    except OSError as error:
        raise refuse("TG101", 0, f"cannot be read: {error.strerror or error}") from error
    except expat.ExpatError as error:
        what = expat.errors.messages.get(error.code, str(error))
        raise refuse("TG731", error.lineno, f"not XML: {what}", "export the file again") from error
    except SclFormatError:
        raise
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise refuse("TG731", reader.line, f"not XML: {error}", "save the file as UTF-8") from error


class _Reader:
    """One pass over one file with expat."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Element] = []
        self.root: Element | None = None
        self.texts: list[list[str]] = []
        self.count = 0
        self.length = 0
        self.namespace = NAMESPACE
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.data
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.EntityDeclHandler = self.doctype

    @property
    def line(self) -> int:
        """Where reading stands."""
        return self.parser.CurrentLineNumber

    def fail(self, code: str, message: str, hint: str = "") -> SclFormatError:
        return SclFormatError(Problem(str(self.path), self.line, 1, code, message, hint))

    def parse(self, stream: Any) -> Element:
        while chunk := stream.read(_CHUNK):
            self.parser.Parse(chunk, False)
        self.parser.Parse(b"", True)
        if self.root is None:
            raise self.fail("TG731", "the file is empty")
        return self.root

    def doctype(self, *_: object) -> None:
        raise self.fail("TG733", "a document type declaration or entity, which SCL files do not need", "take it out")

    def name(self, given: str) -> str:
        space, _, name = given.rpartition(" ")
        return name if space in ("", self.namespace) else f"{{{space}}}{name}"

    def start(self, given: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise self.fail("TG734", f"more than {MAX_ELEMENTS} elements", "export the IEDs of one station only")
        if len(self.stack) >= MAX_DEPTH:
            raise self.fail("TG734", f"nested deeper than {MAX_DEPTH} levels")
        name = self.name(given)
        if not self.stack and name != "SCL":
            space = given.rpartition(" ")[0]
            if given.rpartition(" ")[2] == "SCL":
                raise self.fail(
                    "TG731", f"SCL of the unknown namespace '{space}'", f"editions 1 to 2.1 have {NAMESPACE}"
                )
            raise self.fail("TG731", f"the file begins with <{given.rpartition(' ')[2]}>, not with <SCL>")
        element = Element(name, {self.name(key): value for key, value in attributes.items()}, self.line)
        if self.stack:
            self.stack[-1].children.append(element)
        else:
            self.root = element
        self.stack.append(element)
        self.texts.append([])
        self.length = 0

    def data(self, text: str) -> None:
        self.length += len(text)
        if self.length > MAX_TEXT:
            raise self.fail("TG734", f"a text of more than {MAX_TEXT} characters")
        self.texts[-1].append(text)

    def end(self, _given: str) -> None:
        self.stack.pop().text = "".join(self.texts.pop()).strip()
        self.length = 0
