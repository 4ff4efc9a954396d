"""Generates our NodeSet2 from `types.yaml` and the catalogue; NodeIds stay what they were once given out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import yaml

from address_space import catalogue
from address_space.addcause import AddCause
from address_space.catalogue import CDCS, CommonDataClass, ValueType, VariableKind
from address_space.opcua import method_specs
from address_space.opcua.model.ids import DI_URI, URI, read_ids
from address_space.opcua.space_types import STANDARD_VARIABLE_TYPES
from address_space.opcua.untyped import ua
from address_space.ports import Argument, MethodSpec

_FIRST_NUMBER = 1001
_OWN, _DI = 1, 2
"""Namespace indexes inside the file."""
_DI_NUMBERS = {"DeviceType": 1002}
_HAS_COMPONENT, _HAS_PROPERTY, _HAS_SUBTYPE, _HAS_TYPE, _HAS_RULE, _HAS_ENCODING = (
    "HasComponent",
    "HasProperty",
    "HasSubtype",
    "HasTypeDefinition",
    "HasModellingRule",
    "HasEncoding",
)
_REFERENCES = {_HAS_COMPONENT: 47, _HAS_PROPERTY: 46, _HAS_SUBTYPE: 45, _HAS_TYPE: 40, _HAS_RULE: 37, _HAS_ENCODING: 38}
_RULES = {"Mandatory": 78, "Optional": 80, "OptionalPlaceholder": 11508}
_ENCODINGS = ("Default Binary", "Default JSON", "Default XML")
_DATA_TYPE_ENCODING_TYPE, _NAMESPACE_METADATA_TYPE, _NAMESPACES = 76, 11616, 11715
_COMMON_DATA_OBJECTS = ("Beh", "Health", "Mod", "NamPlt")
_NOT_CDCS = frozenset({"ANG", "RAW", "DIR", "HMVI"})
"""Types of single attributes that the catalogue keeps beside the CDCs."""
_TYPES_XSD = 'xmlns="http://opcfoundation.org/UA/2008/02/Types.xsd"'


@dataclass(slots=True)
class _Node:
    """One node in the making: element, attributes, references as (type, forward, NodeId text), inner XML."""

    symbol: str
    element: str
    name: str
    number: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    references: list[tuple[str, bool, str]] = field(default_factory=list)
    text: str = ""
    inner: str = ""


class Generator:
    """Makes the file of the tables.

    Args:
        tables: the content of `types.yaml`.
        known: symbols and numbers that have been given out.
    """

    def __init__(self, tables: Mapping[str, Any], known: Mapping[str, int]) -> None:
        self._tables = tables
        self._known = dict(known)
        self._next = max(known.values(), default=_FIRST_NUMBER - 1) + 1
        self._nodes: dict[str, _Node] = {}
        self._build()

    # ---- nodes -----------------------------------------------------------------------------------------------------

    def _id(self, symbol: str) -> str:
        number = self._known.get(symbol)
        if number is None:
            number = self._known[symbol] = self._next
            self._next += 1
        return f"ns={_OWN};i={number}"

    def _add(self, symbol: str, element: str, name: str, text: str = "", **attributes: str) -> _Node:
        if symbol in self._nodes:
            raise ValueError(f"{symbol} is defined twice")
        node = _Node(symbol, element, name, text=text, attributes=attributes)
        self._id(symbol)
        node.number = self._known[symbol]
        self._nodes[symbol] = node
        return node

    def _type_id(self, name: str) -> str:
        """NodeId text of a type: ours, one of DI, or one of the standard."""
        if name.startswith("di:"):
            return f"ns={_DI};i={_DI_NUMBERS[name[3:]]}"
        if name in self._own_types:
            return self._id(name)
        return f"i={getattr(ua.ObjectIds, name)}"

    def _link(self, source: _Node, relation: str, target: _Node) -> None:
        source.references.append((relation, True, self._id(target.symbol)))
        target.references.append((relation, False, self._id(source.symbol)))
        if relation in {_HAS_COMPONENT, _HAS_PROPERTY}:
            target.attributes["ParentNodeId"] = self._id(source.symbol)

    def _derive(self, node: _Node, base: str) -> None:
        node.references.append((_HAS_SUBTYPE, False, self._type_id(base)))

    def _rule(self, node: _Node, rule: str) -> None:
        if rule:
            node.references.append((_HAS_RULE, True, f"i={_RULES[rule]}"))

    # ---- all of them -------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        tables = self._tables
        cdcs = [each for each in CDCS.values() if each.name not in _NOT_CDCS]
        classes = sorted(catalogue.ln_classes())
        enumerations = {name: dict(catalogue.enumeration(name)) for name in catalogue.enumerations()}
        enumerations |= {name: dict(entries) for name, entries in tables["enumerations"].items()}
        enumerations["AddCauseKind"] = {int(each): each.name.lower().replace("_", "-") for each in AddCause}
        self._own_types = {
            *tables["object_types"],
            *tables["event_types"],
            *enumerations,
            *tables["structures"],
            *tables["option_sets"],
            *(f"{each.name}Type" for each in cdcs),
            *(f"{name}Type" for name in classes),
        }
        for name, entries in enumerations.items():
            self._enumeration(name, entries)
        for name, table in tables["option_sets"].items():
            self._option_set(name, table)
        for name, table in tables["structures"].items():
            self._structure(name, table)
        for name, table in tables["object_types"].items():
            self._object_type(name, table)
        for name, table in tables["event_types"].items():
            self._object_type(name, table)
        for cdc in cdcs:
            self._common_data_class(cdc)
        for name in _COMMON_DATA_OBJECTS:
            self._data_object("LogicalNodeType", name, *catalogue.data_objects("XCBR")[name])
        for name in classes:
            self._logical_node_class(name)
        self._metadata()

    def _object_type(self, name: str, table: Mapping[str, Any]) -> None:
        node = self._add(name, "UAObjectType", f"{_OWN}:{name}", table.get("text", ""))
        if table.get("abstract"):
            node.attributes["IsAbstract"] = "true"
        self._derive(node, table["base"])
        for child, (kind, of, rule, text) in table.get("children", {}).items():
            self._child(node, child, kind, (of, rule, text))

    def _child(self, owner: _Node, name: str, kind: str, what: tuple[str, str, str]) -> _Node:
        of, rule, text = what
        plain = name.removeprefix("0:")
        browse = plain if name.startswith("0:") else f"{_OWN}:{plain}"
        symbol = f"{owner.symbol}_{plain.strip('<>')}"
        if kind == "method":
            node = self._add(symbol, "UAMethod", browse, text)
            self._link(owner, _HAS_COMPONENT, node)
            self._arguments(node, _METHODS[of])
        elif kind == "object":
            node = self._add(symbol, "UAObject", browse, text)
            node.references.append((_HAS_TYPE, True, self._type_id(of)))
            self._link(owner, _HAS_COMPONENT, node)
        else:
            node = self._variable(symbol, browse, of, text)
            definition = "PropertyType" if kind == "property" else "BaseDataVariableType"
            node.references.append((_HAS_TYPE, True, self._type_id(definition)))
            self._link(owner, _HAS_PROPERTY if kind == "property" else _HAS_COMPONENT, node)
        self._rule(node, rule)
        return node

    def _variable(self, symbol: str, browse: str, data_type: str, text: str = "") -> _Node:
        array = data_type.endswith("[]")
        node = self._add(symbol, "UAVariable", browse, text, DataType=self._type_id(data_type.removesuffix("[]")))
        if array:
            node.attributes |= {"ValueRank": "1", "ArrayDimensions": "0"}
        return node

    def _property(self, owner: _Node, name: str, data_type: str, value: str) -> _Node:
        """A property of a node itself, with a value; not inherited."""
        node = self._variable(f"{owner.symbol}_{name}", name, data_type)
        node.references.append((_HAS_TYPE, True, "i=68"))
        node.inner = f"<Value>{value}</Value>"
        self._link(owner, _HAS_PROPERTY, node)
        return node

    def _arguments(self, method: _Node, spec: MethodSpec) -> None:
        for name, arguments in (("InputArguments", spec.inputs), ("OutputArguments", spec.outputs)):
            if arguments:
                node = self._property(method, name, "Argument[]", _argument_list(arguments))
                node.attributes["ArrayDimensions"] = str(len(arguments))
                self._rule(node, "Mandatory")

    # ---- out of the catalogue ----------------------------------------------------------------------------------------

    def _common_data_class(self, cdc: CommonDataClass) -> None:
        name = f"{cdc.name}Type"
        text = f"Common data class {cdc.name} of IEC 61850-7-3"
        if cdc.value_type is None:
            node = self._add(name, "UAObjectType", f"{_OWN}:{name}", text)
            self._derive(node, "DataObjectType")
            for child, of in cdc.children:
                if of not in _NOT_CDCS:
                    part = self._variable(f"{name}_{child}", f"{_OWN}:{child}", _BUILT_IN[CDCS[of].value_type])
                    self._typed_component(node, part, f"{of}Type", "Optional")
        else:
            node = self._add(name, "UAVariableType", f"{_OWN}:{name}", text)
            node.attributes["DataType"] = self._type_id(_BUILT_IN[cdc.value_type])
            node.references.append((_HAS_SUBTYPE, False, f"i={STANDARD_VARIABLE_TYPES[cdc.kind]}"))
            # States of instances are of their enumeration, which is derived from no number (Part 5, 12.2.4).
            states = cdc.kind is VariableKind.MULTI_STATE
            value_type = "BaseDataType" if states else _BUILT_IN[cdc.value_type]
            parts = [(cdc.attribute.split(".")[0], value_type, "The value itself")]
            parts += [("q", "QualityBits", "Quality of the device"), ("t", "UtcTime", "Time of the device")]
            for child, data_type, meaning in parts:
                self._child(node, child, "variable", (data_type, "Optional", meaning))
            self._child(node, "Bindings", "property", ("BindingDataType[]", "Optional", "Where the value comes from"))
            if cdc.controllable:
                self._child(node, "ctlModel", "property", ("ControlModelKind", "Optional", "How it is controlled"))
        own = self._property(node, "CDC", "String", _string(cdc.name))
        own.name = f"{_OWN}:CDC"

    def _typed_component(self, owner: _Node, node: _Node, definition: str, rule: str) -> None:
        node.references.append((_HAS_TYPE, True, self._type_id(definition)))
        self._link(owner, _HAS_COMPONENT, node)
        self._rule(node, rule)

    def _logical_node_class(self, name: str) -> None:
        base = "TwinFunctionType" if name in self._tables["twin_classes"] else "LogicalNodeType"
        node = self._add(f"{name}Type", "UAObjectType", f"{_OWN}:{name}Type", f"Logical-node class {name}")
        self._derive(node, base)
        own = self._property(node, "LNClass", "String", _string(name))
        own.name = f"{_OWN}:LNClass"
        self._rule(own, "Mandatory")
        if name in self._tables["declared_classes"]:
            for data_object, (cdc, enumeration) in sorted(catalogue.data_objects(name).items()):
                if data_object not in _COMMON_DATA_OBJECTS or name in {"FLSR"}:
                    self._data_object(f"{name}Type", data_object, cdc, enumeration)

    def _data_object(self, owner: str, name: str, cdc: str, enumeration: str | None) -> None:
        known = CDCS.get(cdc)
        if known is None or cdc in _NOT_CDCS:
            return
        symbol, parent = f"{owner}_{name}", self._nodes[owner]
        text = f"{cdc}, {enumeration}" if enumeration else cdc
        if known.value_type is None:
            node = self._add(symbol, "UAObject", f"{_OWN}:{name}", text)
        else:
            node = self._variable(symbol, f"{_OWN}:{name}", _BUILT_IN[known.value_type], text)
        self._typed_component(parent, node, f"{cdc}Type", "Optional")

    # ---- data types --------------------------------------------------------------------------------------------------

    def _enumeration(self, name: str, entries: Mapping[int, str]) -> None:
        node = self._add(name, "UADataType", f"{_OWN}:{name}")
        self._derive(node, "Enumeration")
        fields = [
            f"<Field Name={quoteattr(label)} Value={quoteattr(str(value))} />" for value, label in entries.items()
        ]
        node.inner = f'<Definition Name="{_OWN}:{name}">{"".join(fields)}</Definition>'
        if list(entries) == list(range(len(entries))):
            texts = "".join(
                f"<LocalizedText><Text>{escape(label)}</Text></LocalizedText>" for label in entries.values()
            )
            self._property(
                node,
                "EnumStrings",
                "LocalizedText[]",
                f"<ListOfLocalizedText {_TYPES_XSD}>{texts}</ListOfLocalizedText>",
            )
        else:
            values = [
                f"<EnumValueType><Value>{value}</Value><DisplayName><Text>{escape(label)}</Text></DisplayName>"
                "<Description /></EnumValueType>"
                for value, label in entries.items()
            ]
            self._property(node, "EnumValues", "EnumValueType[]", _extension_objects("i=7616", values))

    def _option_set(self, name: str, table: Mapping[str, Any]) -> None:
        node = self._add(name, "UADataType", f"{_OWN}:{name}", table["text"])
        self._derive(node, table["base"])
        fields = [f'<Field Name="{bit}" Value="{number}" />' for number, bit in enumerate(table["bits"])]
        node.inner = f'<Definition Name="{_OWN}:{name}" IsOptionSet="true">{"".join(fields)}</Definition>'
        texts = "".join(f"<LocalizedText><Text>{bit}</Text></LocalizedText>" for bit in table["bits"])
        self._property(
            node,
            "OptionSetValues",
            "LocalizedText[]",
            f"<ListOfLocalizedText {_TYPES_XSD}>{texts}</ListOfLocalizedText>",
        )

    def _structure(self, name: str, table: Mapping[str, Any]) -> None:
        node = self._add(name, "UADataType", f"{_OWN}:{name}", table["text"])
        self._derive(node, "Structure")
        fields = []
        for label, (data_type, text) in table["fields"].items():
            described = f"<Description>{escape(text)}</Description>"
            fields.append(f'<Field Name="{label}" DataType="{self._type_id(data_type)}">{described}</Field>')
        node.inner = f'<Definition Name="{_OWN}:{name}">{"".join(fields)}</Definition>'
        for encoding in _ENCODINGS:
            own = self._add(
                f"{name}_{encoding.replace(' ', '')}", "UAObject", encoding, SymbolicName=encoding.replace(" ", "")
            )
            own.references.append((_HAS_TYPE, True, f"i={_DATA_TYPE_ENCODING_TYPE}"))
            self._link(node, _HAS_ENCODING, own)

    def _metadata(self) -> None:
        node = self._add("NamespaceMetadata", "UAObject", f"{_OWN}:{URI}")
        node.attributes["ParentNodeId"] = f"i={_NAMESPACES}"
        node.references.append((_HAS_TYPE, True, f"i={_NAMESPACE_METADATA_TYPE}"))
        node.references.append((_HAS_COMPONENT, False, f"i={_NAMESPACES}"))
        tables = self._tables
        for name, data_type, value in (
            ("NamespaceUri", "String", _string(URI)),
            ("NamespaceVersion", "String", _string(tables["version"])),
            ("NamespacePublicationDate", "DateTime", f"<DateTime {_TYPES_XSD}>{tables['published']}</DateTime>"),
            ("IsNamespaceSubset", "Boolean", f"<Boolean {_TYPES_XSD}>false</Boolean>"),
            ("StaticNodeIdTypes", "IdType[]", f"<ListOfInt32 {_TYPES_XSD}><Int32>0</Int32></ListOfInt32>"),
            (
                "StaticNumericNodeIdRange",
                "NumericRange[]",
                f"<ListOfString {_TYPES_XSD}><String>1001:65535</String></ListOfString>",
            ),
            ("StaticStringNodeIdPattern", "String", f"<String {_TYPES_XSD}></String>"),
        ):
            self._property(node, name, data_type, value)

    # ---- writing -----------------------------------------------------------------------------------------------------

    def xml(self) -> str:
        """The NodeSet2 file."""
        tables = self._tables
        ordered = sorted(self._nodes.values(), key=lambda node: node.number)
        aliases = {name: f"i={number}" for name, number in _REFERENCES.items()}
        lines = [
            '<?xml version="1.0" encoding="utf-8"?>',
            "<!-- Generated from types.yaml and the catalogue by address_space.opcua.model.build; GPL-3.0-or-later -->",
            '<UANodeSet xmlns="http://opcfoundation.org/UA/2011/03/UANodeSet.xsd" '
            f'LastModified="{tables["published"]}">',
            f"  <NamespaceUris><Uri>{URI}</Uri><Uri>{DI_URI}</Uri></NamespaceUris>",
            "  <Models>",
            f'    <Model ModelUri="{URI}" Version="{tables["version"]}" PublicationDate="{tables["published"]}">',
            '      <RequiredModel ModelUri="http://opcfoundation.org/UA/" Version="1.05.04" '
            'PublicationDate="2025-01-08T00:00:00Z" />',
            f'      <RequiredModel ModelUri="{DI_URI}" Version="1.05.0" PublicationDate="2025-11-15T00:00:00Z" />',
            "    </Model>",
            "  </Models>",
            "  <Aliases>",
            *(f'    <Alias Alias="{name}">{node_id}</Alias>' for name, node_id in sorted(aliases.items())),
            "  </Aliases>",
            *(_element(node, self._id(node.symbol)) for node in ordered),
            "</UANodeSet>",
            "",
        ]
        return "\n".join(lines)

    def csv(self) -> str:
        """`symbol,number,NodeClass` of every node, by number; those given out before stay, also when they are gone."""
        classes = {symbol: node.element.removeprefix("UA") for symbol, node in self._nodes.items()}
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for symbol, number in sorted(self._known.items(), key=lambda each: each[1]):
            writer.writerow((symbol, number, classes.get(symbol, "")))
        return out.getvalue()


def generate(tables_text: str, ids_text: str) -> tuple[str, str]:
    """(NodeSet2, NodeIds file) of the tables and the NodeIds given out so far."""
    generator = Generator(yaml.safe_load(tables_text), read_ids(ids_text))
    return generator.xml(), generator.csv()


_BUILT_IN: Mapping[ValueType | None, str] = {
    ValueType.BOOLEAN: "Boolean",
    ValueType.INT32: "Int32",
    ValueType.UINT32: "UInt32",
    ValueType.INT64: "Int64",
    ValueType.DOUBLE: "Double",
    ValueType.STRING: "String",
}
_METHODS: Mapping[str, MethodSpec] = {
    "RESOLVE": method_specs.RESOLVE,
    "LOOKUP": method_specs.LOOKUP,
    **method_specs.COMMANDS,
}


def _string(text: str) -> str:
    return f"<String {_TYPES_XSD}>{escape(text)}</String>"


def _extension_objects(encoding: str, bodies: Iterable[str]) -> str:
    parts = [
        f"<ExtensionObject><TypeId><Identifier>{encoding}</Identifier></TypeId><Body>{body}</Body></ExtensionObject>"
        for body in bodies
    ]
    return f"<ListOfExtensionObject {_TYPES_XSD}>{''.join(parts)}</ListOfExtensionObject>"


def _argument_list(arguments: Sequence[Argument]) -> str:
    bodies = []
    for each in arguments:
        rank, dimensions = ("1", "<UInt32>0</UInt32>") if each.is_list else ("-1", "")
        bodies.append(
            f"<Argument><Name>{each.name}</Name><DataType><Identifier>i={each.type_id}</Identifier></DataType>"
            f"<ValueRank>{rank}</ValueRank><ArrayDimensions>{dimensions}</ArrayDimensions>"
            f"<Description><Text>{escape(each.description)}</Text></Description></Argument>"
        )
    return _extension_objects("i=297", bodies)


def _element(node: _Node, node_id: str) -> str:
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in node.attributes.items())
    shown = node.name.partition(":")[2] if node.name.startswith(f"{_OWN}:") else node.name
    parts = [f"    <DisplayName>{escape(shown)}</DisplayName>"]
    if node.text:
        parts.append(f"    <Description>{escape(node.text)}</Description>")
    references = "".join(_reference(*each) for each in node.references)
    parts.append(f"    <References>{references}</References>")
    if node.inner:
        parts.append(f"    {node.inner}")
    body = "\n".join(parts)
    head = f"  <{node.element} NodeId={quoteattr(node_id)} BrowseName={quoteattr(node.name)}{attributes}>"
    return f"{head}\n{body}\n  </{node.element}>"


def _reference(relation: str, forward: bool, target: str) -> str:
    direction = "" if forward else ' IsForward="false"'
    return f'<Reference ReferenceType="{relation}"{direction}>{target}</Reference>'
