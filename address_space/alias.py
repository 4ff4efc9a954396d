"""The address book: any name of a datum to its one address, patterns to addresses, addresses to protocol bindings."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from address_space.address import FILLER, parse
from address_space.catalogue import CDCS
from address_space.nearest import nearest_names
from address_space.ports import AliasScheme
from address_space.table import PointTable
from address_space.tree import NO_NODE

_RE_SCHEME = re.compile(r"[a-z0-9][a-z0-9+.-]{0,31}\Z")
_MAX_ALIAS = 1024
_MAX_PATTERN = 1024
_QUALITIES = {"good": 0, "uncertain": 1, "bad": 2}


class AliasError(ValueError):
    """The alias, pattern or filter cannot be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the value of an address comes from or a command goes to.

    Attributes:
        driver: scheme of the protocol (`104`); empty for points of the service itself.
        link: name of the link.
        point: the protocol's own point, as after the scheme in an alias.
        role: `read`, `command`, `backup` or `verify`.
    """

    driver: str
    link: str
    point: str
    role: str = "read"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A retired address.

    Attributes:
        retired_at: FILETIME ticks.
        successor: the address that took its place; empty when there is none.
    """

    address: str
    retired_at: int
    reason: str = ""
    successor: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Answer to `resolve`: all that is known of one address, or the nearest ones when there is no match.

    Attributes:
        address: empty when nothing was found.
        kind: what the address denotes.
        node_id: OPC UA NodeId text with the authority's URI.
        topic: MQTT topic of the value.
        uri: URI under the authority.
        tombstone: set when the text named a retired address.
        nearest: at most five addresses like the text, best first; only when nothing was found.
    """

    address: str = ""
    kind: str = ""
    node_id: str = ""
    topic: str = ""
    uri: str = ""
    bindings: tuple[Binding, ...] = ()
    aliases: tuple[str, ...] = ()
    tombstone: Tombstone | None = None
    nearest: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether the text named an address."""
        return bool(self.address)


@dataclass(frozen=True, slots=True)
class Filter:
    """What `lookup` takes: empty members take all; any set member leaves only points.

    Attributes:
        ln_class: logical-node class (`XCBR`).
        cdc: common data class (`DPC`).
        quality: `good`, `uncertain` or `bad`, by the StatusCode.
    """

    ln_class: str = ""
    cdc: str = ""
    quality: str = ""

    @staticmethod
    def parse(text: str) -> Filter:
        """A filter of a text such as `class=XCBR cdc=DPC quality=good`; blanks or commas between.

        Raises:
            AliasError: when a word is not one of these.
        """
        members: dict[str, str] = {}
        for word in text.replace(",", " ").split():
            key, equals, value = word.partition("=")
            if not equals or key not in {"class", "cdc", "quality"} or not value:
                raise AliasError(f"{word!r} is no filter; write class=XCBR, cdc=DPC or quality=good|uncertain|bad")
            if key == "quality" and value not in _QUALITIES:
                raise AliasError(f"{value!r} is no quality; write good, uncertain or bad")
            if key == "cdc" and value not in CDCS:
                raise AliasError(f"{value!r} is no common data class")
            members["ln_class" if key == "class" else key] = value
        return Filter(**members)

    @property
    def empty(self) -> bool:
        """Whether everything is taken."""
        return not (self.ln_class or self.cdc or self.quality)


class AddressBook:
    """Aliases, patterns and bindings over one point table.

    Explicit aliases are texts `scheme:value`; one alias names exactly one address. Aliases of protocol schemes are not
    stored: an `AliasScheme` computes them from the bindings that the table keeps.
    """

    def __init__(
        self, table: PointTable, schemes: Iterable[AliasScheme] = (), authority: str = "", *, mqtt_root: str = "twin"
    ) -> None:
        self.table = table
        self.authority = authority
        self.mqtt_root = mqtt_root
        self._schemes = {scheme.scheme: scheme for scheme in schemes}
        self._scheme_of_link: dict[str, str] = {}
        # By scheme: a category is told without going through those of the others.
        self._aliases: dict[str, dict[str, str]] = {}
        self._aliases_of: dict[str, list[str]] = {}
        self._bindings: dict[str, list[Binding]] = {}
        self._tombstones: dict[str, Tombstone] = {}

    # ---- registering -------------------------------------------------------------------------------------------------

    def add_scheme(self, scheme: AliasScheme) -> None:
        """Learn the protocol addresses of one scheme."""
        self._schemes[scheme.scheme] = scheme

    def add_link(self, link: str, scheme: str) -> None:
        """Say which scheme the sources of a link are of."""
        self._scheme_of_link[link] = scheme

    def add_alias(self, alias: str, address: str) -> None:
        """Add an explicit alias.

        Raises:
            AliasError: when the alias is malformed or names another address already.
            AddressError: when the address is malformed.
        """
        alias = _canonical(alias)
        parse(address)
        known = self._aliases.setdefault(alias.partition(":")[0], {}).setdefault(alias, address)
        if known != address:
            raise AliasError(f"{alias} already names {known}")
        if alias not in self._aliases_of.setdefault(address, []):
            self._aliases_of[address].append(alias)

    def add_binding(self, address: str, binding: Binding) -> None:
        """Add a binding beside the one the table reads from (roles command, backup, verify)."""
        kept = self._bindings.setdefault(address, [])
        if binding not in kept:
            kept.append(binding)

    def retire(self, tombstone: Tombstone) -> None:
        """An address is not used any more; with a successor the alias `was:<address>` names that one."""
        self._tombstones[tombstone.address] = tombstone
        if tombstone.successor:
            self.add_alias(f"was:{tombstone.address}", tombstone.successor)

    def inherit(self, former: AddressBook) -> None:
        """Keep the tombstones of a former book, except of what has one here."""
        for address, tombstone in dict(former._tombstones).items():
            if address not in self._tombstones:
                with contextlib.suppress(AliasError):  # the mapping says itself who is the successor
                    self.retire(tombstone)

    def adopt(self, other: AddressBook) -> None:
        """Become another book of the same table; that one is spent then."""
        self._schemes, self._scheme_of_link = other._schemes, other._scheme_of_link
        self._aliases, self._aliases_of, self._bindings = other._aliases, other._aliases_of, other._bindings
        self._tombstones = other._tombstones

    def revive(self, address: str) -> None:
        """A retired address is used again."""
        self._tombstones.pop(address, None)

    # ---- resolving ---------------------------------------------------------------------------------------------------

    def resolve(self, text: str) -> Resolution:
        """What a text names: an alias when it has a colon, else an address, exactly or by unique case-folded form."""
        text = text.strip()
        if ":" in text:
            address = self._of_alias(text)
            tombstone = self._tombstones.get(text[4:]) if text.startswith("was:") else None
            return self._described(address, tombstone) if address else Resolution(tombstone=tombstone)
        if self.table.tree.find(text) != NO_NODE:
            return self._described(text, None)
        tombstone = self._tombstones.get(text)
        if tombstone is not None:
            exists = tombstone.successor and self.table.tree.find(tombstone.successor) != NO_NODE
            return self._described(tombstone.successor, tombstone) if exists else Resolution(tombstone=tombstone)
        folded = self._case_folded(text)
        if len(folded) == 1:
            return self._described(folded[0], None)
        return Resolution(nearest=tuple(folded[:5]) or self.nearest(text))

    def _of_alias(self, text: str) -> str:
        if len(text) > _MAX_ALIAS:
            return ""
        try:
            alias = _canonical(text)
        except AliasError:
            return ""
        address = self._aliases.get(alias.partition(":")[0], {}).get(alias)
        if address is not None:
            return address if self.table.tree.find(address) != NO_NODE else ""
        rows = self._rows_of_alias(alias)
        return self.table.address(rows[0]) if rows else ""

    def _rows_of_alias(self, alias: str) -> list[int]:
        name, _, value = alias.partition(":")
        scheme = self._schemes.get(name)
        for place in scheme.sources(value) if scheme is not None else ():
            if rows := self.table.rows_bound_to(*place):
                return rows
        return []

    def _described(self, address: str, tombstone: Tombstone | None) -> Resolution:
        parsed = parse(address)
        return Resolution(
            address,
            str(parsed.kind),
            parsed.node_id(self.authority),
            parsed.topic(root=self.mqtt_root),
            parsed.uri(self.authority),
            self.bindings(address),
            self.aliases(address),
            tombstone,
        )

    def aliases(self, address: str) -> tuple[str, ...]:
        """Explicit aliases of an address, then those of its bindings."""
        explicit = self._aliases_of.get(address, [])
        protocol = [f"{each.driver}:{each.point}" for each in self.bindings(address) if each.driver and each.point]
        return tuple(dict.fromkeys((*explicit, *protocol)))

    def schemes(self) -> tuple[str, ...]:
        """Schemes that there are aliases of, in order of the alphabet."""
        links = {self._scheme_of_link[link] for link in self.table.links if link in self._scheme_of_link}
        return tuple(sorted({*self._aliases} | {scheme for scheme in links if scheme in self._schemes}))

    def scheme_of_link(self, link: str) -> str:
        """Scheme of a link's addresses; empty when it is not known."""
        return self._scheme_of_link.get(link, "")

    def named(self, scheme: str) -> Iterator[tuple[str, str | int]]:
        """All aliases of a scheme, each with the address it names, or with the row of the point, one by one.

        The table and the aliases may change meanwhile; what has been added since then is not told.
        """
        yield from list(self._aliases.get(scheme, {}).items())
        known = self._schemes.get(scheme)
        if known is None:
            return
        for link in self.table.links:
            if self._scheme_of_link.get(link) != scheme:
                continue
            for row in self.table.rows_of_link(link):
                value = known.alias(link, self.table.binding(int(row))[1])
                if value:
                    yield f"{scheme}:{value}", int(row)

    def bindings(self, address: str) -> tuple[Binding, ...]:
        """Bindings of an address, the one it is read from first."""
        row = self.table.find(address)
        if row < 0:
            return ()
        link, source = self.table.binding(row)
        further = tuple(self._bindings.get(address, ()))
        if not link:
            return further
        scheme = self._schemes.get(self._scheme_of_link.get(link, ""))
        point = scheme.alias(link, source) if scheme is not None else str(source)
        return (Binding(scheme.scheme if scheme is not None else "", link, point), *further)

    def reverse_lookup(self, link: str, source: int | str | None = None) -> tuple[str, ...]:
        """Addresses of a binding: `reverse_lookup(link, source)`, or `reverse_lookup("104:ps01-rtu/1/4001")`."""
        rows = self._rows_of_alias(link) if source is None else self.table.rows_bound_to(link, source)
        return tuple(self.table.address(row) for row in rows)

    # ---- patterns ----------------------------------------------------------------------------------------------------

    def lookup(self, pattern: str, where: Filter | None = None, limit: int = 1000) -> tuple[str, ...]:
        """Addresses that match a pattern (`+` one segment, `#` at the end all below), at most `limit`.

        Raises:
            AliasError: when the pattern is malformed.
        """
        found: list[str] = []
        for address in self.walk(pattern, where):
            if address is not None:
                found.append(address)
                if len(found) >= limit:
                    break
        return tuple(found)

    def walk(self, pattern: str, where: Filter | None = None) -> Iterator[str | None]:
        """Like `lookup` without a limit; yields None for each node that was looked at in vain, so callers can pause.

        Raises:
            AliasError: when the pattern is malformed.
        """
        segments = _pattern(pattern)
        where = where or Filter()
        tree = self.table.tree
        # (node, its address, its level): children are matched against the segment of their level.
        pending: list[tuple[int, str, int]] = [(root, tree.name(root), 1) for root in reversed(tree.roots())]
        while pending:
            node, address, level = pending.pop()
            names = address.split("/")
            below = _matches(segments, names)
            if below is None:
                yield None
                continue
            whole, deeper = below
            yield address if whole and self._passes(node, names, where) else None
            if not deeper:
                continue
            children = [
                (child, f"{address}/{(FILLER + '/') * (int(tree.level[child]) - level - 1)}{tree.name(child)}")
                for child in self._children(node, address, level, segments)
            ]
            pending.extend((child, text, int(tree.level[child])) for child, text in reversed(children))

    def _children(self, node: int, address: str, level: int, segments: list[str]) -> Iterable[int]:
        """Children worth looking at: only the one named when the pattern names it."""
        if level < len(segments) and segments[level] not in {"+", "#", FILLER}:
            child = self.table.tree.find(f"{address}/{segments[level]}")
            return () if child == NO_NODE else (child,)
        return self.table.tree.children(node)

    def _passes(self, node: int, names: list[str], where: Filter) -> bool:
        if where.empty:
            return True
        row = int(self.table.tree.row[node])
        if row < 0 or len(names) < 7:
            return False
        if where.ln_class:
            function = parse("/".join(names)).function
            if function is None or function.ln_class != where.ln_class:
                return False
        if where.cdc and self.table.profile(row).cdc != where.cdc:
            return False
        return not where.quality or min(int(self.table.status[row]) >> 30, 2) == _QUALITIES[where.quality]

    # ---- near misses -------------------------------------------------------------------------------------------------

    def _case_folded(self, text: str) -> list[str]:
        """Addresses that differ from the text only by case."""
        tree = self.table.tree
        wanted = [segment.casefold() for segment in text.split("/")]
        places: list[tuple[int, str]] = [(NO_NODE, "")]
        for number, segment in enumerate(wanted, 1):
            if segment == FILLER:
                continue
            found: list[tuple[int, str]] = []
            for node, address in places:
                children = tree.roots() if node == NO_NODE else tree.children(node)
                found.extend(
                    (child, _below(address, number, tree.name(child)))
                    for child in children
                    if int(tree.level[child]) == number and tree.name(child).casefold() == segment
                )
            places = found[:16]
            if not places:
                return []
        return [address for node, address in places if node != NO_NODE]

    def nearest(self, text: str, limit: int = 5) -> tuple[str, ...]:
        """Addresses most like a text by edit distance, best first; goes down the tree, not over all addresses."""
        return nearest_names(self.table.tree, text, limit)


def _below(address: str, level: int, name: str) -> str:
    if not address:
        return name
    fillers = level - address.count("/") - 2
    return f"{address}/{(FILLER + '/') * fillers}{name}"


def _canonical(alias: str) -> str:
    scheme, colon, value = alias.partition(":")
    if not colon or not _RE_SCHEME.match(scheme) or not value:
        raise AliasError(f"{alias!r} is no alias; write scheme:value")
    if len(alias) > _MAX_ALIAS or any(ord(char) < 32 for char in alias):
        raise AliasError(f"the alias {alias[:40]!r}… is too long or has control characters")
    return f"mrid:{value.lower()}" if scheme == "mrid" else alias


def _pattern(pattern: str) -> list[str]:
    segments = pattern.split("/")
    if not pattern or len(pattern) > _MAX_PATTERN:
        raise AliasError("a pattern has 1 to 1024 characters")
    for number, segment in enumerate(segments):
        if segment == "#" and number < len(segments) - 1:
            raise AliasError("'#' is for the end of a pattern")
        if not segment or (len(segment) > 1 and ("+" in segment or "#" in segment)):
            raise AliasError("'+' and '#' stand for whole segments, and no segment is empty")
    return segments


def _matches(segments: list[str], names: list[str]) -> tuple[bool, bool] | None:
    """(the address matches, something below may match); None for neither."""
    for number, name in enumerate(names):
        if number >= len(segments):
            return None
        segment = segments[number]
        if segment == "#":
            return True, True
        if segment not in {"+", name}:
            return None
    rest = segments[len(names) :]
    # As in MQTT `a/#` matches `a` too.
    return (not rest or rest == ["#"]), bool(rest)
