"""A small checker of JSON Schema, draft-07: the keywords that the project's schemas use; others are an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_KNOWN = {
    *("$schema", "$ref", "title", "description", "definitions", "type", "enum", "const", "pattern"),
    *("minimum", "maximum", "exclusiveMinimum", "required", "properties", "patternProperties", "additionalProperties"),
    *("minProperties", "items", "minItems", "maxItems", "anyOf", "allOf", "if", "then", "else"),
}


class Schema:
    """A schema and the documents that it takes."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def errors(self, document: Any) -> list[str]:
        """What is wrong with a document, with the path to it; empty when it is valid."""
        return list(self._check(self._root, document, ""))

    def _check(self, schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
        unknown = set(schema) - _KNOWN
        assert not unknown, f"keywords that this checker does not know: {unknown}"
        if "$ref" in schema:
            yield from self._check(self._root["definitions"][schema["$ref"].rpartition("/")[2]], value, path)
            return
        if "type" in schema:
            kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            if not any(_is(value, kind) for kind in kinds):
                yield f"{path}: {value!r} is no {' or '.join(kinds)}"
                return
        if "enum" in schema and not any(type(value) is type(one) and value == one for one in schema["enum"]):
            yield f"{path}: {value!r} is not one of {schema['enum']}"
        if "const" in schema and (
            value != schema["const"] or isinstance(value, bool) != isinstance(schema["const"], bool)
        ):
            yield f"{path}: {value!r} is not {schema['const']!r}"
        if _is(value, "number"):
            yield from self._number(schema, value, path)
        if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} does not match"
        if isinstance(value, dict):
            yield from self._object(schema, value, path)
        if isinstance(value, list):
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
                yield f"{path}: {len(value)} items"
            for number, item in enumerate(value):
                yield from self._check(schema.get("items", {}), item, f"{path}/{number}")
        yield from self._combined(schema, value, path)

    def _number(self, schema: Mapping[str, Any], value: float, path: str) -> Iterator[str]:
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            yield f"{path}: {value} is out of its range"
        if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
            yield f"{path}: {value} is too little"

    def _object(self, schema: Mapping[str, Any], value: dict[str, Any], path: str) -> Iterator[str]:
        yield from (f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        if len(value) < schema.get("minProperties", 0):
            yield f"{path}: nothing in it"
        for name, item in value.items():
            parts = [schema["properties"][name]] if name in schema.get("properties", {}) else []
            parts += [part for pattern, part in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
            more = schema.get("additionalProperties", {})
            if not parts and more is False:
                yield f"{path}: unknown {name}"
            for part in parts or ([more] if isinstance(more, dict) else []):
                yield from self._check(part, item, f"{path}/{name}")

    def _combined(self, schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
        for part in schema.get("allOf", ()):
            yield from self._check(part, value, path)
        if "anyOf" in schema and all(list(self._check(part, value, path)) for part in schema["anyOf"]):
            yield f"{path}: {value!r} is none of what it may be"
        if "if" in schema:
            branch = "else" if list(self._check(schema["if"], value, path)) else "then"
            yield from self._check(schema.get(branch, {}), value, path)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
