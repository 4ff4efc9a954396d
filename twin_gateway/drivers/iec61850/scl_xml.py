"""SCL files as a tree of elements with their lines; entities and document types are refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO, Final
from xml.parsers import expat

from .errors import ModelError

NAMESPACE: Final = "http://www.iec.ch/61850/2003/SCL"
MAX_BYTES: Final = 64 * 1024**2
MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 2_000_000
MAX_TEXT: Final = 1 << 20
_CHUNK: Final = 1 << 16
_NOWHERE: Final = (0, 0)


class Fault(Enum):
    """Why a file is refused: it cannot be opened, is no SCL, holds a document type or entity, is beyond a limit."""

    UNREADABLE = auto()
    FORMAT = auto()
    ENTITY = auto()
    LIMIT = auto()


class SclFormatError(ModelError):
    """The file cannot be read; `line` and `column` are 0 where it is none of the file's lines."""

    def __init__(self, path: Path, fault: Fault, at: tuple[int, int], what: str, hint: str = "") -> None:
        self.line, self.column = at
        where = f"{path}:{self.line}:{self.column}" if self.line else str(path)
        super().__init__(f"{where}: {what}{f' ({hint})' if hint else ''}")
        self.fault = fault
        self.what = what
        self.hint = hint


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        name: local name for elements of SCL, `{namespace}name` for others.
        attributes: by name; those of a namespace as `{namespace}name`.
        text: character data directly inside, without blanks at its ends.
        column: of its first character, from 1.
    """

    name: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)
    text: str = ""
    column: int = 1

    @property
    def local(self) -> str:
        """The name without its namespace."""
        return self.name.rpartition("}")[2]

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


def read_tree(path: Path, *, max_bytes: int = MAX_BYTES) -> Element:
    """The root element of an SCL file.

    Raises:
        SclFormatError: the file cannot be opened, is no XML or no SCL, holds entities, or is beyond a limit.
    """
    reader = _Reader(path)
    try:
        if not path.is_file():
            what = "not an ordinary file" if path.exists() else "no such file"
            raise SclFormatError(path, Fault.UNREADABLE, _NOWHERE, what)
        if path.stat().st_size > max_bytes:
            hint = "export the IEDs of one station, or each IED's CID"
            raise SclFormatError(path, Fault.LIMIT, _NOWHERE, f"larger than {max_bytes / 1048576:g} MiB", hint)
        with path.open("rb") as stream:
            return reader.parse(stream)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise SclFormatError(path, Fault.UNREADABLE, _NOWHERE, what) from error
    except expat.ExpatError as error:
        what = f"not XML: {expat.errors.messages.get(error.code, str(error))}"
        at = (error.lineno, error.offset + 1)
        raise SclFormatError(path, Fault.FORMAT, at, what, "export the file again") from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise reader.fail(Fault.FORMAT, f"not XML: {error}", "save the file as UTF-8") from error


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
    def at(self) -> tuple[int, int]:
        """Line and column where reading stands."""
        return self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1

    def fail(self, fault: Fault, what: str, hint: str = "") -> SclFormatError:
        return SclFormatError(self.path, fault, self.at, what, hint)

    def parse(self, stream: BinaryIO) -> Element:
        while chunk := stream.read(_CHUNK):
            self.parser.Parse(chunk, False)
        self.parser.Parse(b"", True)
        if self.root is None:
            raise self.fail(Fault.FORMAT, "the file is empty", "export the file again")
        return self.root

    def doctype(self, *_: object) -> None:
        what = "a document type declaration or entity, which SCL files do not need"
        raise self.fail(Fault.ENTITY, what, "take it out")

    def name(self, given: str) -> str:
        space, _, name = given.rpartition(" ")
        return name if space in ("", self.namespace) else f"{{{space}}}{name}"

    @staticmethod
    def attribute(given: str) -> str:
        space, _, name = given.rpartition(" ")
        return f"{{{space}}}{name}" if space else name

    def start(self, given: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MAX_ELEMENTS:
            what = f"more than {MAX_ELEMENTS} elements"
            raise self.fail(Fault.LIMIT, what, "export the IEDs of one station only")
        if len(self.stack) >= MAX_DEPTH:
            hint = "SCL needs some twenty levels: export the file again"
            raise self.fail(Fault.LIMIT, f"nested deeper than {MAX_DEPTH} levels", hint)
        name = self.name(given)
        if not self.stack and name != "SCL":
            space, _, begins = given.rpartition(" ")
            if begins == "SCL":
                hint = f"editions 1 to 2.1 have {NAMESPACE}"
                raise self.fail(Fault.FORMAT, f"SCL of the unknown namespace '{space}'", hint)
            hint = "SCD, CID, ICD, SSD and IID files do: is this one of them?"
            raise self.fail(Fault.FORMAT, f"the file begins with <{begins}>, not with <SCL>", hint)
        line, column = self.at
        said = {self.attribute(key): value for key, value in attributes.items()}
        element = Element(name, said, line, column=column)
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
            raise self.fail(Fault.LIMIT, f"a text of more than {MAX_TEXT} characters", "take it out")
        self.texts[-1].append(text)

    def end(self, _given: str) -> None:
        self.stack.pop().text = "".join(self.texts.pop()).strip()
        self.length = 0
