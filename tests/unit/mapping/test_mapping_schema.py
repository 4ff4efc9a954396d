"""The schema of mapping files says everything that the models and tables of fields know, in their words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from twin_gateway.drivers.registry import OWN_PROTOCOLS, protocol
from twin_gateway.mapping.fields import COMMON, point_table
from twin_gateway.mapping.schema import mapping_schema
from twin_gateway.mapping.schema_text import field_texts, nested_models

SCHEMA = mapping_schema()


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema with the way to it."""
    if isinstance(schema, dict):
        yield path, schema
    items = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    for key, value in items:
        yield from objects(value, f"{path}/{key}")


@pytest.mark.parametrize("name", OWN_PROTOCOLS)
def test_every_field_of_a_point_is_in_the_schema_with_a_text(name: str) -> None:
    table = point_table(protocol(name))
    point = SCHEMA["definitions"][f"{name}-point"]["properties"]
    control = point.get("control")
    assert set(point) == {*table.protocol, *COMMON, "alarm", *(["control"] if control else [])}
    assert [key for key, value in point.items() if len(value.get("description", "")) < 3] == []
    if control:
        members = control["then"]["properties"]
        assert set(members) == set(table.control)
        assert [key for key, value in members.items() if "description" not in value] == []


@pytest.mark.parametrize("name", OWN_PROTOCOLS)
def test_every_field_of_a_device_is_in_the_schema_with_the_text_of_its_docstring(name: str) -> None:
    model = protocol(name).config
    device = SCHEMA["definitions"][f"{name}-device"]["properties"]
    assert set(model.model_fields) <= set(device)
    assert [key for key, value in device.items() if "description" not in value] == []
    for key, text in field_texts(model).items():
        assert device[key]["description"] == text
    for inner, part in nested_models(model).items():
        members = SCHEMA["definitions"][f"{name}-{inner}"]["properties"]
        assert {key: value["description"] for key, value in members.items()} == field_texts(part)


def test_texts_of_docstrings_are_joined_to_one_line_and_shared_by_names() -> None:
    texts = field_texts(protocol("iec104").config)
    assert texts["redundant"].endswith("take over when it is lost.")
    assert texts["t0"] == texts["t3"] == "connection, answer, acknowledgement and idle time-outs."


def test_no_enumeration_has_a_value_twice_so_that_editors_take_the_schema() -> None:
    for path, part in objects(SCHEMA):
        if isinstance(part.get("enum"), list):
            values = [json.dumps(value) for value in part["enum"]]
            assert len(values) == len(set(values)), path


def test_every_reference_leads_somewhere() -> None:
    wanted = {part["$ref"].removeprefix("#/definitions/") for _, part in objects(SCHEMA) if "$ref" in part}
    assert wanted == wanted & set(SCHEMA["definitions"])
