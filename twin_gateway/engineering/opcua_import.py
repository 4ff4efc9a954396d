"""From another OPC UA server's names to a point list: what is known of each point, and what is still to be filled in.

An OPC UA server says what its points are, and not where they come from. So the import makes a list, one line a point,
that `import csv` makes a mapping file of as soon as the cells of its bindings are filled in; until then it tells each
line that has none. Where alias names (Part 17) of the server tell object addresses of 104, they are filled in.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from address_space import units
from address_space.address import AddressError, Kind, escape, function_name
from address_space.address import parse as parse_address
from address_space.catalogue import CatalogueError, classify, ln_classes
from twin_gateway.engineering.draft import natural
from twin_gateway.engineering.flow import one_line
from twin_gateway.engineering.live_import import LiveImportError
from twin_gateway.engineering.opcua_import_space import ForeignSpace, ForeignVariable

COLUMNS: Final = (
    "address",
    "device",
    "common_address",
    "ioa",
    "type",
    "unit",
    "name",
    "aliases",
    "comment",
    "node_id",
    "browse_path",
    "data_type",
    "access",
    "range",
    "labels",
    "source",
)
"""The first nine are what `import csv` reads; the others say where the line is from."""
_FORMULA: Final = ("=", "+", "-", "@", "'")
_PRIMARY: Final = (
    "stVal",
    "mag.f",
    "cVal.mag.f",
    "instMag.f",
    "actVal",
    "general",
    "valWTr.posVal",
    "setVal",
    "mxVal.f",
)
_FUNCTIONAL_CONSTRAINTS: Final = frozenset({"ST", "MX", "CO", "SP", "SG", "SE", "SV", "CF", "DC", "EX", "OR", "BL"})
_IEC104: Final = re.compile(r"104:([^/]+)/(\d{1,5})/(\d{1,8})")
_OF_DEVICES: Final = ("61850:", "dlms:", "coap:")
_DEEPEST_PLACE: Final = 3


@dataclass(slots=True)
class PointList:
    """A list that is to be written.

    Attributes:
        rows: cells by column, in natural order.
        addressed: rows with an address.
        bound: rows with the object address of a device.
        folded: variables that are attributes of a row's data object, and system points of the other gateway.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    addressed: int = 0
    bound: int = 0
    folded: int = 0


def make_list(space: ForeignSpace) -> PointList:
    """The list of a server's variables; each data object once."""
    out = PointList()
    named = _addresses(space.variables)
    chosen: dict[str, ForeignVariable] = {}
    for variable in space.variables:
        address = named.get(variable.node_id, "")
        if address is None:
            out.folded += 1
            continue
        if not address:
            chosen[variable.node_id] = variable
            continue
        other = chosen.get(address)
        out.folded += other is not None
        if other is None or _rank(variable) < _rank(other):
            chosen[address] = variable
    for variable in chosen.values():
        row = _row(variable, named.get(variable.node_id) or "", space.aliases.get(variable.node_id, []))
        out.addressed += bool(row["address"])
        out.bound += bool(row["ioa"])
        out.rows.append(row)
    out.rows.sort(key=lambda row: (not row["address"], natural(row["address"]), natural(row["browse_path"])))
    return out


def _rank(variable: ForeignVariable) -> int:
    """0 for the primary attribute of a data object, or the data object itself."""
    path = ".".join(variable.path)
    if any(path.endswith(f".{attribute}") for attribute in _PRIMARY):
        return 0
    return 1 if variable.path and variable.path[-1][:1].isupper() else 2


def _addresses(variables: Iterable[ForeignVariable]) -> dict[str, str | None]:
    """Address by NodeId: the NodeId itself, or the names of 61850 in it; None for what is no point of its own."""
    found: dict[str, str | None] = {}
    below: defaultdict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for variable in variables:
        own = _own_address(variable.identifier)
        if own != "":
            found[variable.node_id] = own
            continue
        above, point = _names_of_61850(variable)
        if point:
            below[point][variable.node_id] = above
    for point, places in below.items():
        named = _places(set(places.values()))
        for node_id, above in places.items():
            found[node_id] = f"{named[above]}/{point}" if above in named else ""
    return found


def _own_address(identifier: str) -> str | None:
    """The identifier, where it is the address of a point in the catalogue; else empty.

    None for what gets no line: system points, and attributes of a point or device (`…/Pos#stVal`).
    """
    whole, hash_mark, _ = identifier.partition("#")
    try:
        address = parse_address(whole)
    except AddressError:
        return ""
    if hash_mark:
        return None
    if address.kind not in {Kind.DATA, Kind.ATTRIBUTE} or not _known(identifier):
        return ""
    return None if identifier.split("/")[1].startswith("_") and identifier.split("/")[1] != "_" else identifier


@lru_cache(maxsize=100_000)
def _known(address: str) -> bool:
    try:
        return classify(parse_address(address)) is not None
    except (AddressError, CatalogueError):
        return False


def _names_of_61850(variable: ForeignVariable) -> tuple[tuple[str, ...], str]:
    """What stands above the logical node, and the point key, by the browse path: `MMXU1/A/phsB`; empty without one."""
    tokens = [
        token for name in variable.path for token in re.split(r"[./$]", name) if token not in _FUNCTIONAL_CONSTRAINTS
    ]
    for i in range(len(tokens) - 1):
        function = function_name(tokens[i])
        if function is None or function.ln_class not in ln_classes():
            continue
        for length in (3, 2):
            key = "/".join(tokens[i : i + length])
            if len(tokens) >= i + length and _known(f"g/a/s/_/_/_/{key}"):
                return tuple(tokens[:i]), key
    return (), ""


def _places(above: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """As many of the names above the logical node as tell places apart: `_/_/Bay1`; none where the lowest do not."""
    found: dict[tuple[str, ...], str] = {}
    for length in range(1, _DEEPEST_PLACE + 1):
        ends = Counter(names[-length:] for names in above)
        for names in above:
            if names not in found and ends[names[-length:]] == 1:
                levels = [escape(name) if name else "_" for name in names[-length:]]
                found[names] = "/".join([*["_"] * (_DEEPEST_PLACE - len(levels)), *levels])
    return found


def _row(variable: ForeignVariable, address: str, aliases: Sequence[str]) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    row["address"] = address
    for alias in aliases:
        match = _IEC104.fullmatch(alias)
        if match is not None and not row["ioa"]:
            row["device"], row["common_address"], row["ioa"] = match[1], match[2], match[3]
        elif alias.startswith(_OF_DEVICES) and not row["source"]:
            row["source"] = alias
    own = [alias for alias in aliases if re.match(r"(mrid|rds|oid):", alias)]
    row["aliases"] = " ".join(alias for alias in own if " " not in alias)
    unit = _unit(variable)
    row["unit"] = unit
    leaf = address.rpartition("/")[2]
    row["name"] = variable.name if variable.name not in {leaf, variable.path[-1] if address else ""} else ""
    said = [variable.description if variable.description != variable.name and not address else ""]
    said.append(f"unit {variable.unit}" if variable.unit and not unit else "")
    row["comment"] = "; ".join(one_line(text) for text in said if text)
    row["node_id"] = f"nsu={variable.uri};{variable.node_id.partition(';')[2] or variable.node_id}"
    row["browse_path"] = "/".join(name.replace("/", "&/") for name in variable.path)
    row["data_type"] = variable.data_type
    row["access"] = "read, write" if variable.writable else "read"
    if variable.low is not None and variable.high is not None:
        row["range"] = f"{variable.low:g}..{variable.high:g}"
    row["labels"] = "/".join(f"{i}={text}" for i, text in enumerate(variable.states) if text)
    return row


def _unit(variable: ForeignVariable) -> str:
    """The symbol of a unit by its UNECE number, else by its text; empty for units that are not known here."""
    if variable.unit_id > 0 and variable.unit_id in _by_number():
        return _by_number()[variable.unit_id]
    try:
        return units.unit(variable.unit).symbol if variable.unit else ""
    except units.UnitError:
        return ""


@cache
def _by_number() -> dict[int, str]:
    return {units.unit(symbol).unit_id: symbol for symbol in reversed(units.symbols())}


def text_of(rows: Iterable[dict[str, str]], *, header: bool = True) -> str:
    """The list as CSV, separated by semicolons; what a spreadsheet would take for a formula has an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    for row in rows:
        cells = [one_line(row[name]) for name in COLUMNS]
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return out.getvalue()


def merged(target: Path, found: PointList) -> tuple[str, int, int]:
    """An existing list with the lines of nodes that it does not have put behind; what is there stays as it is.

    Returns:
        The text, the number of new lines, and of lines whose nodes the server does not have any more.

    Raises:
        LiveImportError: it is not such a list.
    """
    hint = "write it anew with --mode overwrite, or name another file"
    try:
        whole = target.read_bytes().decode()  # with its line ends, and the mark that spreadsheet programs put in front
    except (OSError, ValueError) as error:
        raise LiveImportError(f"{target} cannot be read: {error}", hint) from error
    text = whole.removeprefix("\ufeff")
    first = text.partition("\n")[0]
    separator = max(";,\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    if "node_id" not in (reader.fieldnames or ()):
        raise LiveImportError(f"{target} has no column node_id: it is no list of this import", hint)
    there = {(row.get("node_id") or "").lstrip("'") for row in reader} - {""}
    fresh = [row for row in found.rows if row["node_id"] not in there]
    if fresh and (separator != ";" or tuple(reader.fieldnames or ())[: len(COLUMNS)] != COLUMNS):
        raise LiveImportError(f"{target}: its columns are others than those of the import", hint)
    gone = there - {row["node_id"] for row in found.rows}
    end = "\r\n" if first.endswith("\r") else "\n"
    new = text_of(fresh, header=False).replace("\n", end)
    body = whole if whole.endswith("\n") or not fresh else whole + end
    return body + new, len(fresh), len(gone)
