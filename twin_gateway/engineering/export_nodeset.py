"""The address space of a mapping as a UANodeSet: places, functions and points with the NodeIds that the gateway gives.

Types are those of the OPC UA base that the gateway's own are derived from. BrowseNames of data objects are, as at the
gateway, of the namespace of its types: loaders that want to know every namespace read the types' NodeSet first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from address_space import catalogue, languages, units
from address_space.address import unescape
from address_space.catalogue import ValueType, VariableKind
from address_space.point import PointProfile
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.point import MappedPoint

TYPES_URI: Final = "urn:twin-gateway:UA:Grid"
_UA: Final = "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"
_TYPES: Final = "http://opcfoundation.org/UA/2008/02/Types.xsd"
_GRID: Final = "#Grid"
_FOLDER, _OBJECT, _PROPERTY, _OBJECTS = 61, 58, 68, 85
_LAST_FOLDER_LEVEL, _FUNCTION_LEVEL = 5, 7
_VARIABLE_TYPES: Final = {
    VariableKind.TWO_STATE: 2373,
    VariableKind.MULTI_STATE: 11238,
    VariableKind.ANALOG: 17497,
    VariableKind.BASE_ANALOG: 15318,
    VariableKind.DATA: 63,
}
_DATA_TYPES: Final = {
    ValueType.BOOLEAN: ("i=1", "Boolean"),
    ValueType.INT32: ("i=6", "Int32"),
    ValueType.UINT32: ("i=7", "UInt32"),
    ValueType.INT64: ("i=8", "Int64"),
    ValueType.DOUBLE: ("i=11", "Double"),
    ValueType.STRING: ("i=12", "String"),
}
_ALIASES: Final = {"Organizes": 35, "HasTypeDefinition": 40, "HasProperty": 46, "HasComponent": 47}
_TEXT, _EU_INFORMATION, _ENUM_VALUE = "i=21", "i=887", "i=7594"
_READ = 1
"""AccessLevel of points: commands are methods of the logical node, nothing is written."""


def export_nodeset(mapping: Mapping, authority: str) -> str:
    """UANodeSet of every place, function and point.

    Args:
        mapping: the points; an address with several bindings is one node.
        authority: URI of the namespace, as `authority` in gateway.yaml.
    """
    points: dict[str, MappedPoint] = {}
    for _, point in mapping.points():
        points.setdefault(point.address, point)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<UANodeSet xmlns="{_UA}">',
        f"  <NamespaceUris><Uri>{escape(authority)}</Uri><Uri>{TYPES_URI}</Uri></NamespaceUris>",
        f"  <Models><Model ModelUri={quoteattr(authority)} /></Models>",
        "  <Aliases>",
        *(f'    <Alias Alias="{name}">i={number}</Alias>' for name, number in _ALIASES.items()),
        "  </Aliases>",
        *_object(_GRID, "1:Grid", "Grid", _FOLDER, ("Organizes", f"i={_OBJECTS}")),
    ]
    for address, level, parent, parent_level in _nodes(points):
        name = address.rpartition("/")[2]
        space = 1 if level <= _FUNCTION_LEVEL else 2
        holder = points.get(parent)
        by = "Organizes" if holder is None and parent_level <= _LAST_FOLDER_LEVEL else "HasComponent"
        upward = (by, _node_id(parent))
        own = points.get(address)
        if own is None:
            kind = _FOLDER if level <= _LAST_FOLDER_LEVEL else _OBJECT
            lines += _object(address, f"{space}:{name}", unescape(name), kind, upward)
        else:
            lines += _point(own, f"{space}:{name}", upward)
    return "\n".join((*lines, "</UANodeSet>")) + "\n"


def _nodes(points: dict[str, MappedPoint]) -> Iterator[tuple[str, int, str, int]]:
    """Every node once, parents first: address, level, parent (`#Grid` for none), its level. Fillers are no nodes."""
    seen: set[str] = set()
    for address in sorted(points, key=lambda text: text.split("/")):
        parent, parent_level = _GRID, 0
        segments = address.split("/")
        for level, segment in enumerate(segments, 1):
            if segment == "_":
                continue
            own = "/".join(segments[:level])
            if own not in seen:
                seen.add(own)
                yield own, level, parent, parent_level
            parent, parent_level = own, level


def _node_id(identifier: str) -> str:
    return f"ns=1;s={identifier}"


def _object(identifier: str, browse_name: str, name: str, kind: int, upward: tuple[str, str]) -> list[str]:
    return [
        f"  <UAObject NodeId={quoteattr(_node_id(identifier))} BrowseName={quoteattr(browse_name)}>",
        f"    <DisplayName>{escape(name)}</DisplayName>",
        f"    {_references(kind, upward)}",
        "  </UAObject>",
    ]


def _references(kind: int, upward: tuple[str, str]) -> str:
    relation, parent = upward
    return (
        f'<References><Reference ReferenceType="HasTypeDefinition">i={kind}</Reference>'
        f'<Reference ReferenceType="{relation}" IsForward="false">{escape(parent)}</Reference></References>'
    )


def _point(point: MappedPoint, browse_name: str, upward: tuple[str, str]) -> list[str]:
    profile = point.profile
    data_type, _ = _DATA_TYPES[profile.value_type]
    names = [(locale, name) for locale, name in point.names if name]
    shown = point.display_name or unescape(point.address.rpartition("/")[2])
    texts = [("", shown), *((locale, name) for locale, name in names if locale)]
    lines = [
        f"  <UAVariable NodeId={quoteattr(_node_id(point.address))} BrowseName={quoteattr(browse_name)}"
        f' DataType="{data_type}" AccessLevel="{_READ}">',
        *(
            f"    <DisplayName{f' Locale={quoteattr(locale)}' if locale else ''}>{escape(name)}</DisplayName>"
            for locale, name in texts
        ),
        f"    {_references(_VARIABLE_TYPES[profile.kind], upward)}",
        "  </UAVariable>",
    ]
    for name, data_type, rank, value in _properties(profile):
        dimensions = ' ArrayDimensions="0"' if rank > 0 else ""
        lines += [
            f'  <UAVariable NodeId={quoteattr(_node_id(f"{point.address}#{name}"))} BrowseName="{name}"'
            f' DataType="{data_type}" ValueRank="{rank}"{dimensions}>',
            f"    <DisplayName>{name}</DisplayName>",
            f"    {_references(_PROPERTY, ('HasProperty', _node_id(point.address)))}",
            # asyncua takes a value without any blank before its first part for none.
            f"    <Value>{value.replace('>', '> ', 1)}</Value>",
            "  </UAVariable>",
        ]
    return lines


def _properties(profile: PointProfile) -> Iterator[tuple[str, str, int, str]]:
    """Name, data type, rank and value of the properties that the VariableType asks for."""
    labels = catalogue.enumeration(profile.enumeration)
    if profile.kind is VariableKind.TWO_STATE:
        for name, text in (
            ("FalseState", languages.text("FalseState", "")),
            ("TrueState", languages.text("TrueState", "")),
        ):
            yield name, _TEXT, -1, _localized("LocalizedText", text)
    elif profile.kind is VariableKind.MULTI_STATE:
        body = "".join(map(_enum_value, labels))
        yield "EnumValues", _ENUM_VALUE, 1, f'<ListOfExtensionObject xmlns="{_TYPES}">{body}</ListOfExtensionObject>'
        yield "ValueAsText", _TEXT, -1, _localized("LocalizedText", "")
    elif profile.kind is VariableKind.ANALOG:
        yield "EngineeringUnits", _EU_INFORMATION, -1, _unit(profile.unit)


def _localized(tag: str, text: str) -> str:
    return f'<{tag} xmlns="{_TYPES}"><Text>{escape(text)}</Text></{tag}>'


def _enum_value(entry: tuple[int, str]) -> str:
    number, label = entry
    text = f"<Text>{escape(label)}</Text>"
    value = f"<EnumValueType><Value>{number}</Value><DisplayName>{text}</DisplayName><Description>{text}</Description>"
    return _extension(7616, f"{value}</EnumValueType>")


def _unit(unit: units.Unit | None) -> str:
    number = -1 if unit is None else unit.unit_id
    name = "" if unit is None else units.display_name(unit)
    about = "no unit known" if unit is None else unit.description or unit.symbol
    body = (
        f"<EUInformation><NamespaceUri>{units.UNECE_NAMESPACE}</NamespaceUri><UnitId>{number}</UnitId>"
        f"<DisplayName><Text>{escape(name)}</Text></DisplayName><Description><Text>{escape(about)}</Text></Description>"
        "</EUInformation>"
    )
    return _extension(888, body).replace("<ExtensionObject>", f'<ExtensionObject xmlns="{_TYPES}">', 1)


def _extension(number: int, body: str) -> str:
    return f"<ExtensionObject><TypeId><Identifier>i={number}</Identifier></TypeId><Body>{body}</Body></ExtensionObject>"
