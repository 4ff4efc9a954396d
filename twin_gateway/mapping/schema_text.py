"""Texts for the fields of device sections in editors, taken from where they are documented: the models' docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import get_args

from pydantic import BaseModel

_ENTRY = re.compile(r"([a-z][a-z0-9_]*(?:, [a-z][a-z0-9_]*)*): (.*)")


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """What the `Attributes:` of a model and of its bases say of each field, on one line; by the name in files."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if isinstance(base, type) and issubclass(base, BaseModel) and base is not BaseModel:
            found.update(_attributes(base.__dict__.get("__doc__") or ""))
    for name, info in model.model_fields.items():
        text = found.pop(name, info.description or "")
        if text:
            found[info.alias or name] = text
    return {name: text for name, text in found.items() if name in _names(model)}


def nested_models(model: type[BaseModel]) -> Mapping[str, type[BaseModel]]:
    """Every model that stands inside another, at any depth, by its class name."""
    found: dict[str, type[BaseModel]] = {}
    queue: list[object] = [info.annotation for info in model.model_fields.values()]
    while queue:
        kind = queue.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind.__name__ not in found:
                found[kind.__name__] = kind
                queue += [info.annotation for info in kind.model_fields.values()]
        else:
            queue += get_args(kind)
    return found


def summary(model: type[BaseModel]) -> str:
    """The first paragraph of a model's own docstring, on one line; empty without one."""
    text = inspect.cleandoc(model.__dict__.get("__doc__") or "")
    return " ".join(text.split("\n\n", 1)[0].split())


def _names(model: type[BaseModel]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


def _attributes(docstring: str) -> dict[str, str]:
    """Entries of the section `Attributes:` of a docstring; `a, b: text` counts for both."""
    _, found, rest = inspect.cleandoc(docstring).partition("Attributes:\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in rest.splitlines() if found else ():
        indent = len(line) - len(line.lstrip())
        match = _ENTRY.fullmatch(line.strip()) if indent == 4 else None
        if match is not None:
            names = match[1].split(", ")
            texts |= dict.fromkeys(names, match[2])
        elif indent > 4:
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
        elif line.strip():
            break
    return texts
