"""The JSON Schema of a grid file, for editors, from the tables by which the file is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from twin_gateway.grid import attached
from twin_gateway.grid import fields as f
from twin_gateway.grid.gridfile import SECTIONS, VERSION, mrid
from twin_gateway.grid.model import CimClass
from twin_gateway.grid.records import ADDRESS, COMMON, RECORDS
from twin_gateway.grid.yaml_grid import NODE, VOLTAGE
from twin_gateway.mapping.field_error import bool_value

Schema = dict[str, Any]

_TEXT: Schema = {"type": ["string", "number"]}
_POINT: Schema = {"type": "string", "description": "address of a data object"}
_NODE: Schema = {"type": "string", "description": "address of a connectivity node"}
_POINTS: Schema = {"if": {"type": "array"}, "then": {"type": "array", "items": _POINT}, "else": _POINT}
_NAMED: Final[Mapping[attached.Named, Schema]] = {
    attached.Named.POINT: _POINT,
    attached.Named.POINTS: {**_POINTS, "description": "address of a data object, or a list of them"},
    attached.Named.POINT_OR_NONE: {"type": "string", "description": "address of a data object, or none"},
    attached.Named.FEEDER: {"type": "string", "description": "address of a bay or equipment"},
}
_COMMON: Final[Schema] = {
    "class": {"enum": [item.value for item in CimClass], "description": "class of CIM (IEC 61970-301)"},
    "node": _NODE,
    "nodes": {"type": "array", "minItems": 1, "maxItems": 3, "items": _NODE},
    "type": {"type": "string", "description": "one of `types`; fields here count before those of the type"},
    "phases": dict(f.phases.schema),
    "name": _TEXT,
    "mrid": {**_TEXT, "description": "master id of CIM"},
}
_TABLES: Final = {
    "indicators": (attached.INDICATOR, "fault passage indicators, by the data object that tells the passage"),
    "measurements": (attached.MEASUREMENT, "measured points: where in the grid they measure"),
    "meters": (attached.METER, "energy meters, by the address of the meter"),
    "feeders": (attached.FEEDER, "feeders, by the address of the bay that they start from"),
}


def grid_schema() -> Schema:
    """The whole schema, draft-07."""
    definitions = {cim_class.value: _of_class(cim_class) for cim_class in CimClass}
    definitions["any"] = _object(_of_any(definitions.values()))
    sections: Schema = {
        "types": _entries({"$ref": "#/definitions/any"}, "sets of fields that equipment may take over"),
        "nodes": _entries(_object(_fields(NODE)), "connectivity nodes; those without fields need not be listed"),
        "equipment": _entries(_equipment(), "what the grid is made of, by address"),
    }
    for name, (table, text) in _TABLES.items():
        sections[name] = _entries(_object(_fields(table), [attached.REQUIRED[name]]), text)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "twin-gateway grid model",
        "type": "object",
        "required": ["grid_model", "grid"],
        "additionalProperties": False,
        "properties": {
            "grid_model": {"const": VERSION, "description": "version of the format"},
            "grid": {**_TEXT, "description": "level 1 of every address in this file"},
            "place": {"type": ["string", "number", "null"], "description": "levels that go before every key"},
            "voltages": _entries(dict(VOLTAGE.schema), "line to line, by voltage level, or site and voltage level"),
            **{name: sections[name] for name in SECTIONS},
        },
        "definitions": definitions,
    }


def write_schema(path: Path) -> None:
    """Write the schema as a file for editors."""
    path.write_text(json.dumps(grid_schema(), indent=1, ensure_ascii=False) + "\n", "utf-8")


def _entries(entry: Schema, text: str) -> Schema:
    return {"type": ["object", "null"], "description": text, "additionalProperties": entry}


def _object(properties: Schema, required: Iterable[str] = ()) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": properties,
    }


def _equipment() -> Schema:
    """Equipment by its class; with a type any field may be the class's of that type."""
    known = [
        {
            "if": {"required": ["class"], "properties": {"class": {"const": cim_class.value}}},
            "then": {"$ref": f"#/definitions/{cim_class.value}"},
        }
        for cim_class in CimClass
    ]
    complete: Schema = {"if": {"required": ["type"]}, "else": {"required": ["class"]}}
    return {
        "type": "object",
        "properties": {"class": _COMMON["class"]},
        "allOf": [complete, {"if": {"required": ["class"]}, "else": {"$ref": "#/definitions/any"}}, *known],
    }


def _of_class(cim_class: CimClass) -> Schema:
    record = RECORDS[cim_class]
    nodes: Schema = {"anyOf": [{"required": ["node"]}, {"required": ["nodes"]}]}
    return {
        **_object({**{name: _nullable(_COMMON[name]) for name in COMMON}, **_fields(record.fields)}),
        # What a type brings stands elsewhere.
        "if": {"required": ["type"]},
        "else": {"required": ["class", *record.required], **nodes},
    }


def _of_any(classes: Iterable[Schema]) -> Schema:
    """Every field of any class; one that classes have differently may be as any of them has it."""
    found: dict[str, list[Schema]] = {}
    for one in classes:
        for name, schema in one["properties"].items():
            if schema not in found.setdefault(name, []):
                found[name].append(schema)
    return {name: schemas[0] if len(schemas) == 1 else {"anyOf": schemas} for name, schemas in found.items()}


def _fields(table: Mapping[str, Any]) -> Schema:
    return {name: _nullable(_field(name, entry)) for name, entry in table.items()}


def _field(name: str, entry: object) -> Schema:
    if isinstance(entry, f.Shaped):
        return dict(entry.schema)
    if isinstance(entry, attached.EquipmentOf):
        what = " or ".join(cim_class.value for cim_class in entry.classes) or "equipment"
        return {"type": "string", "description": f"address of {what}"}
    if isinstance(entry, attached.Named):
        return dict(_NAMED[entry])
    if entry == ADDRESS:
        return dict(_POINT)
    if entry is bool_value:
        return {"type": "boolean"}
    if entry in (f.text, mrid):
        return dict(_TEXT)
    raise AssertionError(f"no schema of the field {name}")


def _nullable(schema: Schema) -> Schema:
    """Null is as if the field were not there."""
    text = {"description": schema["description"]} if "description" in schema else {}
    return {"if": {"type": "null"}, "else": {key: schema[key] for key in schema if key != "description"}, **text}
