"""Technological addresses: grammar, escaping and the representations of one address."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

MAX_LENGTH = 255
MAX_SEGMENT = 48
PLACE_LEVELS = ("grid", "area", "site", "vlevel", "bay", "equipment")
FILLER = "_"

_ESCAPE = "~[0-9A-F]{2}"
_NAME = rf"(?:[A-Za-z0-9]|{_ESCAPE})(?:[A-Za-z0-9_-]|{_ESCAPE})*"
_RE_NAME = re.compile(rf"{_NAME}\Z")
_RE_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}\Z")
_RE_SYSTEM = re.compile(rf"_{_NAME}\Z")
_RE_TERMINAL = re.compile(r"T[1-9]\Z")
_RE_FUNCTION = re.compile(r"(?P<prefix>[A-Za-z][A-Za-z0-9_]{0,11}?)?(?P<cls>[A-Z]{4})(?P<inst>[0-9]{0,7})\Z")
_RE_DATA = re.compile(r"[A-Z][A-Za-z0-9]{0,31}\Z")
_RE_ATTRIBUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9]{0,31}|[0-9]{1,5})\Z")
_RE_ESCAPES = re.compile(rf"(?:{_ESCAPE})+")


class AddressError(ValueError):
    """The text is not an address of the grammar; the message says which part and why."""


class Kind(StrEnum):
    """What an address denotes, told by its depth."""

    GRID = "grid"
    AREA = "area"
    SITE = "site"
    VLEVEL = "vlevel"
    BAY = "bay"
    EQUIPMENT = "equipment"
    TERMINAL = "terminal"
    FUNCTION = "function"
    DATA = "data"
    ATTRIBUTE = "attribute"


_PLACE_KINDS = tuple(Kind(name) for name in PLACE_LEVELS)


@dataclass(frozen=True, slots=True)
class FunctionName:
    """A logical-node name taken apart: prefix, four-letter class, instance (text, may be empty)."""

    prefix: str
    ln_class: str
    instance: str


def escape(text: str) -> str:
    """Turn any source name into a legal segment; reversible with `unescape`.

    Raises:
        AddressError: when the text is empty.
    """
    if _RE_PLAIN.match(text):
        return text
    if not text:
        raise AddressError("a name may not be empty")
    return "".join(
        char
        if (char.isascii() and char.isalnum()) or (char in "_-" and index > 0)
        else "".join(f"~{octet:02X}" for octet in char.encode("utf-8"))
        for index, char in enumerate(text)
    )


def unescape(segment: str) -> str:
    """The readable original of a segment.

    Raises:
        AddressError: when the escapes are not UTF-8.
    """
    if "~" not in segment:
        return segment
    try:
        return _RE_ESCAPES.sub(
            lambda match: bytes.fromhex(match.group().replace("~", "")).decode("utf-8"),
            segment,
        )
    except UnicodeDecodeError as error:
        raise AddressError(f"the escapes of {segment!r} are not UTF-8") from error


def function_name(segment: str) -> FunctionName | None:
    """Take a level-7 segment apart; None when it is no logical-node name (for example a terminal `T1`)."""
    if segment == "LLN0":
        return FunctionName("", "LLN0", "")
    match = _RE_FUNCTION.match(segment)
    if match is None:
        return None
    return FunctionName(match["prefix"] or "", match["cls"], match["inst"])


def is_terminal(segment: str) -> bool:
    """Whether the segment is an equipment terminal `T1` to `T9`."""
    return _RE_TERMINAL.match(segment) is not None


@dataclass(frozen=True)
class Address:
    """One technological address.

    Attributes:
        place: the place levels that apply, without trailing fillers (1 to 6 segments).
        node: level 7, a terminal or a function; None for a container.
        path: data object, then sub-objects or attributes.
    """

    place: tuple[str, ...]
    node: str | None = None
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text

    @cached_property
    def text(self) -> str:
        """The canonical text; also the OPC UA string NodeId and the tail of the MQTT topic."""
        if self.node is None:
            return "/".join(self.place)
        fillers = (FILLER,) * (6 - len(self.place))
        return "/".join((*self.place, *fillers, self.node, *self.path))

    @property
    def kind(self) -> Kind:
        """What the address denotes."""
        if self.node is None:
            return _PLACE_KINDS[len(self.place) - 1]
        if is_terminal(self.node):
            return Kind.TERMINAL
        if not self.path:
            return Kind.FUNCTION
        return Kind.DATA if len(self.path) == 1 else Kind.ATTRIBUTE

    @property
    def function(self) -> FunctionName | None:
        """The logical-node name taken apart; None for containers and terminals."""
        return None if self.node is None or is_terminal(self.node) else function_name(self.node)

    def parent(self) -> Address | None:
        """The container one level up, fillers skipped; None for the grid."""
        if self.path:
            return Address(self.place, self.node, self.path[:-1])
        if self.node is not None:
            return Address(_strip(self.place))
        return Address(_strip(self.place[:-1])) if len(self.place) > 1 else None

    def browse_path(self) -> tuple[str, ...]:
        """BrowseNames below `Objects/Grid`: the segments without fillers."""
        names = tuple(segment for segment in self.place if segment != FILLER)
        return names if self.node is None else (*names, self.node, *self.path)

    def display_path(self) -> tuple[str, ...]:
        """The browse path with readable originals instead of escapes."""
        return tuple(unescape(segment) for segment in self.browse_path())

    def topic(self, topic_class: str = "v", root: str = "twin") -> str:
        """The MQTT topic `<root>/<class>/<address>`."""
        return f"{root}/{topic_class}/{self.text}"

    def uri(self, authority: str) -> str:
        """The URI `<authority>/uta/<address>`; a bare host name gets `https://`."""
        base = authority if "://" in authority else f"https://{authority}"
        return f"{base.rstrip('/')}/uta/{self.text}"

    def uuid(self, authority: str) -> uuid.UUID:
        """UUIDv5 of the URI, for systems that only take UUIDs."""
        return uuid.uuid5(uuid.NAMESPACE_URL, self.uri(authority))

    def node_id(self, authority: str) -> str:
        """The OPC UA NodeId text `nsu=<authority>;s=<address>`."""
        return f"nsu={authority};s={self.text}"


def _strip(place: tuple[str, ...]) -> tuple[str, ...]:
    end = len(place)
    while end and place[end - 1] == FILLER:
        end -= 1
    return place[:end]


def check_name(segment: str, what: str) -> None:
    """Check one place-level name.

    Raises:
        AddressError: with `what` (the level) in the message.
    """
    if _RE_PLAIN.match(segment):
        return
    if len(segment) > MAX_SEGMENT:
        raise AddressError(f"{what} {segment[:20]!r}… is longer than {MAX_SEGMENT} characters")
    if segment.startswith(FILLER):
        raise AddressError(f"{what} {segment!r} is a reserved name")
    if not segment:
        raise AddressError(f"the {what} is empty")
    if not _RE_NAME.match(segment):
        raise AddressError(f"{what} {segment!r} has characters outside A-Z a-z 0-9 _ - (escape others as ~HH)")
    if escape(unescape(segment)) != segment:
        raise AddressError(f"{what} {segment!r} is not canonical; write {escape(unescape(segment))!r}")


def _check_place(place: list[str]) -> None:
    for level, segment in enumerate(place):
        if segment == FILLER:
            if level == 0:
                raise AddressError("the grid level may not be '_'")
            continue
        if level == 1 and segment.startswith(FILLER):
            if not _RE_SYSTEM.match(segment) or len(segment) > MAX_SEGMENT:
                raise AddressError(f"bad system name {segment!r}")
            check_name(segment[1:], "system name")
            continue
        check_name(segment, PLACE_LEVELS[level])


def _check_node(place: list[str], node: str, path: tuple[str, ...]) -> None:
    if is_terminal(node):
        if path:
            raise AddressError("nothing stands below a terminal")
        if place[5] == FILLER:
            raise AddressError("a terminal needs an equipment level")
    elif node != "LLN0" and not _RE_FUNCTION.match(node):
        raise AddressError(f"{node!r} is no function: write prefix, four capital letters, number, as in 'MMXU1'")
    if path:
        if not _RE_DATA.match(path[0]):
            raise AddressError(f"{path[0]!r} is no data object: it starts with a capital letter, as in 'Pos'")
        for attribute in path[1:]:
            if not _RE_ATTRIBUTE.match(attribute):
                raise AddressError(f"bad attribute {attribute!r}")


def parse_uncached(text: str) -> Address:
    """Parse without the cache; see `parse`."""
    if not text:
        raise AddressError("an address may not be empty")
    if len(text) > MAX_LENGTH:
        raise AddressError(f"an address has at most {MAX_LENGTH} characters, this one has {len(text)}")
    if not text.isascii():
        raise AddressError("an address is ASCII; escape other characters as ~HH")
    segments = text.split("/")
    place, rest = segments[:6], segments[6:]
    _check_place(place)
    if not rest:
        if place[-1] == FILLER:
            raise AddressError("a container never ends in '_'")
        return Address(tuple(place))
    node, path = rest[0], tuple(rest[1:])
    _check_node(place, node, path)
    return Address(_strip(tuple(place)), node, path)


@lru_cache(maxsize=65536)
def parse(text: str) -> Address:
    """Parse an address text by the grammar; cached.

    Raises:
        AddressError: with the part that is wrong and what to write instead.
    """
    return parse_uncached(text)


def join(place: tuple[str, ...], node: str, *path: str) -> Address:
    """An address from its parts, checked.

    Raises:
        AddressError: when a part breaks the grammar.
    """
    return parse(Address(_strip(place), node, path).text)
