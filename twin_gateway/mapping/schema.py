"""The JSON Schema of a mapping file, for editors: composed by hand, so that a fault is named and not "none of four".

A device is described by `if protocol is … then …`; a numeric field also takes a range or a brace text; a point of a
place with `use` needs not be complete, since it may only override.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from address_space import units
from twin_gateway.drivers.contract import FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.drivers.registry import OWN_PROTOCOLS, protocol
from twin_gateway.mapping.alarm_rule import CLASSES
from twin_gateway.mapping.fields import GATES
from twin_gateway.mapping.schema_text import field_texts, nested_models, summary

Schema = dict[str, Any]

_PATTERNED: Schema = {"type": "string", "pattern": r"\{|^-?[0-9]+\.\.-?[0-9]+$"}
_BRACED: Schema = {"type": "string", "pattern": r"\{"}
_DURATION: Schema = {"type": "string", "pattern": r"^\s*[0-9.]+\s*(ms|s|min|h|d)\s*$|\{"}
_ALIASES: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_DATE: Schema = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
_UNTIL: Schema = {**_DATE, "description": "last day on which the former address leads here; 400 days unless given"}
_AMOUNT: Schema = {"anyOf": [{"type": "string"}, {"type": "number"}]}
_SEVERITY: Schema = {
    "if": {"type": "string"},
    "then": _BRACED,
    "else": {"type": "integer", "minimum": 1, "maximum": 1000},
}
_STATES: Schema = {"type": ["boolean", "integer", "string"]}
_ALARM: dict[str, Schema] = {
    "hihi": {**_AMOUNT, "description": "above it is an alarm of the outer severity, as in '23 kV'"},
    "hi": {**_AMOUNT, "description": "above it is an alarm, as in '22 kV'"},
    "lo": {**_AMOUNT, "description": "below it is an alarm"},
    "lolo": {**_AMOUNT, "description": "below it is an alarm of the outer severity"},
    "hysteresis": {**_AMOUNT, "description": "how far a value must come back from a limit, as in '100 V'"},
    "exclusive": {"type": "boolean", "description": "one limit at a time (true unless given)"},
    "normal": {
        "anyOf": [_STATES, {"type": "array", "minItems": 1, "items": _STATES}],
        "description": "the normal state or states; any other is an alarm",
    },
    "target": {"type": "string", "description": "address of the point that this one should agree with"},
    "tolerance": {**_AMOUNT, "description": "how far the two may be apart"},
    "delay": {**_DURATION, "description": "how long it must last, as in '10 s'"},
    "severity": {**_SEVERITY, "description": "1 to 1000"},
    "severity_outer": {**_SEVERITY, "description": "of lolo and hihi"},
    "code": {"type": "string", "description": "code of the alarm list; A01, A02 or A03 unless given"},
    "class": {"enum": [*CLASSES, None], "description": "class of the condition"},
    "text": {"type": "string", "description": "what it is about, for people"},
    "acknowledge": {"type": "boolean", "description": "a person must acknowledge it"},
    "confirm": {"type": "boolean", "description": "a person must confirm it after that"},
}


def _former(more: dict[str, Schema] | None = None) -> Schema:
    """A `was:`: an address, an address with its date, or a list of these."""
    fields: dict[str, Schema] = {"address": {"type": "string"}, "until": _UNTIL, **(more or {})}
    one: Schema = {"required": ["address"], "additionalProperties": False, "properties": fields}
    return {**one, "type": ["string", "object", "array"], "items": {**one, "type": ["string", "object"]}}


_FORMER: Schema = _former()
_FORMER_PLACE: Schema = {
    **_former({"function": {"type": "string", "description": "function at this place that had it, as in MMXU2"}}),
    "description": "former address of this place, as in dso1/north/PS01/MV1/F05",
}
_RETIRED: Schema = {
    "type": ["object", "null"],
    "description": "tombstones: address in full -> when and why it was retired; it is not used again",
    "additionalProperties": {
        "type": "object",
        "required": ["date", "reason"],
        "additionalProperties": False,
        "properties": {
            "date": {**_DATE, "description": "the day, as in 2026-11-30"},
            "reason": {"type": "string", "description": "why, for people"},
            "successor": {"type": "string", "description": "address that took its place"},
        },
    },
}
ALARM_FIELDS: tuple[str, ...] = tuple(_ALARM)
"""Fields of an alarm rule in the order in which they are written."""
_GATE: Schema = {"enum": list(GATES)}
_CONTROL: dict[str, Schema] = {
    "absent": {
        "anyOf": [_GATE, {"type": "array", "items": _GATE}],
        "description": "gates that the device has no point for: the switch for local and remote (Loc), the interlocking"
        " (CILO), the position (Pos); they then let commands pass",
    },
    "feedback": {
        "type": "boolean",
        "description": "wait until the position shows the new state (true unless given), or trust the answer",
    },
}
_COMMON: Schema = {
    "unit": {"description": "unit that the device delivers after scale, as in kW"},
    "scale": {"type": "number", "description": "value = raw * scale + offset, in `unit`"},
    "offset": {"type": "number", "description": "value = raw * scale + offset, in `unit`"},
    "deadband": {
        "anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}],
        "description": "smaller changes are not published; in published units, as in '5 kW'",
    },
    "stale_after": {**_DURATION, "description": "without a sample for so long the value counts as old, as in '15 min'"},
    "invert": {"type": "boolean", "description": "the device's two states are the other way round"},
    "display_name": {
        "anyOf": [
            {"type": "string"},
            {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
        ],
        "description": "readable name, or names by language, as in {en: Feeder 5, de: Abgang 5}",
    },
    "display_unit": {"description": "unit of the published value, where it is not the canonical one"},
    "aliases": {**_ALIASES, "description": "other names, as in 'mrid:…', 'rds:=C1.Q5', 'was:<former address>'"},
    "was": {**_FORMER, "description": "former address of the point, as in dso1/north/PS01/MV1/F05/_/MMXU1/TotW"},
    "share": {"type": "boolean", "description": "the same protocol point feeds another address too"},
    "role": {"enum": ["read", "command", "backup", "verify"], "description": "what a binding in a list is for"},
    "device": {"type": "string", "description": "device of a binding in a list, where it is another one"},
}


def mapping_schema(names: Sequence[str] = OWN_PROTOCOLS) -> Schema:
    """The whole schema, draft-07, for these protocols (`protocol_names` has those of plug-ins too)."""
    definitions: Schema = {}
    for name in names:
        _add_protocol(definitions, protocol(name))
    template: Schema = {
        "type": "object",
        "description": "points to be used at many places, with parameters",
        "required": ["protocol"],
        "additionalProperties": False,
        "properties": {
            "protocol": {"enum": list(names)},
            "params": {
                "type": "object",
                "description": "parameters and their types",
                "additionalProperties": {
                    "anyOf": [
                        {"enum": ["int", "number", "text"]},
                        {
                            "type": "object",
                            "required": ["type"],
                            "additionalProperties": False,
                            "properties": {
                                "type": {"enum": ["int", "number", "text"]},
                                "default": {"type": ["string", "number"]},
                            },
                        },
                    ]
                },
            },
            "use": {"type": "string", "description": "template that this one builds on"},
            "with": {"type": "object", "description": "its parameters"},
            "points": {"type": "object"},
        },
        "allOf": [_when(name, {"properties": {"points": _points(name, complete=False)}}) for name in names],
    }
    device: Schema = {
        "type": "object",
        "required": ["protocol"],
        "properties": {"protocol": {"enum": list(names), "description": "field protocol of the device"}},
        "allOf": [_when(name, {"$ref": f"#/definitions/{name}-device"}) for name in names],
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "twin-gateway mapping file",
        "type": "object",
        "required": ["mapping"],
        "additionalProperties": False,
        "properties": {
            "mapping": {"const": 1, "description": "version of the format"},
            "grid": {"type": ["string", "number"], "description": "level 1 of every address in this file"},
            "place": {"type": ["string", "number"], "description": "area/site, levels 2 and 3, for every device below"},
            "templates": {"type": ["object", "null"], "additionalProperties": template},
            "devices": {"type": ["object", "null"], "additionalProperties": device},
            "retired": _RETIRED,
        },
        "definitions": definitions,
    }


def write_schema(path: Path) -> None:
    """Write the schema as a file for editors."""
    path.write_text(json.dumps(mapping_schema(), indent=1, ensure_ascii=False) + "\n", "utf-8")


def _when(name: str, then: Schema) -> Schema:
    return {"if": {"properties": {"protocol": {"const": name}}, "required": ["protocol"]}, "then": then}


def _points(name: str, *, complete: bool) -> Schema:
    one: Schema = {"$ref": f"#/definitions/{name}-point"}
    if complete:
        one = {"allOf": [one, {"if": {"type": "object"}, "then": {"$ref": f"#/definitions/{name}-complete"}}]}
    # A list of bindings may name other devices, of other protocols: its items are left to `check`.
    items: Schema = {"type": "array", "minItems": 1, "items": {"type": "object"}}
    return {
        "type": ["object", "null"],
        "additionalProperties": {"if": {"type": "array"}, "then": items, "else": one},
    }


def _add_protocol(definitions: Schema, spec: ProtocolSpec) -> None:
    name = spec.name
    properties: Schema = {**_COMMON, **_fields(spec.point_fields)}
    symbols: Schema = {"anyOf": [{"enum": [*units.symbols(), 1]}, _BRACED]}
    for key in ("unit", "display_unit"):
        properties[key] = {**symbols, **properties[key]}
    if spec.control_models:
        control: Schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                key: _nullable(value)
                for key, value in {
                    "model": {**_chosen(spec.control_models), "description": "how the device takes commands"},
                    **_CONTROL,
                    **_fields(spec.control_fields),
                }.items()
            },
        }
        properties["control"] = {
            "description": "how the point is commanded",
            "if": {"type": "object"},
            "then": control,
            "else": _chosen((*spec.control_models, None)),
        }
    properties["alarm"] = {
        "type": "object",
        "description": "when the value of the point is an alarm",
        "additionalProperties": False,
        "properties": {key: _nullable(value) for key, value in _ALARM.items()},
    }
    definitions[f"{name}-point"] = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {key: _nullable(value) for key, value in properties.items()},
    }
    required = [field.name for field in spec.point_fields if field.required]
    definitions[f"{name}-complete"] = {"required": required}
    entry: Schema = {
        "use": {"type": "string", "description": "template of the points here"},
        "with": {"type": ["object", "null"], "description": "parameters of the template"},
        "points": {"type": ["object", "null"], "description": "point key -> where it comes from"},
        "all": {"type": "string", "description": "every other data object of this logical device, names kept"},
        "aliases": {**_ALIASES, "description": "other names of this place"},
        "was": _FORMER_PLACE,
    }
    whether: Schema = {
        "if": {"required": ["use"]},
        "then": {"properties": {"points": _points(name, complete=False)}},
        "else": {"properties": {"points": _points(name, complete=True)}},
    }
    definitions[f"{name}-place"] = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": entry,
        **whether,
    }
    own = spec.config.model_json_schema(mode="validation")
    nested = nested_models(spec.config)
    for key, value in own.get("$defs", {}).items():
        part = _own(value, name)
        if key in nested:
            part["description"] = summary(nested[key])
            part["properties"] = _described(part.get("properties", {}), nested[key])
        definitions[f"{name}-{key}"] = part
    properties = {key: _device_field(_own(value, name)) for key, value in own.get("properties", {}).items()}
    fields = _described(properties, spec.config)
    definitions[f"{name}-device"] = {
        "type": "object",
        "required": ["protocol", *own.get("required", [])],
        "additionalProperties": False,
        "properties": {
            **fields,
            "protocol": {"const": name, "description": "field protocol of the device"},
            "place": {"type": ["string", "number"], "description": "area/site, where it is not that of the file"},
            "at": {
                "type": ["object", "null"],
                "description": "voltage level/bay/equipment -> what is there",
                "additionalProperties": {"$ref": f"#/definitions/{name}-place"},
            },
            **{key: value for key, value in entry.items() if key not in ("aliases", "was")},
        },
        **whether,
    }


def _fields(specs: Iterable[FieldSpec]) -> Schema:
    return {spec.name: _field(spec) for spec in specs}


def _field(spec: FieldSpec) -> Schema:
    out: Schema
    if spec.kind in (FieldKind.INT, FieldKind.NUMBER):
        number: Schema = {"type": "integer" if spec.kind is FieldKind.INT else "number"}
        if spec.low is not None:
            number["minimum"] = spec.low
        if spec.high is not None:
            number["maximum"] = spec.high
        out = {"if": {"type": "string"}, "then": _PATTERNED, "else": number}
    elif spec.kind is FieldKind.CHOICE:
        out = _chosen(spec.choices)
    elif spec.kind is FieldKind.BOOL:
        out = {"type": "boolean"}
    elif spec.kind is FieldKind.DURATION:
        out = dict(_DURATION)
    else:
        out = {"type": ["string", "number"]}
        if spec.pattern:
            out["pattern"] = rf"^({spec.pattern})$|\{{"
    return {**out, "description": spec.help} if spec.help else out


def _described(properties: Schema, model: type[BaseModel]) -> Schema:
    """The fields of a model with what its docstring says of each."""
    texts = field_texts(model)
    return {key: {**value, "description": texts[key]} if key in texts else value for key, value in properties.items()}


def _chosen(choices: Iterable[str | None]) -> Schema:
    """One of some texts, or a text with braces that becomes one."""
    return {"anyOf": [{"enum": list(choices)}, _BRACED]}


def _nullable(schema: Schema) -> Schema:
    """A field of an override may be null: it takes the field of the template away."""
    out = dict(schema)
    if isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    elif isinstance(out.get("type"), list):
        out["type"] = [*out["type"], "null"]
    elif "enum" in out:
        # Editors refuse a whole schema that has one enumeration with a value twice.
        out["enum"] = [*out["enum"], *([None] if None not in out["enum"] else [])]
    elif "anyOf" in out:
        out["anyOf"] = [*out["anyOf"], {"type": "null"}]
    elif "if" in out and "then" in out and "properties" not in out["then"]:
        out["else"] = _nullable(out["else"])
    return out


def _own(schema: Any, name: str) -> Any:
    """A part of a driver's own schema with its references made ours and the noise of titles left out."""
    if isinstance(schema, dict):
        out = {
            key: _own(value, name) for key, value in schema.items() if not (key == "title" and isinstance(value, str))
        }
        if isinstance(out.get("$ref"), str):
            out["$ref"] = out["$ref"].replace("#/$defs/", f"#/definitions/{name}-")
        return out
    if isinstance(schema, list):
        return [_own(item, name) for item in schema]
    return schema


def _device_field(schema: Schema) -> Schema:
    """Numbers of a device may be durations with a unit; every text may be a reference `${NAME}`."""
    kinds = [schema, *schema.get("anyOf", [])]
    if any(kind.get("type") in ("number", "integer", "array") for kind in kinds):
        rest = {key: value for key, value in schema.items() if key in ("default", "description")}
        core = {key: value for key, value in schema.items() if key not in rest}
        text = {"type": "string", "pattern": r"\$\{|^\s*[0-9.]+\s*(ms|s|min|h|d)\s*$"}
        more = [{"type": "integer"}] if any(kind.get("type") == "array" for kind in kinds) else []
        return {"anyOf": [core, text, *more], **rest}
    return schema
